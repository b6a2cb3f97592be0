"""Area and power of exactly one PE of BitX beside the paper's Table 7."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import fsum

from hwmodel.accelerators.bitx.hardware import PE_PARTS
from hwmodel.accelerators.bitx.machine import BitX
from hwmodel.costs.figures import BASES
from hwmodel.operands.workload import DumpSource, NetworkSource, Workload
from hwmodel.simulation.run import simulate_network
from hwmodel.studies.published.printed_numbers import printed_or_dash

TABLE_7 = {
    "E-alignment": ("e_alignment",),
    "Bit Extraction": ("bit_extraction",),
    "16 CUs": ("compute_units",),
    "Misc&Control": ("conversion", "lane_queues"),
    "Total": PE_PARTS,
}
"""The paper's parts of a PE, and ours. Ours has no control; the table has no name for conversion."""

SETTINGS = {None: "TSMC 28 nm, 1 GHz, fp32", "fixed16": "TSMC 28 nm, 1 GHz, 16-bit fixed point"}
"""Of the table, by the number format of a machine."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One published figure beside ours.

    Parameters
    ----------
    quantity : str
    unit : str
    basis : str
        Where our costs of components come from.
    ours : float
    published : float or None
        None where the paper prints a dash.
    """

    quantity: str
    unit: str
    basis: str
    ours: float
    published: float | None

    @property
    def ratio(self) -> float | None:
        """Ours over the published one; None without one."""
        return self.ours / self.published if self.published else None


def one_pe(
    network: NetworkSource | Workload,
    *,
    dump: DumpSource = None,
    bases: Collection[str] = BASES,
    clock_hz: float = 1e9,
) -> tuple[Comparison, ...]:
    """Run a network on a machine of one PE, in both formats, and put its area and power beside Table 7.

    Buffers, the activations' FIFO and the memory are not included, and the PE never waits for them.
    Published figures are not inputs, and nothing is fitted.

    Parameters
    ----------
    network : Network, str, path or Workload
    dump : optional
        As for `hwmodel.simulate_network`.
    bases : collection of str
        Where the costs of components come from.
    clock_hz : float

    Returns
    -------
    tuple of Comparison
        By basis and part: area, power in float32, power in fixed16.

    Examples
    --------
    >>> import hwmodel as hw
    >>> from hwmodel.evaluation import task
    >>> network = hw.load_network(task("digits").model, sizes={"N": 1})
    >>> found = one_pe(network, bases=["aladdin"])
    >>> total = next(row for row in found if row.quantity == "Total: area")
    >>> total.unit, round(total.ours, 3), total.published
    ('mm2', 0.136, 0.039)
    """
    load = Workload.of(network, dump=dump)
    machines = [
        BitX(processing_elements=1, format=form, cost_basis=basis, clock_hz=clock_hz, dram=None)
        for basis in bases
        for form in SETTINGS
    ]
    result = simulate_network(machines, load)
    found = []
    for machine in machines:
        total = result.total(machine.label)
        assert total.energy_parts_j is not None
        assert total.seconds
        if machine.format is None:
            areas = machine.area_parts_mm2
            found += _beside("area", "mm2", machine, areas, SETTINGS[None])
        watts = pe_power_w(machine, total.energy_parts_j, total.seconds)
        words = f"power, {machine.format or 'float32'}"
        found += _beside(words, "W", machine, watts, SETTINGS[machine.format])
    return tuple(found)


def _beside(what: str, unit: str, machine: BitX, ours: Mapping[str, float], setting: str) -> list[Comparison]:
    """Put the parts of a PE beside the paper's."""
    scale = 1e-3 if unit == "W" else 1.0  # the table has milliwatts
    rows = []
    for name, parts in TABLE_7.items():
        published = printed_or_dash("Table 7", f"{name}: {what.partition(',')[0]}", setting)
        own = fsum(ours[part] for part in parts)
        rows.append(
            Comparison(
                quantity=f"{name}: {what}",
                unit=unit,
                basis=machine.cost_basis,
                ours=own,
                published=None if published is None else published * scale,
            )
        )
    return rows


def pe_power_w(machine: BitX, energy_parts_j: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Power of each part of the PE, in watts: its events, its leakage, the clock of its registers."""
    standing = machine.hardware.part_standing_w(machine.path_in_use)
    return {part: energy_parts_j[part] / seconds + sum(standing[part]) for part in PE_PARTS}
