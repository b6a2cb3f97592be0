"""What every accelerator is: a frozen record of options that turns a layer into cycles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import fsum, inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from bitxcore.checks import is_integer, shown
from bitxcore.errors import BitxError, OptionError
from hwmodel.accelerators.changes import Change, doubled, more_memory
from hwmodel.accelerators.on_chip import ChipEnergy, OnChip
from hwmodel.accelerators.option_values import MOST_HZ, checked
from hwmodel.costs.area_energy import Part, Work, area_parts_mm2, buffer_srams, events_j, standing_w
from hwmodel.costs.figures import Costs, Figure, Sram, costs
from hwmodel.dram.parts import DramPart, load_part
from hwmodel.memory.stored import StoredBits, dense_bits, whole_words
from hwmodel.memory.tiling import Buffers
from hwmodel.memory.traffic import Memory
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import FIXED_POINT_BITS, Operands
from hwmodel.operands.reads import Reads

if TYPE_CHECKING:
    from bitxcore.policy import PruningOptions

WORDS_IN_DRAM = (
    "DRAM holds whole words: a value takes 16 bits (or the machine's word), several words if it is wider,"
    " whatever its precision."
)
"""Assumption of the machines that leave `Accelerator.stored_bits` as it is."""

FIXED_POINT = "fixed point"
"""`Accelerator.number_format` of nearly all machines."""

MOST_MACS_PER_CYCLE = 1 << 40
"""Largest peak of a machine: its counts together stay within 64 bits."""


@dataclass(frozen=True, kw_only=True)
class Accelerator(ABC):
    """Base of all accelerators; a subclass is a frozen dataclass whose fields are its options.

    The class holds everything about a machine: how it enters comparisons, what `hwmodel.explain` may
    change, and what a report says about it.

    Parameters
    ----------
    clock_hz : float
        Cycles per second.
    cost_basis : str
        Where energy and area of components come from: one of `hwmodel.costs.figures.BASES`.
    weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes : int
        Sizes of the SRAMs, both halves together.
    dram : str or None
        Memory of each channel: a name of `hwmodel.dram.part_names` or a ``.json`` file. None is a memory
        without limits, whose bytes are counted but cost neither cycles nor energy.
    dram_channels : int
        Channels; all traffic is spread over them.

    Attributes
    ----------
    name : str
        Name in the registry.
    title : str
        One line for lists.
    source : str
        The paper.
    assumptions : tuple of str
        Choices and guesses; they are shown beside results.
    remarks : tuple of str
        Lines below the tables of a run in which the machine takes part.
    comparison : mapping
        Options, other than its defaults, with which it enters a comparison at equal peak (4096 16-bit
        multiply-accumulates per cycle).
    variants : tuple of mapping
        Options of each variant that enters a comparison, beside those of `comparison`.
    presets : mapping of str to mapping
        Options of each instance that the paper names: what ``preset=`` of `hwmodel.accelerator` sets.
    width_options : frozenset of str
        Options that are widths of numbers. Doubling one changes the numbers, not the size of the machine.
    lossy_options : frozenset of str
        Options that say how much of the operands is left out: raising one lowers accuracy.
    sharing_options : tuple of str
        Options on which shared work depends: machines with equal values of them share it
        (`hwmodel.accelerators.memo`). A sweep visits such machines one after another. The option that costs
        most to change comes first.
    policy_options : tuple of str
        Options that a policy sets, layer by layer (`pruning_as`).
    """

    clock_hz: float = 1e9
    cost_basis: str = "aladdin"
    weight_buffer_bytes: int = 1 << 19
    activation_buffer_bytes: int = 1 << 19
    output_buffer_bytes: int = 1 << 18
    dram: str | None = "DDR4-2400_x64_bgint"
    dram_channels: int = 4

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    assumptions: ClassVar[tuple[str, ...]] = ()
    remarks: ClassVar[tuple[str, ...]] = ()
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = (MappingProxyType({}),)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    width_options: ClassVar[frozenset[str]] = frozenset()
    lossy_options: ClassVar[frozenset[str]] = frozenset()
    sharing_options: ClassVar[tuple[str, ...]] = ()
    policy_options: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            try:
                value = checked(field, getattr(self, field.name))
            except ValueError as rule:
                raise self.refusal(str(rule)) from None
            object.__setattr__(self, field.name, value)
        if not 0 < self.clock_hz < inf:
            raise self.refusal(
                f"clock_hz must be a positive number of cycles per second, got {self.clock_hz!r}"
            )
        self.check_at_most(MOST_HZ, "clock_hz")
        costs(self.cost_basis)
        self.check_at_least(
            1, "weight_buffer_bytes", "activation_buffer_bytes", "output_buffer_bytes", "dram_channels"
        )
        try:
            _ = self.dram_part
        except BitxError as error:
            raise self.refusal(f"dram: {error}") from error

    # -- options -------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """Name and the options that differ from their defaults."""
        changed = [f for f in fields(self) if getattr(self, f.name) != f.default]
        options = ", ".join(f"{f.name}={getattr(self, f.name)}" for f in changed)
        return f"{self.name}({options})" if options else self.name

    @property
    def options(self) -> dict[str, Any]:
        """Every option and its value."""
        return asdict(self)

    def refusal(self, rule: str) -> OptionError:
        """Make the error for a bad option; `rule` names the option, what it must be and what it is."""
        return OptionError(f"accelerator {self.name!r}: {rule}")

    def check_peak(self) -> None:
        """Refuse counts that only together are beyond all machines."""
        if self.peak_macs_per_cycle > MOST_MACS_PER_CYCLE:
            raise self.refusal(
                f"its options make {self.peak_macs_per_cycle:g} multiply-accumulates per cycle, at most"
                f" {MOST_MACS_PER_CYCLE:g} are simulated"
            )

    def check_at_least(self, minimum: int, *options: str) -> None:
        """Refuse options that are not integers of at least `minimum`.

        Raises
        ------
        OptionError
            Naming the accelerator, the option, the rule and the value.
        """
        for option in options:
            value = getattr(self, option)
            if not is_integer(value) or value < minimum:
                raise self.refusal(f"{option} must be an integer of at least {minimum}, got {shown(value)}")

    def check_at_most(self, maximum: float, *options: str) -> None:
        """Refuse options that are more than `maximum`; None passes.

        Raises
        ------
        OptionError
            Naming the accelerator, the option, the rule and the value.
        """
        for option in options:
            value = getattr(self, option)
            if value is not None and value > maximum:
                raise self.refusal(f"{option} must be at most {maximum}, got {shown(value)}")

    def check_one_of(self, choices: Collection[Any], option: str) -> None:
        """Refuse an option that is none of `choices`.

        Raises
        ------
        OptionError
            Naming the accelerator, the option, the choices and the value.
        """
        value = getattr(self, option)
        if not isinstance(value, Hashable) or value not in choices:
            raise self.refusal(f"{option} must be one of {', '.join(map(str, choices))}, got {shown(value)}")

    # -- what it runs, and what that takes -----------------------------------------------------

    @property
    def reads(self) -> Reads:
        """Operands whose values its cycles depend on; by default the weights."""
        return Reads()

    @property
    @abstractmethod
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits, nothing skipped."""

    def not_applicable(self, layer: Layer) -> str | None:
        """Say why this accelerator does not run `layer`, or return None if it does."""
        return None

    @abstractmethod
    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer` with all operands in the buffers; see `on_chip`.

        `hwmodel.simulate` has checked that it applies, and adds what the DRAM makes of it.
        """

    def on_chip(self, *, work: Work | None = None, **counts: Any) -> OnChip:
        """Make the result of `run`.

        Parameters
        ----------
        work : Work, optional
            What energy is counted from, on a machine with `parts`.
        **counts
            Of `OnChip`.
        """
        if work is not None:
            parts, srams = self._built
            figures = costs(self.cost_basis)
            counts["energy"] = ChipEnergy(
                events_j(parts, srams, work),
                standing_w(parts, srams, costs=figures, clock_hz=self.clock_hz),
            )
        return OnChip(**counts)

    def weights_used(
        self, layer: Layer, operands: Operands
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        """Give the weights, and what this machine makes of them; None if it is not known to change them.

        Parameters
        ----------
        layer : Layer
        operands : Operands
            With weights.

        Returns
        -------
        pair of ndarray of the same shape, or None
            The same objects wherever the same machine would give the same values within
            `hwmodel.accelerators.memo.shared`.
        """
        return None

    def pruning_as(self, options: PruningOptions) -> Accelerator | None:
        """Make the same machine, pruning the weights of a layer as a policy says; see `policy_options`.

        Parameters
        ----------
        options : PruningOptions
            Where the rows are None, the layer runs unpruned.

        Returns
        -------
        Accelerator or None
            None if it does not prune by such options, and runs as it is.

        Raises
        ------
        OptionError
            If it prunes by such options, but not by these.
        """
        return None

    # -- memory --------------------------------------------------------------------------------

    @cached_property
    def dram_part(self) -> DramPart | None:
        """Memory of a channel; None: without limits."""
        return None if self.dram is None else load_part(self.dram)

    @property
    def dram_peak_bytes_per_s(self) -> float | None:
        """Bytes per second of all channels, if no bus is ever idle; None: without limits."""
        return None if self.dram_part is None else self.dram_channels * self.dram_part.peak_bytes_per_s

    @property
    def memory(self) -> Memory:
        """Buffers, and the DRAM behind them."""
        buffers = Buffers(self.weight_buffer_bytes, self.activation_buffer_bytes, self.output_buffer_bytes)
        return Memory(buffers, self.dram_part, self.dram_channels, self.clock_hz)

    @property
    def stored_word_bits(self) -> int:
        """Width of a value in DRAM; values of a higher precision take several such words."""
        return FIXED_POINT_BITS

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits that a layer takes in DRAM; by default every value in words.

        A machine that keeps operands at their precision, or compressed, overrides this. Outputs are the next
        layer's activations.

        Parameters
        ----------
        layer : Layer
        operands : Operands
        on_chip : OnChip
            Of `run`, for what it has counted already.
        """
        word = self.stored_word_bits
        return dense_bits(
            layer,
            whole_words(operands.weight_precision, word),
            whole_words(operands.activation_precision, word),
        )

    # -- energy and area -----------------------------------------------------------------------

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """Components of the machine but for its buffers; none if it has no cost model.

        Parameters
        ----------
        costs : Costs
            Figures of `cost_basis`.
        """
        return {}

    @cached_property
    def _built(self) -> tuple[Mapping[str, Part], dict[str, Sram]]:
        """Parts and buffers, in figures of `cost_basis`."""
        figures = costs(self.cost_basis)
        return self.parts(figures), buffer_srams(self, figures)

    @property
    def area_parts_mm2(self) -> Mapping[str, float]:
        """Area by part, in mm2; empty if this machine has no cost model."""
        parts, srams = self._built
        return area_parts_mm2(parts, srams) if parts else {}

    @property
    def area_mm2(self) -> float | None:
        """Area of the whole machine without DRAM; None if it has no cost model."""
        return fsum(self.area_parts_mm2.values()) or None

    @property
    def cost_figures(self) -> tuple[Figure, ...]:
        """Every energy and area figure that enters, with its source."""
        parts, buffers = self._built
        if not parts:
            return ()
        srams = [
            sram.figure(name, operation) for name, sram in buffers.items() for operation in ("read", "write")
        ]
        return (*costs(self.cost_basis).figures(), *srams)

    # -- what others ask of it -----------------------------------------------------------------

    @property
    def number_format(self) -> str:
        """Numbers it computes with, in words."""
        return FIXED_POINT

    def changes(self) -> Iterator[Change]:
        """List what might save cycles, one change at a time: options of its own, then more memory."""
        yield from self.own_changes()
        yield from more_memory(self.options)

    def own_changes(self) -> Iterator[Change]:
        """List changes of its own options; by default each number of things is doubled."""
        common = {field.name for field in fields(Accelerator)}
        countable = {
            name: value
            for name, value in self.options.items()
            if name not in common and name not in self.width_options
        }
        yield from doubled(countable, self.lossy_options)
