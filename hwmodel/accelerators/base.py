"""What every accelerator is: a frozen record of options that turns a layer into cycles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import fsum, inf
from types import MappingProxyType
from typing import Any, ClassVar

import numpy.typing as npt

from bitxcore.errors import BitxError, TensorError
from hwmodel.accelerators.cycle_attribution import CAUSES
from hwmodel.costs.area_energy import (
    Part,
    StoredBits,
    Work,
    area_parts_mm2,
    buffer_srams,
    energy_parts_j,
    standing_w,
)
from hwmodel.costs.figures import Costs, Figure, Sram, costs
from hwmodel.dram.parts import DramPart, load_part
from hwmodel.networks.layers import Layer, MatMul
from hwmodel.operands.operands import FIXED_POINT_BITS, Operands
from hwmodel.simulation.results import LayerResult

WORDS_IN_DRAM = (
    "DRAM holds whole words: a value takes 16 bits (or the machine's word), several words if it is wider,"
    " whatever its precision."
)
"""Assumption of the machines that leave `Accelerator.stored_bits` as it is."""


@dataclass(frozen=True, kw_only=True)
class Accelerator(ABC):
    """Base of all accelerators; a subclass is a frozen dataclass whose fields are its options.

    Parameters
    ----------
    clock_hz : float
        Cycles a second.
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
        What is chosen or guessed, as shown beside results.
    needs_weights, needs_activations : bool
        Whether cycles depend on the values of the weights, and of the activations.
    comparison : mapping
        Options with which it enters a comparison at equal peak (4096 16-bit multiply-accumulates a
        cycle), where these are not its defaults.
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
    needs_weights: ClassVar[bool] = True
    needs_activations: ClassVar[bool] = False
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __post_init__(self) -> None:
        if not (isinstance(self.clock_hz, (int, float)) and 0 < self.clock_hz < inf):
            raise TensorError(f"clock_hz must be a positive number of cycles a second, got {self.clock_hz!r}")
        costs(self.cost_basis)
        self._check_at_least(
            1, "weight_buffer_bytes", "activation_buffer_bytes", "output_buffer_bytes", "dram_channels"
        )
        try:
            _ = self.dram_part
        except BitxError as error:
            raise TensorError(f"accelerator {self.name!r}: dram: {error}") from error

    @cached_property
    def dram_part(self) -> DramPart | None:
        """Memory of a channel; None: without limits."""
        return None if self.dram is None else load_part(self.dram)

    @property
    @abstractmethod
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates a cycle at 16 bits, nothing skipped."""

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
    def cost_figures(self) -> tuple[Figure, ...]:
        """Every energy and area figure that enters, with its source."""
        parts, buffers = self._built
        if not parts:
            return ()
        srams = [
            sram.figure(name, operation) for name, sram in buffers.items() for operation in ("read", "write")
        ]
        return (*costs(self.cost_basis).figures(), *srams)

    @property
    def stored_word_bits(self) -> int:
        """Width of a value in DRAM; values of a higher precision take several such words."""
        return FIXED_POINT_BITS

    def stored_bits(self, layer: Layer, operands: Operands, result: LayerResult) -> StoredBits:
        """Count the bits that a layer takes in DRAM; by default every value in words.

        A machine that keeps operands at their precision, or compressed, overrides this. Outputs are the next
        layer's activations.

        Parameters
        ----------
        layer : Layer
        operands : Operands
        result : LayerResult
            Of `run`, for what it has counted already.
        """
        word = self.stored_word_bits
        return dense_bits(
            layer,
            whole_words(operands.weight_precision, word),
            whole_words(operands.activation_precision, word),
        )

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

    def not_applicable(self, layer: Layer) -> str | None:
        """Say why this accelerator does not run `layer`, or return None if it does."""
        return None

    @abstractmethod
    def run(self, layer: Layer, operands: Operands) -> LayerResult:
        """Count the cycles of `layer` with all operands in the buffers.

        `hwmodel.simulate` has checked that it applies, and adds what the DRAM makes of it.
        """

    def result(self, layer: Layer, *, work: Work | None = None, **fields: Any) -> LayerResult:
        """Make the `LayerResult` of `layer` on this accelerator.

        Parameters
        ----------
        layer : Layer
        work : Work, optional
            What energy is counted from, on a machine with `parts`.
        **fields
            Of the result.
        """
        if work is not None:
            figures = costs(self.cost_basis)
            parts, srams = self._built
            fields["energy_parts_j"] = energy_parts_j(
                parts,
                srams,
                work,
                costs=figures,
                cycles=sum(fields.get(cause) or 0 for cause in CAUSES),
                clock_hz=self.clock_hz,
            )
            fields["standing_w"] = standing_w(parts, srams, costs=figures, clock_hz=self.clock_hz)
        fields.setdefault("clock_hz", None if fields.get("reason") else self.clock_hz)
        return LayerResult(
            layer=layer.name,
            operation=layer.operation,
            accelerator=self.label,
            options=self.options,
            macs=layer.macs,
            parameters=layer.parameters,
            peak_macs_per_cycle=self.peak_macs_per_cycle,
            area_mm2=fsum(self.area_parts_mm2.values()) or None,
            **fields,
        )

    def _check_at_least(self, minimum: int, *names: str) -> None:
        for option in names:
            value = getattr(self, option)
            if isinstance(value, bool) or not hasattr(value, "__index__") or value < minimum:
                raise TensorError(
                    f"accelerator {self.name!r}: {option} must be an integer of at least {minimum},"
                    f" got {value!r}"
                )


def whole_words(bits: int, word: int) -> int:
    """Bits of the fewest words of `word` bits that hold `bits`."""
    return -(-bits // word) * word


def dense_bits(layer: Layer, weight_bits: int, activation_bits: int) -> StoredBits:
    """Bits of a layer whose values all have one width; outputs have the activations'."""
    if isinstance(layer, MatMul):
        second = layer.batch * layer.inner * layer.columns
        first = layer.batch * layer.inner * layer.rows
        weights = second * activation_bits
    else:
        weights, first = layer.parameters * weight_bits, layer.input_count
    return StoredBits(weights, first * activation_bits, layer.output_count * activation_bits)
