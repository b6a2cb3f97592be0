"""SCNN: Cartesian products of the weights and the activations that are not zero.

A. Parashar, M. Rhu, A. Mukkara, A. Puglielli, R. Venkatesan, B. Khailany, J. Emer, S. W. Keckler, W. J.
Dally, "SCNN: An Accelerator for Compressed-sparse Convolutional Neural Networks", ISCA 2017. From its
sections on the dataflow and the architecture: planar tiles, one a PE, input-stationary products, 8 x 8 PEs of
4 x 4 multipliers, 32 accumulator banks of 6 K entries in all, halos that neighbours exchange, operands stored
without their zeros, each with a 4-bit count of those before it. From the public simulator DNNsim
(isakedo/DNNsim 4748a60), with which this model agrees number by number on convolutions: the order of the
walk, the bank hash, and the halo's cycles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from itertools import chain
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.engines.planes import Arranged, arrange, conv_outputs, input_planes, output_tile
from hwmodel.accelerators.families.compressed import run_length_entries
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import accumulator, crossbar, memory
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits, whole_words
from hwmodel.networks.layers import Conv, Layer, Linear
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

WORD_BITS, SUM_BITS, RUN_BITS = 16, 24, 4
"""Bits of an operand, of a partial sum, and of the zeros in front of a value that is not zero."""

WEIGHT_FIFO_ENTRIES = 50
"""Blocks of weights that a PE's FIFO holds."""


@dataclass(frozen=True)
class _Walk:
    """What a layer makes the PEs do.

    Parameters
    ----------
    cycles, halo : int
        Cycles that multiply, and that exchange halos.
    useful, products : int
        Products that met an output, and all that were multiplied.
    weights, activations : int
        Values that are not zero, each as often as it is read from its buffer.
    """

    cycles: int = 0
    halo: int = 0
    useful: int = 0
    products: int = 0
    weights: int = 0
    activations: int = 0

    def __add__(self, other: _Walk) -> _Walk:
        return _Walk(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, kw_only=True)
class SCNN(Accelerator):
    """PEs that multiply whatever is not zero.

    Parameters
    ----------
    pe_rows, pe_columns : int
        PEs along the first and the second spatial axis.
    units : int
        Copies of the whole machine, which share the filters. The paper has one, of 1024 multipliers; 4 have
        the peak of the other machines.
    weight_width, activation_width : int
        Operands that a PE multiplies a cycle, each with each (F and I of the paper).
    accumulator_entries : int
        Partial sums that a PE holds.
    banks : int
        Accumulator banks, at most 32; products of one cycle that fall into the same bank take turns.
    phase_shift : bool
        What a strided convolution with padding pairs. True, as DNNsim: kernel positions are shifted by the
        padding before their phase is compared with that of padded input coordinates. For odd padding those
        are not the pairs that make the outputs, and PEs at the edge get more bank conflicts (a third more
        cycles for 128 channels of 28 x 28, stride 2). False: the pairs that make the outputs.
    """

    pe_rows: int = 8
    pe_columns: int = 8
    weight_width: int = 4
    activation_width: int = 4
    accumulator_entries: int = 6144
    banks: int = 32
    phase_shift: bool = True
    units: int = 1

    name: ClassVar[str] = "scnn"
    title: ClassVar[str] = "SCNN, ISCA 2017: zero weights and zero activations"
    source: ClassVar[str] = (
        "Parashar et al., SCNN: An Accelerator for Compressed-sparse Convolutional Neural Networks, ISCA 2017"
    )
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType({"units": 4, "phase_shift": False})
    assumptions: ClassVar[tuple[str, ...]] = (
        "PEs wait for each other after every input channel and group of output channels; a PE without work"
        " takes no cycle, a pair of operand blocks at least one.",
        "As many output channels at once as the accumulators hold of a PE's output tile; one at a time in"
        " depthwise layers. Groups of channels run one after another.",
        "Halos: after every group of output channels, as many cycles as the largest halo has partial sums.",
        "Strided convolutions run phase by phase; phases are paired as in the public simulator"
        " (phase_shift).",
        "A fully connected layer is a 16 x 16 kernel over a 16 x 16 plane of its inputs, whose partial"
        " sums meet in one output: one halo entry a filter (the simulator counts 225). Linear layers at"
        " several positions are 1 x 1 convolutions over a plane of positions as wide as there are columns"
        " of PEs.",
        "Compressed storage is free: no cycles for indices. Peak: 1024 multiplications a cycle, as in the"
        " paper; four copies (units=4) have the peak of the other machines.",
        "Guessed: copies of the machine take equal shares of the filters, see all activations, and wait for"
        " each other at the end of the layer. One array of 16 x 16 PEs would have less than an activation a"
        " PE in planes of 14 x 14.",
        "Energy: every product is multiplied and gets coordinates; useful ones pass the crossbar, are added"
        " in an accumulator bank. Operands are 16 bits wide, sums 24, and every value that is not zero has 4"
        " bits of index; outputs leave dense, because their values are not computed.",
        "DRAM holds weights and activations compressed: a 16-bit word and 4 bits of zeros before it for each"
        " value that is not zero; more than 15 zeros take words of value zero. Runs begin anew with each"
        " input channel and group of filters (weights) or tile of a PE (activations); counts of a block's"
        " entries are left out.",
        "Guessed: results take as many bits a value in DRAM as the layer's activations do, since their values"
        " are not computed.",
        "Guessed: a crossbar of multiplexers; a weight block is read from a PE's FIFO for every activation"
        " block, all taken for full; each FIFO takes in all weights; halos move as many sums as their cycles,"
        " in every PE. The activation RAMs of the PEs are the common activation and output buffers.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(
            1,
            "pe_rows",
            "pe_columns",
            "weight_width",
            "activation_width",
            "accumulator_entries",
            "banks",
            "units",
        )
        if self.banks > 32 or self.weight_width * self.activation_width > 255:
            raise self.refusal(
                f"banks must be at most 32 and weight_width x activation_width"
                f" at most 255, got {self.banks} and {self.weight_width} x {self.activation_width}"
            )

    @property
    def reads(self) -> Reads:
        """Operands whose values its cycles depend on."""
        return Reads(activations=True)

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiplications a cycle."""
        return self.pes * self.weight_width * self.activation_width

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse what has no plane, or an output tile that no accumulator holds."""
        if not isinstance(layer, (Conv, Linear)):
            return "runs convolutions and fully connected layers only"
        if isinstance(layer, Conv):
            if len(layer.weight_shape) > 4:
                return "planar tiles: no convolution in three dimensions"
            tile = output_tile(conv_outputs(layer), (self.pe_rows, self.pe_columns))
            if tile > self.accumulator_entries:
                return f"an output tile has {tile} sums, the accumulators hold {self.accumulator_entries}"
        return None

    @property
    def pes(self) -> int:
        """PEs of all copies."""
        return self.units * self.pe_rows * self.pe_columns

    def parts(self, costs: Costs) -> dict[str, Part]:
        """PEs of multipliers, coordinate computation, crossbar, accumulator banks and weight FIFO."""
        multipliers = self.weight_width * self.activation_width
        operands = self.pes * (self.weight_width + self.activation_width)
        address = (self.accumulator_entries - 1).bit_length()
        bank_bytes = -(-self.accumulator_entries // self.banks) * SUM_BITS // 8
        block = self.weight_width * (WORD_BITS + RUN_BITS)
        # Two spatial coordinates, compared with the output's size, and the address of the sum.
        coordinates = 2 * (costs.adder(8) + costs.comparator(8)) + costs.adder(address)
        return {
            "multipliers": Part(costs.multiplier(WORD_BITS), self.pes * multipliers),
            "coordinates": Part(coordinates, self.pes * multipliers),
            "index_decoders": Part(accumulator(costs, address), operands),
            "operand_registers": Part(costs.register(WORD_BITS + RUN_BITS), operands),
            "weight_fifos": Part(memory(costs, WEIGHT_FIFO_ENTRIES * block // 8, block), self.pes),
            "crossbars": Part(crossbar(costs, multipliers, self.banks, SUM_BITS + address), self.pes),
            "accumulator_banks": Part(memory(costs, bank_bytes, SUM_BITS), self.pes * self.banks),
            "accumulator_adders": Part(costs.adder(SUM_BITS), self.pes * self.banks),
        }

    def _work(self, layer: Layer, walk: _Walk, operands: Operands) -> Work:
        """Turn what the PEs do into uses of their parts and bits that move through the buffers."""
        weight_blocks = walk.products / (self.weight_width * self.activation_width)
        taken_in = walk.weights * self.pe_rows * self.pe_columns / self.weight_width
        halo_sums = walk.halo * self.pes
        operand_uses = weight_blocks * self.weight_width + walk.activations
        weight_bits, activation_bits = operands.weight_precision, operands.activation_precision
        share = min(1.0, weight_bits / WORD_BITS) * min(1.0, activation_bits / WORD_BITS)
        return Work(
            uses={
                "multipliers": walk.products * share,
                "coordinates": walk.products,
                "index_decoders": operand_uses,
                "operand_registers": operand_uses,
                "weight_fifos": weight_blocks + taken_in,
                "crossbars": walk.useful,
                # A sum is read and written; a halo's, and an output's, once more.
                "accumulator_banks": 2 * walk.useful + 2 * halo_sums + layer.output_count,
                "accumulator_adders": walk.useful + halo_sums,
            },
            read_bits={
                "weight_buffer": walk.weights * (weight_bits + RUN_BITS),
                "activation_buffer": walk.activations * (activation_bits + RUN_BITS),
                "output_buffer": 0,
            },
            written_bits={
                "weight_buffer": 0,
                "activation_buffer": 0,
                "output_buffer": layer.output_count * activation_bits,
            },
        )

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        a, w = operands.integer_activations != 0, operands.integer_weights != 0
        walk = self._walk(self._arranged(layer, a, w))
        everything = walk.cycles + walk.halo
        return self.on_chip(
            compute_cycles=everything,
            fill_cycles=0,
            utilisation=walk.useful / (everything * self.peak_macs_per_cycle) if everything else 0.0,
            notes=(f"{walk.halo} cycles exchange halos",) if walk.halo else (),
            work=self._work(layer, walk, operands),
        )

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits in DRAM: values that are not zero, each with the zeros before it."""
        a, w = operands.integer_activations != 0, operands.integer_weights != 0
        arranged = self._arranged(layer, a, w)
        # A convolution's padding is not stored.
        planes = input_planes(layer, a) if isinstance(layer, Conv) else arranged.activations
        word = whole_words(operands.activation_precision, WORD_BITS) + RUN_BITS
        activations = self._activation_entries(planes) * word
        word = whole_words(operands.weight_precision, WORD_BITS) + RUN_BITS
        weights = self._weight_entries(arranged) * word
        return StoredBits(weights, activations, -(-activations * layer.output_count // layer.input_count))

    def _weight_entries(self, arranged: Arranged) -> int:
        """Entries of the weights; a block has those of an input channel and the filters at work together."""
        w, entries, at_once = arranged.weights, 0, self._filters_at_once(arranged)
        for _, filters in chain.from_iterable(self._shares(len(w), arranged.groups)):
            for first in range(filters.start, filters.stop, at_once):
                block = w[first : min(first + at_once, filters.stop)].swapaxes(0, 1)
                entries += run_length_entries(block.reshape(len(block), -1), RUN_BITS)
        return entries

    def _activation_entries(self, planes: npt.NDArray[np.bool_]) -> int:
        """Entries of the activations, shape (inputs, channels, x, y); a block has a channel's of one PE."""
        sides = [
            -(-size // pes)
            for size, pes in zip(planes.shape[2:], (self.pe_rows, self.pe_columns), strict=True)
        ]
        # Tiles of full size, and those that are cut off at the end of either axis.
        entries = 0
        for rows in np.split(planes, [planes.shape[2] // sides[0] * sides[0]], axis=2):
            for part in np.split(rows, [planes.shape[3] // sides[1] * sides[1]], axis=3):
                x, y = (min(side, size) for side, size in zip(sides, part.shape[2:], strict=True))
                if part.size:
                    tiles = part.reshape(-1, part.shape[2] // x, x, part.shape[3] // y, y)
                    entries += run_length_entries(tiles.swapaxes(2, 3).reshape(-1, x * y), RUN_BITS)
        return entries

    def _arranged(self, layer: Layer, a: npt.NDArray[Any], w: npt.NDArray[Any]) -> Arranged:
        """See a layer as planes that the PEs share."""
        pes = (self.pe_rows, self.pe_columns)
        return arrange(layer, a, w, pes=pes, phase_shift=self.phase_shift)

    def _filters_at_once(self, arranged: Arranged) -> int:
        """Count the filters whose output tiles the accumulators hold together."""
        if arranged.groups > 1 and arranged.weights.shape[1] == 1:
            return 1
        return max(1, self.accumulator_entries // arranged.plane.output_tile)

    def _walk(self, arranged: Arranged) -> _Walk:
        """Walk through all inputs and groups."""
        from hwmodel.accelerators.engines.cartesian import Multipliers, plane_cycles

        plane, w = arranged.plane, arranged.weights
        multipliers = Multipliers(self.activation_width, self.weight_width, self.banks)
        at_once = self._filters_at_once(arranged)
        channels = w.shape[1]
        walks = []
        for share in self._shares(len(w), arranged.groups):
            walk = _Walk()
            for g, filters in share:
                weights = w[filters.start : filters.stop]
                turns = -(-len(filters) // at_once)
                for x in arranged.activations:
                    activations = x[g * channels : (g + 1) * channels]
                    cycles, useful = plane_cycles(
                        plane, activations, weights, filters.start, at_once, multipliers
                    )
                    walk += _Walk(
                        cycles=cycles,
                        halo=arranged.halo * len(filters),
                        useful=useful,
                        products=plane.products(activations, weights),
                        weights=int(np.count_nonzero(weights)),
                        activations=int(np.count_nonzero(activations)) * turns,
                    )
            walks.append(walk)
        slowest = max(walks, key=lambda walk: walk.cycles + walk.halo)
        return replace(sum(walks, _Walk()), cycles=slowest.cycles, halo=slowest.halo)

    def _shares(self, filters: int, groups: int) -> Iterator[list[tuple[int, range]]]:
        """Share filters out to the copies of the machine: groups, and which of their filters."""
        size = filters // groups
        for unit in range(self.units):
            first, last = (filters * u // self.units for u in (unit, unit + 1))
            parts = ((g, range(max(first, g * size), min(last, (g + 1) * size))) for g in range(groups))
            yield [(g, part) for g, part in parts if part]
