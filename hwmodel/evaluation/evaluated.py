"""What an evaluation found: points with their scores, the front, what holds, and their table in a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from bitxcore.dumps import Dump
from bitxcore.showing import table_repr
from bitxcore.tables import TableCollector, Tables, TabularResult
from hwmodel.evaluation.intervals import Estimate
from hwmodel.evaluation.machine_gain import MachineGain
from hwmodel.evaluation.metrics import metric
from hwmodel.evaluation.settings import COLUMNS, Setting
from hwmodel.simulation.result_tables import TableWriter

LOSS = 0.005
"""What `Evaluation.held` allows by default: 0.5 points of a share, or 0.5 % of another score."""
SURE = 0.05
"""A p-value from which on the data can't tell a difference."""


@dataclass(frozen=True)
class Point:
    """What a setting does to a model.

    Attributes
    ----------
    setting : Setting
    scores : dict of str to Estimate
        By metric.
    samples : int
    relative_error : float or None
        Of all pruned weights, rounding to a format included; None where none were changed.
    kept_rows_mean : float or None
        Per group of weights, as they are stored; None where no rows are pruned before the run.
    kept_ones_mean, plain_kept_ones_mean : float or None
        With rows chosen by products: mean ones per weight, over products whose activation is not zero; and
        the same if as many rows were chosen by the weights alone. None with other criteria.
    machine : MachineGain
        Cycles of BitX with the same pruning, for one sample.
    """

    setting: Setting
    scores: dict[str, Estimate]
    samples: int
    relative_error: float | None = None
    kept_rows_mean: float | None = None
    machine: MachineGain = field(default_factory=MachineGain)
    kept_ones_mean: float | None = None
    plain_kept_ones_mean: float | None = None

    def columns(self) -> dict[str, Any]:
        """Return one table row: a value, or None, for each name in `point_units`."""
        row = self.setting.columns() | {
            "samples": self.samples,
            "relative_error": self.relative_error,
            "kept_rows_mean": self.kept_rows_mean,
            "kept_ones_mean": self.kept_ones_mean,
            "plain_kept_ones_mean": self.plain_kept_ones_mean,
        }
        row |= self.machine.columns()
        for name, found in self.scores.items():
            row |= {_column(name, part): value for part, value in asdict(found).items()}
        return row

    @staticmethod
    def of(row: Mapping[str, Any], metrics: Iterable[str]) -> Point:
        """Make a point of `columns`."""
        scores = {
            name: Estimate(**{f.name: row[_column(name, f.name)] for f in fields(Estimate)})
            for name in metrics
        }
        return Point(
            Setting.of(row),
            scores,
            row["samples"],
            row["relative_error"],
            row["kept_rows_mean"],
            MachineGain(**{f.name: row[f.name] for f in fields(MachineGain)}),
            row["kept_ones_mean"],
            row["plain_kept_ones_mean"],
        )


def _column(name: str, part: str) -> str:
    return name if part == "value" else f"{name}_{part}"


def point_units(metrics: Iterable[str]) -> dict[str, str]:
    """Return the unit of each of a point's columns; ``""`` for text."""
    units = COLUMNS | {
        "samples": "1",
        "relative_error": "1",
        "kept_rows_mean": "1",
        "kept_ones_mean": "1",
        "plain_kept_ones_mean": "1",
        "cycles": "cycles",
        "unpruned_cycles": "cycles",
        "work_cycles": "cycles",
        "unpruned_work_cycles": "cycles",
        "reason": "",
        "speedup_over_unpruned": "1",
        "work_speedup": "1",
    }
    for name in metrics:
        parts = {_column(name, f.name): metric(name).unit for f in fields(Estimate)}
        units |= parts | {f"{name}_p_value": "1"}
    return units


@dataclass(frozen=True)
class Evaluation(TabularResult):
    """A model's scores at every setting; the first point is the unpruned model.

    Attributes
    ----------
    task : str
        In words.
    metrics : tuple of str
        The most important one first.
    against : dict of str to str
        Reference of each metric: labels, or the unpruned model. The latter is agreement and not accuracy.
    points : list of Point
    resumed : int
        Points that an earlier, interrupted run had finished.
    """

    _main_table = "evaluation"

    task: str
    metrics: tuple[str, ...]
    against: dict[str, str]
    points: list[Point] = field(default_factory=list)
    resumed: int = 0

    def __repr__(self) -> str:
        name = self.metrics[0]
        rows = (
            {"setting": p.setting.label, name: p.scores[name].value, "cycles": p.machine.cycles}
            for p in self.points
        )
        tail = ".points has all scores and their intervals, .front, .held()"
        return table_repr(f"Evaluation: {self.task}", rows, tail)

    def tables(self) -> Tables:
        """Return the table ``evaluation``, as its store holds it.

        Examples
        --------
        >>> list(Evaluation("digits", ("top1",), {"top1": "labels"}).tables())
        ['evaluation']
        """
        collector = TableCollector()
        _write_points(collector, self)
        return collector.tables()

    def _shown(self) -> tuple[str, Iterable[str]]:
        scores = [f"{name}{part}" for name in self.metrics for part in ("", "_low", "_high")]
        return "evaluation", (*COLUMNS, *scores, "cycles", "speedup_over_unpruned", "on_front")

    @property
    def front(self) -> list[int]:
        """Places of the points that no other one beats in both the first metric and cycles."""
        name = self.metrics[0]
        sign = 1 if metric(name).higher_is_better else -1
        rated = [
            (i, sign * point.scores[name].value, point.machine.cycles)
            for i, point in enumerate(self.points)
            if point.machine.cycles is not None
        ]
        return [
            i
            for i, score, cycles in rated
            if not any(s >= score and c <= cycles and (s, c) != (score, cycles) for _, s, c in rated)
        ]

    def held(self, loss: float = LOSS) -> list[tuple[Setting, int | None, int | None]]:
        """Fewest rows from which on the first metric holds, for each way to prune.

        Parameters
        ----------
        loss : float
            Of a share: points over 100; of another score: the share of the unpruned model's.

        Returns
        -------
        list of (Setting, int or None, int or None)
            A setting without its rows; the fewest rows at which, and at all more rows that were tried, the
            score lost no more than `loss`; and those at which the data can't tell a loss (p at least `SURE`).
            None where not even the most rows do.
        """
        name = self.metrics[0]
        sign = 1 if metric(name).higher_is_better else -1
        ways: dict[Setting, dict[int, Estimate]] = {}
        for point in self.points:
            if point.setting.rows is not None:
                way = replace(point.setting, rows=None)
                ways.setdefault(way, {})[point.setting.rows] = point.scores[name]
        found = []
        for way, by_rows in ways.items():
            within = {rows: is_within(name, e, loss) for rows, e in by_rows.items()}
            unsure = {rows: sign * e.difference >= 0 or e.p_value >= SURE for rows, e in by_rows.items()}
            found.append((way, _from_the_top(within), _from_the_top(unsure)))
        return found


def is_within(name: str, found: Estimate, loss: float) -> bool:
    """Whether a score lost no more than `loss` against the unpruned model's.

    Parameters
    ----------
    name : str
        Metric.
    found : Estimate
    loss : float
        Of a share: points over 100; of another score: the share of the unpruned model's.
    """
    scorer = metric(name)
    lost = -found.difference if scorer.higher_is_better else found.difference
    allowed = loss if scorer.is_share else loss * abs(found.value - found.difference)
    return lost <= allowed * (1 + 1e-9)


def _from_the_top(holds: Mapping[int, bool]) -> int | None:
    fewest = None
    for rows in sorted(holds, reverse=True):
        if not holds[rows]:
            break
        fewest = rows
    return fewest


def write_evaluation(
    store: str | os.PathLike[str],
    found: Evaluation,
    inputs: Iterable[Dump | str | os.PathLike[str]],
    parameters: Mapping[str, Any],
) -> None:
    """Write the table ``evaluation``; its attributes are what it is of."""
    from bitxcore.store import Store

    with Store.create(store, parameters=parameters, inputs=inputs) as writer:
        _write_points(writer, found)


def _write_points(writer: TableWriter, found: Evaluation) -> None:
    units = point_units(found.metrics) | {"on_front": ""}
    front = set(found.front)
    rows = [point.columns() | {"on_front": i in front} for i, point in enumerate(found.points)]
    dtypes: dict[str, Any] = {name: str for name, unit in units.items() if not unit and name != "on_front"}
    dtypes |= dict.fromkeys(("rows", "group", "window", "activation_rows", "samples"), "i8")
    dtypes |= {name: "i8" for name, unit in units.items() if unit == "cycles"}
    dtypes |= {name: "f8" for name in units if name not in dtypes and name != "on_front"}
    writer.write_table(
        "evaluation",
        rows,
        units=units,
        dtypes=dtypes,
        attrs={
            "task": found.task,
            "metrics": ", ".join(found.metrics),
            "against": ", ".join(f"{name}: {against}" for name, against in found.against.items()),
        },
    )
