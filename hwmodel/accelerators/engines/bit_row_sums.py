"""What Bitlet's bit rows add up in floating point."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.accelerators.engines.float_parts import SIGNIFICAND_BITS, float32_parts

_BIAS = 127
_MAX_MEMBERS = 64
"""Up to this many, the products of 24-bit significands fit an int64 sum."""


def group_sums(
    weights: npt.NDArray[Any], activations: npt.NDArray[Any], *, kept_rows: int = SIGNIFICAND_BITS
) -> npt.NDArray[np.float64]:
    """Sum each group's products as a PE does: weights aligned and cut, activations whole.

    A weight's significand moves right by what its product's exponent is below the largest of the group, and
    loses the bits that leave its 24 rows, then those below the upper `kept_rows`. Nothing is rounded.

    Parameters
    ----------
    weights, activations : array, shape (..., members)
        Rounded to float32. At most 64 members.
    kept_rows : int
        From the top, at most 24.

    Returns
    -------
    array of float64, shape (...)

    Raises
    ------
    TensorError
        If shapes differ, a group has more than 64 members or a value is not finite in float32.

    Examples
    --------
    >>> import numpy as np
    >>> weights, activations = np.array([1.5, 2.0**-23]), np.array([2.0, 1.0])
    >>> group_sums(weights, activations)  # the small product is 24 places down: nothing is left of it
    np.float64(3.0)
    """
    if weights.shape != activations.shape:
        raise TensorError(f"weights of shape {weights.shape} and activations of {activations.shape}")
    if not weights.ndim or not 0 < weights.shape[-1] <= _MAX_MEMBERS:
        raise TensorError(f"groups must have 1 to {_MAX_MEMBERS} members, got shape {weights.shape}")
    own, significands = float32_parts("weights", weights)
    others, factors = float32_parts("activations", activations)
    exponents = own.astype(np.int32) + others
    largest = exponents.max(axis=-1, keepdims=True)
    # Nothing is left of 24 bits beyond a shift of 24; one by 32 or more is not defined.
    aligned = significands >> np.minimum(largest - exponents, 31).astype(np.uint32)
    dropped = SIGNIFICAND_BITS - kept_rows
    aligned = aligned >> np.uint32(dropped) << np.uint32(dropped)
    products = aligned.astype(np.int64) * factors.astype(np.int64)
    signed = np.where(np.signbit(weights) == np.signbit(activations), products, -products)
    # Both significands have 23 bits behind the point; all products of a group share its largest exponent.
    scale = largest[..., 0] - 2 * (_BIAS + SIGNIFICAND_BITS - 1)
    return np.ldexp(signed.sum(axis=-1).astype(np.float64), scale)
