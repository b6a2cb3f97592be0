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
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.families.compressed import run_length_entries
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import crossbar, memory
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits, whole_words
from hwmodel.networks.layers import Conv, Layer, Linear
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

if TYPE_CHECKING:
    from hwmodel.accelerators.engines.cartesian import Plane

FC_PLANE = 16
"""Side of the plane that a fully connected layer's inputs are arranged in."""

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


_Arranged: TypeAlias = "tuple[Plane, npt.NDArray[Any], npt.NDArray[Any], int, int]"
"""Plane, activations (inputs, channels, x, y) with padding, weights, groups, a channel's halo."""


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
            tile = self._output_tile(self._conv_outputs(layer))
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
        address = (self.accumulator_entries - 1).bit_length()
        bank_bytes = -(-self.accumulator_entries // self.banks) * SUM_BITS // 8
        block = self.weight_width * (WORD_BITS + RUN_BITS)
        # Two spatial coordinates, compared with the output's size, and the address of the sum.
        coordinates = 2 * (costs.adder(8) + costs.comparator(8)) + costs.adder(address)
        return {
            "multipliers": Part(costs.multiplier(WORD_BITS), self.pes * multipliers),
            "coordinates": Part(coordinates, self.pes * multipliers),
            "index_decoders": Part(
                costs.adder(address) + costs.register(address),
                self.pes * (self.weight_width + self.activation_width),
            ),
            "operand_registers": Part(
                costs.register(WORD_BITS + RUN_BITS), self.pes * (self.weight_width + self.activation_width)
            ),
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
        walk = self._planes(*self._arranged(layer, a, w))
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
        plane, planes, w, groups, _ = self._arranged(layer, a, w)
        if isinstance(layer, Conv):
            planes = a.reshape(layer.batch, layer.in_channels, *_pair(layer.in_size, 1))
        word = whole_words(operands.activation_precision, WORD_BITS) + RUN_BITS
        activations = self._activation_entries(planes) * word
        word = whole_words(operands.weight_precision, WORD_BITS) + RUN_BITS
        weights = self._weight_entries(plane, w, groups) * word
        return StoredBits(weights, activations, -(-activations * layer.output_count // layer.input_count))

    def _weight_entries(self, plane: Plane, w: npt.NDArray[np.bool_], groups: int) -> int:
        """Entries of the weights; a block has those of an input channel and the filters at work together."""
        entries, at_once = 0, self._filters_at_once(plane, w, groups)
        for _, filters in chain.from_iterable(self._shares(len(w), groups)):
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

    def _output_tile(self, outputs: tuple[int, int]) -> int:
        return -(-outputs[0] // self.pe_rows) * -(-outputs[1] // self.pe_columns)

    @staticmethod
    def _conv_outputs(layer: Conv) -> tuple[int, int]:
        x, y = (*layer.out_size, 1)[:2]
        return x, y

    def _arranged(self, layer: Layer, a: npt.NDArray[Any], w: npt.NDArray[Any]) -> _Arranged:
        """See a layer as planes that the PEs share."""
        if isinstance(layer, Conv):
            return self._conv(layer, a, w)
        assert isinstance(layer, Linear)
        return self._linear(layer, a, w)

    def _conv(self, layer: Conv, a: npt.NDArray[Any], w: npt.NDArray[Any]) -> _Arranged:
        from hwmodel.accelerators.engines.cartesian import Plane

        padding = _pair(layer.padding, (0, 0))
        a = a.reshape(layer.batch, layer.in_channels, *_pair(layer.in_size, 1))
        a = np.pad(a, ((0, 0), (0, 0), *padding))
        kernel = _pair(layer.weight_shape[2:], 1)
        w = w.reshape(*layer.weight_shape[:2], *kernel)
        plane = Plane(
            outputs=self._conv_outputs(layer),
            stride=_pair(layer.stride, 1),
            kernel=kernel,
            dilation=_pair(layer.dilation, 1),
            padding=(padding[0][0], padding[1][0]),
            pes=(self.pe_rows, self.pe_columns),
            phase_shift=self.phase_shift,
        )
        return plane, a, w, layer.groups, self._halo(plane, a.shape[2:])

    def _linear(self, layer: Linear, a: npt.NDArray[Any], w: npt.NDArray[Any]) -> _Arranged:
        from hwmodel.accelerators.engines.cartesian import Plane

        a = a.reshape(layer.steps, -1, layer.in_features)
        w = w.reshape(layer.out_features, layer.in_features)
        at_once = layer.positions // layer.steps
        pes = (self.pe_rows, self.pe_columns)
        if at_once > 1:
            rows = -(-at_once // self.pe_columns)
            a = np.pad(a, ((0, 0), (0, rows * self.pe_columns - at_once), (0, 0)))
            a = a.transpose(0, 2, 1).reshape(layer.steps, layer.in_features, rows, self.pe_columns)
            one = (1, 1)
            plane = Plane((rows, self.pe_columns), one, one, one, (0, 0), pes, self.phase_shift)
            return plane, a, w[:, :, None, None], 1, 0
        square = FC_PLANE * FC_PLANE
        missing = -layer.in_features % square
        a = np.pad(a, ((0, 0), (0, 0), (0, missing))).reshape(len(a), -1, FC_PLANE, FC_PLANE)
        w = np.pad(w, ((0, 0), (0, missing))).reshape(len(w), -1, FC_PLANE, FC_PLANE)
        plane = Plane((1, 1), (1, 1), (FC_PLANE, FC_PLANE), (1, 1), (0, 0), pes, self.phase_shift)
        return plane, a, w, 1, 1

    def _filters_at_once(self, plane: Plane, w: npt.NDArray[Any], groups: int) -> int:
        """Count the filters whose output tiles the accumulators hold together."""
        if groups > 1 and w.shape[1] == 1:
            return 1
        return max(1, self.accumulator_entries // self._output_tile(plane.outputs))

    def _planes(self, plane: Any, a: npt.NDArray[Any], w: npt.NDArray[Any], groups: int, halo: int) -> _Walk:
        """Walk through all inputs and groups."""
        from hwmodel.accelerators.engines.cartesian import Multipliers, plane_cycles

        multipliers = Multipliers(self.activation_width, self.weight_width, self.banks)
        at_once = self._filters_at_once(plane, w, groups)
        channels = w.shape[1]
        walks = []
        for share in self._shares(len(w), groups):
            walk = _Walk()
            for g, filters in share:
                weights = w[filters.start : filters.stop]
                for x in a:
                    mine = x[g * channels : (g + 1) * channels], weights
                    cycles, useful = plane_cycles(plane, *mine, filters.start, at_once, multipliers)
                    read = _operands_read(plane, *mine)
                    turns = -(-len(filters) // at_once)
                    halos = halo * len(filters)
                    walk += _Walk(cycles, halos, useful, read[0], read[1], read[2] * turns)
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

    def _halo(self, plane: Any, size: tuple[int, ...]) -> int:
        """Partial sums of the largest halo, for one output channel."""
        sides = []
        for d in (0, 1):
            reach = (plane.kernel[d] - 1) * plane.dilation[d] - plane.padding[d]
            sides.append((max(reach, 0), -(-size[d] // plane.pes[d]), plane.padding[d]))
        around = [x * y for i, x in enumerate(sides[0]) for j, y in enumerate(sides[1]) if (i, j) != (1, 1)]
        return int(max(around))


def _pair(sizes: Any, other: Any) -> Any:
    """Sizes along two axes; `other` along a second one that is missing."""
    return tuple((*sizes, other)[:2])


def _operands_read(
    plane: Plane, activations: npt.NDArray[np.bool_], weights: npt.NDArray[np.bool_]
) -> tuple[int, int, int]:
    """Products of a group's walk, and the weights and activations that are not zero.

    Each weight meets each activation of its channel and phase of the stride, wherever they fall.
    """
    a_phase = [np.arange(n) % s for n, s in zip(activations.shape[1:], plane.stride, strict=True)]
    shift = plane.padding if plane.phase_shift else (0, 0)
    w_phase = [
        (np.arange(k) * d + moved) % s
        for k, d, moved, s in zip(plane.kernel, plane.dilation, shift, plane.stride, strict=True)
    ]
    products = 0
    for px in range(plane.stride[0]):
        for py in range(plane.stride[1]):
            a, w = (
                _in_phase(x, phases[0] == px, phases[1] == py)
                for x, phases in ((activations, a_phase), (weights, w_phase))
            )
            of_activations = a.reshape(len(a), -1).sum(axis=1, dtype=np.int32).astype(np.int64)
            of_weights = w.sum(axis=0, dtype=np.int32).sum(axis=(1, 2), dtype=np.int64)
            products += int(of_activations @ of_weights)
    return products, int(np.count_nonzero(weights)), int(np.count_nonzero(activations))


def _in_phase(
    x: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_], columns: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Entries of the chosen rows and columns of the last two axes."""
    if rows.all() and columns.all():
        return x
    return x[..., rows, :][..., columns]
