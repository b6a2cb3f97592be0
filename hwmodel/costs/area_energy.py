"""What a machine is built of and what a layer makes of it: energy and area by part.

Area is parts × count. Energy is events × the energy of one use, plus leakage × time, plus the clock of
every register. All machines have the same three buffers and share these rules, so that they can be compared.
What passes the buffers' outer ports is the DRAM's traffic, which `hwmodel.memory` adds for every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwmodel.costs.figures import Cost, Costs, Sram

BUFFERS = ("weight_buffer", "activation_buffer", "output_buffer")


@dataclass(frozen=True)
class Part:
    """A kind of component.

    Parameters
    ----------
    cost : Cost
        Of one instance: energy of a use, area, registers.
    count : float
        Instances in the machine.
    """

    cost: Cost
    count: float = 1


@dataclass(frozen=True)
class Work:
    """What a layer does to a machine.

    Parameters
    ----------
    uses : mapping of str to float
        By part: how often an instance of it is used, summed over the instances.
    read_bits, written_bits : mapping of str to int
        By buffer of `BUFFERS`: what passes the ports on the machine's side. A buffer left out has none.
    """

    uses: Mapping[str, float]
    read_bits: Mapping[str, int]
    written_bits: Mapping[str, int]


def area_parts_mm2(parts: Mapping[str, Part], buffers: Mapping[str, Sram]) -> dict[str, float]:
    """Area by part, buffers included, in mm2."""
    areas = {name: part.count * part.cost.area_mm2 for name, part in parts.items()}
    return areas | {name: sram.area_mm2 for name, sram in buffers.items()}


def events_j(parts: Mapping[str, Part], buffers: Mapping[str, Sram], work: Work) -> dict[str, float]:
    """Energy of a layer's events by part, in joules: uses of the parts, and the buffers' inner ports.

    Parameters
    ----------
    parts, buffers : mapping
        Of the machine.
    work : Work
    """
    if unknown := set(work.uses) - set(parts):
        raise AssertionError(f"uses of a part that the machine has not: {sorted(unknown)}")
    energy: dict[str, float] = {name: work.uses.get(name, 0) * p.cost.energy_j for name, p in parts.items()}
    for name, sram in buffers.items():
        energy[name] = port_j(sram, work.read_bits.get(name, 0), work.written_bits.get(name, 0))
    return energy


def standing_w(
    parts: Mapping[str, Part], buffers: Mapping[str, Sram], *, costs: Costs, clock_hz: float
) -> dict[str, float]:
    """Power that is spent in every cycle, work or none, in watts: leakage, and the registers' clock."""
    area = sum(area_parts_mm2(parts, buffers).values())
    registers = sum(p.count * p.cost.register_bits for p in parts.values())
    return {
        "leakage": area * costs.leakage_w_per_mm2,
        "clock": registers * costs.clock_j_per_bit * clock_hz,
    }


def port_j(sram: Sram, read_bits: int, written_bits: int) -> float:
    """Energy of moving bits through a port of a buffer, in joules."""
    return sram.accesses(read_bits) * sram.read_j + sram.accesses(written_bits) * sram.write_j


def buffer_srams(machine: Any, costs: Costs) -> dict[str, Sram]:
    """Make the buffers of a machine, by its options ``weight_buffer_bytes`` and so on."""
    return {name: costs.sram(getattr(machine, f"{name}_bytes")) for name in BUFFERS}
