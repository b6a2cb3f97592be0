"""Pruning of whatever `block_pruning` leaves: any window, NaN and Inf, subnormal numbers, any criterion.

Whole vectors of groups, in lanes that hold every row of the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.criteria import Criterion, least_ones
from bitxcore.engine import MAX_WINDOW, Array, Engine, buffer
from bitxcore.errors import FLUSHED, BitxError


class KeptRows(NamedTuple):
    """What is kept of groups: row masks, exponents, numbers of rows; one without elements is not wanted."""

    masks: Array
    exponents: Array
    kept: Array


@dataclass(frozen=True)
class CarefulPruning:
    """How groups are pruned with care.

    Parameters
    ----------
    engine : Engine
    rule : Criterion
    nearest : bool
        Whether weights go to the nearest value on the kept rows.
    squares : ndarray, optional
        Of ``calibrated``: those of one filter, or of all.
    """

    engine: Engine
    rule: Criterion
    nearest: bool
    squares: Array | None = None

    @property
    def count(self) -> int:
        """Groups of the tensor."""
        return self.engine.count

    @property
    def unit(self) -> int:
        """Groups that are best worked on together."""
        return self.engine.step

    def __call__(self, x: Array, out: Array, choice: KeptRows, first: int, last: int) -> tuple[int, int]:
        """Prune the groups ``first..last`` of the codes `x` of a tensor.

        Without elements in `out` only rows are chosen.

        Returns
        -------
        bad : int
            Groups without a finite value.
        limited : int
            Groups that could keep more rows in a wider window.
        """
        engine, rule = self.engine, self.rule
        count = last - first
        groups = engine.whole_vectors(count)
        codes = engine.take(x, first, last, groups)
        view = engine.view(out, first, last, groups) if out.size else None
        target = buffer("results", codes.size, codes.dtype) if view is None else view
        # The kernels' masks have row 0 on top of a lane, the result's have the last row at bit 0.
        masks = buffer("masks", groups, np.dtype(f"u{engine.row_bits // 8}"))
        exponents, kept = buffer("exponents", groups, np.int16), buffer("kept", groups, np.uint8)
        if rule.counts_every_row:
            bad = self._select(codes, masks, exponents, kept, groups, first)
            limited = self._limited(codes, kept, groups)
        else:
            pruned = buffer("spare", codes.size, codes.dtype) if self.nearest else target
            bad, limited = self._prune(codes, pruned, masks, exponents, kept, groups, rule)
        if self.nearest or rule.counts_every_row:
            self._apply(codes, target, masks, groups)
        if out.size and view is None:
            engine.scatter(target, first, last, out, x)
        shift, lanes = engine.row_bits - engine.window, masks[:count]
        # Rows below the lanes are of integers, and empty; only what is left untouched keeps them, too.
        whole = lanes & 1 != 0 if shift < 0 else slice(0)
        if choice.masks.size:
            stored = lanes >> shift if shift >= 0 else lanes.astype(choice.masks.dtype) << -shift
            stored[whole] = (1 << engine.window) - 1
            choice.masks[first:last] = stored
        if choice.exponents.size:
            choice.exponents[first:last] = exponents[:count]
        if choice.kept.size:
            kept[:count][whole] = engine.window
            choice.kept[first:last] = kept[:count]
        return bad, limited

    def _prune(
        self, x: Array, out: Array, masks: Array, exponents: Array, kept: Array, groups: int, c: Criterion
    ) -> tuple[int, int]:
        """Prune `groups` groups by ``topn`` or ``msb``.

        Returns how many held no finite value, and how many the window limited (0 for integers).
        """
        engine = self.engine
        vectors, refine = groups // engine.step, c.name == "topn"
        if engine.fmt.is_float:
            from bitxcore.kernels.floats import prune_kernel

            kind, emin = engine.float_settings
            mask = engine.window_mask(engine.lane_bits)
            run = prune_kernel(kind, engine.padded)
            wanted = min(c.wanted, MAX_WINDOW + 1)
            rest = masks, exponents, kept, vectors, c.rows, emin, mask, refine, wanted, 2
            bad, limited = run(x, out, *rest)
            return _exact(bad), int(limited)
        from bitxcore.kernels import integers

        exponents[:] = 0
        run = integers.prune_kernel(engine.lane_bits, engine.padded)
        bad = run(
            x, out, masks, kept, vectors, c.rows, *engine.integer_settings, engine.window_mask(32), refine
        )
        return int(bad), 0

    def _limited(self, x: Array, kept: Array, groups: int) -> int:
        """Count, of `groups` groups, those with fewer rows than wanted and ones below the window."""
        short = kept[:groups] < self.rule.wanted
        if not self.engine.fmt.is_float or not short.any():
            return 0
        if not short.all():
            chosen = x.reshape(groups, -1)[short]
            groups = self.engine.whole_vectors(len(chosen))
            x = buffer("short", groups * self.engine.padded, x.dtype)
            x[: chosen.size] = chosen.reshape(-1)
            x[chosen.size :] = 0
        lane = np.dtype(f"u{self.engine.lane_bits // 8}")
        spare = buffer("spare", x.size, x.dtype), buffer("spare masks", groups, lane)
        rest = buffer("spare exponents", groups, np.int16), buffer("spare kept", groups, np.uint8)
        # Of no rows every group keeps fewer than wanted.
        return self._prune(x, *spare, *rest, groups, Criterion("msb", 0, 1))[1]

    def _apply(self, x: Array, out: Array, masks: Array, groups: int) -> None:
        """Clear or round `groups` groups to the rows of `masks`."""
        engine, nearest = self.engine, self.nearest
        vectors = groups // engine.step
        if engine.fmt.is_float:
            from bitxcore.kernels.floats import apply_kernel

            kind, emin = engine.float_settings
            last_place = engine.lane_bits - engine.fmt.significand_bits
            mask = engine.window_mask(engine.lane_bits)
            run = apply_kernel(kind, engine.padded)
            _exact(run(x, out, masks, vectors, emin, mask, nearest, last_place, 2))
            return
        from bitxcore.kernels import integers

        run = integers.apply_kernel(engine.lane_bits, engine.padded)
        run(x, out, masks, vectors, *engine.integer_settings, engine.window_mask(engine.lane_bits), nearest)

    def _select(self, x: Array, masks: Array, exponents: Array, kept: Array, groups: int, first: int) -> int:
        """Choose rows by a criterion that counts them all; return the groups without a finite value."""
        from bitxcore.kernels import ranking

        engine, c = self.engine, self.rule
        lane = np.dtype(f"u{engine.lane_bits // 8}")
        counts = buffer("counts", 8 * groups, lane).reshape(8, groups)
        bad = engine.count_vectors(x, counts, exponents, groups)
        ones = counts.view(np.uint8).reshape(8, groups, lane.itemsize)
        if c.name == "threshold":
            table = least_ones(c.threshold or 0.0)
            ranking.keep_threshold(ones, masks, kept, groups, engine.lane_bits, c.rows, table)
        elif c.name == "energy":
            ranking.keep_energy(ones, masks, kept, groups, engine.lane_bits, c.rows, c.energy_share)
        else:
            self._keep_calibrated(x, masks, exponents, kept, groups, first)
        if bad:
            # Their ones were not counted: what is left untouched has a full mask.
            whole = self._nonfinite(x, exponents, groups)
            masks[:groups][whole] = engine.window_mask(engine.row_bits) & ((1 << engine.row_bits) - 1)
            kept[:groups][whole] = min(engine.window, engine.row_bits)
        return bad

    def _keep_calibrated(
        self, x: Array, masks: Array, exponents: Array, kept: Array, groups: int, first: int
    ) -> None:
        from bitxcore.kernels.calibrated import keep_calibrated

        engine, fmt = self.engine, self.engine.fmt
        width, offset = fmt.significand_bits, 0
        if engine.through_float64:
            # Codes have float64's exponents and significands; `exponents` count from the format's.
            width, offset = 53, engine.float_settings[1] - 1
        signed = fmt.encoding == "sign-magnitude"
        number = int(fmt.is_float), engine.code_dtype.itemsize * 8, width, offset, int(signed)
        window = min(engine.window, engine.lane_bits)
        rest = (
            masks,
            exponents,
            kept,
            groups,
            first,
            self.rule.rows,
            window,
            engine.padded,
            engine.cut,
            number,
        )
        keep_calibrated(x, self.squares, *rest)

    def _nonfinite(self, x: Array, exponents: Array, groups: int) -> npt.NDArray[np.bool_]:
        """Tell which groups hold a NaN, an Inf or a code outside the format."""
        engine = self.engine
        if engine.fmt.is_float:
            _, emin = engine.float_settings
            special = 2047 if engine.lane_bits == 64 else 255  # the exponent of an image
            broken: npt.NDArray[np.bool_] = exponents[:groups] == special - (emin - 1)
            return broken
        codes = x[: groups * engine.padded].view(engine.fmt.dtype).astype(np.int32)
        codes = codes.reshape(groups, engine.padded)
        if engine.fmt.encoding == "twos-complement":
            codes = np.where(codes < 0, ~codes, codes)
        limit = engine.integer_settings[3]
        return np.asarray((np.abs(codes) >> limit).any(axis=1))


def _exact(result: int) -> int:
    """Return what a kernel gave, unless it refused to work."""
    if result < 0:
        raise BitxError(FLUSHED)
    return int(result)
