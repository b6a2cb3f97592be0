"""Operands of every layer of a run: from a dump, a trace or a distribution, at a given precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bitxcore.errors import error_context
from bitxcore.showing import record_repr
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.operands.distributions import Distribution
from hwmodel.operands.operands import FIXED_POINT_BITS, Operands
from hwmodel.operands.precisions import Precision, Precisions, Profile, fixed_point
from hwmodel.operands.reads import Reads
from hwmodel.operands.synthetic import drawn_activations, drawn_weights, too_many_to_draw
from hwmodel.operands.traces import Traces


class Reader(Protocol):
    """Who looks at operands: an accelerator, as far as this package knows it."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def reads(self) -> Reads:
        """Operands whose values it looks at."""


@dataclass(frozen=True, eq=False)
class LayerOperands:
    """One layer's operands for all machines of a run.

    Attributes
    ----------
    fixed : Operands
        For machines that look at activations: in fixed point where a precision is given.
    floats : Operands
        For a machine that takes float activations as they are.
    bare : Operands
        For the others: activations as they were traced, no stand-ins.
    precision : Precision
    weight_note, activation_note : str
        Where they come from, if from a distribution; else empty.
    second : ndarray, optional
        Second operand of a product of activations, in the place of weights: ``(batch * columns, inner)``.
    """

    __repr__ = record_repr

    fixed: Operands
    floats: Operands
    bare: Operands
    precision: Precision = field(default_factory=Precision)
    weight_note: str = ""
    activation_note: str = ""
    second: npt.NDArray[Any] | None = None

    def of(self, reader: Reader) -> Operands:
        """Operands that a machine gets; they do not depend on the other machines of a run."""
        if reader.reads.second and self.second is not None:
            return self._with_second
        if not reader.reads.activations:
            return self.bare
        return self.floats if reader.reads.float_activations else self.fixed

    @cached_property
    def _with_second(self) -> Operands:
        return replace(self.bare, weights=self.second)

    def notes(self, reader: Reader) -> tuple[str, ...]:
        """Say where the operands that a machine depends on come from."""
        arrives = reader.reads.second and self.second is not None
        notes = (
            "the second operand is pruned as it arrives" if arrives else "",
            self.weight_note if reader.reads.weights else "",
            self.activation_note if reader.reads.activations else "",
            self.precision.note,
        )
        return tuple(note for note in notes if note)


@dataclass(frozen=True, eq=False)
class OperandSource:
    """Where the operands of a run come from, opened.

    Parameters
    ----------
    weights : mapping
        Weights by the names of a network's tensors.
    traces : mapping
        Activations by layer.
    synthetic_weights, stand_ins : Distribution, optional
        What weights and activations are drawn from where there are none.
    precisions : Precisions
    found : dict of str to Precision
        Precisions of the layers that have been asked for.
    """

    __repr__ = record_repr

    weights: Mapping[str, Any] = field(default_factory=dict)
    traces: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    synthetic_weights: Distribution | None = None
    stand_ins: Distribution | None = None
    precisions: Precisions = None
    found: dict[str, Precision] = field(default_factory=dict)

    def layer(self, entry: NetworkLayer, readers: Sequence[Reader] | None = None) -> LayerOperands:
        """Read or draw the operands of one layer.

        Parameters
        ----------
        entry : NetworkLayer
        readers : sequence of Reader, optional
            Who looks at them: nothing is drawn in vain. By default everything is drawn.
        """
        layer, profiled = entry.layer, isinstance(self.precisions, Profile)
        everything = readers is None or profiled
        w, weight_note = entry.read(self.weights), ""
        draws_weights = everything or any(r.reads.weights for r in readers or ())
        if w is None and self.synthetic_weights is not None and layer.has_weights and draws_weights:
            w = drawn_weights(self.synthetic_weights, entry)
            weight_note = f"synthetic weights: {self.synthetic_weights.label}"
        traced = self.traces.get(layer.name)
        a, activation_note = traced, ""
        draws_activations = everything or any(r.reads.activations for r in readers or ())
        if a is None and self.stand_ins is not None and draws_activations and not too_many_to_draw(layer):
            a = drawn_activations(self.stand_ins, entry)
            activation_note = f"stand-in activations: {self.stand_ins.label}"
        precision = self.found[layer.name] = self._precision(entry, w, a)
        bits = {
            "weight_bits": precision.weight_bits or _code_bits(entry, w),
            "activation_bits": precision.activation_bits,
        }
        bare = floats = Operands(w, traced, **bits)
        if a is not traced:
            floats = Operands(w, a, **bits)
        if a is not None and precision.activation_bits is not None and a.dtype.kind == "f":
            with error_context(layer=layer.name):
                a = fixed_point(a, precision.activation_bits).codes
        fixed = Operands(w, a, **bits)
        second = self._second(entry) if any(r.reads.second for r in readers or ()) else None
        return LayerOperands(fixed, floats, bare, precision, weight_note, activation_note, second)

    def _second(self, entry: NetworkLayer) -> npt.NDArray[Any] | None:
        """Second operand of a product of activations, columns first, if it was recorded."""
        if entry.layer.has_weights or not isinstance(self.traces, Traces):
            return None
        recorded = self.traces.second(entry.layer.name)
        if recorded is None:
            return None
        return np.ascontiguousarray(np.swapaxes(recorded, -1, -2)).reshape(-1, recorded.shape[-2])

    def _precision(
        self, entry: NetworkLayer, w: npt.NDArray[Any] | None, a: npt.NDArray[Any] | None
    ) -> Precision:
        if isinstance(self.precisions, Profile):
            if w is None and not entry.layer.has_weights and isinstance(self.traces, Traces):
                w = self.traces.second(entry.layer.name)
            with error_context(layer=entry.layer.name):
                return self.precisions.of(w, a)
        if isinstance(self.precisions, Mapping):
            return self.precisions.get(entry.layer.name, Precision())
        return Precision(self.precisions, self.precisions)

    def _range(self) -> str:
        """Smallest and largest precisions of all layers, in words."""
        parts = []
        for what, name in (("activations", "activation_bits"), ("weights", "weight_bits")):
            bits = {getattr(p, name) or FIXED_POINT_BITS for p in self.found.values()}
            if any(getattr(p, name) for p in self.found.values()):
                low, high = min(bits), max(bits)
                parts.append(f"{what} {low if low == high else f'{low} to {high}'} bits")
        return ", ".join(parts) or "none"

    def notes(self, network: Network, readers: Sequence[Reader]) -> tuple[str, ...]:
        """Say of a whole run what was drawn, and what stated its precisions."""
        notes = []
        if self.synthetic_weights is not None and any(r.reads.weights for r in readers):
            drawn = sum(e.layer.has_weights and not _stored(e, self.weights) for e in network.layers)
            if drawn:
                notes.append(f"synthetic weights in {drawn} layers: {self.synthetic_weights.label}")
        if self.stand_ins is not None and any(r.reads.activations for r in readers):
            drawn = sum(e.layer.name not in self.traces for e in network.layers)
            if drawn:
                notes.append(f"stand-in activations in {drawn} layers: {self.stand_ins.label}")
        if isinstance(self.precisions, Profile):
            error = f"relative error of a tensor up to {self.precisions.error:g}"
            notes.append(f"precisions profiled, {error}: {self._range()}")
        elif self.precisions is not None:
            notes.append(f"precisions given: {self._range()}")
        if isinstance(self.traces, Traces):
            notes += self.traces.notes(network)
        return tuple(notes)


def _stored(entry: NetworkLayer, weights: Mapping[str, Any]) -> bool:
    return bool(entry.tensors) and all(name in weights for name in entry.tensors)


def _code_bits(entry: NetworkLayer, w: npt.NDArray[Any] | None) -> int | None:
    """Bits that codes need, sign included, whose stored type is not theirs; None for everything else."""
    if entry.recipe is None or w is None or w.dtype.kind not in "iu" or not w.size:
        return None
    low, high = int(w.min()), int(w.max())
    return max(2, high.bit_length() + 1, (~low).bit_length() + 1 if low < 0 else 1)
