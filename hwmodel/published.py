"""Published figures of BitX, to be printed beside ours; never an input of any model.

The paper's organisation, clock, workload and what its area includes are not public, so a ratio near one
says that the model is of the right size, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import fsum
from typing import Any

from hwmodel.accelerators.bitx import BitX
from hwmodel.networks import Network
from hwmodel.simulation import Source, simulate_network

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


def compare(
    network: Network, *, dump: Source = None, basis: str = "aladdin", clock_hz: float = 1e9
) -> tuple[BitX, tuple[Comparison, ...]]:
    """Run a network on the machine nearest the published area, in both formats.

    Parameters
    ----------
    network : Network
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
    machine = nearest_in_area(basis, clock_hz)
    found = [
        Comparison(quantity="area", unit="mm2", ours=logic_area_mm2(machine), published=AREA_MM2),
    ]
    runs = [replace(machine, format=form) for form in POWER_W]
    result = simulate_network(runs, network, dump=dump)
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
