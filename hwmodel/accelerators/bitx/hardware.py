"""What BitX is built of, and what each part spends: components x events.

The inventory is ours (the published text has none): a part's structure follows from G, W, A, L, P, C and
D. A lane of 16 gates, adder tree, shifter and accumulator comes to 3,076 NAND2 equivalents with 8-bit
weights and 16-bit activations; synthesis with five open cell libraries gives 3,100 to 3,540.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwmodel.costs.area_energy import port_j
from hwmodel.costs.figures import Cost, Costs, Figure, Sram, costs

if TYPE_CHECKING:
    from hwmodel.accelerators.bitx.machine import BitX

SUM_GUARD_BITS = 16
"""Bits of an accumulator above a product: reductions of up to 65,536 weights can't overflow."""


@dataclass(frozen=True)
class Datapath:
    """Widths of a PE's input.

    Parameters
    ----------
    group : int
        G.
    window : int
        W, rows of a serial group.
    parallel_bits : int
        Width of the operand that is not cut into rows (activations, by default), aligned if a float: A.
    exponent_bits : int
        Of a float; 0 for fixed point.
    """

    group: int
    window: int
    parallel_bits: int
    exponent_bits: int

    @property
    def is_float(self) -> bool:
        """Whether numbers are aligned first and sums converted after."""
        return self.exponent_bits > 0

    @property
    def sum_bits(self) -> int:
        """Bits of the sum of one row."""
        return self.parallel_bits + (self.group - 1).bit_length()

    @property
    def accumulator_bits(self) -> int:
        """Bits of the sum of all rows: of a group in floating point, of a filter in fixed point."""
        guard = (self.group - 1).bit_length() if self.is_float else SUM_GUARD_BITS
        return self.parallel_bits + self.window + guard

    def align(self, c: Costs, window: int) -> Cost:
        """E-align one group: largest exponent, differences, shifts."""
        if not self.is_float:
            return Cost()
        largest = (self.group - 1) * c.comparator(self.exponent_bits)
        return largest + self.group * (c.adder(self.exponent_bits) + c.shifter(window, window))

    def count(self, c: Costs) -> Cost:
        """Take in a group's bit matrix and count the ones of its rows: G - 1 full adders a row."""
        return c.register(self.window * (self.group + 1)) + self.window * c.adder(self.group - 1)

    def emit(self, c: Costs) -> Cost:
        """Find the most significant row that is left, and hand it out.

        Keys hold a count and a place: ``BitCnt * 4**(W - 1 - l)`` needs no more to be compared.
        """
        key = self.group.bit_length() + (self.window - 1).bit_length()
        others = self.window - 1
        return others * c.comparator(key) + c.gates("multiplexer", others * self.group)

    def lane(self, c: Costs) -> Cost:
        """Apply one row: gate, sign and sum G activations, shift the sum to the row's place."""
        bits = self.group * self.parallel_bits
        cost = c.gates("and", bits) + c.gates("xor", bits)
        left, width = self.group, self.parallel_bits
        while left > 1:
            width += 1
            cost += (left // 2) * c.adder(width)
            left -= left // 2
        return cost + c.shifter(self.accumulator_bits, self.window)

    def accumulate(self, c: Costs) -> Cost:
        """Add one shifted sum."""
        return c.adder(self.accumulator_bits)

    def accumulator(self, c: Costs) -> Cost:
        """Write the accumulator."""
        return c.register(self.accumulator_bits)

    def end_group(self, c: Costs) -> Cost:
        """Convert a group's sum to float32 and add it; nothing in fixed point."""
        if not self.is_float:
            return Cost()
        return c.shifter(self.accumulator_bits, self.accumulator_bits) + c.float32_adder() + c.register(32)


@dataclass(frozen=True)
class Events:
    """What happened in a layer.

    Parameters
    ----------
    serial_groups : int
        Groups that units took in: weights, once a position tile (or activations, once a filter tile).
    rows_emitted : int
        Rows that extractors handed out.
    rows_applied : int
        Row applications by PEs that have work.
    pe_cycles : int
        Cycles in which a PE that has work wrote its accumulator.
    group_sums : int
        Groups that PEs that have work summed.
    parallel_groups : int
        Groups that entered the FIFO: activations, once a position and filter tile (or weights).
    weight_bits_read, activation_bits_read, output_bits_written : int
        Moved by the buffers' inner ports.
    cycles : int
    """

    serial_groups: int
    rows_emitted: int
    rows_applied: int
    pe_cycles: int
    group_sums: int
    parallel_groups: int
    weight_bits_read: int
    activation_bits_read: int
    output_bits_written: int
    cycles: int


@dataclass(frozen=True)
class Hardware:
    """A BitX machine in components.

    Parameters
    ----------
    machine : BitX
    """

    machine: BitX

    @property
    def costs(self) -> Costs:
        """Figures of the machine's basis."""
        return costs(self.machine.cost_basis)

    @property
    def buffers(self) -> dict[str, Sram]:
        """SRAMs by part."""
        m = self.machine
        return {
            "weight_buffer": self.costs.sram(m.weight_buffer_bytes),
            "activation_buffer": self.costs.sram(m.activation_buffer_bytes),
            "output_buffer": self.costs.sram(m.output_buffer_bytes),
        }

    def inventory(self) -> dict[str, Cost]:
        """Areas and registers of the parts; the datapath is built for floats, whatever runs on it."""
        m, c = self.machine, self.costs
        path = m.built_datapath
        units, pes = m.compute_units, m.compute_units * m.processing_elements
        fifo_groups = 0 if m.fifo_depth is None else (m.fifo_depth + 1) * m.processing_elements
        parts = {
            "e_align": units * path.align(c, path.window)
            + m.processing_elements * path.align(c, path.parallel_bits),
            "extractor": units * (path.count(c) + m.lanes * path.emit(c)),
            "activation_fifo": c.register(fifo_groups * path.group * (path.parallel_bits + 1)),
            "lanes": pes * m.lanes * path.lane(c),
            "accumulators": pes
            * (m.lanes * path.accumulate(c) + 2 * path.accumulator(c) + path.end_group(c)),
        }
        return parts | {part: Cost(0.0, sram.area_mm2) for part, sram in self.buffers.items()}

    def energy_parts_j(self, path: Datapath, events: Events) -> dict[str, float]:
        """Energy of a layer by part, in joules.

        Parameters
        ----------
        path : Datapath
            The part of the datapath that the layer's numbers use.
        events : Events
        """
        c, e = self.costs, events
        word = c.register(path.group * (path.parallel_bits + 1)).energy_j
        parts = {
            "e_align": e.serial_groups * path.align(c, path.window).energy_j
            + e.parallel_groups * path.align(c, path.parallel_bits).energy_j,
            "extractor": e.serial_groups * path.count(c).energy_j + e.rows_emitted * path.emit(c).energy_j,
            "activation_fifo": (e.parallel_groups + e.group_sums) * word,
            "lanes": e.rows_applied * path.lane(c).energy_j,
            "accumulators": e.rows_applied * path.accumulate(c).energy_j
            + e.pe_cycles * path.accumulator(c).energy_j
            + e.group_sums * path.end_group(c).energy_j,
        }
        moved = {
            "weight_buffer": (e.weight_bits_read, 0),
            "activation_buffer": (e.activation_bits_read, 0),
            "output_buffer": (0, e.output_bits_written),
        }
        for part, (read, written) in moved.items():
            parts[part] = port_j(self.buffers[part], read, written)
        seconds = e.cycles / self.machine.clock_hz
        return parts | {part: watts * seconds for part, watts in self.standing_w(path).items()}

    def standing_w(self, path: Datapath) -> dict[str, float]:
        """Power that every cycle of a layer takes, in watts: leakage of what is not gated, and the clock."""
        c, inventory = self.costs, self.inventory()
        gated = () if path.is_float else ("e_align",)
        powered = sum(cost.area_mm2 for part, cost in inventory.items() if part not in gated)
        registers = sum(cost.register_bits for cost in inventory.values())
        return {
            "leakage": powered * c.leakage_w_per_mm2,
            "clock": registers * c.clock_j_per_bit * self.machine.clock_hz,
        }

    def figures(self) -> tuple[Figure, ...]:
        """Every figure that enters, with its source."""
        srams = [
            sram.figure(part, operation)
            for part, sram in self.buffers.items()
            for operation in ("read", "write")
        ]
        return (*self.costs.figures(), *srams)
