"""What BitX is built of, and what each part spends: components x events.

The inventory is ours (the published text has none): a part's structure follows from G, W, A, L, P, C and
D. A lane of 16 gates, adder tree, shifter and accumulator comes to 3,076 NAND2 equivalents with 8-bit
weights and 16-bit activations; synthesis with five open cell libraries gives 3,100 to 3,540.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwmodel.accelerators.on_chip import ChipEnergy
from hwmodel.costs.area_energy import port_j
from hwmodel.costs.components import SUM_GUARD_BITS, adder_tree
from hwmodel.costs.figures import Cost, Costs, Figure, Sram


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
        gates = c.gates("and", bits) + c.gates("xor", bits)
        cost = adder_tree(c, self.group, self.parallel_bits, onto=gates)
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
    compute_units, processing_elements, lanes : int
        C, P and L.
    fifo_depth : int or None
        D.
    clock_hz : float
    """

    costs: Costs
    buffers: Mapping[str, Sram]
    path: Datapath
    compute_units: int
    processing_elements: int
    lanes: int
    fifo_depth: int | None
    clock_hz: float

    def inventory(self) -> dict[str, Cost]:
        """Areas and registers of the parts."""
        c, path = self.costs, self.path
        units, pes = self.compute_units, self.compute_units * self.processing_elements
        fifo_groups = 0 if self.fifo_depth is None else (self.fifo_depth + 1) * self.processing_elements
        parts = {
            "e_align": units * path.align(c, path.window)
            + self.processing_elements * path.align(c, path.parallel_bits),
            "extractor": units * (path.count(c) + self.lanes * path.emit(c)),
            "activation_fifo": c.register(fifo_groups * path.group * (path.parallel_bits + 1)),
            "lanes": pes * self.lanes * path.lane(c),
            "accumulators": pes
            * (self.lanes * path.accumulate(c) + 2 * path.accumulator(c) + path.end_group(c)),
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
        return ChipEnergy(parts, self.standing_w(path))

    def standing_w(self, path: Datapath) -> dict[str, float]:
        """Power that every cycle of a layer takes, in watts: leakage of what is not gated, and the clock."""
        c, inventory = self.costs, self.inventory()
        gated = () if path.is_float else ("e_align",)
        powered = sum(cost.area_mm2 for part, cost in inventory.items() if part not in gated)
        registers = sum(cost.register_bits for cost in inventory.values())
        return {
            "leakage": powered * c.leakage_w_per_mm2,
            "clock": registers * c.clock_j_per_bit * self.clock_hz,
        }

    def figures(self) -> tuple[Figure, ...]:
        """Every figure that enters, with its source."""
        srams = [
            sram.figure(part, operation)
            for part, sram in self.buffers.items()
            for operation in ("read", "write")
        ]
        return (*self.costs.figures(), *srams)
