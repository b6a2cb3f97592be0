"""Passes of a layer over Bitlet's array of PEs. Importing this module imports Numba.

A pass is one tile of filters at one tile of positions. In every PE one group of weights follows another;
PEs of a pass may be `fifo_depth` groups apart, passes run one after another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.accelerators.engines.bit_rows import fixed_cycles, float_cycles
from hwmodel.accelerators.engines.float_parts import SIGNIFICAND_BITS, float32_parts
from hwmodel.accelerators.engines.row_walks import RowWalk
from hwmodel.accelerators.engines.skewed_fifo import fifo_ladder
from hwmodel.accelerators.engines.tiles import tile_bounds
from hwmodel.networks.layers import Layer
from hwmodel.operands.im2col import windows
from hwmodel.operands.operands import Operands

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Counts:
    """What was found in a layer, over all PEs.

    Attributes
    ----------
    ladder : array of int64, shape (4,)
        Cycles, each rung held up by one thing more: overhead of the groups; work that all units share
        evenly; each unit's own work; waiting for others.
    ones : int
        Essential bits applied.
    pe_cycles : int
        Sum of C, the cycles of a group's slowest row, over groups and PEs.
    """

    ladder: npt.NDArray[np.int64]
    ones: int
    pe_cycles: int


@dataclass(frozen=True, kw_only=True)
class BitRowArray:
    """The array, as `hwmodel.accelerators.bitlet.Bitlet` describes it.

    Parameters
    ----------
    pe_rows, pe_columns, group, bit_rows : int
    rows : RowWalk
    load_cycles : int
        Cycles in which a group enters a PE.
    latency_cycles : int
        Cycles from a group's first pair to its result, besides C.
    apart_cycles : int
        Cycles between the starts of two groups of a PE, besides C; if double-buffered, of no effect.
    double_buffered : bool
    fifo_depth : int or None
    """

    pe_rows: int
    pe_columns: int
    group: int
    rows: RowWalk
    bit_rows: int
    load_cycles: int
    latency_cycles: int
    apart_cycles: int
    double_buffered: bool
    fifo_depth: int | None

    def count_fixed(self, layer: Layer, operands: Operands) -> Counts:
        """Count a layer whose cycles do not depend on activations: PEs of a row are alike.

        Raises
        ------
        TensorError
            If a weight has more bits than there are rows.
        """
        magnitudes = np.abs(operands.integer_weights.reshape(layer.filters, -1).astype(np.int64))
        largest = int(magnitudes.max())
        if largest >> self.bit_rows:
            raise TensorError(f"weights of magnitude {largest} have more bits than bit_rows={self.bit_rows}")
        cycles, ones = fixed_cycles(
            magnitudes.astype(np.uint32), group=self.group, rows=self.rows, bit_rows=self.bit_rows
        )
        bounds = tile_bounds(layer.conv_groups, layer.filters // layer.conv_groups, self.pe_rows)
        # Every tile of positions takes as long as the first.
        ladder = self._ladder(cycles, bounds, self.pe_rows) * layer.position_tiles(self.pe_columns)
        return Counts(ladder, ones * layer.positions, int(cycles.sum(dtype=np.int64)) * layer.positions)

    def count_float(self, layer: Layer, operands: Operands) -> Counts:
        """Count a layer one tile of positions after the other: every PE aligns differently.

        Raises
        ------
        TensorError
            If a value is not finite in float32.
        """
        assert operands.weights is not None
        assert operands.activations is not None
        exponents, significands = float32_parts("weights", operands.weights.reshape(layer.filters, -1))
        # Of activations the exponents alone decide how a group is aligned.
        others, _ = float32_parts("activations", operands.activations)
        others = windows(layer, others).reshape(layer.conv_groups, layer.positions, -1)
        significands >>= np.uint32(SIGNIFICAND_BITS - self.bit_rows)
        per_group = layer.filters // layer.conv_groups
        bounds = tile_bounds(1, per_group, self.pe_rows)
        ladder, ones, pe_cycles = np.zeros(4, np.int64), 0, 0
        for g in range(layer.conv_groups):
            mine = slice(g * per_group, (g + 1) * per_group)
            for tile in self._position_tiles(layer):
                cycles, found = float_cycles(
                    significands[mine],
                    exponents[mine],
                    others[g, tile],
                    group=self.group,
                    rows=self.rows,
                    bit_rows=self.bit_rows,
                )
                # A PE has one filter and one position, so bounds count pairs of them.
                positions = cycles.shape[1]
                ladder += self._ladder(
                    cycles.reshape(-1, cycles.shape[2]), bounds * positions, self.pe_rows * self.pe_columns
                )
                ones += found
                pe_cycles += int(cycles.sum(dtype=np.int64))
        return Counts(ladder, ones, pe_cycles)

    def _position_tiles(self, layer: Layer) -> list[slice]:
        """Cut positions into tiles, none of which spans two dependent steps."""
        bounds = tile_bounds(layer.steps, layer.positions // layer.steps, self.pe_columns).tolist()
        return [slice(first, last) for first, last in pairwise(bounds)]

    def _ladder(self, cycles: Array, bounds: Array, units: int) -> npt.NDArray[np.int64]:
        """Cycles of some passes that run one after another, each rung held up by one thing more.

        Parameters
        ----------
        cycles : array of int, shape (units at work, groups)
            C of each group.
        bounds : array of int
            Units where passes begin, and the end.
        units : int
            Units that there are.

        Returns
        -------
        array of int64, shape (4,)
            As `Counts.ladder`.
        """
        groups, passes = cycles.shape[1], len(bounds) - 1
        if self.double_buffered:
            # The next group loads beside this one, so only the first group's latency shows.
            cycles = np.maximum(cycles, self.load_cycles)
            apart, fill = 0, self.latency_cycles
        else:
            apart = self.apart_cycles
            fill = groups * apart
        # Groups are `apart` cycles longer when units wait for each other; that share is the overhead's.
        ladder = fifo_ladder(cycles + apart, fifo_depth=self.fifo_depth, bounds=bounds) - groups * apart
        work = np.add.reduceat(cycles.sum(axis=1, dtype=np.int64), bounds[:-1])
        ladder[:, 0] = -(-work // units)
        return np.append(passes * fill, passes * fill + ladder.sum(axis=0))
