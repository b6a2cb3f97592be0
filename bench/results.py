"""A run of the benchmarks: every round of every case, and the machine; kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "bitx-bench-1"


class ResultsError(Exception):
    """A file that holds no results; one line."""


@dataclass(frozen=True)
class Case:
    """One thing that was measured.

    Attributes
    ----------
    kernel, case : str
    threads : int
    values : int or None
        Values a call works on.
    row : str
        Row of the table of main cases, or empty.
    peer : bool
        Whether it is other people's code.
    seconds, yardstick_seconds : sequence of float
        Of every round.
    prune_seconds : sequence of float
        Of `prune` in the same rounds; for peers.
    missing : str
        Why nothing was measured, or empty.
    """

    kernel: str
    case: str
    threads: int
    values: int | None = None
    row: str = ""
    peer: bool = False
    seconds: Sequence[float] = ()
    yardstick_seconds: Sequence[float] = ()
    prune_seconds: Sequence[float] = ()
    missing: str = ""

    def __post_init__(self) -> None:
        rounds = len(self.seconds)
        if not (bool(rounds) ^ bool(self.missing)) or len(self.yardstick_seconds) != rounds:
            raise ResultsError(f"{self.name}: every round needs a time and one of the yardstick")
        if len(self.prune_seconds) not in (0, rounds):
            raise ResultsError(f"{self.name}: {len(self.prune_seconds)} times of prune, {rounds} rounds")
        times = [*self.seconds, *self.yardstick_seconds, *self.prune_seconds]
        if not all(0 < t < float("inf") for t in times):
            raise ResultsError(f"{self.name}: times must be positive numbers")

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from the other cases of a run."""
        return self.kernel, self.case, self.threads

    @property
    def name(self) -> str:
        """The key in words."""
        return f"{self.kernel}: {self.case}, {self.threads} thread{'s' * (self.threads != 1)}"

    def __add__(self, other: Case) -> Case:
        """Add the rounds of the same case in another pass."""
        times = ("seconds", "yardstick_seconds", "prune_seconds")
        return replace(self, **{name: [*getattr(self, name), *getattr(other, name)] for name in times})

    @cached_property
    def quartiles(self) -> tuple[float, float, float]:
        """Quartiles over the rounds of the yardstick's time by the case's own."""
        ratios = np.asarray(self.yardstick_seconds) / np.asarray(self.seconds)
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        return float(low), float(median), float(high)

    @property
    def share(self) -> float:
        """Median share of the yardstick: 1 is as fast."""
        return self.quartiles[1]

    @property
    def spread(self) -> float:
        """Interquartile spread of the share, relative to the median."""
        low, median, high = self.quartiles
        return (high - low) / median

    @property
    def times_prune(self) -> float:
        """Median over the rounds of its time by that of `prune`."""
        return float(np.median(np.asarray(self.seconds) / np.asarray(self.prune_seconds)))

    def rate(self, of: str = "seconds") -> float:
        """Median values/s; of a case that works on values."""
        assert self.values is not None
        return self.values / float(np.median(getattr(self, of)))


@dataclass(frozen=True)
class Run:
    """One session.

    Attributes
    ----------
    datetime : str
        UTC, ISO 8601.
    commit : str
        Of the code; ``+`` at the end if files were changed.
    machine : dict
        As `bench.machine.describe` gives it.
    cases : tuple of Case
    """

    datetime: str
    commit: str
    machine: dict[str, Any]
    cases: tuple[Case, ...] = field(repr=False)

    @classmethod
    def of_pytest(cls, raw: dict[str, Any], machine: dict[str, Any]) -> Run:
        """Take what counts from what pytest-benchmark wrote about one pass."""
        commit = raw["commit_info"]
        cases = tuple(Case(kernel=b["group"], **b["extra_info"]) for b in raw["benchmarks"])
        mark = "+" * bool(commit.get("dirty"))
        return cls(raw["datetime"][:19] + "Z", f"{commit.get('id') or 'unknown'}{mark}", machine, cases)

    def __add__(self, other: Run) -> Run:
        """Add the rounds of another pass of the same session."""
        if [case.key for case in self.cases] != [case.key for case in other.cases]:
            raise ResultsError("two passes must measure the same cases")
        cases = tuple(a + b for a, b in zip(self.cases, other.cases, strict=True))
        return replace(self, cases=cases)

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read a file that `save` wrote; raise `ResultsError` if it is none."""
        try:
            raw = json.loads(path.read_text("utf-8"))
            if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
                raise ResultsError(f"{path}: not results in the format {FORMAT}")
            cases = tuple(Case(**case) for case in raw.pop("cases"))
            return cls(cases=cases, **raw)
        except ResultsError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"{path}: {error}") from error

    def save(self, path: Path) -> None:
        """Write one case per line, times to the tenth of a microsecond, so that files stay small."""
        lines = []
        for case in self.cases:
            slim = {key: value for key, value in asdict(case).items() if value or key == "values"}
            slim |= {
                key: [round(t, 7) for t in value] for key, value in slim.items() if key.endswith("seconds")
            }
            lines.append(json.dumps(slim))
        head = {"format": FORMAT, "datetime": self.datetime, "commit": self.commit, "machine": self.machine}
        text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
