"""Operands of every layer of a run: from a dump, a trace or a distribution, at a given precision."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.accelerators.base import Accelerator
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.operands.distributions import (
    DEFAULT_ACTIVATIONS,
    DEFAULT_WEIGHTS,
    Distribution,
    distribution,
)
from hwmodel.operands.operands import FIXED_POINT_BITS, Operands, activation_shape
from hwmodel.operands.precisions import (
    DEFAULT_ERROR,
    Precision,
    Precisions,
    Profile,
    fixed_point,
    precisions_of,
)
from hwmodel.operands.traces import Traces, open_traces

Source = Mapping[str, Any] | str | os.PathLike[str] | None
"""Where weights are: an open dump or any mapping of names to arrays, or a dump's path."""

TraceSource = Mapping[str, npt.NDArray[Any]] | str | os.PathLike[str] | None
"""Where activations are: traces, any mapping of layer names to arrays, or a trace file's path."""

Named = Distribution | str | None
"""A distribution, or its text."""


def looks_at_activations(machine: Accelerator) -> bool:
    """Whether a machine's cycles depend on activations, by its kind or by its options."""
    return machine.needs_activations or machine.options.get("serial") == "activations"


@dataclass(frozen=True, eq=False)
class FedLayer:
    """One layer's operands for all machines of a run.

    Attributes
    ----------
    operands : Operands
        For machines that look at activations: in fixed point where a precision is given.
    floats : Operands
        For a machine that takes floats as they are.
    bare : Operands
        For the others: activations as they were traced, no stand-ins.
    precision : Precision
    weight_note, activation_note : str
        Where they come from, if from a distribution; else empty.
    """

    operands: Operands
    floats: Operands
    bare: Operands
    precision: Precision = field(default_factory=Precision)
    weight_note: str = ""
    activation_note: str = ""

    def notes(self, machine: Accelerator) -> tuple[str, ...]:
        """Say where the operands that `machine` depends on come from."""
        notes = (
            self.weight_note if machine.needs_weights else "",
            self.activation_note if looks_at_activations(machine) else "",
            self.precision.note,
        )
        return tuple(note for note in notes if note)

    def for_machine(self, machine: Accelerator) -> Operands:
        """Operands that `machine` gets; they do not depend on the other machines of a run."""
        if machine.needs_activations:
            return self.operands
        return self.floats if looks_at_activations(machine) else self.bare


@dataclass(frozen=True, eq=False)
class Feed:
    """Where the operands of a run come from.

    Parameters
    ----------
    tensors : mapping
        Weights by the names of a network's tensors.
    traces : mapping
        Activations by layer.
    weights, activations : Distribution, optional
        What is drawn where there are none.
    precisions : Precisions
    found : dict of str to Precision
        Precisions of the layers that have been asked for.
    """

    tensors: Mapping[str, Any] = field(default_factory=dict)
    traces: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    weights: Distribution | None = None
    activations: Distribution | None = None
    precisions: Precisions = None
    found: dict[str, Precision] = field(default_factory=dict)

    def layer(self, entry: NetworkLayer, *, weights: bool = True, activations: bool = True) -> FedLayer:
        """Read or draw the operands of one layer.

        Parameters
        ----------
        entry : NetworkLayer
        weights, activations : bool
            Whether a machine needs them: none are drawn in vain.
        """
        layer, profiled = entry.layer, isinstance(self.precisions, Profile)
        w, weight_note = entry.read(self.tensors), ""
        if w is None and self.weights is not None and layer.has_weights and (weights or profiled):
            w = _synthetic(self.weights, entry)
            weight_note = f"synthetic weights: {self.weights.label}"
        traced = self.traces.get(layer.name)
        a, activation_note = traced, ""
        if a is None and self.activations is not None and (activations or profiled):
            a = _stand_in(self.activations, entry)
            activation_note = f"stand-in activations: {self.activations.label}"
        precision = self.found[layer.name] = self._precision(entry, w, a)
        bits = {"weight_bits": precision.weight_bits, "activation_bits": precision.activation_bits}
        bare = floats = Operands(w, traced, **bits)
        if a is not traced:
            floats = Operands(w, a, **bits)
        if a is not None and precision.activation_bits is not None and a.dtype.kind == "f":
            with _naming(entry):
                a = fixed_point(a, precision.activation_bits).codes
        operands = Operands(w, a, **bits)
        return FedLayer(operands, floats, bare, precision, weight_note, activation_note)

    def _precision(
        self, entry: NetworkLayer, w: npt.NDArray[Any] | None, a: npt.NDArray[Any] | None
    ) -> Precision:
        if isinstance(self.precisions, Profile):
            if w is None and not entry.layer.has_weights and isinstance(self.traces, Traces):
                w = self.traces.second(entry.layer.name)
            with _naming(entry):
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

    def notes(self, network: Network, machines: Sequence[Accelerator]) -> tuple[str, ...]:
        """Say of a whole run what was drawn, and what stated its precisions."""
        notes = []
        if self.weights is not None and any(m.needs_weights for m in machines):
            drawn = sum(e.layer.has_weights and e.weight not in self.tensors for e in network.layers)
            if drawn:
                notes.append(f"synthetic weights in {drawn} layers: {self.weights.label}")
        if self.activations is not None and any(looks_at_activations(m) for m in machines):
            drawn = sum(e.layer.name not in self.traces for e in network.layers)
            if drawn:
                notes.append(f"stand-in activations in {drawn} layers: {self.activations.label}")
        if isinstance(self.precisions, Profile):
            error = f"relative error of a tensor up to {self.precisions.error:g}"
            notes.append(f"precisions profiled, {error}: {self._range()}")
        elif self.precisions is not None:
            notes.append(f"precisions given: {self._range()}")
        if isinstance(self.traces, Traces):
            notes += self.traces.notes(network)
        return tuple(notes)


@contextmanager
def _naming(entry: NetworkLayer) -> Iterator[None]:
    try:
        yield
    except TensorError as error:
        raise TensorError(f"{error}", layer=entry.layer.name) from error


@contextmanager
def opened(
    network: Network,
    dump: Source = None,
    traces: TraceSource = None,
    *,
    weights: Named = None,
    activations: Named = None,
    precisions: Precisions | str | os.PathLike[str] = None,
    machines: Sequence[Accelerator] | None = None,
) -> Iterator[Feed]:
    """Open what a run reads, check it against the network, and close it afterwards.

    Parameters
    ----------
    network : Network
    dump, traces, weights, activations, precisions : optional
        As of `hwmodel.simulate_network`.
    machines : sequence of Accelerator, optional
        Those of the run; left out, whatever is there is read.

    Raises
    ------
    TensorError
        If something is missing that a machine needs, or does not belong to the network.
    """
    rule = precisions_of(precisions)
    names = {e.layer.name for e in network.layers}
    if isinstance(rule, Mapping) and (unknown := set(rule) - names):
        raise TensorError(f"precisions: network {network.name!r} has no layer {sorted(unknown)[0]!r}")
    drawn = None if weights is None else distribution(weights)
    stand_in = None if activations is None else distribution(activations)
    source = dump if dump is not None or weights is not None else network.path
    with ExitStack() as stack:
        if isinstance(traces, (str, os.PathLike)):
            traces = stack.enter_context(open_traces(traces))
        if isinstance(traces, Traces):
            traces.check(network)
        elif unknown := set(traces or {}) - names:
            raise TensorError(f"traces: network {network.name!r} has no layer {sorted(unknown)[0]!r}")
        everything = machines is None or isinstance(rule, Profile)
        tensors = stack.enter_context(
            open_weights(source, machines or (), network, everything=everything, complete=drawn is None)
        )
        yield Feed(tensors, traces or {}, drawn, stand_in, rule)


@contextmanager
def open_weights(
    source: Source,
    machines: Sequence[Accelerator],
    network: Network,
    *,
    everything: bool = False,
    complete: bool = True,
) -> Iterator[Mapping[str, Any]]:
    """Open the dump if any machine looks at weights, and check that it has all of them.

    Parameters
    ----------
    source : Dump, mapping of str to array, path or None
    machines : sequence of Accelerator
    network : Network
    everything : bool
        Open it also if no machine does.
    complete : bool
        Whether every layer's weights must be there.

    Yields
    ------
    mapping of str to array_like
        Empty if nothing looks at weights.

    Raises
    ------
    TensorError
        If weights are needed and there is no source, or it lacks some.
    """
    wanted = [e for e in network.layers if e.weight is not None]
    needy = [m.name for m in machines if m.needs_weights]
    if not wanted or not (needy or everything) or (source is None and not (needy and complete)):
        yield {}
        return
    if source is None:
        raise TensorError(
            f"network {network.name!r}: {', '.join(needy)} needs weights; say where they are with dump=,"
            " or draw them with weights="
        )
    with ExitStack() as stack:
        if not isinstance(source, Mapping):
            from bitxcore import open_dump

            source = stack.enter_context(open_dump(source))
        missing = [e for e in wanted if e.weight not in source]
        if missing and complete:
            first = missing[0]
            raise TensorError(
                f"{getattr(source, 'path', 'the dump')} has no tensor {first.weight!r}, the weights of layer"
                f" {first.layer.name!r} of network {network.name!r}"
                f" ({len(missing)} of {len(wanted)} are missing)"
            )
        yield source


class Drawn(Mapping[str, npt.NDArray[Any]]):
    """Arrays that are drawn, or read, when they are asked for; never kept.

    Parameters
    ----------
    entries : mapping of str to NetworkLayer
        By the name that is asked for.
    make : callable
        From the entry to its array.
    """

    def __init__(
        self, entries: Mapping[str, NetworkLayer], make: Callable[[NetworkLayer], npt.NDArray[Any]]
    ) -> None:
        self._entries = entries
        self._make = make

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._make(self._entries[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)


def stand_ins(
    network: Network,
    activations: Distribution | str = DEFAULT_ACTIVATIONS,
    traces: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Mapping[str, npt.NDArray[Any]]:
    """Give every layer activations: its trace, else values of a distribution, drawn when asked for.

    Parameters
    ----------
    network : Network
    activations : Distribution or str
        As of `hwmodel.simulate_network`.
    traces : mapping, optional

    Returns
    -------
    mapping of str to ndarray
        What ``traces=`` takes anywhere; without the notes that `hwmodel.simulate_network` adds to drawn ones.
    """
    drawn, known = distribution(activations), traces or {}

    def make(entry: NetworkLayer) -> npt.NDArray[Any]:
        name = entry.layer.name
        return known[name] if name in known else _stand_in(drawn, entry)

    return Drawn({e.layer.name: e for e in network.layers}, make)


def synthetic_weights(network: Network, weights: Distribution | str = DEFAULT_WEIGHTS) -> Mapping[str, Any]:
    """Give every tensor that a network names values of a distribution, drawn when asked for.

    Parameters
    ----------
    network : Network
    weights : Distribution or str
        As of `hwmodel.simulate_network`.

    Returns
    -------
    mapping of str to ndarray
        What ``dump=`` takes anywhere, without the notes; tensors that are stacks of matrices are left out.
    """
    drawn = distribution(weights)
    named = {e.weight: e for e in network.layers if e.weight is not None and e.index is None}
    return Drawn(named, lambda entry: entry.layout.restore(_synthetic(drawn, entry)))


def _stand_in(drawn: Distribution, entry: NetworkLayer) -> npt.NDArray[Any]:
    return drawn.draw("activations", entry.layer.name, activation_shape(entry.layer))


def _synthetic(drawn: Distribution, entry: NetworkLayer) -> npt.NDArray[Any]:
    return drawn.draw("weights", entry.weight or entry.layer.name, entry.layer.weight_shape)


def profile_precisions(
    network: Network,
    dump: Source = None,
    traces: TraceSource = None,
    *,
    error: float = DEFAULT_ERROR,
    weights: Named = None,
    activations: Named = None,
) -> dict[str, Precision]:
    """Profile every layer of a network; one layer is in memory at a time.

    Parameters
    ----------
    network : Network
    dump, traces, weights, activations : optional
        As of `hwmodel.simulate_network`; an operand that none of them gives has no precision.
    error : float
        Relative error that quantising a tensor may have.

    Returns
    -------
    dict of str to Precision
        By layer name; what ``precisions=`` of `hwmodel.simulate_network` takes.
    """
    with opened(
        network, dump, traces, weights=weights, activations=activations, precisions=Profile(error)
    ) as feed:
        return {e.layer.name: feed.layer(e).precision for e in network.layers}
