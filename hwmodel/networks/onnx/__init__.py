"""ONNX graphs as networks.

Shapes come from ONNX's own inference, or are stated in the file. Where there are none (a reshape computed at
run time), the graph is run once on zeros with ONNX Runtime, if that is installed, and they are read off.
Branches that are decided take the place of their If; bodies of Loop and Scan are graphs of their own.
"""

from hwmodel.networks.onnx.conversion import network_from_onnx
from hwmodel.networks.onnx.decisions import decide_branches
from hwmodel.networks.onnx.model_file import read_model, run_graph
from hwmodel.networks.onnx.shapes import forget_shapes
from hwmodel.networks.onnx.sizes import graph_inputs, set_input_sizes

__all__ = [
    "decide_branches",
    "forget_shapes",
    "graph_inputs",
    "network_from_onnx",
    "read_model",
    "run_graph",
    "set_input_sizes",
]
