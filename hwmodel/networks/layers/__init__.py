"""Layers as records: shapes in, and what they imply (output size, weights, multiply-accumulates).

Every layer is seen by an accelerator in the same terms: `conv_groups` independent groups of
`filters / conv_groups` filters, each filter `channels * kernel_positions` weights long (its
`reduction`) and applied at `positions` positions.
"""

from hwmodel.networks.layers.layer import Layer, TooLargeError
from hwmodel.networks.layers.matrix import Linear, MatMul
from hwmodel.networks.layers.spatial import Conv, ConvTranspose

__all__ = ["OPERATIONS", "Conv", "ConvTranspose", "Layer", "Linear", "MatMul", "TooLargeError"]

OPERATIONS: dict[str, type[Layer]] = {c.operation: c for c in (Conv, ConvTranspose, Linear, MatMul)}
"""Layer classes by the name that tables use."""
