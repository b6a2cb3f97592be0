"""Published averages of all machines beside ours on a comparison's network.

They come from other networks, other operands and other memories than ours.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from bitxcore.data import data_folder
from hwmodel.accelerators.registry import accelerator, accelerator_names
from hwmodel.studies.comparison import ComparisonResult


@dataclass(frozen=True, kw_only=True)
class Average:
    """A figure that a paper prints of a whole accelerator.

    Parameters
    ----------
    accelerator : str
        As in the table of a comparison.
    measure : str
        Our value to compare it with, one of `MEASURES`; empty if there is none.
    published : float
    low, high : float or None
        Range of which it is the mean.
    statistic, quantity, workload, source : str
    why : str
        Why ours differs, or why there is none.
    """

    accelerator: str
    measure: str
    published: float
    low: float | None
    high: float | None
    statistic: str
    quantity: str
    workload: str
    source: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A published figure with ours beside it.

    Parameters
    ----------
    figure : Average
    ours : float or None
    """

    figure: Average
    ours: float | None

    @property
    def ratio(self) -> float | None:
        """Ours over the published one."""
        return None if self.ours is None else self.ours / self.figure.published


@cache
def averages() -> tuple[Average, ...]:
    """Read ``data/published/averages.csv``.

    Raises
    ------
    BitxError
        If the data are not installed.

    Examples
    --------
    >>> all(average.published > 0 for average in averages())
    True
    """
    with (data_folder("published") / "averages.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_average(row) for row in csv.DictReader(file))


def _average(row: dict[str, str]) -> Average:
    numbers = {name: float(row[name]) if row[name] else None for name in ("published", "low", "high")}
    return Average(**(row | numbers))  # type: ignore[arg-type]


def beside_averages(result: ComparisonResult) -> tuple[Beside, ...]:
    """Compare every published figure with our value on the network of the comparison.

    A machine that takes no part has none.

    Examples
    --------
    >>> import hwmodel as hw
    >>> result = hw.compare("resnet20-cifar10", accelerators=["dadiannao", "stripes"], precisions=8,
    ...                     options={"dram": None})
    >>> stripes = next(b for b in beside_averages(result) if b.figure.accelerator == "stripes")
    >>> stripes.figure.published, round(stripes.ours, 2)
    (1.92, 2.0)
    """
    return tuple(
        Beside(figure=f, ours=MEASURES[f.measure](result, f.accelerator) if f.measure else None)
        for f in averages()
    )


def _over_dadiannao(result: ComparisonResult, name: str) -> float | None:
    """Return the gain with a memory without limits, where it is known: the papers' is on the chip."""
    row = next((r for r in result.rows if r.accelerator == name), None)
    return None if row is None else row.speedup_on_chip or row.speedup


def _over_best_other(result: ComparisonResult, name: str) -> float | None:
    row = next((r for r in result.rows if r.accelerator == name), None)
    return None if row is None else row.speedup_over_best_other


def _over_unpruned(result: ComparisonResult, name: str) -> float | None:
    row = next((r for r in result.rows if r.accelerator == name and r.reason is None), None)
    if row is None:
        return None
    total = result.run.total(row.label)
    return total.on_chip_speedup_over_unpruned or total.speedup_over_unpruned


def _work(result: ComparisonResult, name: str) -> float | None:
    """Return the gain of balanced lanes, which the paper's Figure 7 fits."""
    row = next((r for r in result.rows if r.accelerator == name and r.reason is None), None)
    return None if row is None else result.run.total(row.label).work_speedup


def _peak_gops(result: ComparisonResult, name: str) -> float | None:
    """Peak of the design at its published size and clock."""
    if name not in accelerator_names():
        return None
    machine = accelerator(name)
    return 2 * machine.peak_macs_per_cycle * machine.clock_hz / 1e9


MEASURES: dict[str, Callable[[ComparisonResult, str], float | None]] = {
    "speedup_over_dadiannao": _over_dadiannao,
    "speedup_over_best_other": _over_best_other,
    "speedup_over_unpruned": _over_unpruned,
    "work_speedup": _work,
    "peak_gops": _peak_gops,
}
"""What of ours can stand beside a published figure."""
