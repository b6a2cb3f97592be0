"""Floats to their rows and back by a multiplication, for groups whose exponents are not too small.

Aligning by shifts takes twice the instructions. Where exponents are too small, `tiny` tells.
"""

from __future__ import annotations

from typing import Any

from bitxcore.kernels.expressions import expression
from bitxcore.kernels.vectors import as_float, as_int, fmul, from_unsigned, repeat, to_unsigned, umax, where


@expression
def tiny(emax: Any, present: Any, bits: int) -> Any:
    """Mask of the groups that the other functions get wrong: small, and not zeros only."""
    return (emax < bits) & (present != 0)


@expression
def rows_of(size: Any, emax: Any, times: int, fraction: int, bits: int) -> Any:
    """Rows of magnitudes; a group's exponent stands `times` times in the lanes of its members."""
    # Times 2**(bits - 1) over the value of row 0, rounded down to an integer; bits below the lane go.
    last = (1 << (bits - 1 - fraction)) - 2
    scale = ((last + bits - 1) - umax(emax, bits)) << fraction
    return to_unsigned(fmul(as_float(size, bits), as_float(repeat(scale, times), bits)), bits)


@expression
def magnitude_of(rows: Any, emax: Any, times: int, fraction: int, bits: int) -> Any:
    """Undo `rows_of`, for rows that are a float's."""
    # The float of the integer is exact; its exponent is off by as much in all members.
    bias = (1 << (bits - 2 - fraction)) - 1
    offset = (emax - (bias + bits - 1)) << fraction
    return where(rows == 0, 0, as_int(from_unsigned(rows, bits), bits) + repeat(offset, times))
