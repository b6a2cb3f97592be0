"""How stored integers represent weights: zero points, scales, several codes in a byte."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.dumps.onnx_weights.operands import pack_codes, unpack
from bitxcore.dumps.onnx_weights.scaling import RANGES, as_integers, data_type, narrowest
from bitxcore.dumps.onnx_weights.values import Array, Factor, Origin, Spread, evaluate, sources
from bitxcore.errors import TensorError

MOST_BITS = 16
"""Widest integers that are pruned."""


class Encoding:
    """How the numbers of a stored tensor represent weights.

    A weight is ``(number - zero_point) * scale``. What a machine multiplies by, and what is pruned, is
    the code ``number - zero_point``. Floats that the graph itself quantises are rounded to codes first.

    Parameters
    ----------
    part : Origin
        The tensor on its way to the layer.
    tensors : mapping of str to array_like
        The open dump: zero points and scales are read from it when asked for.
    """

    def __init__(self, part: Origin, tensors: Mapping[str, Any]) -> None:
        self._part = part
        self._tensors = tensors
        self._shape = part.constant.shape
        self._spread: dict[int, Array] = {}

    def __repr__(self) -> str:
        what = [name for name in ("zero_point", "scales", "packing") if getattr(self._part, name)]
        return f"<Encoding of {self._part.constant.name!r}: {', '.join(what) or 'integers'}>"

    @property
    def unknown(self) -> str:
        """Why the codes are not known; else empty."""
        zero = self._part.zero_point
        if self._part.unknown or zero is None or (zero.known is not None and zero.spread is None):
            return self._part.unknown
        try:
            self._less_zero_point(np.zeros(self._shape, np.uint8), self._zero_point())
        except TensorError as error:
            return error.message
        return ""

    @property
    def bits(self) -> int:
        """Bits of a stored number."""
        if packing := self._part.packing:
            return packing.bits
        low, high = self._ends
        return (high - low).bit_length()

    @property
    def _ends(self) -> tuple[int, int]:
        """Lowest and highest number that is stored, or that the graph makes of floats."""
        return self._part.ends or RANGES[data_type(self._part)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes; that of the tensor, unless a byte holds several."""
        packing = self._part.packing
        return (self._shape[0], packing.columns) if packing else self._shape

    def codes(self, stored: Array) -> tuple[Array, str | None]:
        """Return what is pruned.

        Parameters
        ----------
        stored : ndarray
            The whole tensor.

        Returns
        -------
        codes : ndarray of int8, uint8 or int16, of `shape`
        format : str or None
            The narrowest number format that holds whatever the stored type and the zero points allow; None
            if the codes are the stored numbers in a format of their own.

        Raises
        ------
        TensorError
            If the zero point is not known, or codes are wider than 16 bits.
        """
        if self.unknown:
            raise TensorError(f"its zero point is not known: {self.unknown}")
        zero = self._zero_point()
        if self._part.ends:
            return self._quantised(stored)
        if self._part.packing is None and not zero.any() and stored.dtype in (np.int8, np.int16, np.uint8):
            lowest = np.iinfo(stored.dtype).min
            if stored.dtype == np.uint8 or not stored.size or stored.min() > lowest:
                return stored, None
        return self._narrow(self._less_zero_point(stored, zero))

    def _narrow(self, codes: Array) -> tuple[Array, str]:
        """Return codes in the narrowest format that holds what they may be."""
        top = max(int(codes.max(initial=0)), -int(codes.min(initial=0)))
        bits = self.bits if top < 1 << (self.bits - 1) else self.bits + 1
        if top >= 1 << min(bits - 1, MOST_BITS - 1):
            raise TensorError(f"codes of up to {top} are wider than {MOST_BITS} bits", value=top)
        return codes.astype(np.int8 if bits <= 8 else np.int16), f"int{min(max(bits, 2), MOST_BITS)}"

    def stored(self, codes: Array, before: Array) -> Array:
        """Return the numbers to store for new codes; what is beyond the stored type becomes its end.

        Parameters
        ----------
        codes : ndarray
            As of `codes`.
        before : ndarray
            The tensor as it was.
        """
        if self._part.ends:
            return self._floats(codes, before)
        if packing := self._part.packing:
            zero = self._packed_zero()
            ends = [unpack_of(before, zero, packing, value) for value in (0, 255)]
            inside = np.clip(codes, ends[0], ends[1])
            return pack_codes(inside, before, zero, packing=packing, filters=self._shape[0])
        numbers = codes.astype(np.int32) + self._zero_point()
        return np.clip(numbers, *self._ends).astype(before.dtype)

    @property
    def size(self) -> int:
        """Number of codes."""
        return prod(self.shape)

    def weights(self, stored: Array, start: int = 0) -> npt.NDArray[np.float64]:
        """Return the weights that stored numbers represent; scales that are not known are 1.

        Parameters
        ----------
        stored : ndarray
            Whole rows of axis 0.
        start : int
            Rows before them.
        """
        rows = slice(start, start + len(stored)) if stored.ndim else None
        if packing := self._part.packing:
            blocks = -(-packing.columns // packing.block)
            zero = self._packed_zero()
            own = None if zero is None else zero.reshape(self._shape[0], -1)[rows]
            values = unpack(stored, own, packing=packing, filters=len(stored)).astype(np.float64)
            for factor in self._part.scales:
                scale = np.asarray(evaluate(factor.recipe, self._tensors), np.float64)
                spread = np.repeat(scale.reshape(self._shape[0], blocks)[rows], packing.block, axis=1)
                values *= spread[:, : packing.columns]
            return values
        if self._part.ends:
            return self._rounded(stored, rows) * _rows(self._scale(), rows)
        values = (stored.astype(np.int64) - _rows(self._zero_point(), rows)).astype(np.float64)
        for factor in self._part.scales:
            scale = _rows(self._aligned(factor).astype(np.float64), rows)
            values = values / scale if factor.divides else values * scale
        return values

    # -- floats that the graph quantises -------------------------------------------------------------

    def _scale(self) -> Array:
        """Scale of the codes, shaped to broadcast."""
        return self._aligned(self._part.scales[0]).astype(np.float64) if self._part.scales else np.ones(())

    def _rounded(self, stored: Array, rows: slice | None = None) -> Array:
        """Codes of floats, less their zero point, in float64; rounded as QuantizeLinear does."""
        assert self._part.ends is not None
        zero = _rows(self._zero_point(), rows)
        scaled = stored / _rows(self._scale(), rows).astype(stored.dtype)
        return np.asarray(np.clip(np.rint(scaled) + zero, *self._part.ends) - zero, np.float64)

    def _quantised(self, stored: Array) -> tuple[Array, str]:
        bad = np.flatnonzero(~np.isfinite(stored))
        if bad.size:
            index = int(bad[0])
            value = stored.reshape(-1)[index]
            raise TensorError(f"{value} at flat index {index} has no code", index=index, value=value)
        return self._narrow(self._rounded(stored).astype(np.int32))

    def _floats(self, codes: Array, before: Array) -> Array:
        """Floats of new codes; where a code stays the float does."""
        assert self._part.ends is not None
        zero = self._zero_point()
        kept = np.clip(codes + zero, *self._part.ends) - zero
        return np.where(kept == self._rounded(before), before, (kept * self._scale()).astype(before.dtype))

    def _packed_zero(self) -> Array | None:
        zero = self._part.zero_point
        return None if zero is None else np.asarray(evaluate(zero.recipe, self._tensors))

    def _zero_point(self) -> Array:
        """Zero point, shaped to broadcast."""
        zero = self._part.zero_point
        if zero is None or self._part.packing:
            return np.zeros((), np.int32)
        return as_integers(self._aligned(zero))

    def _less_zero_point(self, stored: Array, zero: Array) -> Array:
        if packing := self._part.packing:
            return unpack(stored, self._packed_zero(), packing=packing, filters=self._shape[0])
        return narrowest(stored.astype(np.int32) - zero)

    def _aligned(self, factor: Factor) -> Array:
        """Values of a factor, shaped to broadcast to the tensor."""
        values = np.asarray(evaluate(factor.recipe, self._tensors))
        if factor.spread is not None:
            if id(factor) not in self._spread:
                scale = factor is not self._part.zero_point
                self._spread[id(factor)] = self._brought_back(factor.spread, values, scale)
            return self._spread[id(factor)]
        kept = [axis for axis in factor.axes if axis is not None]
        order = sorted(range(len(kept)), key=kept.__getitem__)
        lengths = [n for n, axis in zip(values.shape, factor.axes, strict=True) if axis is not None]
        if prod(lengths) != values.size:
            raise TensorError(f"a zero point or scale has shape {values.shape}", value=values.shape)
        turned = values.reshape(lengths).transpose(order)
        shape = [1] * len(self._shape)
        for axis, length in zip(sorted(kept), turned.shape, strict=True):
            shape[axis] = length
        spread = turned.reshape(shape)
        if factor.along is None:
            return spread
        whole = np.repeat(spread, factor.block, axis=factor.along)
        return whole[(slice(None),) * factor.along + (slice(self._shape[factor.along]),)]

    def _brought_back(self, spread: Spread, values: Array, scale: bool) -> Array:
        """Bring values that apply to a moved tensor to the tensor's own elements; 0 or 1 where none applies.

        Raises
        ------
        TensorError
            If several zero points apply to one element.
        """
        name, size = self._part.constant.name, prod(self._shape)
        others = {n: np.zeros(self._tensors[n].shape, np.int8) for n in sources(spread.places) if n != name}
        ids = np.arange(1, size + 1, dtype=np.int32 if size < 1 << 31 else np.int64).reshape(self._shape)
        places = evaluate(spread.places, others | {name: ids}).reshape(-1)
        if spread.block > 1:
            cut = (slice(None),) * spread.axis + (slice(spread.shape[spread.axis]),)
            values = np.repeat(values, spread.block, axis=spread.axis)[cut]
        applied = np.broadcast_to(values, spread.shape).reshape(-1)[places > 0]
        places = places[places > 0] - 1
        found = np.full(size, scale, values.dtype)
        found[places] = applied
        if not scale and not np.array_equal(found[places], applied):
            raise TensorError("several are subtracted from one number")
        return found.reshape(self._shape)


def _rows(factor: Array, rows: slice | None) -> Array:
    """Cut a factor that broadcasts to a tensor to some of its rows."""
    return factor if rows is None or factor.ndim == 0 or factor.shape[0] == 1 else factor[rows]


def unpack_of(before: Array, zero: Array | None, packing: Any, byte: int) -> Array:
    """Codes that bytes of one value would hold: the ends of their range."""
    return unpack(np.full_like(before, byte), zero, packing=packing, filters=before.shape[0])
