"""BitX: hardware run-time pruning of bit rows.

H. Li, H. Lu et al., "BitX: Empower Versatile Inference with Hardware Runtime Pruning", ICPP
2021. From its abstract and claims: groups of weights as bit matrices, floats aligned to the
group's largest exponent, the N rows of largest Euclidean norm kept. The organisation around it
(compute units, lanes, FIFO, latencies) is chosen here, because the full text is not public; each
choice is an option or stands in `BitX.assumptions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bitxcore.criteria import ROUNDINGS
from bitxcore.criteria import criterion as check_criterion
from bitxcore.formats import NumberFormat, number_format
from bitxcore.groups import GROUPINGS, MAX_GROUP, Grouping
from hwmodel.accelerators.base import FIXED_POINT, Accelerator
from hwmodel.accelerators.bitx.hardware import Datapath, Hardware
from hwmodel.accelerators.bitx.in_dram import packed_bits, plain_bits
from hwmodel.accelerators.bitx.job import SERIAL, job_of, serial_format
from hwmodel.accelerators.bitx.selection import PACK_ZEROS_FROM, Pruning
from hwmodel.accelerators.bitx.tuning import changes_of
from hwmodel.accelerators.bitx.work import BitWidths, LayerWork
from hwmodel.accelerators.changes import Change
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import buffer_srams
from hwmodel.costs.figures import Figure, costs
from hwmodel.memory.stored import StoredBits
from hwmodel.networks.layers import Conv, Layer, Linear
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

MAX_WINDOW = 64

IN_DRAM = ("plain", "packed")

ACTIVATION_WINDOW = 32
"""A, bits of the window in which float activations are aligned."""

_MINIMA = {
    "rows": 1,
    "window": 1,
    "fifo_depth": 0,
    "weight_bytes_per_cycle": 1,
    "activation_bytes_per_cycle": 1,
    "output_bytes_per_cycle": 1,
}


@dataclass(frozen=True, kw_only=True)
class BitX(Accelerator):
    """Units that prune groups of weights to a few bit rows while they run; cycles by cause.

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
        Number format of the weights; ``"fixed16"`` quantises floats first and leaves integers as they are.
        None: the array's own.
    criterion, threshold, budget, rounding, grouping
        As in `bitxcore.prune`.
    fifo_depth : int or None
        D, groups that the fastest unit may be ahead; 0 is lock step, None is unbounded.
    skip_zero_groups : bool
        Whether a group of zeros costs no cycle (instead of one).
    pack_zeros : bool, optional
        Whether zero weights are left out when groups are gathered. None: where at least
        `PACK_ZEROS_FROM` of a tensor's weights are zero.
    serial : {"weights", "activations"}
        Operand that is cut into rows and pruned. ``"activations"`` swaps the roles: a unit works on one
        output position, its PEs on filters; `format` and the packing of zeros are the activations'.
    weight_bytes_per_cycle, activation_bytes_per_cycle, output_bytes_per_cycle : int or None
        Widths of the buffers' ports; None keeps pace with the units whatever they need.
    weights_in_dram : {"plain", "packed"}
        Whether DRAM holds weights as they are, or pruned already and in `bitxcore`'s packed form. Beyond the
        paper. Needs ``serial="weights"``.
    clock_hz, cost_basis, dram, dram_channels
    weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes
        As in `Accelerator`.
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
    serial: str = "weights"
    weight_bytes_per_cycle: int | None = None
    activation_bytes_per_cycle: int | None = None
    output_bytes_per_cycle: int | None = None
    weights_in_dram: str = "plain"

    name: ClassVar[str] = "bitx"
    title: ClassVar[str] = "BitX, ICPP 2021: hardware run-time pruning of bit rows"
    source: ClassVar[str] = (
        "Li et al., BitX: Empower Versatile Inference with Hardware Runtime Pruning, ICPP 2021"
    )
    remarks: ClassVar[tuple[str, ...]] = (
        "x all rows, x non-empty: gain over the same machine unpruned, which spends a slot on every row of"
        " the window, or on non-empty rows only",
    )
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"format": "fixed16"})
    # What decides which bits are kept.
    sharing_options: ClassVar[tuple[str, ...]] = (
        "serial", "format", "window", "group", "grouping", "pack_zeros", "criterion", "threshold", "budget",
        "rounding", "rows",
    )  # fmt: skip
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
        " point uses a part of it and gates E-align. The buffers' outer ports move what the DRAM moves.",
        "Leakage of 10 mW/mm2, and half of a register's write energy to clock it each cycle.",
        "serial='activations' treats what each position reads as a vector of its own: values that overlapping"
        " windows share are read, aligned and extracted again for each.",
        "Peak: a 16-bit multiply-accumulate is 16 row applications of one weight.",
        "Transposed convolution scatters: every weight meets every input position.",
        "weights_in_dram='packed' (beyond the paper): weights come pruned and packed from DRAM and are"
        " expanded on their way into the weight buffer, at no cost; with zeros packed away, a bit a weight"
        " says where.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "compute_units", "processing_elements", "lanes", "group")
        if self.group > MAX_GROUP:
            raise self.refusal(f"group must be an integer from 1 to {MAX_GROUP}, got {self.group}")
        self.check_one_of(GROUPINGS, "grouping")
        self.check_one_of(SERIAL, "serial")
        self.check_one_of(IN_DRAM, "weights_in_dram")
        if self.weights_in_dram == "packed" and self.serial != "weights":
            raise self.refusal(
                "weights_in_dram='packed' needs serial='weights': only pruned weights are packed"
            )
        if self.format is not None:
            number_format(self.format)
        self.check_one_of(ROUNDINGS, "rounding")
        for option, minimum in _MINIMA.items():
            if getattr(self, option) is not None:
                self.check_at_least(minimum, option)
        check_criterion(self.criterion, self.rows, self.threshold, self.budget, self.window or MAX_WINDOW)

    @property
    def reads(self) -> Reads:
        """Weights; activations, as they are, where these are pruned."""
        by_activations = self.serial == "activations"
        return Reads(activations=by_activations, float_activations=by_activations)

    @property
    def number_format(self) -> str:
        """Numbers it computes with, in words."""
        if self.format is None:
            return "the tensors' own"
        return self.format if number_format(self.format).is_float else FIXED_POINT

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates a cycle at 16 bits."""
        return self.compute_units * self.processing_elements * self.group * self.lanes / 16

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse products of two activations: there is nothing to prune before run time."""
        if not layer.has_weights:
            return "both operands are activations: no weights to prune without activation traces"
        if self.serial == "activations" and not isinstance(layer, (Conv, Linear)):
            return f"serial='activations': the positions of {layer.operation} read no windows of its input"
        return None

    def weights_used(
        self, layer: Layer, operands: Operands
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        """Give the weights before and after pruning, gathered alike; None if activations are pruned."""
        if self.serial != "weights":
            return None
        job = job_of(layer, operands, self.serial, self.compute_units, self.format)
        return self._pruning.before_and_after(job.values, job.format)

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        job = job_of(layer, operands, self.serial, self.compute_units, self.format)
        # The unpruned machine, in the two readings.
        dense = self._pruning.nonempty(job.values, job.format)
        vectors, groups = dense.kept_rows.shape
        every_row = groups * -(-dense.window // self.lanes)
        all_rows = np.full((job.tiles, 3), every_row, np.int64)
        nonempty = self._ladder(dense.kept_rows, job.bounds, None)
        found = self._pruning.gather(job.values, job.format, dense)
        widths = BitWidths.of(dense.format, job.other_bits, self.serial)
        work = LayerWork(
            layer=layer,
            job=job,
            widths=widths,
            serial=self.serial,
            processing_elements=self.processing_elements,
            lanes=self.lanes,
            group=self.group,
        )
        ports = (self.weight_bytes_per_cycle, self.activation_bytes_per_cycle, self.output_bytes_per_cycle)
        dense_passes = work.passes(np.full(vectors, groups), groups, ports)
        passes = work.passes(found.lengths, groups, ports)
        causes: dict[str, Any] = dict(passes.causes(self._ladder(found.kept_rows, job.bounds, found.lengths)))
        events = work.events(found.lengths, found.histogram, groups)
        path = self._datapath(dense.format, dense.window, widths)
        slots = sum(causes.values()) * self.compute_units * self.processing_elements * self.lanes
        tiles = (job.tiles, job.use_tiles(self.processing_elements))
        filter_tiles, position_tiles = tiles if self.serial == "weights" else tiles[::-1]
        return self.on_chip(
            **causes,
            utilisation=events.rows_applied / slots,
            filter_tiles=filter_tiles,
            position_tiles=position_tiles,
            groups=int(found.histogram.sum()),
            kept_rows_histogram=tuple(found.histogram.tolist()),
            unpruned_all_rows_cycles=dense_passes.cycles(all_rows),
            unpruned_nonempty_rows_cycles=dense_passes.cycles(nonempty),
            energy=self._hardware.energy(path, events),
            notes=(f"zero {self.serial} packed away",) if found.packed else (),
        )

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Every value at its format's width, or packed weights.

        The other operand takes words of that format, whatever its precision.
        """
        fmt = serial_format(operands, self.serial, self.format)
        plain = plain_bits(layer, operands, fmt, self.serial)
        if self.weights_in_dram == "plain":
            return plain
        assert operands.weights is not None
        assert on_chip.kept_rows_histogram is not None
        window = self.window or fmt.default_window
        packed = packed_bits(fmt, on_chip.kept_rows_histogram, window=window, group=self.group)
        if self._pruning.packs(operands.weights):
            packed += layer.parameters  # a bit a weight says where the packed-away zeros were
        return replace(plain, weights=packed, plain_weights=plain.weights)

    @property
    def built_datapath(self) -> Datapath:
        """Datapath that the machine has: that of its float format, or of float32."""
        own = number_format(self.format) if self.format else None
        fmt = own if own is not None and own.is_float else number_format("float32")
        return Datapath(self.group, self.window or fmt.default_window, ACTIVATION_WINDOW, fmt.exponent_bits)

    @property
    def _hardware(self) -> Hardware:
        """Its components."""
        figures = costs(self.cost_basis)
        return Hardware(
            costs=figures,
            buffers=buffer_srams(self, figures),
            path=self.built_datapath,
            compute_units=self.compute_units,
            processing_elements=self.processing_elements,
            lanes=self.lanes,
            fifo_depth=self.fifo_depth,
            clock_hz=self.clock_hz,
        )

    def _datapath(self, fmt: NumberFormat, window: int, widths: BitWidths) -> Datapath:
        """Part of the datapath that one layer's numbers use."""
        bits = ACTIVATION_WINDOW if fmt.is_float else widths.parallel
        return Datapath(self.group, window, bits, fmt.exponent_bits)

    @property
    def area_parts_mm2(self) -> dict[str, float]:
        """Area by part, in mm2; an unbounded FIFO has none."""
        return {part: cost.area_mm2 for part, cost in self._hardware.inventory().items()}

    @property
    def cost_figures(self) -> tuple[Figure, ...]:
        """Every cost figure that enters, with its source."""
        return self._hardware.figures()

    @property
    def _pruning(self) -> Pruning:
        """Options that say what is pruned."""
        return Pruning(**{field.name: getattr(self, field.name) for field in fields(Pruning)})

    def _ladder(
        self, kept: npt.NDArray[Any], bounds: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        """Cycles of the units in a pass of each filter tile, as `fifo_ladder` has them."""
        from hwmodel.accelerators.engines.skewed_fifo import fifo_ladder

        cost = -(-np.arange(256, dtype=np.int32) // self.lanes)
        cost[0] = 0 if self.skip_zero_groups else 1
        return fifo_ladder(
            cost[kept],
            fifo_depth=self.fifo_depth,
            units=self.compute_units,
            bounds=bounds,
            lengths=lengths,
        )

    def changes(self) -> Iterator[Change]:
        """List what might save cycles; packed weights, too, where they cross a DRAM with limits."""
        yield from super().changes()
        if self.dram is not None and self.weights_in_dram == "plain":
            yield Change(
                "weights packed in DRAM (beyond the paper)", "equal peak", {"weights_in_dram": "packed"}
            )

    def own_changes(self) -> Iterator[Change]:
        """List changes of its organisation, and of what it prunes."""
        return changes_of(self.options)
