"""A sweep from its definition to its store."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from bitxcore.dumps import Dump, open_dump
from bitxcore.errors import BitxError, TensorError
from hwmodel.accelerators import accelerator as make_accelerator
from hwmodel.accelerators import accelerator_class
from hwmodel.accelerators.base import Accelerator
from hwmodel.networks.network import Network, network_to_table
from hwmodel.operands.distributions import DEFAULT_ACTIVATIONS, distribution
from hwmodel.operands.precisions import Precisions, precisions_of
from hwmodel.operands.sources import Named, Source, TraceSource
from hwmodel.operands.sources import opened as open_operands
from hwmodel.operands.traces import Traces
from hwmodel.studies.sweeps.journal import Journal
from hwmodel.studies.sweeps.pareto import nondominated
from hwmodel.studies.sweeps.space import Space, checked_space
from hwmodel.studies.sweeps.workers import METRICS, SweepTask, run_points

OBJECTIVES = ("seconds", "energy_j", "relative_error")
"""What the Pareto front minimises."""

JOURNAL_SUFFIX = ".journal"
POINTS_A_JOB = 8
"""Points that are worth starting a process for."""

Progress = Callable[[int, int], None]
"""Called with points done and points in all."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Results of a sweep, a column at a time.

    Attributes
    ----------
    network, accelerator : str
    varied : mapping of str to tuple
        By option: its values.
    fixed : mapping of str to value
    columns : dict of str to list
        By name: a value a point; the varied options, then the metrics, then ``on_front``. None where
        there is no number (and where it is the option's value).
    units : dict of str to str
        Of every column; ``""`` for text and flags.
    objectives : tuple of str
        Those of `OBJECTIVES` that the front is of; others had no value on this machine.
    resumed : int
        Points that an earlier, interrupted run had finished.
    notes : tuple of str
        Assumptions of the first point that is possible.
    """

    network: str
    accelerator: str
    varied: Mapping[str, tuple[Any, ...]]
    fixed: Mapping[str, Any]
    columns: dict[str, list[Any]] = field(repr=False)
    units: dict[str, str] = field(repr=False)
    objectives: tuple[str, ...]
    resumed: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns["point"])

    def row(self, index: int) -> dict[str, Any]:
        """Row `index` as a mapping."""
        return {name: values[index] for name, values in self.columns.items()}

    @property
    def front(self) -> tuple[int, ...]:
        """Rows of the Pareto front, in the order of the first objective."""
        rows = [i for i, on in enumerate(self.columns["on_front"]) if on]
        return tuple(sorted(rows, key=lambda i: [self.columns[name][i] for name in self.objectives]))


def sweep(
    network: Network,
    space: Mapping[str, Sequence[Any]],
    *,
    dump: Source = None,
    store: str | PathLike[str] | None = None,
    accelerator: str = "bitx",
    fixed: Mapping[str, Any] | None = None,
    sample: int | None = None,
    seed: int = 0,
    jobs: int | None = None,
    traces: TraceSource = None,
    weights: Named = None,
    activations: Named = DEFAULT_ACTIVATIONS,
    precisions: Precisions | str | PathLike[str] = None,
    restart: bool = False,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Simulate a network on one machine at every combination of option values.

    While it runs, finished points are kept in a journal beside `store`. A sweep that was killed goes on from
    there when it is started again with the same arguments.

    Parameters
    ----------
    network : Network
    space : mapping of str to sequence
        By option of the accelerator: its values. Their full product is visited.
    dump : Dump, path, or mapping of str to array, optional
        Where the weights are; an ONNX network brings its own file. A mapping allows one job only.
    store : path, optional
        HDF5 file that receives the table ``sweep``, whole or not at all.
    accelerator : str
        Its name.
    fixed : mapping, optional
        Options that keep one value, other than the default.
    sample : int, optional
        Visit that many points, drawn at random, instead of all.
    seed : int
        Of the drawing.
    jobs : int, optional
        Processes (default: the cores that this process may use, but no more than have something to do).
        More than one are started afresh, so that a script must have the guard
        ``if __name__ == "__main__":``.
    traces, weights, activations, precisions : optional
        Where other operands come from, as in `hwmodel.simulate_network`.
    restart : bool
        Forget what an earlier run has finished.
    parameters : mapping, optional
        What else to record in the store's provenance.
    progress : callable, optional
        ``progress(done, total)``, at the start and after every few points.

    Returns
    -------
    Sweep

    Raises
    ------
    TensorError
        For unknown options, or if operands are needed and not given.
    BitxError
        If the journal belongs to another sweep, `store` can't be written, or a process died. A combination
        that is not possible is no error: its row has a ``reason`` and no numbers.
    """
    whole = checked_space(accelerator, space, fixed or {})
    points = whole.chosen(_at_least_1("sample", sample), seed)
    if clash := set(whole.varied) & {*METRICS, "point", "on_front"}:
        raise TensorError(f"option {sorted(clash)[0]!r} has the name of a result")
    with ExitStack() as opened:
        source = dump if dump is not None or weights is not None else network.path
        if isinstance(source, (str, PathLike)):
            source = opened.enter_context(open_dump(source))
        operands: dict[str, Any] = {"dump": source, "traces": traces, "weights": weights}
        operands |= {"activations": activations, "precisions": precisions}
        machine = [_first_machine(whole, points)]
        with open_operands(network, **operands, machines=machine) as feed:
            for entry in network.layers:  # what does not fit fails now, not at every point
                feed.layer(entry, weights=False, activations=False)
            notes = network.notes + feed.notes(network, machine)
        definition = _definition(whole, network, operands, len(points), seed)
        rows: dict[int, dict[str, Any]] = {}
        with _journal(store, source, definition, restart) as journal:
            if journal is not None:
                rows |= journal.rows
            resumed = len(rows)
            missing = [point for point in points if point not in rows]
            workers = _jobs(jobs, len(missing))
            if progress:
                progress(len(rows), len(points))
            work = SweepTask(network, operands if workers == 1 else _closed(operands), whole)
            with closing(run_points(work, missing, workers)) as finished:
                for done in finished:
                    if journal is not None:
                        journal.append(done)
                    rows |= {row["point"]: row for row in done}
                    if progress:
                        progress(len(rows), len(points))
            result = _result(network, whole, [rows[point] for point in points], resumed, notes)
            if store is not None:
                _write(store, result, source, {**definition, **(parameters or {})})
            if journal is not None:
                journal.remove()
    return result


# -- before ------------------------------------------------------------------------------------


def _at_least_1(what: str, value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise TensorError(f"{what} must be an integer of at least 1, got {value!r}")
    return value


def _first_machine(space: Space, points: Sequence[int]) -> Accelerator:
    """Make the machine of the first point that has one."""
    for point in points:
        with suppress(BitxError):
            return make_accelerator(space.accelerator, **{**space.fixed, **space.options(point)})
    return make_accelerator(space.accelerator)


def _jobs(jobs: int | None, points: int) -> int:
    if _at_least_1("jobs", jobs) is not None:
        assert jobs is not None
        return max(1, min(jobs, points))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, points // POINTS_A_JOB))


def _closed(operands: Mapping[str, Any]) -> dict[str, Any]:
    """Name files by their paths: other processes open them themselves."""
    found = dict(operands)
    if isinstance(dump := found["dump"], Dump):
        found["dump"] = dump.path
    elif dump is not None:
        raise TensorError(
            "a mapping of arrays can't be shared among processes: give a dump's path, or jobs=1"
        )
    if isinstance(found["traces"], Traces):
        found["traces"] = found["traces"].path
    return found


def _definition(
    space: Space, network: Network, operands: Mapping[str, Any], points: int, seed: int
) -> dict[str, Any]:
    """Everything that the rows depend on, in JSON's types."""
    try:
        release = version("bitx")
    except PackageNotFoundError:
        release = "not installed"
    drawn = {name: operands[name] for name in ("weights", "activations")}
    return {
        "version": release,
        "accelerator": space.accelerator,
        "varied": {name: list(values) for name, values in space.varied.items()},
        "fixed": dict(space.fixed),
        "defaults": _defaults(space.accelerator),
        "points": points,
        "seed": None if points == len(space) else seed,
        "network": network.name,
        "layers": _digest([json.dumps(network_to_table(network), sort_keys=True).encode()]),
        "dump": _digest_arrays(operands["dump"]),
        "traces": _digest_arrays(operands["traces"]),
        **{name: None if d is None else distribution(d).label for name, d in drawn.items()},
        "precisions": repr(precisions_of(operands["precisions"])),
    }


def _defaults(accelerator: str) -> dict[str, Any]:
    """Every option's default: another release may have others."""
    return make_accelerator(accelerator).options


def _digest(parts: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _digest_arrays(arrays: Any) -> str | None:
    """Digest of a file's bytes, or of a mapping's arrays."""
    if arrays is None:
        return None
    if isinstance(arrays, Dump):
        return arrays.sha256()
    if isinstance(arrays, Traces):
        arrays = arrays.path
    if isinstance(arrays, (str, PathLike)):
        with Path(arrays).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    parts = []
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        parts += [f"{name} {array.dtype} {array.shape} ".encode(), array.tobytes()]
    return _digest(parts)


@contextmanager
def _journal(
    store: str | PathLike[str] | None, source: Source, definition: Mapping[str, Any], restart: bool
) -> Iterator[Journal | None]:
    if store is None:
        yield None
        return
    from bitxcore.store.writer import check_name

    path = Path(store)
    if not path.parent.is_dir():
        raise BitxError(f"can't be written: {path.parent} is not an existing folder", path=path)
    if path.exists() and not path.is_file():
        raise BitxError("can't be written: exists and is not a regular file", path=path)
    if isinstance(source, Dump) and path.exists() and any(path.samefile(f) for f in source.files()):
        raise BitxError("is the input; choose another output", path=path)
    check_name(path)
    with Journal(path.with_name(path.name + JOURNAL_SUFFIX), definition, restart=restart) as journal:
        yield journal


# -- after -------------------------------------------------------------------------------------


def _result(
    network: Network, space: Space, rows: Sequence[dict[str, Any]], resumed: int, notes: tuple[str, ...]
) -> Sweep:
    points = [row["point"] for row in rows]
    options = [space.options(point) for point in points]
    columns: dict[str, list[Any]] = {"point": points}
    columns |= {name: [chosen[name] for chosen in options] for name in space.varied}
    columns |= {name: [row[name] for row in rows] for name in METRICS}
    objectives, columns["on_front"] = _front(columns)
    units = {"point": "1", **{name: option_unit(name, v) for name, v in space.varied.items()}}
    units |= {**METRICS, "on_front": ""}
    return Sweep(
        network=network.name,
        accelerator=space.accelerator,
        varied=space.varied,
        fixed=space.fixed,
        columns=columns,
        units=units,
        objectives=objectives,
        resumed=resumed,
        notes=notes,
    )


def _front(columns: Mapping[str, list[Any]]) -> tuple[tuple[str, ...], list[bool]]:
    """Find the front among the points that run as many layers as any does."""
    most = max((n for n in columns["layers"] if n is not None), default=0)
    able = [
        i
        for i, (layers, reason) in enumerate(zip(columns["layers"], columns["reason"], strict=True))
        if reason is None and layers == most
    ]
    objectives = tuple(name for name in OBJECTIVES if any(columns[name][i] is not None for i in able))
    able = [i for i in able if all(columns[name][i] is not None for name in objectives)]
    found = [False] * len(columns["point"])
    if able and objectives:
        values = np.array([[columns[name][i] for name in objectives] for i in able])
        for i, on in zip(able, nondominated(values).tolist(), strict=True):
            found[i] = on
    return objectives, found


_SUFFIX_UNITS = {"_bytes_per_cycle": "B/cycle", "_bytes": "B", "_hz": "Hz", "_bits": "bit"}


def option_unit(name: str, values: Sequence[Any]) -> str:
    """Name the unit of an option's column; ``""`` for text."""
    if not _is_number(values):
        return ""
    return next((unit for suffix, unit in _SUFFIX_UNITS.items() if name.endswith(suffix)), "1")


def _is_number(values: Sequence[Any]) -> bool:
    given = [v for v in values if v is not None]
    return bool(given) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in given)


def _stored(values: list[Any]) -> list[Any]:
    """Values of an option as one column: numbers, or text where there is anything else."""
    if _is_number(values):
        return values
    return [None if v is None else str(v).lower() if isinstance(v, bool) else str(v) for v in values]


def _write(store: str | PathLike[str], result: Sweep, source: Source, parameters: Mapping[str, Any]) -> None:
    from bitxcore.store import Store

    text = {name for name, unit in result.units.items() if not unit and name != "on_front"}
    columns = {
        name: _stored(values) if name in result.varied else values for name, values in result.columns.items()
    }
    inputs = [source] if isinstance(source, Dump) else []
    with Store.create(store, parameters=parameters, inputs=inputs) as writer:
        writer.write_table(
            "sweep",
            columns,
            units=result.units,
            dtypes=dict.fromkeys(text, str),
            attrs={
                "network": result.network,
                "accelerator": result.accelerator,
                "objectives": ", ".join(result.objectives),
                "notes": "\n".join(result.notes),
                "assumptions": "\n".join(accelerator_class(result.accelerator).assumptions),
            },
        )
