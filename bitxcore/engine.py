"""From a number format to its kernels, and from any tensor to the whole vectors they work on.

Groups that lie one behind the other in memory are worked on where they are. All others (tails,
odd group sizes, groups across channels, windows beyond the lane) are gathered, a chunk that fits
the cache at a time, into whole vectors of the next larger group size: zeros change no row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bitxcore.checks import checked_integer, shown
from bitxcore.criteria import Criterion, least_ones
from bitxcore.errors import BitxError, OptionError, TensorError
from bitxcore.formats import NumberFormat, format_of
from bitxcore.groups import MAX_GROUP, GroupGrid, Grouping, grid
from bitxcore.jit import CHUNK_BYTES, parallel, share

FAST_GROUPS = (1, 4, 8, 16, 32, 64)
MAX_WINDOW = 64
T = TypeVar("T")

Array = npt.NDArray[Any]

_buffers = threading.local()


def buffer(name: str, size: int, dtype: npt.DTypeLike) -> Array:
    """Scratch array of this thread, kept between calls: fresh pages would cost more than the work."""
    key = f"{name} {np.dtype(dtype)}"
    kept: Array | None = _buffers.__dict__.get(key)
    if kept is None or kept.size < size:
        kept = np.empty(size, dtype)
        _buffers.__dict__[key] = kept
    return kept[:size]


def mask_dtype(window: int) -> np.dtype[Any]:
    """Smallest unsigned dtype of a mask of `window` rows."""
    return np.dtype(next(f"u{size}" for size in (1, 2, 4, 8) if window <= 8 * size))


def check_nonfinite(nonfinite: str) -> None:
    """Raise `OptionError` unless `nonfinite` says what to do with groups that hold a NaN or Inf."""
    if not isinstance(nonfinite, str) or nonfinite not in ("raise", "keep"):
        raise OptionError(f"nonfinite must be 'raise' or 'keep', got {shown(nonfinite)}", value=nonfinite)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a tensor is cut into bit matrices: base of what is made from them.

    Attributes
    ----------
    format : NumberFormat
        What the bits mean.
    group, window : int
        Weights of a group, rows of the window.
    grouping : {"flat", "channel", "kernel"}
    """

    format: NumberFormat
    group: int
    window: int
    grouping: Grouping

    @classmethod
    def of(
        cls,
        dtype: np.dtype[Any],
        group: int | None,
        window: int | None,
        format: str | NumberFormat | None,  # noqa: A002
        grouping: Grouping,
        shape: tuple[int, ...],
        most: int = MAX_GROUP,
    ) -> Cut:
        """Fill in what is not given for arrays of `dtype` and `shape`.

        Raises
        ------
        TensorError
            If the dtype has no number format, or does not store the named one, or the shape has no groups.
        OptionError
            If the format or the grouping is not known, window is not an integer from 1 to 64, or group
            is none from 1 to `most`.
        """
        fmt = format_of(dtype, format)
        rows = fmt.default_window if window is None else checked_integer(MAX_WINDOW, "window", window)
        return Cut(
            format=fmt, group=grid(shape, group, grouping, most=most).group, window=rows, grouping=grouping
        )

    @property
    def cut(self) -> dict[str, Any]:
        """These four attributes alone."""
        return {
            "format": self.format,
            "group": self.group,
            "window": self.window,
            "grouping": self.grouping,
        }

    def cut_facts(self) -> dict[str, tuple[Any, str]]:
        """Tell these four attributes to people, with units."""
        return {
            "format": (self.format.name, ""),
            "group": (self.group, "weights"),
            "window": (self.window, "rows"),
            "grouping": (self.grouping, ""),
        }

    def cut_attrs(self) -> dict[str, Any]:
        """Give these four attributes as plain values, for the attributes of data sets."""
        return self.cut | {"format": self.format.name}

    def engine(self, shape: tuple[int, ...]) -> Engine:
        """Return what cuts a tensor of `shape`."""
        return Engine(self.format, self.window, grid(shape, self.group, self.grouping))


@dataclass(frozen=True)
class Engine:
    """The kernels of one format, window and cut.

    Parameters
    ----------
    fmt : NumberFormat
    window : int
        Rows.
    grid : GroupGrid
    """

    fmt: NumberFormat
    window: int
    grid: GroupGrid

    @cached_property
    def padded(self) -> int:
        """Group size the kernels see: no group has more weights than its lane."""
        return next(g for g in FAST_GROUPS if g >= min(self.grid.group, self.grid.length))

    @cached_property
    def code_dtype(self) -> np.dtype[Any]:
        """Unsigned dtype of the codes the kernels read."""
        return np.dtype("u8") if self.through_float64 else self.fmt.storage_dtype

    @property
    def through_float64(self) -> bool:
        """Whether values take the way through float64, whose lanes hold a window of up to 64 rows."""
        return self.fmt.is_float and self.fmt.name != "float64" and self.window > 32

    @cached_property
    def lane_bits(self) -> int:
        """Bits of a lane of the kernels' bit matrix."""
        if not self.fmt.is_float:
            return self.fmt.storage_bits
        return 64 if self.code_dtype.itemsize == 8 else 32

    @property
    def row_bits(self) -> int:
        """Bits of the masks the kernels read and write; row 0 is the top one."""
        return max(self.lane_bits, 32)

    @cached_property
    def step(self) -> int:
        """Groups of one vector."""
        from bitxcore.kernels.vectors import lanes_of

        return lanes_of(self.lane_bits, self.padded) // self.padded

    @property
    def count(self) -> int:
        """Groups of the tensor."""
        return self.grid.filters * self.grid.groups

    @property
    def contiguous(self) -> bool:
        """Whether the groups lie one behind the other, as the kernels want them."""
        # Kernels and filters that a group holds whole need not fill it: those of 1, 4 and 16 weights do not
        # gather.
        grid = self.grid
        members = min(grid.group, grid.length)
        whole = grid.stride == 1 and grid.length % members == 0
        return whole and self.padded == members and not self.through_float64

    def window_mask(self, bits: int) -> int:
        """Mask of the window's rows in lanes of `bits` bits, as a signed 64-bit integer."""
        low = max(0, bits - self.window)
        mask = ((1 << bits) - 1) >> low << low
        return mask - (1 << 64) if bits == 64 else mask

    # -- the kernels, one signature for floats and integers ------------------------------------

    @cached_property
    def float_settings(self) -> tuple[int, int]:
        """Storage kind, and the image exponent of the format's smallest normal number."""
        from bitxcore.kernels import floats

        if self.code_dtype.itemsize == 8:
            kind, image_bias = floats.FLOAT64, 1023
        else:
            kind, image_bias = getattr(floats, self.fmt.name.upper()), 127
        return kind, image_bias - self.fmt.bias + 1

    @cached_property
    def integer_settings(self) -> tuple[int, int, int, int]:
        """Encoding (two numbers), significand bits, and the bits a magnitude may have."""
        from bitxcore.kernels import integers

        p = self.fmt.significand_bits
        if self.fmt.encoding == "twos-complement":
            return *integers.TWOS_COMPLEMENT, p, p - 1
        encoding = integers.UNSIGNED if self.fmt.encoding == "unsigned" else integers.SIGN_MAGNITUDE
        return *encoding, p, p

    @cached_property
    def settings(self) -> tuple[int, tuple[int, int, int, int, int]]:
        """Storage kind; and the settings of floats, then those of integers, 0 where of no use."""
        from bitxcore.kernels import integers

        if self.fmt.is_float:
            kind, emin = self.float_settings
            return kind, (emin, 0, 0, 0, 0)
        return integers.INTEGER, (0, *self.integer_settings)

    def prune_vectors(
        self, x: Array, out: Array, masks: Array, exponents: Array, kept: Array, groups: int, c: Criterion
    ) -> tuple[int, int]:
        """Prune `groups` groups by ``topn`` or ``msb``.

        Returns how many held no finite value, and how many the window limited (0 for integers).
        """
        vectors, refine = groups // self.step, c.name == "topn"
        if self.fmt.is_float:
            from bitxcore.kernels.floats import prune_kernel

            kind, emin = self.float_settings
            mask = self.window_mask(self.lane_bits)
            run = prune_kernel(kind, self.padded)
            wanted = min(c.wanted, MAX_WINDOW + 1)
            rest = masks, exponents, kept, vectors, c.rows, emin, mask, refine, wanted, 2
            bad, limited = run(x, out, *rest)
            return _exact(bad), int(limited)
        from bitxcore.kernels import integers

        exponents[:] = 0
        run = integers.prune_kernel(self.lane_bits, self.padded)
        bad = run(x, out, masks, kept, vectors, c.rows, *self.integer_settings, self.window_mask(32), refine)
        return int(bad), 0

    def count_limited(self, x: Array, kept: Array, groups: int, c: Criterion) -> int:
        """Count, of `groups` groups, those with fewer rows than wanted and ones below the window."""
        short = kept[:groups] < c.wanted
        if not self.fmt.is_float or not short.any():
            return 0
        if not short.all():
            chosen = x.reshape(groups, -1)[short]
            groups = self.whole_vectors(len(chosen))
            x = buffer("short", groups * self.padded, x.dtype)
            x[: chosen.size] = chosen.reshape(-1)
            x[chosen.size :] = 0
        lane = np.dtype(f"u{self.lane_bits // 8}")
        spare = buffer("spare", x.size, x.dtype), buffer("spare masks", groups, lane)
        rest = buffer("spare exponents", groups, np.int16), buffer("spare kept", groups, np.uint8)
        # Of no rows every group keeps fewer than wanted.
        return self.prune_vectors(x, *spare, *rest, groups, Criterion("msb", 0, 1))[1]

    def apply_vectors(self, x: Array, out: Array, masks: Array, groups: int, nearest: bool) -> None:
        """Clear or round `groups` groups to the rows of `masks`."""
        vectors = groups // self.step
        if self.fmt.is_float:
            from bitxcore.kernels.floats import apply_kernel

            kind, emin = self.float_settings
            last_place = self.lane_bits - self.fmt.significand_bits
            mask = self.window_mask(self.lane_bits)
            run = apply_kernel(kind, self.padded)
            _exact(run(x, out, masks, vectors, emin, mask, nearest, last_place, 2))
            return
        from bitxcore.kernels import integers

        run = integers.apply_kernel(self.lane_bits, self.padded)
        run(x, out, masks, vectors, *self.integer_settings, self.window_mask(self.lane_bits), nearest)

    def count_vectors(self, x: Array, counts: Array, exponents: Array, groups: int) -> int:
        """Count the ones of every row of `groups` groups; return how many held no finite value."""
        from bitxcore.kernels.counting import count_kernel

        if not self.fmt.is_float:
            exponents[:] = 0
        kind, settings = self.settings
        run = count_kernel(kind, self.code_dtype.itemsize * 8, self.padded)
        vectors, mask = groups // self.step, self.window_mask(self.lane_bits)
        return int(run(x, counts, exponents, vectors, *settings, mask))

    def summarize_vectors(self, x: Array, groups: int) -> tuple[int, Array, Array, Array]:
        """Add up groups: how many are bad; ones per row; groups by non-empty rows; ones and zeros."""
        from bitxcore.kernels.counting import summary_kernel
        from bitxcore.kernels.positions import FLUSH, PARTS

        bits, vectors = self.lane_bits, groups // self.step
        rows, nonempty, sums = np.zeros(bits, np.int64), np.zeros(bits + 1, np.int64), np.zeros(2, np.int64)
        part = self.step * self.padded // PARTS
        counters = buffer("counters", 8 * part, f"u{bits // 8}").reshape(8, part)
        present = buffer("present", FLUSH * self.step, np.uint8)
        kind, settings = self.settings
        run = summary_kernel(kind, self.code_dtype.itemsize * 8, self.padded)
        out = (rows, nonempty, sums, counters, present, vectors)
        bad = run(x, *out, *settings, self.window_mask(bits))
        return int(bad), rows, nonempty, sums

    def select(
        self,
        x: Array,
        masks: Array,
        exponents: Array,
        kept: Array,
        groups: int,
        c: Criterion,
        squares: Array | None = None,
        first: int = 0,
    ) -> int:
        """Choose rows by a criterion that counts them all; return the groups without a finite value.

        `squares` are those of ``calibrated``; the groups are those of the tensor from `first` on.
        """
        from bitxcore.kernels import ranking

        lane = np.dtype(f"u{self.lane_bits // 8}")
        counts = buffer("counts", 8 * groups, lane).reshape(8, groups)
        bad = self.count_vectors(x, counts, exponents, groups)
        ones = counts.view(np.uint8).reshape(8, groups, lane.itemsize)
        if c.name == "threshold":
            table = least_ones(c.threshold or 0.0)
            ranking.keep_threshold(ones, masks, kept, groups, self.lane_bits, c.rows, table)
        elif squares is None:
            ranking.keep_energy(ones, masks, kept, groups, self.lane_bits, c.rows, c.energy_share)
        else:
            self._keep_calibrated(x, squares, masks, exponents, kept, groups, first, c.rows)
        if bad:
            # Their ones were not counted: what is left untouched has a full mask.
            whole = self._nonfinite(x, exponents, groups)
            masks[:groups][whole] = self.window_mask(self.row_bits) & ((1 << self.row_bits) - 1)
            kept[:groups][whole] = min(self.window, self.row_bits)
        return bad

    def _keep_calibrated(
        self,
        x: Array,
        squares: Array,
        masks: Array,
        exponents: Array,
        kept: Array,
        groups: int,
        first: int,
        rows: int,
    ) -> None:
        from bitxcore.kernels.calibrated import keep_calibrated

        fmt = self.fmt
        width, offset = fmt.significand_bits, 0
        if self.through_float64:
            # Codes have float64's exponents and significands; `exponents` count from the format's.
            width, offset = 53, self.float_settings[1] - 1
        signed = fmt.encoding == "sign-magnitude"
        number = int(fmt.is_float), self.code_dtype.itemsize * 8, width, offset, int(signed)
        window = min(self.window, self.lane_bits)
        rest = masks, exponents, kept, groups, first, rows, window, self.padded, self._cut, number
        keep_calibrated(x, squares, *rest)

    def _nonfinite(self, x: Array, exponents: Array, groups: int) -> npt.NDArray[np.bool_]:
        """Tell which groups hold a NaN, an Inf or a code outside the format."""
        if self.fmt.is_float:
            _, emin = self.float_settings
            special = 2047 if self.lane_bits == 64 else 255  # the exponent of an image
            broken: npt.NDArray[np.bool_] = exponents[:groups] == special - (emin - 1)
            return broken
        codes = x[: groups * self.padded].view(self.fmt.dtype).astype(np.int32).reshape(groups, self.padded)
        if self.fmt.encoding == "twos-complement":
            codes = np.where(codes < 0, ~codes, codes)
        limit = self.integer_settings[3]
        return np.asarray((np.abs(codes) >> limit).any(axis=1))

    # -- chunks --------------------------------------------------------------------------------

    def view(self, x: Array, first: int, last: int, groups: int) -> Array | None:
        """Part of the codes `x` that is `groups` groups as the kernels want them, or None if there is none.

        There is one if they lie so in memory and no empty groups are needed to fill up a vector.
        """
        if not self.contiguous or groups != last - first:
            return None
        return x[first * self.padded : last * self.padded]

    def take(self, x: Array, first: int, last: int, groups: int) -> Array:
        """Get groups ``first..last`` of the codes `x`, and empty ones up to `groups`: a view if possible."""
        codes = self.view(x, first, last, groups)
        if codes is None:
            codes = buffer("codes", groups * self.padded, self.code_dtype)
            self.gather(x, first, last, codes)
        return codes

    def whole_vectors(self, groups: int) -> int:
        """Smallest number of groups in whole vectors that holds `groups`."""
        return -(-groups // self.step) * self.step

    def gather(self, x: Array, first: int, last: int, out: Array) -> None:
        """Copy groups of the codes `x` to whole vectors of padded groups."""
        from bitxcore.kernels.gathering import gather_kernel

        codes = out if not self.through_float64 else buffer("stored", out.size, x.dtype)
        codes[(last - first) * self.padded :] = 0
        gather_kernel(self.padded)(x, codes, np.arange(self.padded, dtype=x.dtype), first, last, *self._cut)
        if self.through_float64:
            with np.errstate(invalid="ignore"):
                out.view(np.float64)[:] = codes.view(self.fmt.dtype)

    def scatter(self, x: Array, first: int, last: int, out: Array, original: Array) -> None:
        """Copy groups back to the codes `out`; NaN and Inf come from `original`."""
        from bitxcore.kernels.gathering import gather_kernel, scatter_kernel

        codes = x
        if self.through_float64:
            codes = buffer("stored", x.size, out.dtype)
            with np.errstate(invalid="ignore"):
                codes.view(self.fmt.dtype)[:] = x.view(np.float64)
            stored = buffer("original", x.size, out.dtype)
            stored[:] = 0
            lanes = np.arange(self.padded, dtype=out.dtype)
            gather_kernel(self.padded)(original, stored, lanes, first, last, *self._cut)
            broken = ~np.isfinite(x.view(np.float64))
            codes[broken] = stored[broken]
        scatter_kernel(self.padded)(codes, out, first, last, *self._cut)

    @property
    def _cut(self) -> tuple[int, int, int, int]:
        return self.grid.group, self.grid.length, self.grid.stride, self.grid.blocks

    @cached_property
    def chunk(self) -> int:
        """Groups of one chunk: whole vectors; fewer where they are gathered, to stay in the cache."""
        vector_bytes = self.step * self.padded * self.code_dtype.itemsize
        chunk_bytes = CHUNK_BYTES if self.contiguous else CHUNK_BYTES // 16
        return share(self.count, max(1, chunk_bytes // vector_bytes) * self.step, self.step)

    def each_chunk(self, work: Callable[[int, int], T]) -> list[T]:
        """Call ``work(first, last)`` over all groups, one chunk at a time, on all threads."""
        return parallel(work, self.count, self.chunk)


def _exact(result: int) -> int:
    """Return what a kernel gave, unless it refused to work."""
    if result < 0:
        raise BitxError(
            "this thread flushes subnormal numbers to zero (a library set it, e.g. "
            "torch.set_flush_denormal); exact results need it off"
        )
    return int(result)


def codes_of(x: Array, fmt: NumberFormat) -> Array:
    """View a C-contiguous array of a format as a flat array of unsigned codes."""
    return x.reshape(-1).view(fmt.storage_dtype)


def locate_nonfinite(x: Array, fmt: NumberFormat) -> TensorError:
    """Make the error that names the first value of `x` outside the format."""
    flat = x.reshape(-1)
    for start in range(0, flat.size, 1 << 20):
        part = flat[start : start + (1 << 20)]
        if fmt.is_float:
            with np.errstate(invalid="ignore"):  # ml_dtypes warns of what is looked for
                bad = ~np.isfinite(part)
        else:
            wide = part.astype(np.int32)
            p = fmt.significand_bits
            low, high = (
                (-(1 << (p - 1)), (1 << (p - 1)) - 1)
                if fmt.encoding == "twos-complement"
                else (-(1 << p) + 1, (1 << p) - 1)
            )
            bad = (wide < low) | (wide > high)
        if bad.any():
            at = int(np.argmax(bad))
            if fmt.is_float:
                rule, hint = "must be finite", None
            else:
                rule = f"is {fmt.encoding}, from {low} to {high}"
                fits_twos = int(part[at]) == low - 1 and low < 0
                hint = f"format '{fmt.name}-twos' has it" if fits_twos else None
            return TensorError(
                f"value {part[at]} at flat index {start + at}: {fmt.name} {rule}",
                index=start + at,
                value=part[at].item(),
                hint=hint,
            )
    raise AssertionError("no value out of the format")  # the kernel saw one
