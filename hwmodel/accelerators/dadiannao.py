"""DaDianNao: the dense baseline that the field compares with.

Y. Chen et al., "DaDianNao: A Machine-Learning Supercomputer", MICRO 2014: 16 tiles, each with
16 neural units of 16 multipliers. A cycle multiplies 16 activations of one window with the
matching weights of 16 x 16 filters. The loop order and the treatment of depthwise and first
layers are those of the public simulator DNNsim (isakedo/DNNsim 4748a60), with which this model
agrees number by number at ``columns=16``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bitxcore.errors import TensorError
from hwmodel.accelerators.base import Accelerator
from hwmodel.layers import Conv, Layer
from hwmodel.operands import Operands
from hwmodel.results import LayerResult


@dataclass(frozen=True, kw_only=True)
class DaDianNao(Accelerator):
    """Value-parallel grid that skips nothing.

    Parameters
    ----------
    lanes : int
        Input channels multiplied together.
    columns : int
        Windows (output positions) worked on together. 1 in the paper; DNNsim gives every
        machine 16, which for this one is 16 times the peak.
    rows : int
        Filters a tile.
    tiles : int
    multiplier_bits : int
        Width of a multiplier; wider operands take several columns or rows.
    fold_first_layer : bool
        Fold the stride of a 3-channel input into its channels (space to depth), so that the
        lanes are not left empty.
    """

    lanes: int = 16
    columns: int = 1
    rows: int = 16
    tiles: int = 16
    multiplier_bits: int = 16
    fold_first_layer: bool = True

    name: ClassVar[str] = "dadiannao"
    title: ClassVar[str] = "DaDianNao, MICRO 2014: dense baseline"
    source: ClassVar[str] = "Chen et al., DaDianNao: A Machine-Learning Supercomputer, MICRO 2014"
    needs_weights: ClassVar[bool] = False
    assumptions: ClassVar[tuple[str, ...]] = (
        "Floating-point networks run in 16-bit fixed point, as the paper's machine does.",
        "A channel block never straddles two kernel positions.",
        "Depthwise layers use one lane a filter, and one tile.",
        "Other grouped layers run group after group, every group on all tiles.",
        "Matrix products of activations stream the second operand as weights.",
        "Transposed convolution scatters: every weight meets every input position.",
        "Compute cycles only; the pipeline's fill is not counted.",
    )

    def __post_init__(self) -> None:
        self._check_at_least(1, "lanes", "columns", "rows", "tiles", "multiplier_bits")

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates a cycle at 16 bits."""
        return self.lanes * self.columns * self.rows * self.tiles

    def run(self, layer: Layer, operands: Operands) -> LayerResult:
        """Count the cycles of `layer`."""
        columns = self.columns // -(-(operands.activation_bits or 16) // self.multiplier_bits)
        rows = self.rows // -(-(operands.weight_bits or 16) // self.multiplier_bits)
        if not columns or not rows:
            raise TensorError(
                f"layer {layer.name!r}: operands of {operands.activation_bits} x {operands.weight_bits} bits"
                f" need more columns or rows than {self.label} has"
            )
        channels, kernel_positions = layer.channels, layer.kernel_positions
        if self.fold_first_layer and isinstance(layer, Conv) and channels == 3 and layer.groups == 1:
            for size, stride in zip(layer.weight_shape[2:], _strides(layer), strict=True):
                channels *= stride
                kernel_positions = kernel_positions // size * -(-size // stride)
        if layer.channels == 1 and layer.conv_groups > 1 and layer.has_weights:
            groups = -(-layer.filters // min(self.lanes, rows))
            filter_tiles, steps = 1, kernel_positions
        else:
            groups = layer.conv_groups
            filter_sets = -(-(layer.filters // groups) // rows)
            filter_tiles = -(-filter_sets // self.tiles)
            steps = -(-channels // self.lanes) * kernel_positions
        position_tiles = layer.position_tiles(columns)
        cycles = groups * position_tiles * filter_tiles * steps
        return self.result(
            layer,
            compute_cycles=cycles,
            fill_cycles=0,
            utilisation=layer.macs / (cycles * self.peak_macs_per_cycle),
            filter_tiles=groups * filter_tiles,
            position_tiles=position_tiles,
        )


def _strides(layer: Conv) -> tuple[int, ...]:
    assert isinstance(layer.stride, tuple)
    return layer.stride
