"""What the error of one weight asks of the others: factors of a damped inverse Hessian."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitxcore.checks import shown
from bitxcore.errors import OptionError


def damped_factors(
    hessian: npt.ArrayLike, filters: int, order: npt.NDArray[np.int64], damping: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Damp a Hessian, its inputs in the given order.

    Parameters
    ----------
    hessian : array_like, shape (reduction, reduction) or (parts, reduction, reduction)
        ``X.T @ X`` of the inputs X, up to a factor.
    filters : int
        A multiple of the parts.
    order : int64 ndarray, shape (reduction,)
    damping : float
        Added to the diagonal, as a share of its mean.

    Returns
    -------
    damped, factors : float64 ndarray, shape (parts, reduction, reduction)
        The factors are the upper Cholesky factors of the inverse of each part.

    Raises
    ------
    OptionError
        If shape or values are none of a Hessian, or damping does not make it definite.
    """
    try:
        given = np.asarray(hessian, np.float64)
    except (TypeError, ValueError) as error:
        raise OptionError(f"a Hessian must be an array of numbers, got {shown(hessian)}") from error
    parts = given[None] if given.ndim == 2 else given
    size = len(order)
    if parts.ndim != 3 or parts.shape[1:] != (size, size) or filters % len(parts):
        raise OptionError(
            f"a Hessian of {filters} filters of {size} weights must have the shape {(size, size)}, or that of"
            f" parts of the filters, got {given.shape}",
            value=given.shape,
        )
    if not np.isfinite(parts).all():
        raise OptionError("a Hessian must be finite")
    if not isinstance(damping, (int, float)) or not 0 < damping < float("inf"):
        raise OptionError(f"damping must be a finite number above 0, got {shown(damping)}", value=damping)
    ordered = parts[:, order[:, None], order[None, :]]
    mean = np.diagonal(ordered, axis1=1, axis2=2).mean(axis=1)
    damped = ordered + np.eye(size) * np.where(mean > 0, damping * mean, 1.0)[:, None, None]
    try:
        np.linalg.cholesky(damped)  # says whether it is one
        lower = np.linalg.cholesky(np.linalg.inv(damped))
    except np.linalg.LinAlgError as error:
        raise OptionError(f"a Hessian must be symmetric, and positive but for rounding: {error}") from error
    return damped, np.ascontiguousarray(lower.transpose(0, 2, 1))
