"""With which numbers: weights and activations of each layer.

`workload` joins a network with its dump, traces and distributions, `opening` makes one of what a user names,
and `sources` hands out a layer's `operands`. `traces` records what a model computes, `distributions` and
`synthetic` draw what is missing, `precisions` says in how many bits. `reads` is what a machine asks for.
"""
