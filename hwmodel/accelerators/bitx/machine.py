"""BitX: hardware run-time pruning of bit rows.

H. Li, H. Lu et al., "BitX: Empower Versatile Inference with Hardware Runtime Pruning", ICPP
2021. From its text: groups of M weights as bit matrices, floats aligned to the group's largest exponent, the
N rows of largest significance kept (Eq. 4); PEs of 16 CUs, each lane serial over the kept ones of its own
weight (Figures 2 to 4). What only fits the paper's numbers, and what is chosen, is an option or stands in
`BitX.assumptions`, marked so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from bitxcore.criteria import ROUNDINGS
from bitxcore.criteria import criterion as check_criterion
from bitxcore.engine import MAX_WINDOW
from bitxcore.formats import NumberFormat, number_format
from bitxcore.groups import GROUPINGS, MAX_GROUP, Grouping
from bitxcore.presets import PRESETS
from hwmodel.accelerators.base import FIXED_POINT, Accelerator
from hwmodel.accelerators.bitx.arrays import PEArray
from hwmodel.accelerators.bitx.assumptions import ASSUMPTIONS
from hwmodel.accelerators.bitx.datapath import Datapath, RowSerial, WeightSerial
from hwmodel.accelerators.bitx.hardware import Hardware
from hwmodel.accelerators.bitx.in_dram import packed_bits, plain_bits
from hwmodel.accelerators.bitx.job import SERIAL, Job, job_of, serial_format, serial_operand
from hwmodel.accelerators.bitx.layer_run import LayerRun
from hwmodel.accelerators.bitx.selection import Pruning
from hwmodel.accelerators.bitx.tuning import changes_of
from hwmodel.accelerators.bitx.work import PassShape
from hwmodel.accelerators.changes import Change
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import buffer_srams
from hwmodel.costs.figures import Figure, costs
from hwmodel.memory.stored import StoredBits
from hwmodel.networks.layers import Conv, Layer, Linear
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

if TYPE_CHECKING:
    from bitxcore.policy import PruningOptions

IN_DRAM = ("plain", "packed")
SERIAL_UNITS = ("weight", "row")
CU_OPERANDS = ("positions", "weights")
FILLS = ("load", "pass")

ACTIVATION_WINDOW = 16
"""A, bits of the window in which float activations are aligned."""

_MINIMA = {
    "rows": 1,
    "window": 1,
    "fifo_depth": 0,
    "lane_fifo_depth": 0,
    "weight_bytes_per_cycle": 1,
    "activation_bytes_per_cycle": 1,
    "output_bytes_per_cycle": 1,
}


@dataclass(frozen=True, kw_only=True)
class BitX(Accelerator):
    """BitX: PEs that prune groups of weights to a few bit rows at run time. Cycles are told by cause.

    Parameters
    ----------
    processing_elements : int
        C: number of PEs. Each has one E-alignment and one Bit-Extraction, and works on one filter.
    compute_units : int
        P: CUs per PE. Each works on one output position.
    rows : int or None
        N: rows kept per group. With a criterion that chooses their number, the maximum (None: no limit).
    group : int
        M: weights per group, and shifters per CU.
    window : int, optional
        W: rows of the alignment window. None: the format's default.
    format : str, optional
        Number format of the weights. ``"fixed16"`` first quantises floats and leaves integers unchanged.
        None: the array's own.
    criterion, threshold, budget, rounding, grouping
        As in `bitxcore.prune`.
    fifo_depth : int or None
        D: number of groups by which the fastest PE may be ahead. 0 is lock step, None is unbounded.
    lane_fifo_depth : int or None
        d: number of groups by which the fastest lane of a PE may be ahead. 0 is a barrier at each group,
        None is unbounded.
    cu_operands : {"positions", "weights"}
        Whether one group feeds all CUs of a PE, at P positions, or P groups of a filter are divided among
        the CUs.
    fill : {"load", "pass"}
        Whether the pipeline fills once for each load of the weight buffer, or in every pass.
    serial_unit : {"weight", "row"}
        What lanes process serially: each lane the ones of its own weight, or all lanes the rows of the
        group.
    rows_per_cycle : int
        L: rows that a CU takes per cycle, with ``serial_unit="row"``.
    skip_zero_groups : bool
        Whether a group of zeros costs no cycle (instead of one).
    pack_zeros : bool, optional
        Whether zero weights are left out when groups are formed. None: where at least `PACK_ZEROS_FROM` of
        a tensor's weights are zero.
    serial : {"weights", "activations"}
        Operand that is processed bit by bit and pruned. ``"activations"`` swaps the roles: a PE works on
        one output position and its CUs on filters; `format` and the packing of zeros apply to activations.
    weight_bytes_per_cycle, activation_bytes_per_cycle, output_bytes_per_cycle : int or None
        Widths of the buffers' ports. None: ports never limit the PEs.
    weights_in_dram : {"plain", "packed"}
        Whether DRAM holds weights unchanged, or pruned and in the packed form of `bitxcore`. Beyond the
        paper. Needs ``serial="weights"``. Weights that are not pruned are not packed.
    prunes : bool
        False: the same machine without pruning, whose cycles are the `unpruned_cycles` of one that prunes
        (with ``serial_unit="row"`` the `unpruned_nonempty_rows_cycles`).
    clock_hz, cost_basis, dram, dram_channels
    weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes
        As in `Accelerator`.
    """

    processing_elements: int = 512
    compute_units: int = 16
    rows: int | None = 6
    group: int = 8
    window: int | None = None
    format: str | None = None
    criterion: str = "topn"
    threshold: float | None = None
    budget: float | None = None
    rounding: str = "truncate"
    grouping: Grouping = "flat"
    fifo_depth: int | None = 2
    lane_fifo_depth: int | None = 0
    cu_operands: str = "positions"
    fill: str = "load"
    serial_unit: str = "weight"
    rows_per_cycle: int = 1
    skip_zero_groups: bool = False
    pack_zeros: bool | None = None
    serial: str = "weights"
    weight_bytes_per_cycle: int | None = None
    activation_bytes_per_cycle: int | None = None
    output_bytes_per_cycle: int | None = None
    weights_in_dram: str = "plain"
    prunes: bool = True

    name: ClassVar[str] = "bitx"
    title: ClassVar[str] = "BitX, ICPP 2021: hardware run-time pruning of bit rows"
    source: ClassVar[str] = (
        "Li et al., BitX: Empower Versatile Inference with Hardware Runtime Pruning, ICPP 2021"
    )
    remarks: ClassVar[tuple[str, ...]] = (
        "x unpruned, x every bit: gain over the same machine unpruned, which skips zero bits already, or"
        " takes every bit of the format; x work: what balanced lanes would gain over the unpruned ones",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"format": "fixed16"})
    # What decides which bits are kept.
    sharing_options: ClassVar[tuple[str, ...]] = (
        "serial", "format", "window", "group", "grouping", "pack_zeros", "criterion", "threshold", "budget",
        "rounding", "prunes", "rows",
    )  # fmt: skip
    policy_options: ClassVar[tuple[str, ...]] = (
        "rows", "group", "grouping", "window", "rounding", "criterion", "threshold", "budget", "prunes",
    )  # fmt: skip
    assumptions: ClassVar[tuple[str, ...]] = ASSUMPTIONS

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "processing_elements", "compute_units", "rows_per_cycle", "group")
        if self.group > MAX_GROUP:
            raise self.refusal(f"group must be an integer from 1 to {MAX_GROUP}, got {self.group}")
        self.check_one_of(GROUPINGS, "grouping")
        self.check_one_of(SERIAL, "serial")
        self.check_one_of(SERIAL_UNITS, "serial_unit")
        self.check_one_of(CU_OPERANDS, "cu_operands")
        self.check_one_of(FILLS, "fill")
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
        self.check_at_most(MAX_WINDOW, "window")
        if self.criterion == "calibrated":
            raise self.refusal(
                "criterion 'calibrated' needs norms, which no machine has: prune the weights with it first;"
                " criterion 'topn' keeps what is left in the same groups and rows"
            )
        check_criterion(self.criterion, self.rows, self.threshold, self.budget, self.window or MAX_WINDOW)
        self._check_serial_unit()

    def _check_serial_unit(self) -> None:
        """Refuse options that the other kind of lanes has."""
        if self.serial_unit == "weight" and self.rows_per_cycle != 1:
            raise self.refusal(f"rows_per_cycle={self.rows_per_cycle} needs serial_unit='row'")
        if self.serial_unit == "row" and self.lane_fifo_depth != 0:
            raise self.refusal(
                f"lane_fifo_depth={self.lane_fifo_depth} needs serial_unit='weight': rows are taken in step"
            )
        if self.serial_unit == "row" and self.cu_operands != "positions":
            raise self.refusal(f"cu_operands={self.cu_operands!r} needs serial_unit='weight'")

    @property
    def reads(self) -> Reads:
        """Weights, or a second operand; activations, as they are, where these are pruned."""
        by_activations = self.serial == "activations"
        return Reads(activations=by_activations, second=not by_activations, float_activations=by_activations)

    @property
    def number_format(self) -> str:
        """Numbers it computes with, in words."""
        if self.format is None:
            return "the tensors' own"
        return self.format if number_format(self.format).is_float else FIXED_POINT

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits."""
        return self.processing_elements * self.compute_units * self.group * self.rows_per_cycle / 16

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse what has no windows, where activations are pruned."""
        if self.serial == "activations" and not isinstance(layer, (Conv, Linear)):
            return f"serial='activations': the positions of {layer.operation} read no windows of its input"
        return None

    def weights_used(
        self, layer: Layer, operands: Operands
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        """Give the weights before and after pruning, gathered alike; None if activations are pruned."""
        if self.serial != "weights":
            return None
        job = job_of(layer, operands, self.serial, self.processing_elements, self.format)
        return self._pruning.before_and_after(job.values, job.format, in_window=self.serial_unit == "row")

    def pruning_as(self, options: PruningOptions) -> BitX | None:
        """Make the machine that prunes weights so; None where activations are pruned."""
        if self.serial != "weights":
            return None
        if options.rows is None:  # what cuts groups and aligns them is there all the same
            same = self.group if options.group is None else options.group
            return replace(self, prunes=False, group=same, window=options.window, grouping=options.grouping)
        if options.group is None:
            raise self.refusal("no machine takes whole kernels as groups")
        return replace(self, **options.as_dict())

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""

        def job(form: str | None) -> Job:
            return job_of(layer, operands, self.serial, self.processing_elements, form)

        run = LayerRun(
            layer=layer,
            job=job(self.format),
            fixed_job=lambda: job("fixed16"),
            from_floats=serial_operand(operands, self.serial).dtype.kind not in "iu",
            pruning=self._pruning,
            array=self._array,
            shape=self._shape,
        )
        counts, events = run.by_weight() if self.serial_unit == "weight" else run.by_row()
        bits = ACTIVATION_WINDOW if run.format.is_float else run.widths.parallel
        path = self._datapath(run.format, run.window, bits)
        return self.on_chip(**counts, energy=self.hardware.energy(path, events))

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Every value at its format's width, or packed weights.

        The other operand takes words of that format, whatever its precision.
        """
        fmt = serial_format(operands, self.serial, self.format)
        plain = plain_bits(layer, operands, fmt, self.serial)
        if self.weights_in_dram == "plain" or not layer.has_weights:
            return plain
        if not self.prunes:
            return replace(plain, plain_weights=plain.weights)
        assert operands.weights is not None
        assert on_chip.kept_rows_histogram is not None
        window = self.window or fmt.default_window
        packed = packed_bits(fmt, on_chip.kept_rows_histogram, window=window, group=self.group)
        if self._pruning.packs(operands.weights):
            packed += layer.parameters  # one bit per weight marks the zeros that were packed away
        return replace(plain, weights=packed, plain_weights=plain.weights)

    @property
    def built_datapath(self) -> Datapath:
        """Datapath that the machine has: that of its float format, or of float32."""
        own = number_format(self.format) if self.format else None
        fmt = own if own is not None and own.is_float else number_format("float32")
        return self._datapath(fmt, self.window or fmt.default_window, ACTIVATION_WINDOW)

    @property
    def path_in_use(self) -> Datapath:
        """Part of it that float32 weights use, or what the machine's format makes of them."""
        fmt = number_format(self.format or "float32")
        return self._datapath(fmt, self.window or fmt.default_window, ACTIVATION_WINDOW)

    def _datapath(self, fmt: NumberFormat, window: int, parallel_bits: int) -> Datapath:
        """Part of the datapath that numbers of a format use."""
        kind = WeightSerial if self.serial_unit == "weight" else RowSerial
        rows = min(self.rows or window, window)
        return kind(self.group, window, rows, parallel_bits, fmt.exponent_bits)

    @property
    def hardware(self) -> Hardware:
        """Its components."""
        figures = costs(self.cost_basis)
        by_weight = self.serial_unit == "weight"
        return Hardware(
            costs=figures,
            buffers=buffer_srams(self, figures),
            path=self.built_datapath,
            processing_elements=self.processing_elements,
            compute_units=self.compute_units,
            lanes=self.group if by_weight else self.rows_per_cycle,
            extractors=self._together,
            fifo_depth=self.fifo_depth,
            lane_fifo_depth=self.lane_fifo_depth,
            clock_hz=self.clock_hz,
        )

    @property
    def area_parts_mm2(self) -> dict[str, float]:
        """Area by part, in mm2; an unbounded FIFO has none."""
        return {part: cost.area_mm2 for part, cost in self.hardware.inventory().items()}

    @property
    def cost_figures(self) -> tuple[Figure, ...]:
        """Every cost figure that enters, with its source."""
        return self.hardware.figures()

    @property
    def _pruning(self) -> Pruning:
        """Options that say what is pruned."""
        return Pruning(**{field.name: getattr(self, field.name) for field in fields(Pruning)})

    @property
    def _together(self) -> int:
        """Groups that a PE takes in at once."""
        return self.compute_units if self.cu_operands == "weights" else 1

    @property
    def _array(self) -> PEArray:
        """Options that say how PEs take in groups."""
        return PEArray(
            processing_elements=self.processing_elements,
            lanes=self.group * self._together,
            together=self._together,
            fifo_depth=self.fifo_depth,
            lane_fifo_depth=self.lane_fifo_depth,
            skip_zero_groups=self.skip_zero_groups,
            rows_per_cycle=self.rows_per_cycle,
        )

    @property
    def _shape(self) -> PassShape:
        """Options that say how passes are made up."""
        serial = self.weight_buffer_bytes if self.serial == "weights" else self.activation_buffer_bytes
        return PassShape(
            serial=self.serial,
            group=self.group,
            compute_units=self.compute_units,
            positions=self.compute_units if self.cu_operands == "positions" else 1,
            fill=self.fill,
            serial_buffer_bytes=serial,
            port_widths=(
                self.weight_bytes_per_cycle, self.activation_bytes_per_cycle, self.output_bytes_per_cycle,
            ),
        )  # fmt: skip

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
