"""A workload: a network, and where the operands of its layers come from. Made once, taken by every study."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from bitxcore.checks import shown
from bitxcore.dumps import Dump, open_dump
from bitxcore.errors import OptionError, TensorError
from bitxcore.remote.remote_path import as_path
from bitxcore.showing import brief
from hwmodel.networks.loading import load_network, network_from_dump
from hwmodel.networks.matching import Matching, match_weights
from hwmodel.networks.network import Network
from hwmodel.operands.distributions import (
    DEFAULT_ACTIVATIONS,
    Distribution,
    distribution,
    weight_distribution,
)
from hwmodel.operands.precisions import DEFAULT_ERROR, Precision, Precisions, Profile, precisions_of
from hwmodel.operands.sources import OperandSource, Reader
from hwmodel.operands.traces import Traces, open_traces

DumpSource = Mapping[str, Any] | str | os.PathLike[str] | None
"""Where stored weights are: an open dump, any mapping of names to arrays, or a dump's path."""

TraceSource = Mapping[str, npt.NDArray[Any]] | str | os.PathLike[str] | None
"""Where activations are: traces, any mapping of layer names to arrays, or a trace file's path."""

WeightSource = Distribution | DumpSource
"""Where weights come from: a dump, or a distribution (or its text) that they are drawn from."""

StandIns = Distribution | str | None
"""A distribution of activations, or its text."""

NetworkSource = Network | str | os.PathLike[str]
"""A network, the name of a table, or a file: ONNX, a table, or a dump that tells no shapes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Workload:
    """A network and the sources of its operands; `Workload.of` makes one from names and files.

    Parameters
    ----------
    network : Network
    weights : Dump, mapping of str to array, path or None
        Stored weights, by the network's names.
    synthetic_weights : Distribution, optional
        What weights are drawn from where there are none stored.
    traces : Traces, mapping of str to array, path or None
        Activations by layer.
    stand_ins : Distribution, optional
        What activations are drawn from where there are no traces.
    precisions : Precisions
        Bits of the operands in fixed point.
    matching : Matching, optional
        How the tensors of a dump were matched to the layers, if their names are not the network's.
    files : tuple of path-like
        Files that were read besides weights and traces.
    """

    network: Network
    weights: DumpSource = None
    synthetic_weights: Distribution | None = None
    traces: TraceSource = None
    stand_ins: Distribution | None = None
    precisions: Precisions = None
    matching: Matching | None = None
    files: tuple[str | os.PathLike[str], ...] = ()

    def __post_init__(self) -> None:
        _check("network", self.network, Network, "a hwmodel.Network (Workload.of loads one)")
        _check("weights", self.weights, (Mapping, *_PATHS, type(None)), "a dump, a mapping or a path")
        _check("traces", self.traces, (Mapping, *_PATHS, type(None)), "traces, a mapping or a path")
        for name in ("synthetic_weights", "stand_ins"):
            _check(name, getattr(self, name), (Distribution, type(None)), "a hwmodel.Distribution")

    def __repr__(self) -> str:
        net = f"{len(self.network)} layers, {self.network.macs:,} MACs"
        record = {name: place for name, place in self.record.items() if place is not None}
        return f"Workload({', '.join(f'{name}={brief(place)}' for name, place in record.items())}): {net}"

    @classmethod
    def of(
        cls,
        network: NetworkSource | Workload,
        *,
        dump: DumpSource = None,
        traces: TraceSource = None,
        weights: WeightSource = None,
        activations: StandIns = DEFAULT_ACTIVATIONS,
        precisions: Precisions | str | os.PathLike[str] = None,
    ) -> Workload:
        """Make a workload of what may be given for one.

        Parameters
        ----------
        network : Network, str, path or Workload
            A name or a path is loaded as `hwmodel.load_network` does, or as a dump that tells no shapes. A
            workload is returned as it is; nothing else may then be given.
        dump : Dump, mapping of str to array, or path, optional
            Stored weights, by the network's own names. An ONNX network brings its own file.
        traces : Traces, mapping of str to array, or path, optional
            Activations by layer name; what `hwmodel.trace` wrote.
        weights : Distribution, str, Dump, mapping or path, optional
            Where weights come from. A distribution (``"laplace"``, ``"normal:zeros=0.5,seed=1"``,
            ``"synthetic:laplace"``) draws them where `dump` has none; without a dump, everywhere. Results
            then say "synthetic weights". A dump is matched to the layers as `hwmodel.match_weights` does.
        activations : Distribution or str, optional
            What stands in for activations that a machine needs and no trace has; None makes these an error.
        precisions : mapping of str to Precision, Profile, int, str or path, optional
            Bits of each layer's operands in fixed point (16 if nothing is said): by layer name, in a file
            (see `hwmodel.read_precisions`), one number for all, or ``"profile"``.

        Raises
        ------
        OptionError, TensorError, DumpError
            For what can't be read, or does not go together.

        Examples
        --------
        >>> load = Workload.of("resnet18", weights="normal")
        >>> load.network.name, load.synthetic_weights.label, load.stand_ins.label
        ('resnet18', 'normal, seed 0', 'relu-normal, seed 0')
        """
        if isinstance(network, Workload):
            if any(x is not None for x in (dump, traces, weights, precisions)) or (
                activations != DEFAULT_ACTIVATIONS
            ):
                raise OptionError(
                    "a workload says where its operands are: nothing else may be given beside it"
                )
            return network
        _check("network", network, (Network, *_PATHS), "a network, its name or its path")
        _check("activations", activations, (Distribution, str, type(None)), "a distribution or its text")
        drawn = weight_distribution(weights)
        stored = None if isinstance(weights, Distribution) or drawn is not None else weights
        _check("weights", stored, (Mapping, *_PATHS, type(None)), "a dump, a mapping or a path")
        if stored is not None and dump is not None:
            raise OptionError("dump and weights both say where stored weights are: give one of them")
        net = network if isinstance(network, Network) else _loaded(network)
        load = cls(
            network=net,
            weights=dump if dump is not None or weights is not None else net.path,
            synthetic_weights=drawn,
            traces=traces,
            stand_ins=None if activations is None else distribution(activations),
            precisions=precisions_of(precisions),
            files=_files(precisions),
        )
        return load if stored is None else load.matched_to(stored)

    def matched_to(self, weights: DumpSource) -> Workload:
        """Take the weights of a dump whose tensors have other names; see `hwmodel.match_weights`."""
        with ExitStack() as stack:
            opened = (
                weights if isinstance(weights, Mapping) else stack.enter_context(open_dump(weights or ""))
            )
            matching = match_weights(self.network, opened)
        return replace(self, network=matching.network, weights=weights, matching=matching)

    @property
    def has_weights(self) -> bool:
        """Whether there are weights, stored or drawn."""
        return self.weights is not None or self.synthetic_weights is not None

    @property
    def has_activations(self) -> bool:
        """Whether there are activations, recorded or drawn."""
        return self.traces is not None or self.stand_ins is not None

    @property
    def inputs(self) -> list[Dump | str | os.PathLike[str]]:
        """Dump and files that results depend on, for a store's provenance."""
        found: list[Dump | str | os.PathLike[str]] = []
        if isinstance(self.weights, (Dump, str, os.PathLike)):
            found.append(self.weights)
        traces = self.traces.path if isinstance(self.traces, Traces) else self.traces
        found += _files(traces)
        known = self.weights.files() if isinstance(self.weights, Dump) else ()
        return found + [path for path in self.files if as_path(path) not in known]

    @property
    def record(self) -> dict[str, str | None]:
        """Where operands come from, for provenance: paths, and labels of distributions."""
        stored = {"weights": self.weights, "traces": self.traces}
        drawn = {"synthetic_weights": self.synthetic_weights, "stand_ins": self.stand_ins}
        return {
            "network": self.network.name,
            **{name: None if x is None else _place(x) for name, x in stored.items()},
            **{name: None if d is None else d.label for name, d in drawn.items()},
        }

    @property
    def named(self) -> Workload:
        """The same with files named by their paths, so that another process can open them itself.

        Raises
        ------
        OptionError
            If arrays are in memory only.
        """
        weights = self.weights.path if isinstance(self.weights, Dump) else self.weights
        if isinstance(weights, Mapping):
            raise OptionError(
                "a mapping of arrays can't be shared among processes: give a dump's path, or jobs=1"
            )
        traces = self.traces.path if isinstance(self.traces, Traces) else self.traces
        return replace(self, weights=weights, traces=traces)

    @contextmanager
    def open(self, readers: Sequence[Reader] | None = None) -> Iterator[OperandSource]:
        """Open what a run reads, check it against the network, and close it afterwards.

        Parameters
        ----------
        readers : sequence of Reader, optional
            The machines of the run; left out, whatever is there is read.

        Yields
        ------
        OperandSource

        Raises
        ------
        TensorError
            If something is missing that a machine needs, or does not belong to the network.
        """
        names = {e.layer.name for e in self.network.layers}
        if isinstance(self.precisions, Mapping) and (unknown := set(self.precisions) - names):
            raise OptionError(
                f"precisions: network {self.network.name!r} has no layer {sorted(unknown)[0]!r}"
            )
        with ExitStack() as stack:
            traces = self.traces
            if isinstance(traces, (str, os.PathLike)):
                traces = stack.enter_context(open_traces(traces))
            if isinstance(traces, Traces):
                traces.check(self.network)
            elif unknown := set(traces or {}) - names:
                raise OptionError(
                    f"traces: network {self.network.name!r} has no layer {sorted(unknown)[0]!r}"
                )
            weights = stack.enter_context(self._open_weights(readers))
            yield OperandSource(
                weights, traces or {}, self.synthetic_weights, self.stand_ins, self.precisions
            )

    @contextmanager
    def _open_weights(self, readers: Sequence[Reader] | None) -> Iterator[Mapping[str, Any]]:
        """Open the dump if a machine looks at weights, and check that it has all that are not drawn."""
        network, complete = self.network, self.synthetic_weights is None
        wanted = [e for e in network.layers if e.weight is not None]
        needy = list(dict.fromkeys(r.name for r in readers or () if r.reads.weights))
        everything = readers is None or isinstance(self.precisions, Profile)
        if not wanted or not (needy or everything) or (self.weights is None and not (needy and complete)):
            yield {}
            return
        if self.weights is None:
            raise TensorError(
                f"network {network.name!r}: {', '.join(needy)} needs weights; say where they are with dump=,"
                " or draw them with weights="
            )
        with ExitStack() as stack:
            source = self.weights
            if not isinstance(source, Mapping):
                source = stack.enter_context(open_dump(source))
            missing = [e for e in wanted if not all(name in source for name in e.tensors)]
            if missing and complete:
                first = missing[0]
                raise TensorError(
                    f"is not in the dump ({len(missing)} of {len(wanted)} weights of network"
                    f" {network.name!r} are missing)",
                    path=getattr(source, "path", None),
                    tensor=next(name for name in first.tensors if name not in source),
                    layer=first.layer.name,
                )
            yield source


_PATHS = (str, os.PathLike)


def _check(name: str, value: object, types: Any, rule: str) -> None:
    """Refuse an argument of another type."""
    if not isinstance(value, types):
        raise OptionError(f"{name} must be {rule}, got {shown(value)}", value=value)


def _place(source: object) -> str:
    """Path of a file or of what was opened from one."""
    path = source if isinstance(source, _PATHS) else getattr(source, "path", None)
    return "arrays in memory" if path is None else str(as_path(path))


def _files(given: object) -> tuple[str | os.PathLike[str], ...]:
    """Whatever was given, if it is the path of a file."""
    return (given,) if isinstance(given, (str, os.PathLike)) and as_path(given).is_file() else ()


def is_network(source: str | os.PathLike[str]) -> bool:
    """Whether a path is a network's (ONNX, a table) or the name of a table, and not a dump without shapes."""
    if not os.fspath(source):
        return True  # the name of no table
    path = as_path(source)
    is_table = path.suffix in (".json", ".csv") and not path.name.endswith(".safetensors.index.json")
    return is_table or path.suffix == ".onnx" or not (path.suffix or path.exists())


def _loaded(source: str | os.PathLike[str]) -> Network:
    """Load a network by name or from a file; a dump that tells no shapes has one position per layer."""
    if is_network(source):
        return load_network(source)
    with open_dump(source) as dump:
        return network_from_dump(dump)


def profile_precisions(
    network: NetworkSource | Workload,
    dump: DumpSource = None,
    traces: TraceSource = None,
    *,
    error: float = DEFAULT_ERROR,
    weights: WeightSource = None,
    activations: StandIns = None,
) -> dict[str, Precision]:
    """Profile every layer of a network; one layer is in memory at a time.

    Parameters
    ----------
    network, dump, traces, weights, activations : optional
        As of `Workload.of`. An operand that none of them gives has no precision. Drawn activations are
        profiled only if `activations` names a distribution here.
    error : float
        Relative error that quantising a tensor may have.

    Returns
    -------
    dict of str to Precision
        By layer name; what ``precisions=`` of `hwmodel.simulate_network` takes.

    Examples
    --------
    >>> found = profile_precisions("resnet20-cifar10", weights="normal")
    >>> found["conv1"].weight_bits
    8
    """
    load = Workload.of(network, dump=dump, traces=traces, weights=weights)
    drawn = None if activations is None else distribution(activations)
    with replace(load, stand_ins=drawn, precisions=Profile(error)).open() as source:
        return {e.layer.name: source.layer(e).precision for e in load.network.layers}
