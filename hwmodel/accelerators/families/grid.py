"""Base of the machines that walk through a layer as DaDianNao does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.engines.grid_plan import GridPlan, plan
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part
from hwmodel.costs.components import accumulator, accumulator_bits, serialiser
from hwmodel.costs.figures import Costs
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import Operands

GRID_ASSUMPTIONS = (
    "The walk is the public simulator's (isakedo/DNNsim 4748a60): a channel block never straddles two"
    " kernel positions; all columns and rows of all tiles begin a step together.",
    "Fully connected layers give consecutive time steps to consecutive columns, one per cycle; each column"
    " always finds its data (the simulator lets some columns read zeros). Linear layers at several"
    " positions run as 1 x 1 convolutions; a recurrent layer's steps follow one another without a gap.",
    "Depthwise layers use one lane per filter, and one tile; other grouped layers run group after group,"
    " every group on all tiles.",
    "The stride of a 3-channel input is folded into its channels (fold_first_layer).",
    "Transposed convolution scatters: every weight meets every input position.",
    "Floating-point operands are quantised to 16-bit fixed point (or the precision given), one scale per"
    " tensor.",
    "Compute cycles only; the pipeline's fill is not counted.",
    "Energy: gates of a lane by its steps with a product, term or bit; adder trees and accumulators whole in"
    " every cycle of a unit (row and column) with work; what is idle takes clock and leakage only. Values"
    " narrower than a word switch their part of it. Weights are read once per window set, activations once"
    " per round of filters, at their precision.",
    "Guessed: accumulators as wide as both words and 16 bits; broadcast wires and control are left out.",
)
"""What the machines of this family have in common."""

SECOND_OPERAND = "both operands are activations: its cycles depend on the second one, which is not looked at"


@dataclass(frozen=True, kw_only=True)
class Grid(Accelerator):
    """Grid of lanes, columns, rows and tiles.

    Parameters
    ----------
    lanes : int
        Input channels worked on together.
    columns : int
        Windows (output positions) worked on together.
    rows : int
        Filters per tile.
    tiles : int
    word_bits : int
        Storage of a column and of a row; wider operands take several.
    fold_first_layer : bool
        Fold the stride of a 3-channel input into its channels (space to depth), so that the
        lanes are not left empty.
    """

    lanes: int = 16
    columns: int = 16
    rows: int = 16
    tiles: int = 16
    word_bits: int = 16
    fold_first_layer: bool = True

    width_options: ClassVar[frozenset[str]] = frozenset({"word_bits"})
    slot_cycles_per_mac: ClassVar[int] = 16
    """Cycles of one lane that a 16-bit multiply-accumulate takes, nothing skipped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "lanes", "columns", "rows", "tiles", "word_bits")
        self.check_at_most(16, "word_bits")

    def check_divides(self, part: str, *wholes: str) -> None:
        """Refuse an option that does not divide others.

        Raises
        ------
        OptionError
            Naming the accelerator, the options and their values.
        """
        value = getattr(self, part)
        for option in wholes:
            whole = getattr(self, option)
            if whole % value:
                raise self.refusal(f"{part} must divide {option} {whole}, got {value}")

    @property
    def stored_word_bits(self) -> int:
        """Width of a value in DRAM: `word_bits`."""
        return self.word_bits

    @property
    def slots(self) -> int:
        """Lanes of all columns, rows and tiles."""
        return self.lanes * self.columns * self.rows * self.tiles

    @property
    def units(self) -> int:
        """Units that sum the lanes of one row and column."""
        return self.columns * self.rows * self.tiles

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits, nothing skipped."""
        return self.slots / self.slot_cycles_per_mac

    def accumulators(self, c: Costs) -> Part:
        """Part of the running sums, one per unit."""
        return Part(accumulator(c, accumulator_bits(self.word_bits, self.word_bits)), self.units)

    def weight_registers(self, c: Costs) -> Part:
        """Part of the weights that units hold while activations come serially."""
        return Part(c.register(self.word_bits), self.slots)

    def weight_sets(self, c: Costs, sets: int) -> Part:
        """Part of further weights of every row and lane, which let columns run ahead."""
        return Part(c.register(self.word_bits), self.lanes * self.rows * self.tiles * sets)

    def dispatcher(self, c: Costs) -> Part:
        """Part that serialises activations for all tiles."""
        return Part(serialiser(c, self.word_bits), self.lanes * self.columns)

    def plan_of(self, layer: Layer, operands: Operands) -> GridPlan:
        """Lay a layer out on this grid.

        Raises
        ------
        TensorError
            If one operand is wider than all columns or rows together.
        """
        return plan(
            layer,
            lanes=self.lanes,
            columns=self.columns,
            rows=self.rows,
            tiles=self.tiles,
            activation_bits=operands.activation_precision,
            weight_bits=operands.weight_precision,
            word_bits=self.word_bits,
            fold_first_layer=self.fold_first_layer,
        )

    def grid_result(self, p: GridPlan, cycles: int, useful: float, **fields: Any) -> OnChip:
        """Make the result of a layer from its cycles and its useful slot cycles."""
        return self.on_chip(
            compute_cycles=int(cycles),
            fill_cycles=0,
            utilisation=useful / (cycles * self.slots) if cycles else 0.0,
            filter_tiles=p.groups * p.rounds,
            position_tiles=p.window_sets,
            **fields,
        )
