"""What BitX is built of, and what each part spends: components x events.

Parts of a PE have the names of the paper's Table 7 (ICPP 2021), beside which `hwmodel.published` prints them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum

from hwmodel.accelerators.bitx.datapath import Datapath
from hwmodel.accelerators.on_chip import ChipEnergy
from hwmodel.costs.area_energy import port_j
from hwmodel.costs.figures import Cost, Costs, Figure, Sram

PE_PARTS = ("e_alignment", "bit_extraction", "compute_units", "conversion", "lane_queues")
"""Parts of a PE; all others are there once a machine."""

FLOATS_ONLY = ("e_alignment", "conversion", "activation_alignment")
"""Parts that fixed point does not use."""


@dataclass(frozen=True)
class Events:
    """What happened in a layer.

    Parameters
    ----------
    serial_groups : int
        Groups that PEs took in: weights, once per position tile (or activations, once per filter tile).
    handed_out : int
        Ones that selectors handed to the CUs of their PE, or rows.
    applied : int
        Ones that lanes shifted an activation by, or rows that lanes applied.
    cu_cycles : int
        Cycles in which a CU that has work wrote its register.
    outputs : int
        Sums of filters.
    parallel_groups : int
        Groups that entered the FIFO: activations, once a position and filter tile (or weights).
    taken_groups : int
        Groups that CUs took from it.
    weight_bits_read, activation_bits_read, output_bits_written : int
        Moved by the buffers' inner ports.
    """

    serial_groups: int
    handed_out: int
    applied: int
    cu_cycles: int
    outputs: int
    parallel_groups: int
    taken_groups: int
    weight_bits_read: int
    activation_bits_read: int
    output_bits_written: int


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A BitX machine in components.

    Parameters
    ----------
    costs : Costs
        Figures of its basis.
    buffers : mapping of str to Sram
        SRAMs by part.
    path : Datapath
        As it is built: for floats, whatever runs on it.
    processing_elements, compute_units : int
        C and P.
    lanes : int
        Of a CU, and selectors of a group that is extracted: M, or the rows that a CU takes per cycle.
    extractors : int
        E-alignments and extractions of a PE: one, or one per CU.
    fifo_depth, lane_fifo_depth : int or None
        D and d; a FIFO without bound has no area.
    clock_hz : float
    """

    costs: Costs
    buffers: Mapping[str, Sram]
    path: Datapath
    processing_elements: int
    compute_units: int
    lanes: int
    extractors: int
    fifo_depth: int | None
    lane_fifo_depth: int | None
    clock_hz: float

    def inventory(self) -> dict[str, Cost]:
        """Areas and registers of the parts."""
        c, path = self.costs, self.path
        pes, cus = self.processing_elements, self.processing_elements * self.compute_units
        cu = self.lanes * path.lane(c) + path.combine(c)
        waiting = c.register(path.group * (path.window + 1))  # weights before the selectors
        queued = cus * self._word(path) + pes * self.extractors * waiting
        held = 0 if self.fifo_depth is None else self.fifo_depth + 1
        parts = {
            "e_alignment": pes * self.extractors * path.align(c, path.window),
            "bit_extraction": pes * self.extractors * (path.extract(c) + self.lanes * path.hand_out(c)),
            "compute_units": cus * cu,
            "conversion": pes * path.convert(c),
            "lane_queues": (self.lane_fifo_depth or 0) * queued,
            "activation_alignment": self.compute_units * path.align(c, path.parallel_bits),
            "activation_fifo": held * self.compute_units * self._word(path),
        }
        return parts | {part: Cost(0.0, sram.area_mm2) for part, sram in self.buffers.items()}

    def energy(self, path: Datapath, events: Events) -> ChipEnergy:
        """Energy of a layer by part.

        Parameters
        ----------
        path : Datapath
            The part of the datapath that the layer's numbers use.
        events : Events
        """
        c, e = self.costs, events
        word = self._word(path).energy_j
        parts = {
            "e_alignment": e.serial_groups * path.align(c, path.window).energy_j,
            "bit_extraction": e.serial_groups * path.extract(c).energy_j
            + e.handed_out * path.hand_out(c).energy_j,
            "compute_units": e.applied * path.lane(c).energy_j + e.cu_cycles * path.combine(c).energy_j,
            "conversion": e.outputs * path.convert(c).energy_j,
            "lane_queues": e.taken_groups * word if self.lane_fifo_depth != 0 else 0.0,
            "activation_alignment": e.parallel_groups * path.align(c, path.parallel_bits).energy_j,
            "activation_fifo": (e.parallel_groups + e.taken_groups) * word,
        }
        moved = {
            "weight_buffer": (e.weight_bits_read, 0),
            "activation_buffer": (e.activation_bits_read, 0),
            "output_buffer": (0, e.output_bits_written),
        }
        for part, (read, written) in moved.items():
            parts[part] = port_j(self.buffers[part], read, written)
        return ChipEnergy(parts, self.standing_w(path))

    def standing_w(self, path: Datapath) -> dict[str, float]:
        """Power that every cycle of a layer takes, in watts: leakage of what is not gated, and the clock."""
        found = self.part_standing_w(path).values()
        return {"leakage": fsum(leak for leak, _ in found), "clock": fsum(clock for _, clock in found)}

    def part_standing_w(self, path: Datapath) -> dict[str, tuple[float, float]]:
        """Leakage and clock of each part, in watts.

        Parameters
        ----------
        path : Datapath
            The part of the datapath that is in use: in fixed point, what only floats use is power-gated, as
            E-alignment is in the paper's Table 7.
        """
        gated = () if path.is_float else FLOATS_ONLY
        return {
            part: (
                0.0 if part in gated else cost.area_mm2 * self.costs.leakage_w_per_mm2,
                cost.register_bits * self.costs.clock_j_per_bit * self.clock_hz,
            )
            for part, cost in self.inventory().items()
        }

    def _word(self, path: Datapath) -> Cost:
        """One group of activations and their signs, in registers."""
        return self.costs.register(path.group * (path.parallel_bits + 1))

    def figures(self) -> tuple[Figure, ...]:
        """Every figure that enters, with its source."""
        srams = [
            sram.figure(part, operation)
            for part, sram in self.buffers.items()
            for operation in ("read", "write")
        ]
        return (*self.costs.figures(), *srams)
