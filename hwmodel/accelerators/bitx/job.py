"""A layer as BitX sees it: vectors that are taken bit by bit, each applied a number of times in parallel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from bitxcore.formats import NumberFormat, format_of, number_format
from hwmodel.accelerators.bitx.counts import numbers_of
from hwmodel.accelerators.engines.tiles import tile_bounds
from hwmodel.networks.layers import Layer
from hwmodel.operands.im2col import windows
from hwmodel.operands.operands import Operands

SERIAL = ("weights", "activations")


@dataclass(frozen=True, eq=False)
class Job:
    """One layer's work.

    With ``serial="weights"`` a vector is a filter and is used at every position; with
    ``serial="activations"`` it is what a position reads, and is used by every filter.

    Parameters
    ----------
    values : ndarray, shape (vectors, ...)
        The serial operand.
    format : str or None
        Its number format; None: the array's own.
    bounds : ndarray of int64
        Where tiles of vectors begin, and the end: up to C vectors that share the other operand.
    uses : int
        Times a vector is applied, within a step.
    steps : int
        Dependent steps in which that happens.
    other_bits : int or None
        Precision of the other operand, if it is given.
    """

    values: npt.NDArray[Any]
    format: str | None
    bounds: npt.NDArray[np.int64]
    uses: int
    steps: int
    other_bits: int | None

    @property
    def tiles(self) -> int:
        """Tiles of vectors."""
        return len(self.bounds) - 1

    def use_tiles(self, width: int) -> int:
        """Count the passes of a tile, `width` uses at a time."""
        return self.steps * -(-self.uses // width)


def job_of(layer: Layer, operands: Operands, serial: str, units: int, form: str | None) -> Job:
    """See `layer` as a `Job` on `units` PEs.

    Raises
    ------
    TensorError
        If the serial operand is missing, or is integers of a width that no format has.
    """
    filters = layer.filters // layer.conv_groups
    positions = layer.positions // layer.steps
    if serial == "weights":
        assert operands.weights is not None
        values, own = _at_precision("weights", operands.weights, operands.weight_bits, form)
        bounds = tile_bounds(layer.conv_groups, filters, units)
        return Job(values, own, bounds, positions, layer.steps, operands.activation_bits)
    if operands.activations is None:
        raise TensorError("serial='activations' needs activations, none were given", layer=layer.name)
    values, own = _at_precision("activations", operands.activations, operands.activation_bits, form)
    # One scale for all activations, those that no window reads too.
    values, own = numbers_of(values, format=own)
    bounds = tile_bounds(layer.conv_groups * layer.steps, positions, units)
    return Job(windows(layer, values), own, bounds, filters, 1, operands.weight_bits)


def _at_precision(
    what: str, x: npt.NDArray[Any], bits: int | None, form: str | None
) -> tuple[npt.NDArray[Any], str | None]:
    """Read integers at the width that they are stated to have, or need."""
    if not _has_own_format(x, form):
        return x, form
    own = _integer_format(what, x, bits)
    return (x, None) if own is None else (x.astype(number_format(own).dtype), own)


def _has_own_format(x: npt.NDArray[Any], form: str | None) -> bool:
    """Integers are fixed point already; ``fixed<N>`` is what floats become."""
    return x.dtype.kind in "iu" and (form is None or form.startswith("fixed"))


def _integer_format(what: str, x: npt.NDArray[Any], bits: int | None) -> str | None:
    """Find the format of `bits` bits, one of them for the sign where the values leave one; None: the dtype's.

    Without a sign, and for the most negative value of two's complement, it has one bit more.
    """
    low, high = (int(x.min()), int(x.max())) if x.size else (0, 0)
    if bits is None:
        if x.dtype != np.int8 or low > -128:
            return None
        bits = 8
    if not 2 <= bits <= 16:
        raise TensorError(f"integer {what} must have 2 to 16 bits on bitx, got {bits}")
    limit = 1 << bits - 1
    if bits == 8 and (high >= limit or (x.size and x.dtype.kind == "u")):
        return "uint8"
    wider = bits + (high >= limit or low == -limit)
    if wider > 16:
        far = high if high >= limit else low
        raise TensorError(f"integer {what} must be from -32767 to 32767 on bitx, got {far}")
    return f"int{wider}"


def serial_operand(operands: Operands, serial: str) -> npt.NDArray[Any]:
    """Give the operand that is taken bit by bit."""
    x = operands.weights if serial == "weights" else operands.activations
    assert x is not None
    return x


def serial_format(operands: Operands, serial: str, form: str | None) -> NumberFormat:
    """Find the format in which the serial operand is pruned."""
    x = serial_operand(operands, serial)
    bits = operands.weight_bits if serial == "weights" else operands.activation_bits
    if _has_own_format(x, form):
        form = _integer_format(serial, x, bits)
    return format_of(x.dtype) if form is None else number_format(form)
