"""What runs: layers, networks of them, and where these come from.

`layers` are the records that a machine sees, `network` puts them in order with their tensors, `loading`
finds a network by name, in a table (`tables`, `scale_sim`), in an ONNX graph (`onnx`) or in a module of
PyTorch (`torch_export`). `matching` finds a network's
tensors in a dump of other names; `architectures` writes the tables of published networks.
"""
