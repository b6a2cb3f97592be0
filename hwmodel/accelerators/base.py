"""What every accelerator is: a frozen record of options that turns a layer into cycles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import fsum, inf
from types import MappingProxyType
from typing import Any, ClassVar

from bitxcore.errors import TensorError
from hwmodel.costs import Costs, Figure, costs
from hwmodel.inventory import Part, Work, area_parts_mm2, buffer_srams, energy_parts_j
from hwmodel.layers import Layer
from hwmodel.operands import Operands
from hwmodel.passes import CAUSES
from hwmodel.results import LayerResult


@dataclass(frozen=True, kw_only=True)
class Accelerator(ABC):
    """Base of all accelerators; a subclass is a frozen dataclass whose fields are its options.

    Parameters
    ----------
    clock_hz : float
        Cycles a second.
    cost_basis : str
        Where energy and area of components come from: one of `hwmodel.costs.BASES`.
    weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes : int
        Sizes of the SRAMs, both halves together.

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
        self._check_at_least(1, "weight_buffer_bytes", "activation_buffer_bytes", "output_buffer_bytes")

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

    @property
    def area_parts_mm2(self) -> Mapping[str, float]:
        """Area by part, in mm2; empty if this machine has no cost model."""
        figures = costs(self.cost_basis)
        parts = self.parts(figures)
        return area_parts_mm2(parts, buffer_srams(self, figures)) if parts else {}

    @property
    def cost_figures(self) -> tuple[Figure, ...]:
        """Every energy and area figure that enters, with its source."""
        figures = costs(self.cost_basis)
        if not self.parts(figures):
            return ()
        srams = [
            sram.figure(name, operation)
            for name, sram in buffer_srams(self, figures).items()
            for operation in ("read", "write")
        ]
        return (*figures.figures(), *srams)

    def not_applicable(self, layer: Layer) -> str | None:
        """Say why this accelerator does not run `layer`, or return None if it does."""
        return None

    @abstractmethod
    def run(self, layer: Layer, operands: Operands) -> LayerResult:
        """Count the cycles of `layer`; `hwmodel.simulate` has checked that it applies."""

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
            fields["energy_parts_j"] = energy_parts_j(
                self.parts(figures),
                buffer_srams(self, figures),
                work,
                costs=figures,
                cycles=sum(fields.get(cause) or 0 for cause in CAUSES),
                clock_hz=self.clock_hz,
            )
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
