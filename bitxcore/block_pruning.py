"""From options to the kernel that prunes block by block, where one can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bitxcore.careful import CarefulPruning, Choice
from bitxcore.criteria import Criterion, least_ones
from bitxcore.engine import MAX_WINDOW, Array, Engine, mask_dtype

CAREFUL_GROUPS = 1 << 10
"""Groups that are taken with care where the kernel has stopped; twice as many where it stops there again."""


@dataclass(frozen=True)
class BlockPruning:
    """A kernel of `kernels.blocks`, and its arguments that do not change.

    Parameters
    ----------
    kernel : callable
    settings : tuple
        From `rows` to `padding`.
    table : ndarray
    share : int
        What the criterion needs.
    careful : CarefulPruning
        Takes the groups before which the kernel stops.
    """

    kernel: Callable[..., tuple[int, int]]
    settings: tuple[int, ...]
    table: Array
    share: int
    careful: CarefulPruning

    def __call__(
        self, codes: Array, out: Array, choice: Choice, first: int, streaming: bool = False
    ) -> tuple[int, int]:
        """Prune groups that lie one behind the other; as `CarefulPruning` does."""
        padded = self.careful.engine.padded
        groups = codes.size // padded
        # As bytes, arrays of any alignment are of one type to the compiler.
        x, target = codes.view(np.uint8), out.view(np.uint8)
        bad = limited = done = 0
        careful_groups, resumed = CAREFUL_GROUPS, -1
        while True:
            rest = *self.settings, streaming, self.table, self.share
            done, found = self.kernel(x, target, *choice, done, groups, *rest)
            limited += found
            if done == groups:
                return bad, limited
            careful_groups = 2 * careful_groups if done == resumed else CAREFUL_GROUPS
            resumed = min(groups, done + careful_groups)
            part = slice(done * padded, resumed * padded)
            added = self.careful(codes[part], out[part], choice.part(done, resumed), first + done)
            bad, limited, done = bad + added[0], limited + added[1], resumed


def block_pruning(engine: Engine, rule: Criterion, nearest: bool) -> BlockPruning | None:
    """Find the kernel for these options; None where there is none, and all groups need care."""
    from bitxcore.kernels import blocks

    fmt, window = engine.fmt, engine.window
    if engine.through_float64 or rule.name == "calibrated":
        return None
    kind, (*_, width, limit) = engine.settings
    if not fmt.is_float:
        kind = {
            "unsigned": blocks.UNSIGNED,
            "sign-magnitude": blocks.SIGN_MAGNITUDE,
            "twos-complement": blocks.TWOS_COMPLEMENT,
        }[fmt.encoding]
    code_bits = engine.code_dtype.itemsize * 8
    bits, masks = blocks.lane_bits(kind, code_bits), mask_dtype(window)
    # The window has rows that the lanes lack; then the rows that are kept must be above them.
    deep = fmt.is_float and masks.itemsize * 8 > bits
    if nearest and (bits < 32 or not fmt.is_float):
        return None
    by_rows = rule.name in ("topn", "msb")
    if not by_rows and (deep or engine.padded > 16):
        return None
    kernel = blocks.prune_kernel(
        kind, code_bits, engine.padded, masks.itemsize * 8, "rows" if by_rows else rule.name, nearest
    )
    rows = bits if fmt.is_float else width
    low = max(0, rows - window)
    mask = ((1 << rows) - 1) >> low << low
    settings = (
        rule.rows,
        int(rule.name == "topn"),
        mask - (1 << 64) if mask >> 63 else mask,
        min(rule.wanted, MAX_WINDOW + 1),
        max(1, min(window, bits) - fmt.significand_bits + 2) if fmt.is_float else 0,
        rows - window,
        width,
        limit,
        bits - 1 - blocks.LANES[kind].fraction if fmt.is_float else 0,
    )
    table = least_ones(rule.threshold or 0.0) if rule.name == "threshold" else np.zeros((1, 1), np.uint8)
    share = rule.energy_share if rule.name == "energy" else 0
    return BlockPruning(kernel, settings, table, share, CarefulPruning(engine, rule, nearest))
