"""A layer's result, composed: what happens on the chip, and what the memory makes of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import buffer_srams, port_j
from hwmodel.costs.figures import costs
from hwmodel.memory.traffic import LayerTraffic
from hwmodel.networks.layers import Layer
from hwmodel.simulation.columns import UNPRUNED
from hwmodel.simulation.results import LayerResult

WAITS = ("weight_wait_cycles", "activation_wait_cycles", "output_wait_cycles")
_COUNTS = tuple(field.name for field in fields(OnChip) if field.name != "energy")


def not_run(machine: Accelerator, layer: Layer, reason: str, notes: tuple[str, ...] = ()) -> LayerResult:
    """Make the result of a layer that a machine does not run: no numbers."""
    return LayerResult(**_identity(machine, layer), reason=reason, notes=notes)


def join(machine: Accelerator, layer: Layer, chip: OnChip, traffic: LayerTraffic) -> LayerResult:
    """Compose a layer's result.

    Parameters
    ----------
    machine : Accelerator
    layer : Layer
    chip : OnChip
        What it does with all operands in its buffers.
    traffic : LayerTraffic
        What its memory moves.

    Returns
    -------
    LayerResult
        With the memory's waits, in the unpruned readings too, if there is a DRAM with limits; with the energy
        of the buffers' outer ports and of the DRAM, if the machine has a cost model.
    """
    found: dict[str, Any] = {name: getattr(chip, name) for name in _COUNTS}
    found |= {f"on_chip_{name}": found[name] for name in UNPRUNED}
    cycles = chip.cycles
    if traffic.dram_seconds is not None:
        waits = traffic.waits
        cycles += sum(waits)
        found["notes"] += traffic.notes
        found |= {name: (found[name] or 0) + wait for name, wait in zip(WAITS, waits, strict=True)}
        for name in UNPRUNED:
            if found[name] is not None:
                found[name] += sum(traffic.unpruned_waits(found[name]))
        if chip.utilisation is not None and cycles:
            found["utilisation"] = chip.utilisation * chip.cycles / cycles
    return LayerResult(
        **_identity(machine, layer),
        **(found | traffic.dram_bytes),
        on_chip_cycles=chip.cycles,
        clock_hz=machine.clock_hz,
        energy_parts_j=_energy_parts_j(machine, chip, traffic, cycles / machine.clock_hz),
        dram_weight_bytes_plain=traffic.plain_weight_bytes,
        dram_seconds=traffic.dram_seconds,
        tiling=str(traffic.tiling),
    )


def _identity(machine: Accelerator, layer: Layer) -> dict[str, Any]:
    """Who did what."""
    return {
        "layer": layer.name,
        "operation": layer.operation,
        "accelerator": machine.label,
        "options": machine.options,
        "macs": layer.macs,
        "parameters": layer.parameters,
        "peak_macs_per_cycle": machine.peak_macs_per_cycle,
        "area_mm2": machine.area_mm2,
        "dram_peak_bytes_per_s": machine.dram_peak_bytes_per_s,
    }


def _energy_parts_j(
    machine: Accelerator, chip: OnChip, traffic: LayerTraffic, seconds: float
) -> dict[str, float] | None:
    """Energy by part: events, every cycle's standing power, the buffers' outer ports, the DRAM."""
    if chip.energy is None:
        return None
    parts = dict(chip.energy.events_j)
    parts |= {part: watts * seconds for part, watts in chip.energy.standing_w.items()}
    for part, sram in buffer_srams(machine, costs(machine.cost_basis)).items():
        parts[part] = parts.get(part, 0.0) + port_j(sram, *traffic.port_bits[part])
    dram_j = traffic.dram_j(seconds)
    return parts if dram_j is None else parts | {"dram": dram_j}
