"""BitWave: bit columns without a one are skipped.

M. Shi, V. Jain, A. Joseph, M. Meijer, M. Verhelst, "BitWave: Exploiting Column-Based Bit-Level Sparsity for
Deep Learning Acceleration", HPCA 2024. From its abstract and summaries: sign-magnitude weights, bit columns
of a group that hold no one are skipped and not stored, a dataflow that is chosen layer by layer, and
Bit-Flip, which makes columns empty after training. From the code that the authors of BBS (Chen et al.,
MICRO 2024) published to compare with it: the unrollings, the sign column that costs no cycle, the lock step
of the filters that are worked on together, and Bit-Flip step by step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from types import MappingProxyType
from typing import Any, ClassVar

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
from hwmodel.accelerators.memo import once
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import adder_tree
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import FIXED_POINT_BITS, Operands

PUBLISHED_UNROLLINGS = "8x32x16/16x32x8/32x32x4/128x8x1/16x64x1/32x32x1/16x1x16"
PE_WEIGHTS = 8
"""Weights of a bit-column PE."""


@dataclass(frozen=True)
class _Unrolling:
    """Input channels, filters and output positions worked on together."""

    channels: int
    filters: int
    positions: int

    def __str__(self) -> str:
        return f"{self.channels} channels x {self.filters} filters x {self.positions} positions"


@dataclass(frozen=True)
class _Columns:
    """Columns of a layer's weights in chunks.

    Parameters
    ----------
    counts : array of uint8, shape (groups, filters, chunks)
        Columns that a chunk takes.
    applied : int
        Columns times weights, over all of the layer.
    stored_bits : int
        Columns, signs and the masks that tell which columns there are.
    handed_out : int
        Columns of groups.
    """

    counts: npt.NDArray[np.uint8]
    applied: int
    stored_bits: int
    handed_out: int


@dataclass(frozen=True)
class _Mapping:
    """What a layer takes on its best unrolling.

    Parameters
    ----------
    cycles : int
    unrolling : _Unrolling
    filters : int
        Worked on together by all arrays.
    position_steps : int
    columns : _Columns
    """

    cycles: int
    unrolling: _Unrolling
    filters: int
    position_steps: int
    columns: _Columns


@dataclass(frozen=True, kw_only=True)
class BitWave(BitColumns):
    """Array of bit-column PEs with a choice of dataflows.

    Parameters
    ----------
    precision, word_bits, arrays
        As in `BitColumns`.
    unrollings : str
        Dataflows to choose from, ``channels x filters x positions`` each, separated by slashes. Every layer
        runs on the one of fewest cycles, of equals the first.
    group : int
        Most weights that share bit columns; a chunk of more channels has several groups in lock step.
    skip_columns : bool
        Skip columns without a one; False takes all of them.
    zero_columns : int
        Columns that Bit-Flip makes empty in every group, at least. 0 leaves weights as they are.
    """

    unrollings: str = PUBLISHED_UNROLLINGS
    group: int = 32
    skip_columns: bool = True
    zero_columns: int = 0

    name: ClassVar[str] = "bitwave"
    title: ClassVar[str] = "BitWave, HPCA 2024: weight bit columns without a one are skipped"
    source: ClassVar[str] = (
        "Shi et al., BitWave: Exploiting Column-Based Bit-Level Sparsity for Deep Learning Acceleration, HPCA"
        " 2024"
    )
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"precision": None, "word_bits": 16, "arrays": 16}
    )
    lossy_options: ClassVar[frozenset[str]] = frozenset({"zero_columns"})
    assumptions: ClassVar[tuple[str, ...]] = (
        *COLUMN_ASSUMPTIONS,
        "Weights are sign and magnitude; the sign column costs no cycle. A most negative value (int8's -128)"
        " is saturated.",
        "Peak: 4096 products of a weight's bit and an activation per cycle, of the largest unrollings; those"
        " of one position are narrower.",
        "Guessed: groups of 8, 16 or 32 weights, as many as there are channels in the unrolling; the"
        " unrolling of 128 channels has four groups of 32 that wait for the slowest.",
        "Guessed: a chunk of zeros takes one cycle. The simulator of BBS's authors counts none.",
        "Bit-Flip is off (zero_columns=0). The paper searches each layer's number of columns by accuracy;"
        " that search is not modelled, one number holds for all layers.",
        "Activations are multiplied whole; their zeros gain nothing.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "group")
        self.check_at_least(0, "zero_columns")
        for u in self._choices:
            if u.channels > self.group and u.channels % self.group:
                raise self.refusal(
                    f"an unrolling of {u.channels} channels can't be split into groups of {self.group}"
                )

    @property
    def _choices(self) -> list[_Unrolling]:
        """Unrollings of the published array."""
        choices = []
        for text in str(self.unrollings).split("/"):
            numbers = text.split("x")
            if len(numbers) != 3 or not all(n.isascii() and n.isdecimal() and int(n) for n in numbers):
                raise self.refusal(
                    f"unrollings must be CHANNELSxFILTERSxPOSITIONS separated by slashes, got {text!r}"
                )
            choices.append(_Unrolling(*map(int, numbers)))
        return choices

    @property
    def slots(self) -> int:
        """Weight bits that are multiplied in a cycle."""
        return self.arrays * max(prod((u.channels, u.filters, u.positions)) for u in self._choices)

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits, nothing skipped."""
        return self.slots / FIXED_POINT_BITS / self.word_passes

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer` on its best unrolling."""
        found = self._best(layer, operands)
        u, columns = found.unrolling, found.columns
        activation_bits = self.activation_bits(operands)
        passes = -(-activation_bits // self.word_bits)
        steps = found.position_steps * passes
        applied = columns.applied * layer.positions * passes
        tiles = layer.conv_groups * -(-layer.filters // layer.conv_groups // found.filters)
        return self.on_chip(
            compute_cycles=found.cycles,
            fill_cycles=0,
            utilisation=applied / (found.cycles * self.slots),
            filter_tiles=tiles,
            position_tiles=steps,
            work=Work(
                uses={"pes": applied / PE_WEIGHTS, "column_parsers": columns.handed_out * steps},
                read_bits={
                    "weight_buffer": columns.stored_bits * steps,
                    "activation_buffer": tiles * layer.reduction * layer.positions * activation_bits,
                },
                written_bits={"output_buffer": layer.output_count * activation_bits},
            ),
            notes=(f"unrolled {u}",),
        )

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits in DRAM: columns that are not empty, signs, and a mask of columns per group."""
        return self.stored_columns(layer, operands, self._best(layer, operands).columns.stored_bits)

    def _best(self, layer: Layer, operands: Operands) -> _Mapping:
        """Unrolling of fewest cycles."""
        return once(
            _map,
            operands.weights,
            machine=self,
            layer=layer,
            weight_bits=operands.weight_bits,
            passes=-(-self.activation_bits(operands) // self.word_bits),
        )

    def _columns(self, layer: Layer, weights: ColumnWeights, channels: int) -> _Columns:
        """Columns of chunks of `channels` weights."""
        from hwmodel.accelerators.engines.column_pruning import flip

        size = min(channels, self.group)
        magnitude_columns = weights.width - 1
        if not self.zero_columns < magnitude_columns:
            raise self.refusal(
                f"zero_columns must be less than the {magnitude_columns} columns"
                f" of a magnitude, got {self.zero_columns}"
            )
        counts, applied, handed_out, groups = [], 0, 0, 0
        for _, whole in weights.blocks(channels):
            parts = channels // size
            magnitudes = np.minimum(np.abs(whole.values), (1 << magnitude_columns) - 1)
            magnitudes = magnitudes.reshape(-1, size)
            members = np.clip(whole.members[:, None] - size * np.arange(parts), 0, size)
            if self.zero_columns:
                magnitudes = flip(magnitudes, magnitude_columns, self.zero_columns)
            if self.skip_columns:
                used = np.bitwise_count(np.bitwise_or.reduce(magnitudes, axis=1))
            else:
                used = np.full(len(magnitudes), magnitude_columns, np.uint8)
            used = used.reshape(len(whole.values), -1, parts)
            if not self.skip_columns:
                used = used * (members > 0)
            counts.append(used.max(axis=2))
            applied += int((used * members).sum(dtype=np.int64))
            handed_out += int(used.sum(dtype=np.int64))
            groups += len(whole.values) * int(np.count_nonzero(members))
        every = np.concatenate(counts)
        every = every.reshape(layer.conv_groups, layer.filters // layer.conv_groups, -1)
        signs_and_masks = layer.parameters + groups * magnitude_columns
        return _Columns(every, applied, applied + signs_and_masks, handed_out)

    def _changed(self, layer: Layer, operands: Operands) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Yield filters and their weights, saturated and with bits flipped."""
        from hwmodel.accelerators.engines.column_pruning import flip, restore

        weights = self.column_weights(layer, operands)
        channels = self._best(layer, operands).unrolling.channels
        columns = weights.width - 1
        for filters, whole in weights.blocks(channels):
            magnitudes = np.minimum(np.abs(whole.values), (1 << columns) - 1)
            if self.zero_columns:
                groups = magnitudes.reshape(-1, min(channels, self.group))
                magnitudes = flip(groups, columns, self.zero_columns).reshape(magnitudes.shape)
            values = np.copysign(magnitudes, whole.values).astype(np.int32)
            yield filters, restore(values, layer.channels, layer.kernel_positions)

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """Bit-column PEs of 8 weights, and what finds the columns of a group.

        A PE gates and signs 8 activations, sums them, shifts the sum to the column's place and
        accumulates it. A parser holds a column and a mask, and finds the next column that is not empty.
        """
        bits = PE_WEIGHTS * self.word_bits
        total = self.word_bits + self.word_bits + GUARD_BITS
        pe = (
            costs.gates("and", bits)
            + costs.gates("xor", bits)
            + adder_tree(costs, PE_WEIGHTS, self.word_bits)
            + costs.shifter(total, self.word_bits)
            + costs.adder(total)
            + costs.register(total)
        )
        parser = costs.register(PE_WEIGHTS + self.word_bits) + costs.adder(self.word_bits)
        widest = max(u.channels * u.filters for u in self._choices) * self.arrays
        return {
            "pes": Part(pe, self.slots / PE_WEIGHTS),
            "column_parsers": Part(parser, widest / PE_WEIGHTS),
        }


def _map(
    weights: npt.NDArray[Any], *, machine: BitWave, layer: Layer, weight_bits: int | None, passes: int
) -> _Mapping:
    """Try all unrollings."""
    from hwmodel.accelerators.engines.column_pruning import slowest_together

    integers = machine.column_weights(layer, Operands(weights, weight_bits=weight_bits))
    columns: dict[int, _Columns] = {}
    kernels: dict[tuple[int, int], int] = {}
    best: _Mapping | None = None
    for u, (f, p) in product(machine._choices, divisions(machine.arrays)):
        if u.channels not in columns:
            columns[u.channels] = machine._columns(layer, integers, u.channels)
        found, filters = columns[u.channels], u.filters * f
        if (u.channels, filters) not in kernels:
            kernels[u.channels, filters] = int(slowest_together(found.counts, filters).sum())
        steps = position_steps(layer, u.positions, p)
        cycles = kernels[u.channels, filters] * steps * passes
        if best is None or cycles < best.cycles:
            best = _Mapping(cycles, u, filters, steps, found)
    assert best is not None
    return best
