"""DRAM traffic, waits and energy, added to what a machine does on its chip."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Any

from hwmodel.accelerators.base import Accelerator
from hwmodel.costs.area_energy import StoredBits, buffer_srams, port_j
from hwmodel.costs.figures import costs
from hwmodel.memory.channels import Channels
from hwmodel.memory.nest import Nest
from hwmodel.memory.overlap import TransferSchedule, schedule
from hwmodel.memory.tiling import Buffers, OperandWidths, Tiling, Traffic, best_tiling
from hwmodel.networks.layers import Layer, MatMul
from hwmodel.operands.operands import Operands
from hwmodel.simulation.results import LayerResult

WAITS = ("weight_wait_cycles", "activation_wait_cycles", "output_wait_cycles")
BURST_BITS = 512
"""What a memory without limits moves at a time, as those of `hwmodel.dram` do."""

UNPRUNED = ("unpruned_all_rows_cycles", "unpruned_nonempty_rows_cycles")


def with_memory(
    accelerator: Accelerator, layer: Layer, operands: Operands, result: LayerResult
) -> LayerResult:
    """Add the memory to a result of `Accelerator.run`.

    Parameters
    ----------
    accelerator : Accelerator
    layer : Layer
    operands : Operands
    result : LayerResult
        What the machine does with all operands in its buffers.

    Returns
    -------
    LayerResult
        With traffic and tiling; with the memory's waits, in the unpruned readings too, if there is a
        `dram`; with the energy of the buffers' outer ports and of the DRAM, if the machine has a cost model.

    Raises
    ------
    TensorError
        If a buffer holds not even the smallest tile.
    """
    if result.cycles is None:
        return result
    stored = accelerator.stored_bits(layer, operands, result)
    nest = Nest.of(layer)
    part = accelerator.dram_part
    widths = _widths(layer, stored, BURST_BITS if part is None else 8 * part.burst_bytes)
    buffers = Buffers(
        accelerator.weight_buffer_bytes, accelerator.activation_buffer_bytes, accelerator.output_buffer_bytes
    )
    tiling = best_tiling(nest, widths, buffers)
    traffic = tiling.traffic(widths)
    found: dict[str, Any] = {
        "on_chip_cycles": result.cycles,
        "dram_weight_bytes": ceil(Fraction(traffic.weights) / 8),
        "dram_activation_bytes": ceil(Fraction(traffic.activations) / 8),
        "dram_output_bytes": ceil(Fraction(traffic.outputs) / 8),
        "dram_partial_sum_bytes": ceil(Fraction(traffic.partial_sums) / 8),
        "tiling": str(tiling),
    }
    found |= {f"on_chip_{name}": getattr(result, name) for name in UNPRUNED}
    plain_tiling, plain_widths = tiling, widths
    if stored.plain_weights is not None:
        plain_widths = replace(widths, weights=stored.plain_weights)
        plain_tiling = best_tiling(nest, plain_widths, buffers)
        found["dram_weight_bytes_plain"] = ceil(Fraction(plain_tiling.traffic(plain_widths).weights) / 8)
    busy = None
    if part is not None:
        channels = Channels(part, accelerator.dram_channels)
        busy = schedule(tiling, widths, channels, accelerator.clock_hz)
        plain = schedule(plain_tiling, plain_widths, channels, accelerator.clock_hz)
        found |= _waiting(result, busy, plain)
    total = replace(result, **found)
    return replace(total, energy_parts_j=_energy_parts_j(accelerator, total, tiling, widths, traffic, busy))


def _widths(layer: Layer, stored: StoredBits, burst: int) -> OperandWidths:
    inputs = layer.input_count
    if isinstance(layer, MatMul):
        inputs -= layer.batch * layer.inner * layer.columns
    return OperandWidths(
        weights=stored.weights,
        held_weights=stored.weights if stored.plain_weights is None else stored.plain_weights,
        activation=Fraction(stored.activations, inputs),
        output=Fraction(stored.outputs, layer.output_count),
        burst=burst,
    )


def _waiting(result: LayerResult, busy: TransferSchedule, plain: TransferSchedule) -> dict[str, Any]:
    """Fields that the DRAM's time changes; `plain`: of the unpruned machine."""
    assert result.cycles is not None
    waits = busy.waits(result.cycles)
    fields: dict[str, Any] = {
        name: (getattr(result, name) or 0) + cycles for name, cycles in zip(WAITS, waits, strict=True)
    }
    for name in UNPRUNED:
        cycles = getattr(result, name)
        if cycles is not None:
            fields[name] = cycles + sum(plain.waits(cycles))
    every = result.cycles + sum(waits)
    if result.utilisation is not None and every:
        fields["utilisation"] = result.utilisation * result.cycles / every
    return fields | {"dram_seconds": busy.seconds}


def _energy_parts_j(
    accelerator: Accelerator,
    result: LayerResult,
    tiling: Tiling,
    widths: OperandWidths,
    traffic: Traffic,
    busy: TransferSchedule | None,
) -> dict[str, float] | None:
    """Energy by part with the buffers' outer ports, every cycle's standing power, and the DRAM."""
    if result.energy_parts_j is None or result.seconds is None:
        return None
    parts = dict(result.energy_parts_j)
    parts |= {part: watts * result.seconds for part, watts in (result.standing_w or {}).items()}
    held = tiling.traffic(replace(widths, weights=widths.held_weights))
    spilled = Fraction(traffic.partial_sums) / 2
    moved = {
        "weight_buffer": (0, held.weights),
        "activation_buffer": (0, traffic.activations),
        "output_buffer": (traffic.outputs + spilled, spilled),
    }
    for part, sram in buffer_srams(accelerator, costs(accelerator.cost_basis)).items():
        read, written = moved[part]
        parts[part] = parts.get(part, 0.0) + port_j(sram, ceil(read), ceil(written))
    if busy is not None:
        assert accelerator.dram_part is not None
        idle_w = Channels(accelerator.dram_part, accelerator.dram_channels).idle_power_w
        parts["dram"] = busy.joules + idle_w * max(0.0, result.seconds - busy.seconds)
    return parts
