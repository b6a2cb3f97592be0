"""BitVert: at most half of every bit column is added, and some columns are pruned (BBS).

Y. Chen, J. Meng, J. Seo, M. S. Abdelfattah, "BBS: Bi-directional Bit-level Sparsity for Deep Learning
Acceleration", MICRO 2024. From its sections of these names: the BBS theorem (the rarer of a column's ones and
zeros are added, the latter by subtracting from the sum of all activations), rounded averaging, zero-point
shifting and the encoding with 8 bits of metadata, global binary pruning with sensitive channels, the BitVert
PE (16 weights, sub-groups of 8 with four multiplexers), channel reordering, and the array of 16 x 32 PEs.
From the simulator that the authors published: the walk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.families.bit_columns import (
    COLUMN_ASSUMPTIONS,
    GUARD_BITS,
    BitColumns,
    ColumnWeights,
    divisions,
    position_steps,
)
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import adder_tree, tree_bits
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import FIXED_POINT_BITS, Operands

if TYPE_CHECKING:
    from hwmodel.accelerators.engines.column_pruning import Chunks, Stored

METHODS = ("average", "shift")
METADATA_BITS = 8
"""Of a group that is pruned: its redundant columns (2) and its constant (6)."""


@dataclass(frozen=True, kw_only=True)
class BitVert(BitColumns):
    """Array of bi-directional bit-column PEs.

    Parameters
    ----------
    precision, word_bits, arrays
        As in `BitColumns`.
    rows : int
        Filters worked on together; sensitive filters come in multiples of it.
    columns : int
        Output positions worked on together.
    pe_weights : int
        Weights of a PE.
    subgroup : int
        Weights that share an inversion and multiplexers; divides `pe_weights`.
    lanes : int
        Multiplexers of a sub-group: bits added in a cycle. Half a sub-group is always enough.
    both_ways : bool
        Add the rarer of ones and zeros; False adds the ones, as machines before it.
    pruned_columns : int
        Columns that binary pruning leaves out of every group, so far as two are left; 0 keeps all weights as
        they are.
    method : {"average", "shift"}
        Rounded averaging or zero-point shifting.
    group : int
        Weights that are pruned together; a multiple of `pe_weights`.
    constant_bits : int
        Width of the constant that zero-point shifting adds.
    sensitive : float
        Share of a layer's filters that are not pruned, rounded up to whole rows of the array.
    """

    rows: int = 32
    columns: int = 16
    pe_weights: int = 16
    subgroup: int = 8
    lanes: int = 4
    both_ways: bool = True
    pruned_columns: int = 2
    method: str = "average"
    group: int = 32
    constant_bits: int = 6
    sensitive: float = 0.1

    name: ClassVar[str] = "bitvert"
    title: ClassVar[str] = "BBS/BitVert, MICRO 2024: half of every weight bit column, pruned columns"
    source: ClassVar[str] = (
        "Chen et al., BBS: Bi-directional Bit-level Sparsity for Deep Learning Acceleration, MICRO 2024"
    )
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"precision": None, "word_bits": 16, "arrays": 16}
    )
    width_options: ClassVar[frozenset[str]] = BitColumns.width_options | {"constant_bits"}
    lossy_options: ClassVar[frozenset[str]] = frozenset({"pruned_columns"})
    assumptions: ClassVar[tuple[str, ...]] = (
        *COLUMN_ASSUMPTIONS,
        "Weights are two's complement. A stored column takes max(1, ceil(bits / lanes)) cycles, bits those of"
        " its fullest sub-group; with lanes for half a sub-group always one.",
        "Default is the paper's conservative setting (2 columns, rounded averaging, 10% sensitive filters);"
        " its moderate one is pruned_columns=4, method=shift, sensitive=0.2. Both change weights: cycles do"
        " not show what that costs in accuracy. pruned_columns=0 is lossless.",
        "Sensitive filters are those of largest standard deviation, a layer's share each. The paper ranks the"
        " channels of all layers together by their scales, and names the deviation where there are none.",
        "Reordering puts sensitive filters first; restoring the order of outputs is free, as in the paper.",
        "Peak counts the bits that are added (lanes), as the paper does to scale machines alike: nothing"
        " skipped, a column of 16 weights would take two cycles.",
        "At most three redundant columns are told, as in the encoding. The authors' code for zero-point"
        " shifting has no such limit.",
        "Guessed: with more than 8 bits per weight, the encoding stays as it is.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "rows", "columns", "pe_weights", "subgroup", "lanes", "group", "constant_bits")
        self.check_at_least(0, "pruned_columns")
        for whole, part in (("pe_weights", "subgroup"), ("group", "pe_weights")):
            if getattr(self, whole) % getattr(self, part):
                raise self.refusal(
                    f"{part} must divide {whole}, got {getattr(self, part)} and {getattr(self, whole)}"
                )
        if self.lanes > self.subgroup:
            raise self.refusal(f"lanes must be at most subgroup {self.subgroup}, got {self.lanes}")
        self.check_one_of(METHODS, "method")
        if isinstance(self.sensitive, bool) or not 0 <= self.sensitive <= 1:
            raise self.refusal(f"sensitive must be a share from 0 to 1, got {self.sensitive!r}")

    @property
    def slots(self) -> int:
        """Weight bits that are added in a cycle."""
        return self.arrays * self.rows * self.columns * self.pe_weights // self.subgroup * self.lanes

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits, nothing skipped."""
        return self.slots / FIXED_POINT_BITS / self.word_passes

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.column_pruning import slowest_together

        weights = self.column_weights(layer, operands)
        keeps = self._keeps(weights)
        costs, added = self._costs(weights, keeps)
        groups = layer.conv_groups
        order = np.argsort(~keeps.reshape(groups, -1), axis=1, kind="stable")
        costs = np.take_along_axis(costs.reshape(groups, order.shape[1], -1), order[:, :, None], axis=1)
        activation_bits = self.activation_bits(operands)
        passes = -(-activation_bits // self.word_bits)
        options = []
        for f, p in divisions(self.arrays):
            kernel = int(slowest_together(costs, self.rows * f).sum())
            steps = position_steps(layer, self.columns, p) * passes
            options.append((kernel * steps, f, steps))
        cycles, f, steps = min(options)
        tiles = groups * -(-costs.shape[1] // (self.rows * f))
        dropped = self._dropped(weights)
        few = f"{dropped} columns pruned: weights of {weights.width} bits keep two"
        uses = layer.positions * passes
        return self.on_chip(
            compute_cycles=cycles,
            fill_cycles=0,
            utilisation=added * uses / (cycles * self.slots),
            filter_tiles=tiles,
            position_tiles=steps,
            notes=(few,) if dropped < self.pruned_columns else (),
            work=Work(
                uses={
                    "pes": int(costs.sum(dtype=np.int64)) * uses,
                    "schedulers": int(costs.sum(dtype=np.int64)) * steps,
                    "activation_sums": tiles * costs.shape[2] * uses,
                },
                read_bits={
                    "weight_buffer": self._weight_bits(layer, weights, keeps) * steps,
                    "activation_buffer": tiles * layer.reduction * layer.positions * activation_bits,
                },
                written_bits={"output_buffer": layer.output_count * activation_bits},
            ),
        )

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits in DRAM: columns that are left, and the metadata of groups that are pruned."""
        weights = self.column_weights(layer, operands)
        return self.stored_columns(layer, operands, self._weight_bits(layer, weights, self._keeps(weights)))

    def _dropped(self, weights: ColumnWeights) -> int:
        """Columns that are pruned; narrow weights keep two."""
        return min(self.pruned_columns, max(0, weights.width - 2))

    def _keeps(self, weights: ColumnWeights) -> npt.NDArray[np.bool_]:
        """Tell which filters are left as they are: those of largest variance, of equal ones the first."""
        filters = len(weights.values)
        count = ceil(ceil(self.sensitive * filters) / self.rows) * self.rows
        keeps = np.full(filters, not self._dropped(weights))
        values = weights.values.reshape(filters, -1)
        sums = values.sum(axis=1, dtype=np.int64).tolist()
        squares = np.einsum("fi,fi->f", values, values, dtype=np.int64).tolist()
        # In Python's integers, which do not overflow.
        spread = [a**2 - values.shape[1] * b for a, b in zip(sums, squares, strict=True)]
        keeps[sorted(range(filters), key=lambda f: (spread[f], f))[:count]] = True
        return keeps

    def _weight_bits(self, layer: Layer, weights: ColumnWeights, keeps: npt.NDArray[np.bool_]) -> int:
        """Bits of all weights as they are stored."""
        lines, length = sorted((layer.channels, layer.kernel_positions))
        groups = lines * -(-length // self.group)
        kept = int(np.count_nonzero(keeps))
        pruned = layer.reduction * (weights.width - self._dropped(weights)) + METADATA_BITS * groups
        return kept * layer.reduction * weights.width + (layer.filters - kept) * pruned

    def _costs(
        self, weights: ColumnWeights, keeps: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int32], int]:
        """Cycles of every filter's chunks, shape (filters, chunks), and the bits that are added."""
        from hwmodel.accelerators.engines.column_pruning import Chunks, effectual

        costs, total = [], 0
        for _, given, stored in self._blocks(weights, keeps):
            values = stored.values
            first, last = stored.pruned, weights.width - stored.redundant
            parts = self.group // self.pe_weights
            chunks = Chunks(values, given.members).split(self.pe_weights)
            used = np.clip(given.members[:, None] - self.pe_weights * np.arange(parts), 0, None) > 0
            of_group = np.nonzero(used)[0]
            found, added = effectual(
                np.ascontiguousarray(chunks.values).reshape(-1, self.pe_weights),
                first[:, of_group].reshape(-1),
                last[:, of_group].reshape(-1),
                subgroup=self.subgroup,
                lanes=self.lanes,
                both_ways=self.both_ways,
            )
            costs.append(found.reshape(len(values), -1))
            total += added
        return np.concatenate(costs), total

    def _blocks(
        self, weights: ColumnWeights, keeps: npt.NDArray[np.bool_]
    ) -> Iterator[tuple[slice, Chunks, Stored]]:
        """Yield filters, their groups, and what is stored of these; that of kept filters is all."""
        from hwmodel.accelerators.engines.column_pruning import Chunks, Stored, average, shift

        for filters, given in weights.blocks(self.group):
            nothing = np.zeros((3, *given.values.shape[:2]), np.int32)
            every = Stored(given.values.copy(), *nothing)
            pruned = np.flatnonzero(~keeps[filters])
            if len(pruned):
                part = Chunks(given.values[pruned], given.members)
                if self.method == "average":
                    stored = average(part, weights.width, self._dropped(weights))
                else:
                    stored = shift(part, weights.width, self._dropped(weights), self.constant_bits)
                for field in fields(every):
                    getattr(every, field.name)[pruned] = getattr(stored, field.name)
            yield filters, given, every

    def _changed(self, layer: Layer, operands: Operands) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Yield filters and their weights after binary pruning."""
        from hwmodel.accelerators.engines.column_pruning import restore

        weights = self.column_weights(layer, operands)
        for filters, _, stored in self._blocks(weights, self._keeps(weights)):
            values = stored.values
            if self.method == "shift":
                values = values - stored.constants[:, :, None]
            yield filters, restore(values, layer.channels, layer.kernel_positions)

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """PEs with multiplexers and BBS multiplier, one scheduler per row, activation sums per column."""
        word, subgroups = self.word_bits, self.pe_weights // self.subgroup
        choices = self.subgroup - self.lanes + 1
        total = 2 * word + GUARD_BITS
        selection = costs.gates("multiplexer", (choices - 1) * word) + costs.gates("and", word)
        tree = adder_tree(costs, self.lanes, word)
        level = tree_bits(self.lanes, word)
        one = self.lanes * selection + tree + costs.adder(level + 1) + costs.gates("multiplexer", level + 1)
        pe = (
            subgroups * one
            + adder_tree(costs, subgroups, level + 1)
            + costs.shifter(total, word)
            + costs.multiplier(3, tree_bits(self.pe_weights, word))
            + 2 * costs.adder(total)
            + costs.register(total)
        )
        # Popcount, inversion and priority encoders of a column, once for a row of PEs.
        scheduler = (
            costs.register(self.pe_weights)
            + costs.adder(self.pe_weights - 1)
            + costs.gates("xor", self.pe_weights)
            + costs.gates("and", subgroups * self.lanes * choices * 2)
        )
        sums = adder_tree(costs, self.pe_weights, word) + costs.register(tree_bits(self.pe_weights, word))
        return {
            "pes": Part(pe, self.arrays * self.rows * self.columns),
            "schedulers": Part(scheduler, self.arrays * self.rows),
            "activation_sums": Part(sums, self.arrays * self.columns),
        }
