"""Bits that a layer takes in DRAM on BitX."""

from __future__ import annotations

from collections.abc import Sequence

from bitxcore.formats import NumberFormat
from hwmodel.memory.stored import StoredBits, dense_bits, whole_words
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import Operands


def plain_bits(layer: Layer, operands: Operands, fmt: NumberFormat, serial: str) -> StoredBits:
    """Count every value at its format's width.

    The other operand takes words of that format, whatever its precision.

    Parameters
    ----------
    layer : Layer
    operands : Operands
    fmt : NumberFormat
        Of the serial operand.
    serial : {"weights", "activations"}
    """
    own, weights_serial = fmt.storage_bits, serial == "weights"
    other = (operands.activation_bits if weights_serial else operands.weight_bits) or 16
    other = own if fmt.is_float else whole_words(other, own)
    return dense_bits(layer, *((own, other) if weights_serial else (other, own)))


def packed_bits(fmt: NumberFormat, histogram: Sequence[int], *, window: int, group: int) -> int:
    """Count the bits of `bitxcore.Packed`: exponent, row mask and signs of each group, G bits per kept row.

    Parameters
    ----------
    fmt : NumberFormat
    histogram : sequence of int
        Entry r: groups with r kept rows.
    window, group : int
        W and G.
    """
    signs = group if fmt.is_float or fmt.encoding == "sign-magnitude" else 0
    rows = sum(rows * groups for rows, groups in enumerate(histogram))
    return sum(histogram) * (fmt.exponent_bits + window + signs) + rows * group
