"""The packed form: of every group the largest exponent, the row mask, the signs and the kept rows.

It is a storage codec, and what crosses the memory bus when an accelerator keeps its weights
packed (an extension: the BitX paper does not have it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bitxcore.checks import on_device, shown
from bitxcore.engine import Array, Cut, Engine, buffer, check_out, codes_of
from bitxcore.errors import TensorError
from bitxcore.groups import MAX_GROUP
from bitxcore.pruned import Pruned
from bitxcore.showing import record_repr


@dataclass(frozen=True)
class Packed(Cut):
    """A pruned tensor, packed.

    Attributes
    ----------
    exponents : ndarray of int16, (filters, groups)
    row_masks : ndarray of unsigned int, (filters, groups)
        As in `Pruned`.
    signs : ndarray of unsigned int, (filters, groups)
        Bit j: sign of member j. Empty for unsigned and two's complement formats.
    rows : ndarray of unsigned int, 1-D
        The kept rows of all groups in order, the most significant of a group first; bit j is
        member j's. Elements have the bits of the next larger of 8, 16, 32 and 64 members.
    shape : tuple of int
    dtype : numpy.dtype
        Of the unpacked values.
    format, group, window, grouping, scale
        As in `Pruned`.

    Examples
    --------
    >>> from bitxcore import prune
    >>> packed = pack(prune(np.array([3, 8, -9, 0], np.int8), rows=1, group=4))
    >>> packed.rows.tolist(), packed.signs.tolist()  # the row of 8; which are negative
    ([6], [[4]])
    >>> packed.bits  # 7 of the mask, 4 of the signs, 4 of the one row
    15
    """

    exponents: Array
    row_masks: Array
    signs: Array
    rows: Array
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float | None = None

    def __repr__(self) -> str:
        return record_repr(self, format=self.format.name)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        exponents = self.exponents.nbytes if self.format.is_float else 0
        return exponents + self.row_masks.nbytes + self.signs.nbytes + self.rows.nbytes

    @property
    def bits(self) -> int:
        """Bits of the form itself, without padding to bytes: what a memory bus would carry."""
        signs = self.group if self.signs.size else 0
        groups = self.row_masks.size * (self.format.exponent_bits + self.window + signs)
        return groups + self.rows.size * self.group


def _settings(engine: Engine) -> tuple[int, tuple[int, ...]]:
    """Kind of the kernels, and their last arguments: base of the exponents, encoding, width."""
    kind, (emin, *encoding, _) = engine.settings
    return kind, (emin - 1, *encoding)


def _row_dtype(engine: Engine) -> np.dtype[Any]:
    return np.dtype(f"u{max(8, engine.padded) // 8}")


def _lane_masks(engine: Engine, masks: Array) -> Array:
    """Masks as the kernels read them: row 0 on top of a row lane."""
    shift = engine.row_bits - engine.window
    dtype = np.dtype(f"u{engine.row_bits // 8}")
    if shift == 0 and masks.dtype == dtype:
        return masks
    lanes = buffer("masks", masks.size, dtype)
    if shift >= 0:
        np.left_shift(masks, shift, out=lanes, dtype=dtype, casting="unsafe")
    else:
        lanes[:] = masks >> -shift
    return lanes


def _chunk_starts(engine: Engine, masks: Array) -> Array:
    """Index of the first row of every chunk of groups, and the number of rows."""
    from bitxcore.kernels.packing import kept_rows_kernel

    count = kept_rows_kernel(masks.itemsize * 8)
    kept = engine.each_chunk(lambda first, last: count(masks[first:last]))
    return np.cumsum([0, *kept])


def _room(
    out: Packed | None, p: Pruned, shape: tuple[int, ...], signs: int, rows: int, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Return flat arrays for the signs and the rows of `p`, those of `out` where it has them."""
    if out is None:
        return np.empty(signs, dtype), np.empty(rows, dtype)
    if out.cut != p.cut or out.shape != shape:
        raise TensorError(f"out must be a form of shape {shape} and {p.cut}, got {out.shape} and {out.cut}")
    check_out(out.signs, p.row_masks.shape if signs else (0,), dtype, "out: signs")
    check_out(out.rows, out.rows.shape, dtype, "out: rows")
    return out.signs.reshape(-1), out.rows[:rows] if rows <= out.rows.size else np.empty(rows, dtype)


def pack(p: Pruned, out: Packed | None = None) -> Packed:
    """Pack a pruned tensor; `unpack` returns exactly its values.

    Parameters
    ----------
    p : Pruned
    out : Packed, optional
        An earlier result, of the same cut and shape, that is not needed any more: its arrays of signs and
        rows are written over. Rows that are more than there were go to a new array.

    Raises
    ------
    TensorError
        If groups were left untouched for a NaN or Inf, or have more than 64 weights, if the arrays are on a
        device, or `out` is of another cut or shape.

    Examples
    --------
    >>> from bitxcore import prune
    >>> p = prune(np.linspace(-1, 1, 64, dtype=np.float32), rows=5)
    >>> packed = pack(p)
    >>> packed.nbytes, p.values.nbytes
    (96, 256)
    >>> bool((unpack(packed) == p.values).all())
    True
    """
    if not isinstance(p, Pruned):
        raise TensorError(f"what prune returns can be packed, got {shown(p)}")
    if on_device(p.values):
        raise TensorError("arrays on a device have no packed form", hint="give p.copy_to_host()")
    if not isinstance(out, (Packed, type(None))):
        raise TensorError(f"out must be an earlier Packed, got {shown(out)}")
    if p.nonfinite_groups:
        raise TensorError(f"{p.nonfinite_groups} groups hold a NaN or Inf: they have no packed form")
    if p.group > MAX_GROUP:
        raise TensorError(f"groups of {p.group} weights have no packed form; {MAX_GROUP} is the most")
    from bitxcore.kernels.packing import pack_kernel

    stored = np.ascontiguousarray(p.values if p.codes is None else p.codes, dtype=p.format.dtype)
    engine = p.engine(stored.shape)
    x = codes_of(stored, p.format)
    masks, exponents = p.row_masks.reshape(-1), p.exponents.reshape(-1)
    kind, settings = _settings(engine)
    run = pack_kernel(kind, engine.code_dtype.itemsize * 8, engine.padded)
    dtype = _row_dtype(engine)
    signed = p.format.is_float or p.format.encoding == "sign-magnitude"
    starts = _chunk_starts(engine, masks)
    signs, rows = _room(out, p, stored.shape, engine.count if signed else 0, int(starts[-1]), dtype)

    def work(first: int, last: int) -> None:
        n = last - first
        codes = engine.take(x, first, last, n)
        target = signs[first:last] if signed else buffer("signs", n, dtype)
        lane_masks = _lane_masks(engine, masks[first:last])
        at = first // engine.chunk
        here = rows[starts[at] : starts[at + 1]]
        run(codes, lane_masks, exponents[first:last], target, here, n, *settings)

    engine.each_chunk(work)
    signs = signs.reshape(p.row_masks.shape) if signed else signs
    return Packed(p.exponents, p.row_masks, signs, rows, stored.shape, p.values.dtype, scale=p.scale, **p.cut)


def unpack(packed: Packed, out: Array | None = None) -> Array:
    """Return the pruned values, in C order, with their original shape and dtype.

    Parameters
    ----------
    packed : Packed
    out : ndarray, optional
        C-contiguous array of that shape and dtype, in native byte order, for the result.

    Raises
    ------
    TensorError
        If the parts do not fit together, or `out` has another shape or dtype or overlaps one of them.

    Examples
    --------
    >>> from bitxcore import prune
    >>> unpack(pack(prune(np.array([3, 8, -9, 0], np.int8), rows=1, group=4))).tolist()
    [0, 8, -8, 0]
    """
    from bitxcore.kernels.packing import unpack_kernel

    if not isinstance(packed, Packed):
        raise TensorError(f"what pack returns can be unpacked, got {shown(packed)}")
    fmt = packed.format
    engine = packed.engine(packed.shape)
    masks, exponents = packed.row_masks.reshape(-1), packed.exponents.reshape(-1)
    signs = packed.signs.reshape(-1)
    if not masks.size == exponents.size == engine.count or signs.size not in (0, engine.count):
        raise TensorError(
            f"packed: shape {packed.shape} has {engine.count} groups, but there are {masks.size} masks, "
            f"{exponents.size} exponents and {signs.size} signs"
        )
    starts = _chunk_starts(engine, masks)
    if packed.rows.size != starts[-1]:
        raise TensorError(f"packed: {packed.rows.size} rows where the masks have {starts[-1]}")
    kind, settings = _settings(engine)
    run = unpack_kernel(kind, engine.code_dtype.itemsize * 8, engine.padded)
    if out is not None:
        check_out(out, packed.shape, packed.dtype)
        for name in ("exponents", "row_masks", "signs", "rows"):
            if np.may_share_memory(out, getattr(packed, name)):
                raise TensorError(f"out overlaps the {name} of the packed form")
    values = np.empty(packed.shape, fmt.dtype) if out is None or packed.scale is not None else out
    codes_out = codes_of(values, fmt)

    def work(first: int, last: int) -> None:
        n = last - first
        view = engine.view(codes_out, first, last, n)
        codes = buffer("codes", n * engine.padded, engine.code_dtype) if view is None else view
        if signs.size:
            minus = signs[first:last]
        else:
            minus = buffer("signs", n, _row_dtype(engine))
            minus[:] = 0
        lane_masks = _lane_masks(engine, masks[first:last])
        at = first // engine.chunk
        here = packed.rows[starts[at] : starts[at + 1]]
        run(codes, lane_masks, exponents[first:last], minus, here, n, *settings)
        if view is None:
            engine.scatter(codes, first, last, codes_out, codes_out)

    engine.each_chunk(work)
    if packed.scale is None:
        return values
    result: Array = np.empty(packed.shape, packed.dtype) if out is None else out
    result[...] = np.multiply(values, packed.scale, dtype=np.float64)
    return result
