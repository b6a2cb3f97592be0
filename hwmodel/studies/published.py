"""Published figures, to be printed beside ours; never an input of any model.

Of BitX, area and power: the paper's organisation, clock, workload and what its area includes are not
public, so a ratio near one says that the model is of the right size, and no more. Of all machines, the
averages of ``data/published``: other networks, other operands and other memories than ours.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import fsum
from typing import Any

from bitxcore.data import data_folder
from hwmodel.accelerators.bitx.machine import BitX
from hwmodel.accelerators.registry import accelerator, accelerator_names
from hwmodel.operands.workload import DumpSource, NetworkSource, Workload
from hwmodel.simulation.run import simulate_network
from hwmodel.studies.comparison import ComparisonResult

SOURCE = "Li et al., BitX, ICPP 2021 (abstract): TSMC 28 nm"
AREA_MM2 = 0.039
POWER_W = {"float32": 0.06862, "fixed16": 0.03641}

LOGIC = ("e_align", "extractor", "activation_fifo", "lanes", "accumulators")
"""Parts whose area is compared: buffers of any use are larger than the whole published area."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One published figure beside ours.

    Parameters
    ----------
    quantity : str
    unit : str
    ours, published : float
    """

    quantity: str
    unit: str
    ours: float
    published: float

    @property
    def ratio(self) -> float:
        """Ours over the published one."""
        return self.ours / self.published


def logic_area_mm2(machine: BitX) -> float:
    """Area without buffers, in mm2."""
    parts = machine.area_parts_mm2
    return fsum(parts[part] for part in LOGIC)


@cache
def nearest_in_area(basis: str, clock_hz: float) -> BitX:
    """Find the machine of up to 8 units, 16 PEs, 4 lanes and FIFO depth 2 nearest the published area.

    Of two at the same distance, the one with the higher peak. It never waits for DRAM, so that its power is
    that of a chip at work.
    """
    machines = (
        BitX(
            compute_units=c,
            processing_elements=p,
            lanes=n,
            fifo_depth=d,
            cost_basis=basis,
            clock_hz=clock_hz,
            dram=None,
        )
        for c, p, n, d in product(range(1, 9), range(1, 17), range(1, 5), range(3))
    )
    return min(machines, key=lambda m: (abs(logic_area_mm2(m) - AREA_MM2), -m.peak_macs_per_cycle))


def area_and_power(
    network: NetworkSource | Workload,
    *,
    dump: DumpSource = None,
    basis: str = "aladdin",
    clock_hz: float = 1e9,
) -> tuple[BitX, tuple[Comparison, ...]]:
    """Run a network on the machine nearest the published area, in both formats.

    Parameters
    ----------
    network : Network, str, path or Workload
    dump : optional
        As for `hwmodel.simulate_network`.
    basis : str
        Where the costs of components come from.
    clock_hz : float

    Returns
    -------
    BitX, tuple of Comparison
        The machine; its area and its power, buffers left out of both.
    """
    load = Workload.of(network, dump=dump)
    machine = nearest_in_area(basis, clock_hz)
    found = [
        Comparison(quantity="area", unit="mm2", ours=logic_area_mm2(machine), published=AREA_MM2),
    ]
    runs = [replace(machine, format=form) for form in POWER_W]
    result = simulate_network(runs, load)
    for run, form in zip(runs, POWER_W, strict=True):
        total = result.total(run.label)
        assert total.energy_parts_j is not None
        assert total.seconds
        power = _logic_energy_j(total.energy_parts_j, run) / total.seconds
        found.append(Comparison(quantity=f"power, {form}", unit="W", ours=power, published=POWER_W[form]))
    return machine, tuple(found)


def _logic_energy_j(parts: Mapping[str, float], machine: Any) -> float:
    """Energy without the buffers and their share of the leakage."""
    areas = machine.area_parts_mm2
    gated = "e_align" if machine.format == "fixed16" else ""
    logic = fsum(areas[p] for p in LOGIC if p != gated)
    every = fsum(area for p, area in areas.items() if p != gated)
    return fsum([*(parts[p] for p in LOGIC), parts["clock"], parts["leakage"] * logic / every])


# -- averages ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Average:
    """A figure that a paper prints of a whole accelerator.

    Parameters
    ----------
    accelerator : str
        As in the table of a comparison.
    measure : str
        What of ours stands beside it, of `MEASURES`; empty if nothing does.
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
    """
    with (data_folder("published") / "averages.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_average(row) for row in csv.DictReader(file))


def _average(row: dict[str, str]) -> Average:
    numbers = {name: float(row[name]) if row[name] else None for name in ("published", "low", "high")}
    return Average(**(row | numbers))  # type: ignore[arg-type]


def beside_averages(result: ComparisonResult) -> tuple[Beside, ...]:
    """Put our values on the comparison's network beside every published figure.

    A machine that takes no part has none.
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


def _over_all_rows(result: ComparisonResult, name: str) -> float | None:
    row = next((r for r in result.rows if r.accelerator == name and r.reason is None), None)
    if row is None:
        return None
    total = result.run.total(row.label)
    return total.on_chip_speedup_over_all_rows or total.speedup_over_all_rows


def _peak_gops(result: ComparisonResult, name: str) -> float | None:
    """Peak of the design at its published size and clock."""
    if name not in accelerator_names():
        return None
    machine = accelerator(name)
    return 2 * machine.peak_macs_per_cycle * machine.clock_hz / 1e9


MEASURES: dict[str, Callable[[ComparisonResult, str], float | None]] = {
    "speedup_over_dadiannao": _over_dadiannao,
    "speedup_over_best_other": _over_best_other,
    "speedup_over_all_rows": _over_all_rows,
    "peak_gops": _peak_gops,
}
"""What of ours can stand beside a published figure."""
