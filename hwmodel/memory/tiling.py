"""A layer cut into tiles, worked on in some order of loops: trips, tiles, and what they move.

A tile stays in its buffer while the loops inside do not ask for another one. So an operand is fetched once
for every turn of all loops down to the innermost one that changes its tile::

    for groups, step, images, plane        steps and planes one at a time
      for ...                              filters, channels and positions (rows, then columns), in some order
        weights      [groups, filters, channels]
        activations  [groups, step, images, plane, channels, rows, columns]   with halo, without padding
        outputs      [groups, step, images, plane, filters, rows, columns]

Several groups are in a tile only with all their filters and channels, several images only with all their rows
and columns.

Outputs that leave before their last channel are partial sums: written, and read back. Runs of activations
and outputs move whole bursts; weights and partial sums lie in the order in which they are used.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import permutations
from math import prod
from typing import Any

import numpy as np

from hwmodel.memory.nest import Nest
from hwmodel.memory.tile_boxes import activation_bits, output_bits
from hwmodel.memory.widths import OperandWidths, ScaledWidths

Order = tuple[str, ...]
"""Loops, outermost first."""

ORDERS: tuple[Order, ...] = tuple(permutations(("filters", "positions", "channels")))
"""Orders of the tiled loops, outermost first; of equally good ones the first is taken."""

OUTER = ("groups", "steps", "batch", "depth")
LOOPS = (*OUTER, "filters", "channels", "rows", "columns")
CHANGES = {
    "weights": frozenset({"groups", "filters", "channels"}),
    "activations": frozenset(LOOPS) - {"filters"},
    "outputs": frozenset(LOOPS) - {"channels"},
}
"""Loops whose turn changes the tile of each operand."""


@dataclass(frozen=True)
class Buffers:
    """Bytes of the SRAMs, both halves together."""

    weight_buffer: int
    activation_buffer: int
    output_buffer: int


@dataclass(frozen=True)
class Traffic:
    """Bits that a layer moves between DRAM and its buffers.

    Parameters
    ----------
    weights, activations, outputs, partial_sums : int, Fraction or array
        Partial sums: out and in.
    """

    weights: Any
    activations: Any
    outputs: Any
    partial_sums: Any

    @property
    def total(self) -> Any:
        """Everything."""
        return self.weights + self.activations + self.outputs + self.partial_sums


@dataclass(frozen=True)
class Tiling:
    """A layer cut into tiles of equal size, worked on in a given order.

    Parameters
    ----------
    nest : Nest
    order : tuple of str
        One of `ORDERS`.
    filters, channels, rows, columns, batch, groups : int
        Sizes of a tile: divisors of the layer's.
    """

    nest: Nest
    order: tuple[str, ...]
    filters: int
    channels: int
    rows: int
    columns: int
    batch: int = 1
    groups: int = 1

    @property
    def trips(self) -> dict[str, int]:
        """Trips of all loops, outermost first."""
        trips = trips_of(self.nest, {loop: getattr(self, loop) for loop in self.nest.extents})
        return {loop: trips[loop] for loop in (*OUTER, *_unrolled(self.order))}

    @property
    def tiles(self) -> int:
        """Tiles of the whole layer."""
        return prod(self.trips.values())

    def traffic(self, widths: OperandWidths) -> Traffic:
        """Bits between DRAM and the buffers, in closed form."""
        return _tiling_traffic(self, widths)

    def __str__(self) -> str:
        sizes = {loop: getattr(self, loop) for loop in self.nest.extents}
        shown = [f"{loop} {n} x {sizes.get(loop, 1)}" for loop, n in self.trips.items() if n > 1]
        return ", ".join(shown) or "one tile"


def _unrolled(order: tuple[str, ...]) -> tuple[str, ...]:
    """Loops of an order; positions are rows, then columns."""
    return tuple(loop for name in order for loop in (("rows", "columns") if name == "positions" else (name,)))


def trips_of(nest: Nest, sizes: dict[str, Any]) -> dict[str, Any]:
    """Trips of all loops for tiles of given sizes, integers or arrays."""
    tiled = {loop: extent // sizes[loop] for loop, extent in nest.extents.items()}
    return {"steps": nest.steps, "depth": nest.depth.outputs} | tiled


def _fetches(operand: str, trips: dict[str, Any]) -> Any:
    """Count how often an operand's tile changes; `trips` outermost first, integers or arrays."""
    # From the inside out: a loop that keeps the tile repeats only what changed further in. Where nothing did,
    # the tile stays in its buffer, and the loop costs nothing.
    count: Any = 1
    for loop, n in reversed(trips.items()):
        count = count * (n if loop in CHANGES[operand] else np.where(count > 1, n, 1))
    return count


def traffic_of(
    nest: Nest,
    widths: ScaledWidths,
    order: tuple[str, ...],
    trips: dict[str, Any],
    activations: Any,
    outputs: Any,
) -> Traffic:
    """Bits for one tiling, or for arrays of them; `activations`, `outputs`: of all tiles, moved once."""
    ordered = {loop: trips[loop] for loop in (*OUTER, *_unrolled(order))}

    def sweeps(operand: str) -> Any:
        """How often all of an operand is moved."""
        # Fetches of one tile after another, over the number of different ones: whole, since every different
        # tile is fetched equally often.
        tiles: Any = 1
        for loop in CHANGES[operand]:
            tiles = tiles * trips[loop]
        return _fetches(operand, ordered) // tiles

    # `extents` includes channels, over which results add up. Each visit to them but the last leaves partial
    # sums behind, which are written once and read back once.
    results = nest.steps * nest.depth.outputs * prod(nest.extents.values()) // nest.channels
    return Traffic(
        weights=widths.weights * sweeps("weights"),
        activations=activations * sweeps("activations"),
        outputs=outputs,
        partial_sums=2 * (sweeps("outputs") - 1) * results * widths.partial_sum,
    )


@lru_cache(maxsize=1 << 12)
def _tiling_traffic(tiling: Tiling, widths: OperandWidths) -> Traffic:
    scaled, unit = widths.integers()
    nest, sizes = tiling.nest, {loop: [getattr(tiling, loop)] for loop in tiling.nest.extents}
    activations = activation_bits(nest, scaled, sizes).item()
    outputs = output_bits(nest, scaled, sizes).item()
    found = traffic_of(nest, scaled, tiling.order, tiling.trips, activations, outputs)
    return Traffic(*(Fraction(int(bits), unit) for bits in astuple(found)))
