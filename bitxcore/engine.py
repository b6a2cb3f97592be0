"""From a number format to its kernels, and from any tensor to the whole vectors they work on.

Groups that lie one behind the other in memory are worked on where they are. All others (tails,
odd group sizes, groups across channels, windows beyond the lane) are gathered, a chunk that fits
the cache at a time, into whole vectors of the next larger group size: zeros change no row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bitxcore.checks import checked_integer, shown
from bitxcore.errors import FLUSHED, BitxError, OptionError, TensorError
from bitxcore.formats import NumberFormat, format_of
from bitxcore.groups import MAX_GROUP, GroupGrid, Grouping, grid
from bitxcore.jit import CHUNK_BYTES, parallel, share, writable
from bitxcore.lazy_property import lazy_property

FAST_GROUPS = (1, 4, 8, 16, 32, 64)
MAX_WINDOW = 64
SMALL_BYTES = 1 << 16
"""Tensors up to this size are not worth a second thread."""

T = TypeVar("T")

Array = npt.NDArray[Any]

_buffers = threading.local()


def buffer(name: str, size: int, dtype: npt.DTypeLike) -> Array:
    """Scratch array of this thread, kept between calls: fresh pages would cost more than the work."""
    arrays: dict[Any, Array] = _buffers.__dict__
    kept = arrays.get((name, dtype))
    if kept is None or kept.size < size:
        arrays[name, dtype] = kept = np.empty(size, dtype)
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
        return _engine(self.format, self.window, self.group, self.grouping, shape)


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

    @lazy_property
    def padded(self) -> int:
        """Group size the kernels see: no group has more weights than its lane."""
        return next(g for g in FAST_GROUPS if g >= min(self.grid.group, self.grid.length))

    @lazy_property
    def code_dtype(self) -> np.dtype[Any]:
        """Unsigned dtype of the codes the kernels read."""
        return np.dtype("u8") if self.through_float64 else self.fmt.storage_dtype

    @property
    def through_float64(self) -> bool:
        """Whether values take the way through float64, whose lanes hold a window of up to 64 rows."""
        return self.fmt.is_float and self.fmt.name != "float64" and self.window > 32

    @lazy_property
    def lane_bits(self) -> int:
        """Bits of a lane of the kernels' bit matrix."""
        if not self.fmt.is_float:
            return self.fmt.storage_bits
        return 64 if self.code_dtype.itemsize == 8 else 32

    @property
    def row_bits(self) -> int:
        """Bits of the masks the kernels read and write; row 0 is the top one."""
        return max(self.lane_bits, 32)

    @lazy_property
    def step(self) -> int:
        """Groups of one vector."""
        from bitxcore.kernels.vectors import lanes_of

        return lanes_of(self.lane_bits, self.padded) // self.padded

    @lazy_property
    def count(self) -> int:
        """Groups of the tensor."""
        return self.grid.filters * self.grid.groups

    @lazy_property
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

    @lazy_property
    def float_settings(self) -> tuple[int, int]:
        """Storage kind, and the image exponent of the format's smallest normal number."""
        from bitxcore.kernels import floats

        if self.code_dtype.itemsize == 8:
            kind, image_bias = floats.FLOAT64, 1023
        else:
            kind, image_bias = getattr(floats, self.fmt.name.upper()), 127
        return kind, image_bias - self.fmt.bias + 1

    @lazy_property
    def integer_settings(self) -> tuple[int, int, int, int]:
        """Encoding (two numbers), significand bits, and the bits a magnitude may have."""
        from bitxcore.kernels import integers

        p = self.fmt.significand_bits
        if self.fmt.encoding == "twos-complement":
            return *integers.TWOS_COMPLEMENT, p, p - 1
        encoding = integers.UNSIGNED if self.fmt.encoding == "unsigned" else integers.SIGN_MAGNITUDE
        return *encoding, p, p

    @lazy_property
    def settings(self) -> tuple[int, tuple[int, int, int, int, int]]:
        """Storage kind; and the settings of floats, then those of integers, 0 where of no use."""
        from bitxcore.kernels import integers

        if self.fmt.is_float:
            kind, emin = self.float_settings
            return kind, (emin, 0, 0, 0, 0)
        return integers.INTEGER, (0, *self.integer_settings)

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
        gather_kernel(x.itemsize * 8, self.padded)(x, codes, first, last, *self.cut)
        if self.through_float64:
            wide = out.view(np.float64)
            with np.errstate(invalid="ignore"):
                wide[:] = codes.view(self.fmt.dtype)
            check_subnormals(np.count_nonzero(codes << 1), wide)

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
            gather_kernel(out.itemsize * 8, self.padded)(original, stored, first, last, *self.cut)
            broken = ~np.isfinite(x.view(np.float64))
            codes[broken] = stored[broken]
        scatter_kernel(out.itemsize * 8, self.padded)(codes, out, first, last, *self.cut)

    @property
    def cut(self) -> tuple[int, int, int, int]:
        """What the kernels that gather are told of the cut: group, length, stride and blocks."""
        grid = self.grid
        if grid.stride == 1 and grid.length % grid.group == 0:
            # Without short groups the lanes are as one, and need not be told apart.
            return grid.group, self.count * grid.group, 1, self.count
        return grid.group, grid.length, grid.stride, grid.blocks

    @property
    def chunk(self) -> int:
        """Groups of one chunk: whole vectors; fewer where they are gathered, to stay in the cache."""
        if self.count * self.padded * self.code_dtype.itemsize <= SMALL_BYTES:
            return self.count
        vector_bytes = self.step * self.padded * self.code_dtype.itemsize
        chunk_bytes = CHUNK_BYTES if self.contiguous else CHUNK_BYTES // 16
        return share(self.count, max(1, chunk_bytes // vector_bytes) * self.step, self.step)

    def each_chunk(self, work: Callable[[int, int], T]) -> list[T]:
        """Call ``work(first, last)`` over all groups, one chunk at a time, on all threads."""
        return parallel(work, self.count, self.chunk)


@lru_cache(1024)
def _engine(fmt: NumberFormat, window: int, group: int, grouping: Grouping, shape: tuple[int, ...]) -> Engine:
    return Engine(fmt, window, grid(shape, group, grouping))


def codes_of(x: Array, fmt: NumberFormat) -> Array:
    """View a C-contiguous array of a format as a flat array of unsigned codes."""
    codes: Array = writable(x.reshape(-1).view(fmt.storage_dtype))
    return codes


def check_out(out: Array, shape: tuple[int, ...], dtype: np.dtype[Any], name: str = "out") -> None:
    """Raise unless `out` can take a result of that shape, and dtype in native byte order.

    Errors call it `name`.
    """
    if not dtype.isnative:
        dtype = dtype.newbyteorder("=")
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TensorError(f"{name} must be an ndarray, got {shown(out)}")
    if out.shape != shape or out.dtype != dtype or not out.dtype.isnative:
        raise TensorError(f"{name} must be {shape} {dtype} in native byte order, got {out.shape} {out.dtype}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise TensorError(f"{name} must be C-contiguous and writeable")


def check_subnormals(nonzero: int | np.integer[Any], found: Array) -> None:
    """Raise if less than so many numbers are not 0 in a thread that flushes subnormal ones to zero.

    They are to be counted by their codes: to such a thread subnormal floats look like 0.
    """
    if np.count_nonzero(found) < nonzero:
        refuse_flushing()


def refuse_flushing() -> None:
    """Raise if this thread flushes subnormal numbers to zero."""
    from bitxcore.kernels.quantizing import flushes_subnormals

    if flushes_subnormals(2):
        raise BitxError(FLUSHED)


def locate_nonfinite(x: Array, fmt: NumberFormat, before: int = 0) -> TensorError:
    """Make the error that names the first value of `x` outside the format.

    Parameters
    ----------
    x : ndarray
        Native, C-contiguous.
    fmt : NumberFormat
    before : int
        Values of the tensor before those of `x`, where these are a piece of it.
    """
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
                f"value {part[at]} at flat index {before + start + at}: {fmt.name} {rule}",
                index=before + start + at,
                value=part[at].item(),
                hint=hint,
            )
    raise AssertionError("no value out of the format")  # the kernel saw one
