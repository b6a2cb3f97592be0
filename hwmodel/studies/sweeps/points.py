"""Points of a sweep as one record, their Pareto front, and their table in a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bitxcore.dumps import Dump
from bitxcore.policy import Policy
from bitxcore.showing import table_repr
from bitxcore.tables import TableCollector, Tables, TabularResult
from hwmodel.accelerators.registry import accelerator_class
from hwmodel.operands.workload import Workload
from hwmodel.simulation.result_tables import TableWriter
from hwmodel.studies.sweeps.pareto import nondominated
from hwmodel.studies.sweeps.space import Space
from hwmodel.studies.sweeps.workers import METRICS

_TOLD = ("cycles", "seconds", "energy_j", "relative_error", "area_mm2")
"""What the repr tells of a point, besides its options."""

OBJECTIVES = ("seconds", "energy_j", "relative_error")
"""What the Pareto front minimises."""


@dataclass(frozen=True, eq=False)
class Sweep(TabularResult):
    """Results of a sweep, one column at a time.

    Attributes
    ----------
    network, accelerator : str
    varied : mapping of str to tuple
        By option: its values.
    fixed : mapping of str to value
    columns : dict of str to list
        By name, one value per point: the varied options, then the metrics, then ``on_front``. None where
        there is no number (and where it is the option's value).
    units : dict of str to str
        Of every column; ``""`` for text and flags.
    objectives : tuple of str
        The `OBJECTIVES` that form the front; the others have no value on this machine.
    resumed : int
        Points that an earlier, interrupted run had finished.
    notes : tuple of str
        Which operands are drawn or assumed, and how many points the front leaves out.
    """

    _main_table = "sweep"

    network: str
    accelerator: str
    varied: Mapping[str, tuple[Any, ...]]
    fixed: Mapping[str, Any]
    columns: dict[str, list[Any]] = field(repr=False)
    units: dict[str, str] = field(repr=False)
    objectives: tuple[str, ...]
    resumed: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        space = " × ".join(f"{name} ({len(values)})" for name, values in self.varied.items())
        head = f"Sweep: {self.network} on {self.accelerator}, points: {len(self):,} of {space}"
        front = (self.row(i) for i in self.front)
        told = ({name: row[name] for name in (*self.varied, *_TOLD)} for row in front)
        least = ", ".join(self.objectives) or "no objective"
        tail = f"shown: the front of {least} ({len(self.front):,}); all: .columns, .row(i)"
        return table_repr(head, told, tail)

    def __len__(self) -> int:
        return len(self.columns["point"])

    def row(self, index: int) -> dict[str, Any]:
        """Row `index` as a mapping."""
        return {name: values[index] for name, values in self.columns.items()}

    def tables(self) -> Tables:
        """Return the table ``sweep``, as its store holds it.

        Examples
        --------
        >>> import hwmodel as hw
        >>> found = hw.sweep("resnet20-cifar10", {"columns": [1, 2]}, accelerator="dadiannao", jobs=1)
        >>> found.tables()["sweep"].columns["columns"]
        [1, 2]
        """
        collector = TableCollector()
        _write_points(collector, self)
        return collector.tables()

    def _shown(self) -> tuple[str, Iterable[str]]:
        return "sweep", ("point", *self.varied, *_TOLD, "on_front")

    @property
    def front(self) -> tuple[int, ...]:
        """Rows of the Pareto front, in the order of the first objective."""
        rows = [i for i, on in enumerate(self.columns["on_front"]) if on]
        return tuple(sorted(rows, key=lambda i: [self.columns[name][i] for name in self.objectives]))


def sweep_of(
    network: str, space: Space, rows: Sequence[dict[str, Any]], resumed: int, notes: tuple[str, ...]
) -> Sweep:
    """Make the columns of all points, and find the front."""
    points = [row["point"] for row in rows]
    options = [space.options(point) for point in points]
    columns: dict[str, list[Any]] = {"point": points}
    columns |= {name: [chosen[name] for chosen in options] for name in space.varied}
    columns |= {name: [row[name] for row in rows] for name in METRICS}
    objectives, columns["on_front"], left_out = _front(columns)
    notes += tuple(
        f"{count} of {len(points)} points have no {name}, and are not compared for the front"
        for name, count in left_out.items()
    )
    units = {"point": "1", **{name: option_unit(name, v) for name, v in space.varied.items()}}
    units |= {**METRICS, "on_front": ""}
    return Sweep(
        network=network,
        accelerator=space.accelerator,
        varied=space.varied,
        fixed=space.fixed,
        columns=columns,
        units=units,
        objectives=objectives,
        resumed=resumed,
        notes=notes,
    )


def _front(columns: Mapping[str, list[Any]]) -> tuple[tuple[str, ...], list[bool], dict[str, int]]:
    """Find the front among the points that run as many layers as any does.

    Also count, by objective, those of them that have no value and are left out.
    """
    most = max((n for n in columns["layers"] if n is not None), default=0)
    able = [
        i
        for i, (layers, reason) in enumerate(zip(columns["layers"], columns["reason"], strict=True))
        if reason is None and layers == most
    ]
    objectives = tuple(name for name in OBJECTIVES if any(columns[name][i] is not None for i in able))
    lacking = {name: sum(columns[name][i] is None for i in able) for name in objectives}
    able = [i for i in able if all(columns[name][i] is not None for name in objectives)]
    found = [False] * len(columns["point"])
    if able and objectives:
        values = np.array([[columns[name][i] for name in objectives] for i in able])
        for i, on in zip(able, nondominated(values).tolist(), strict=True):
            found[i] = on
    return objectives, found, {name: count for name, count in lacking.items() if count}


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


def write_sweep(
    store: str | os.PathLike[str],
    result: Sweep,
    load: Workload,
    parameters: Mapping[str, Any],
    policy: Policy | None = None,
) -> None:
    """Write the table ``sweep``; its attributes are what the sweep is of."""
    from bitxcore.store import Store

    inputs: list[Dump | str] = [load.weights] if isinstance(load.weights, Dump) else []
    if policy is not None:
        parameters = {**parameters, "policy": policy.record()}
        inputs += [policy.path] if policy.path else []
    with Store.create(store, parameters=parameters, inputs=inputs) as writer:
        _write_points(writer, result)


def _write_points(writer: TableWriter, result: Sweep) -> None:
    text = {name for name, unit in result.units.items() if not unit and name != "on_front"}
    columns = {
        name: _stored(values) if name in result.varied else values for name, values in result.columns.items()
    }
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
