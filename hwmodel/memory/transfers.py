"""What each tile of a tiling moves, by kinds: there are few, however many tiles there are.

Time goes by slots. In the slot of tile i the machine works on it, while one DRAM takes away what tile i - 1
produced and brings what tile i + 1 needs. A slot before the first tile loads it, and one after the last
stores it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hwmodel.memory.layout import CountArray
from hwmodel.memory.nest import Axis, TileReads
from hwmodel.memory.tiling import CHANGES, Tiling


@dataclass(frozen=True)
class Moved:
    """What the DRAM does in a slot.

    Parameters
    ----------
    weights : bool
        Whether a tile of weights is loaded.
    planes, rows, columns : tuple of (int, int)
        Inputs that are loaded of each channel, and from the first to the last of them; 0 if the activations
        stay.
    outputs, spilled, resumed : bool
        Whether a tile of outputs is stored, one of partial sums stored, one of them loaded.
    """

    weights: bool = False
    planes: tuple[int, int] = (0, 0)
    rows: tuple[int, int] = (0, 0)
    columns: tuple[int, int] = (0, 0)
    outputs: bool = False
    spilled: bool = False
    resumed: bool = False


@dataclass(frozen=True)
class Transfers:
    """All slots of a tiling.

    Parameters
    ----------
    first, last : Moved
        Loads of the first tile, stores of the last one.
    kinds : tuple of (int, Moved)
        Slots in which the machine works: how many there are of each kind.
    """

    first: Moved
    last: Moved
    kinds: tuple[tuple[int, Moved], ...]


@lru_cache(maxsize=1 << 12)
def transfers(tiling: Tiling) -> Transfers:
    """Count the slots of a tiling by what is moved in them."""
    nest = tiling.nest
    reads = {
        "depth": nest.depth.reads(1),
        "rows": nest.rows.reads(tiling.rows),
        "columns": nest.columns.reads(tiling.columns),
    }
    trips = {loop: n for loop, n in tiling.trips.items() if n > 1}
    loops, ends = list(trips), np.array(list(trips.values()), np.int64)
    # Loops of one trip never turn. `at`, shape (representatives, loops), is the turn of each loop in a slot.
    at, count = _representatives(trips, reads)
    last, first = at == ends - 1, at == 0
    # As in counting: a loop turns for the next tile if all loops inside are at their last turn (carry), and
    # did turn for this one if all inside are at their first (borrow).
    carry, borrow = _all_inside(last), _all_inside(first)
    following = np.where(carry, np.where(last, 0, at + 1), at)
    previous = np.where(borrow, np.where(first, ends - 1, at - 1), at)
    goes_on, went_on = ~last.all(axis=1), ~first.all(axis=1)

    def changes(operand: str, turns: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return np.asarray(turns[:, [loop in CHANGES[operand] for loop in loops]].any(axis=1))

    def input_size(loop: str) -> CountArray:
        turn = following[:, loops.index(loop)] if loop in trips else np.zeros(len(at), np.int64)
        return np.where(loaded, reads[loop].at(turn), 0)

    # What passes in the slot of a tile: loads of the next one, stores of the one before. Outputs are resumed
    # if the next tile is not at its first channels, and unfinished if the one before was not at its last.
    loaded = goes_on & changes("activations", carry)
    stored = went_on & changes("outputs", borrow)
    resumed = unfinished = np.zeros(len(at), bool)
    if "channels" in trips:
        c = loops.index("channels")
        resumed, unfinished = following[:, c] > 0, previous[:, c] < ends[c] - 1
    columns = (
        goes_on & changes("weights", carry),
        *(size for loop in reads for size in input_size(loop)),
        stored & ~unfinished,
        stored & unfinished,
        goes_on & changes("outputs", carry) & resumed,
    )
    # One row per representative; equal rows are one kind, whose slots add up.
    kinds, which = np.unique(np.stack(columns, axis=1).astype(np.int64), axis=0, return_inverse=True)
    counts = np.zeros(len(kinds), np.int64)
    np.add.at(counts, which.reshape(-1), count)
    begin = [int(n[0]) for tiles in reads.values() for n in (tiles.used, tiles.span)]
    return Transfers(
        first=_moved([1, *begin, 0, 0, 0]),
        last=Moved(outputs=True),
        kinds=tuple((int(n), _moved(kind)) for n, kind in zip(counts, kinds.tolist(), strict=True)),
    )


def _moved(kind: list[int]) -> Moved:
    weights, *reads, outputs, spilled, resumed = kind
    pairs = ((reads[0], reads[1]), (reads[2], reads[3]), (reads[4], reads[5]))
    return Moved(bool(weights), *pairs, bool(outputs), bool(spilled), bool(resumed))


def _representatives(trips: dict[str, int], reads: dict[str, TileReads]) -> tuple[CountArray, CountArray]:
    """Choose turns of all loops that represent all others like them, and how many each represents.

    A turn is like another of its loop if both or neither are the first, both or neither the last, and they
    and the next ones read as much.

    Returns
    -------
    ndarray of int64, shape (representatives, loops)
    ndarray of int64, shape (representatives,)
    """
    turns, counts = [], []
    for loop, n in trips.items():
        tiles = reads[loop] if loop in reads else Axis(n, n).reads(1)
        at = tiles.turns
        following = tiles.at(np.where(at == n - 1, 0, at + 1))
        likeness = np.vstack((at == 0, at == n - 1, tiles.used, tiles.span, following))
        _, index, which = np.unique(likeness, axis=1, return_index=True, return_inverse=True)
        count = np.zeros(len(index), np.int64)
        np.add.at(count, which.reshape(-1), tiles.count)
        turns.append(at[index])
        counts.append(count)
    if not turns:
        return np.zeros((1, 0), np.int64), np.ones(1, np.int64)
    # Loops turn independently: a combination represents as many slots as its turns represent, multiplied.
    grid = np.meshgrid(*turns, indexing="ij")
    many = np.meshgrid(*counts, indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, len(trips)), np.prod(many, axis=0).reshape(-1)


def _all_inside(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """For each loop, whether the flags of all loops inside it are set."""
    inside = np.ones_like(flags)
    inside[:, :-1] = np.logical_and.accumulate(flags[:, :0:-1], axis=1)[:, ::-1]
    return inside
