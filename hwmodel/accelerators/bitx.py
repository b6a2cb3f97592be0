"""BitX: hardware run-time pruning of bit rows.

H. Li, H. Lu et al., "BitX: Empower Versatile Inference with Hardware Runtime Pruning", ICPP
2021. From its abstract and claims: groups of weights as bit matrices, floats aligned to the
group's largest exponent, the N rows of largest Euclidean norm kept. The organisation around it
(compute units, lanes, FIFO, latencies) is chosen here, because the full text is not public; each
choice is an option or stands in `BitX.assumptions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, log2
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from bitxcore.criteria import ROUNDINGS
from bitxcore.criteria import criterion as check_criterion
from bitxcore.errors import TensorError
from bitxcore.formats import NumberFormat, format_of, number_format
from bitxcore.groups import GROUPINGS, MAX_GROUP, Grouping
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.bitx_hardware import Datapath, Events, Hardware
from hwmodel.costs import Figure, costs
from hwmodel.layers import Layer
from hwmodel.operands import Operands
from hwmodel.passes import Passes, port_cycles
from hwmodel.results import LayerResult

if TYPE_CHECKING:
    from bitxcore import Pruned

MAX_WINDOW = 64

ACTIVATION_WINDOW = 32
"""A, bits of the window in which float activations are aligned."""

_MINIMA = {
    "rows": 1,
    "window": 1,
    "fifo_depth": 0,
    "weight_bytes_per_cycle": 1,
    "activation_bytes_per_cycle": 1,
    "output_bytes_per_cycle": 1,
    "weight_buffer_bytes": 1,
    "activation_buffer_bytes": 1,
    "output_buffer_bytes": 1,
}

PACK_ZEROS_FROM = 0.3
"""Share of zero weights from which a tensor counts as pruned by software."""


@dataclass(frozen=True, kw_only=True)
class BitX(Accelerator):
    """The BitX machine of SPEC §5, items 1 to 5; its cycles by cause.

    Parameters
    ----------
    compute_units : int
        C, units with an extractor of their own; each works on one filter.
    processing_elements : int
        P, a unit's PEs; each works on one output position.
    lanes : int
        L, rows that a PE applies in a cycle.
    rows : int or None
        N, rows kept in a group; the most rows, with a criterion that chooses their number (None:
        no limit).
    group : int
        G, weights in a group.
    window : int, optional
        W, rows of the alignment window; the format's default if None.
    format : str, optional
        Number format of the weights; ``"fixed16"`` quantises floats first. None: the array's own.
    criterion, threshold, budget, rounding, grouping
        As in `bitxcore.prune`.
    fifo_depth : int or None
        D, groups that the fastest unit may be ahead; 0 is lock step, None is unbounded.
    skip_zero_groups : bool
        Whether a group of zeros costs no cycle (instead of one).
    pack_zeros : bool, optional
        Whether zero weights are left out when groups are gathered. None: where at least
        `PACK_ZEROS_FROM` of a tensor's weights are zero.
    weight_bytes_per_cycle, activation_bytes_per_cycle, output_bytes_per_cycle : int or None
        Widths of the buffers' ports; None keeps pace with the units whatever they need.
    clock_hz : float
        Cycles a second; changes no cycle.
    cost_basis : str
        Where energy and area of components come from: one of `hwmodel.costs.BASES`.
    weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes : int
        Sizes of the SRAMs, both halves together.
    """

    compute_units: int = 256
    processing_elements: int = 16
    lanes: int = 1
    rows: int | None = 5
    group: int = 16
    window: int | None = None
    format: str | None = None
    criterion: str = "topn"
    threshold: float | None = None
    budget: float | None = None
    rounding: str = "truncate"
    grouping: Grouping = "flat"
    fifo_depth: int | None = 2
    skip_zero_groups: bool = False
    pack_zeros: bool | None = None
    weight_bytes_per_cycle: int | None = None
    activation_bytes_per_cycle: int | None = None
    output_bytes_per_cycle: int | None = None
    clock_hz: float = 1e9
    cost_basis: str = "aladdin"
    weight_buffer_bytes: int = 1 << 19
    activation_buffer_bytes: int = 1 << 19
    output_buffer_bytes: int = 1 << 18

    name: ClassVar[str] = "bitx"
    title: ClassVar[str] = "BitX, ICPP 2021: hardware run-time pruning of bit rows"
    source: ClassVar[str] = (
        "Li et al., BitX: Empower Versatile Inference with Hardware Runtime Pruning, ICPP 2021"
    )
    assumptions: ClassVar[tuple[str, ...]] = (
        "A compute unit works on one filter and P output positions; C units share the activations.",
        "A lane applies one kept row to G activations in a cycle; a group of r rows costs"
        " max(1, ceil(r / L)).",
        "A filter tile never spans convolution groups, whose filters share no activations;"
        " depthwise layers therefore use one unit at a time.",
        "Tiles run one after another; the FIFO is empty at the start of each, and the extractor and E-align"
        " (ceil(log2 G) + 1 cycles each, E-align for floats only) fill the pipeline once per filter tile and"
        " position tile.",
        "The unpruned machine is this one with pruning and zero packing off, fills included; it is read with"
        " all W rows and with non-empty rows only.",
        "Packed zeros: the gatherer feeds each unit the activations of its own non-zero weights, and the FIFO"
        f" counts packed groups; on by itself from {PACK_ZEROS_FROM:.0%} zeros.",
        "A pass (filter tile at a position tile) lasts until its units and its buffer ports are done. Weights"
        " are read once a pass, activations once for all units. Outputs have the activations' width and leave"
        " from a second set of accumulators while the next pass runs; charged to their own pass.",
        "A cycle belongs to fill, else to compute while evenly shared work would last, else to imbalance"
        " while units behind an unbounded FIFO would be busy, else to the full FIFO, else to the weight,"
        " activation or output port.",
        "Energy is components x events, the inventory being ours; the datapath is built for floats, fixed"
        " point uses a part of it and gates E-align. Values enter and leave a buffer once a layer. No DRAM.",
        "Leakage of 10 mW/mm2, and half of a register's write energy to clock it each cycle.",
        "Peak: a 16-bit multiply-accumulate is 16 row applications of one weight.",
        "Transposed convolution scatters: every weight meets every input position.",
    )

    def __post_init__(self) -> None:
        self._check_at_least(1, "compute_units", "processing_elements", "lanes", "group")
        if self.group > MAX_GROUP:
            raise TensorError(f"group must be an integer from 1 to {MAX_GROUP}, got {self.group}")
        if self.grouping not in GROUPINGS:
            raise TensorError(f"grouping must be one of {', '.join(GROUPINGS)}, got {self.grouping!r}")
        if self.format is not None:
            number_format(self.format)
        if self.rounding not in ROUNDINGS:
            raise TensorError(f"rounding must be one of {', '.join(ROUNDINGS)}, got {self.rounding!r}")
        if not (isinstance(self.clock_hz, (int, float)) and 0 < self.clock_hz < inf):
            raise TensorError(f"clock_hz must be a positive number of cycles a second, got {self.clock_hz!r}")
        costs(self.cost_basis)
        for option, minimum in _MINIMA.items():
            if getattr(self, option) is not None:
                self._check_at_least(minimum, option)
        check_criterion(self.criterion, self.rows, self.threshold, self.budget, self.window or MAX_WINDOW)

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates a cycle at 16 bits."""
        return self.compute_units * self.processing_elements * self.group * self.lanes / 16

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse products of two activations: there is nothing to prune before run time."""
        if not layer.has_weights:
            return "both operands are activations: no weights to prune without activation traces"
        return None

    def run(self, layer: Layer, operands: Operands) -> LayerResult:
        """Count the cycles of `layer`."""
        weights, fmt = self._weights(operands)
        bounds = self._filter_tiles(layer)
        # The unpruned machine, in the two readings.
        dense = self._prune(weights, fmt, unpruned=True)
        filters, groups = dense.kept_rows.shape
        every_row = groups * -(-dense.window // self.lanes)
        all_rows = np.full((len(bounds) - 1, 3), every_row, np.int64)
        nonempty = self._ladder(dense.kept_rows, bounds, None)
        if packs := self._packs(weights):
            packed, counts = _leave_out_zeros(weights, self.grouping)
            lengths = -(-counts // self.group)
            kept = self._prune(packed, fmt, grouping="flat").kept_rows
            exists = np.arange(kept.shape[1]) < lengths[:, None]
            histogram = np.bincount(kept[exists], minlength=dense.window + 1)
        else:
            lengths = np.full(filters, groups)
            kept = self._prune(weights, fmt).kept_rows
            histogram = np.bincount(kept.reshape(-1), minlength=dense.window + 1)
        widths = _Widths.of(dense, operands)
        passes = self._passes(layer, bounds, lengths, groups, widths)
        dense_passes = self._passes(layer, bounds, np.full(filters, groups), groups, widths)
        causes = passes.causes(self._ladder(kept, bounds, lengths))

        tiles = layer.position_tiles(self.processing_elements)
        events = self._events(
            layer, widths, lengths, histogram, len(bounds) - 1, groups, sum(causes.values())
        )
        path = self._datapath(dense.format, dense.window, widths)
        slots = events.cycles * self.compute_units * self.processing_elements * self.lanes
        return self.result(
            layer,
            **causes,
            utilisation=events.rows_applied / slots,
            filter_tiles=len(bounds) - 1,
            position_tiles=tiles,
            groups=int(histogram.sum()),
            kept_rows_histogram=tuple(histogram.tolist()),
            unpruned_all_rows_cycles=dense_passes.cycles(all_rows),
            unpruned_nonempty_rows_cycles=dense_passes.cycles(nonempty),
            clock_hz=self.clock_hz,
            energy_parts_j=Hardware(self).energy_parts_j(path, events),
            notes=("zero weights packed away",) if packs else (),
        )

    def _events(
        self,
        layer: Layer,
        widths: _Widths,
        lengths: npt.NDArray[np.int64],
        histogram: npt.NDArray[np.int64],
        filter_tiles: int,
        groups: int,
        cycles: int,
    ) -> Events:
        tiles = layer.position_tiles(self.processing_elements)
        gathered = int(lengths.sum())
        rows = np.arange(len(histogram))
        turns = int(-(-rows // self.lanes) @ histogram)
        emitted = int(rows @ histogram)
        weight_bits = gathered * self.group * widths.weight
        broadcast = filter_tiles * groups * layer.positions
        output_bits = layer.filters * layer.positions * widths.activation
        return Events(
            weight_groups=gathered * tiles,
            rows_emitted=emitted * tiles,
            rows_applied=emitted * layer.positions,
            pe_cycles=turns * layer.positions,
            group_sums=gathered * layer.positions,
            activation_groups=broadcast,
            weight_bits_read=weight_bits * tiles,
            weight_bits_written=weight_bits,
            activation_bits_read=broadcast * self.group * widths.activation,
            activation_bits_written=layer.input_count * widths.activation,
            output_bits_written=output_bits,
            output_bits_read=output_bits,
            cycles=cycles,
        )

    @property
    def built_datapath(self) -> Datapath:
        """Datapath that the machine has: that of its float format, or of float32."""
        own = number_format(self.format) if self.format else None
        fmt = own if own is not None and own.is_float else number_format("float32")
        return Datapath(self.group, self.window or fmt.default_window, ACTIVATION_WINDOW, fmt.exponent_bits)

    def _datapath(self, fmt: NumberFormat, window: int, widths: _Widths) -> Datapath:
        """Part of the datapath that one layer's numbers use."""
        bits = ACTIVATION_WINDOW if fmt.is_float else widths.activation
        return Datapath(self.group, window, bits, fmt.exponent_bits)

    @property
    def area_parts_mm2(self) -> dict[str, float]:
        """Area by part, in mm2; an unbounded FIFO has none."""
        return {part: cost.area_mm2 for part, cost in Hardware(self).inventory().items()}

    @property
    def cost_figures(self) -> tuple[Figure, ...]:
        """Every cost figure that enters, with its source."""
        return Hardware(self).figures()

    def _passes(
        self,
        layer: Layer,
        bounds: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        groups: int,
        widths: _Widths,
    ) -> Passes:
        """Describe the passes of `layer`; `lengths`: groups of each filter, `groups`: before packing."""
        positions = layer.positions // layer.steps
        last = (positions - 1) % self.processing_elements + 1
        repeats = (layer.position_tiles(self.processing_elements) - layer.steps, layer.steps)
        at_once = np.array([self.processing_elements, last])
        tiles = len(bounds) - 1
        weights = np.add.reduceat(lengths, bounds[:-1]) * _bytes(self.group * widths.weight)
        activations = at_once * groups * _bytes(self.group * widths.activation)
        outputs = np.diff(bounds)[:, None] * at_once * _bytes(widths.activation)
        ports = (
            (weights[:, None], self.weight_bytes_per_cycle),
            (activations, self.activation_bytes_per_cycle),
            (outputs, self.output_bytes_per_cycle),
        )
        latency = ceil(log2(self.group)) + 1
        return Passes(
            fill_cycles=latency * (2 if widths.is_float else 1),
            repeats=repeats,
            port_cycles=np.stack(
                [np.broadcast_to(port_cycles(moved, width), (tiles, 2)) for moved, width in ports], axis=2
            ),
        )

    def _weights(self, operands: Operands) -> tuple[npt.NDArray[Any], str | None]:
        """Weights and their format; integers of a stated precision are read at that width."""
        weights = operands.weights
        assert weights is not None
        bits = operands.weight_bits
        if weights.dtype.kind not in "iu" or self.format is not None or bits is None:
            return weights, self.format
        if not 2 <= bits <= 16:
            raise TensorError(f"integer weights must have 2 to 16 bits on {self.name}, got {bits}")
        if weights.size and weights.min() >= 0 and weights.dtype.kind == "u" and bits == 8:
            return weights.astype(np.uint8), "uint8"
        return weights.astype(np.int8 if bits <= 8 else np.int16), f"int{bits}"

    def _prune(
        self,
        weights: npt.NDArray[Any],
        fmt: str | None,
        *,
        unpruned: bool = False,
        grouping: str | None = None,
    ) -> Pruned:
        import bitxcore as bx

        common: dict[str, Any] = {
            "group": self.group,
            "format": fmt,
            "grouping": grouping or self.grouping,
        }
        if unpruned:
            own = format_of(weights.dtype) if fmt is None else number_format(fmt)
            return bx.prune(weights, rows=self.window or own.default_window, window=self.window, **common)
        return bx.prune(
            weights,
            rows=self.rows,
            window=self.window,
            criterion=self.criterion,
            rounding=self.rounding,
            threshold=self.threshold,
            budget=self.budget,
            **common,
        )

    def _filter_tiles(self, layer: Layer) -> npt.NDArray[np.int64]:
        """Bounds of the filter tiles: up to C filters of one convolution group each."""
        starts = np.arange(0, layer.filters // layer.conv_groups, self.compute_units)
        groups = np.arange(layer.conv_groups) * (layer.filters // layer.conv_groups)
        return np.append((groups[:, None] + starts).reshape(-1), layer.filters)

    def _ladder(
        self, kept: npt.NDArray[Any], bounds: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        """Cycles of the units in a pass of each filter tile, as `fifo_ladder` has them."""
        from hwmodel.lanes import fifo_ladder

        cost = -(-np.arange(256, dtype=np.int32) // self.lanes)
        cost[0] = 0 if self.skip_zero_groups else 1
        return fifo_ladder(
            cost[kept],
            fifo_depth=self.fifo_depth,
            units=self.compute_units,
            bounds=bounds,
            lengths=lengths,
        )

    def _packs(self, weights: npt.NDArray[Any]) -> bool:
        if self.pack_zeros is not None:
            return self.pack_zeros
        return bool(1 - np.count_nonzero(weights) / weights.size >= PACK_ZEROS_FROM)


@dataclass(frozen=True)
class _Widths:
    """Bits of the numbers that move through one layer."""

    weight: int
    activation: int
    is_float: bool

    @classmethod
    def of(cls, pruned: Pruned, operands: Operands) -> _Widths:
        fmt = pruned.format
        weight = fmt.storage_bits
        if not fmt.is_float:
            weight = fmt.significand_bits + (fmt.encoding == "sign-magnitude")
        activation = operands.activation_bits or (fmt.storage_bits if fmt.is_float else 16)
        return cls(weight, activation, fmt.is_float)


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def _leave_out_zeros(
    weights: npt.NDArray[Any], grouping: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Move each filter's non-zero weights to its front, in the order that groups are gathered.

    Returns the weights, shape (filters, most non-zeros of a filter, at least 1), and each
    filter's number of them.
    """
    if grouping == "channel" and weights.ndim > 2:
        weights = np.moveaxis(weights, 1, -1)
    flat = weights.reshape(weights.shape[0], -1)
    used = flat != 0
    counts = used.sum(axis=1)
    packed = np.zeros((flat.shape[0], max(1, int(counts.max()))), flat.dtype)
    packed[np.arange(packed.shape[1]) < counts[:, None]] = flat[used]
    return packed, counts
