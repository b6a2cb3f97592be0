"""One walk over machines and layers, and the composed result.

`simulate` runs one layer, `walk` visits a network's layers on several machines, `run` makes a result of
that. `joining` composes a layer's result of the chip's part and the memory's; `columns` declares each of its
columns once; `storing` writes them.
"""
