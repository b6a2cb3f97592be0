"""What a machine is built of and what a layer makes of it: energy and area by part.

Area is parts × count. Energy is events × the energy of one use, plus leakage × time, plus the clock of
every register. All machines have the same three buffers and share these rules, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwmodel.costs import Cost, Costs, Sram

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
        By buffer of `BUFFERS`: what passes its ports, inner and outer.
    """

    uses: Mapping[str, float]
    read_bits: Mapping[str, int]
    written_bits: Mapping[str, int]


def area_parts_mm2(parts: Mapping[str, Part], buffers: Mapping[str, Sram]) -> dict[str, float]:
    """Area by part, buffers included, in mm2."""
    areas = {name: part.count * part.cost.area_mm2 for name, part in parts.items()}
    return areas | {name: sram.area_mm2 for name, sram in buffers.items()}


def energy_parts_j(
    parts: Mapping[str, Part],
    buffers: Mapping[str, Sram],
    work: Work,
    *,
    costs: Costs,
    cycles: int,
    clock_hz: float,
) -> dict[str, float]:
    """Energy of a layer by part, in joules.

    Parameters
    ----------
    parts, buffers : mapping
        Of the machine.
    work : Work
    costs : Costs
        Leakage and clock figures.
    cycles : int
        All cycles of the layer.
    clock_hz : float
    """
    if unknown := set(work.uses) - set(parts):
        raise AssertionError(f"uses of a part that the machine has not: {sorted(unknown)}")
    energy: dict[str, float] = {name: work.uses.get(name, 0) * p.cost.energy_j for name, p in parts.items()}
    for name, sram in buffers.items():
        reads, writes = sram.accesses(work.read_bits[name]), sram.accesses(work.written_bits[name])
        energy[name] = reads * sram.read_j + writes * sram.write_j
    area = sum(area_parts_mm2(parts, buffers).values())
    energy["leakage"] = area * costs.leakage_w_per_mm2 * cycles / clock_hz
    registers = sum(p.count * p.cost.register_bits for p in parts.values())
    energy["clock"] = registers * costs.clock_j_per_bit * cycles
    return energy


def buffer_srams(machine: Any, costs: Costs) -> dict[str, Sram]:
    """Make the buffers of a machine, by its options ``weight_buffer_bytes`` and so on."""
    return {name: costs.sram(getattr(machine, f"{name}_bytes")) for name in BUFFERS}
