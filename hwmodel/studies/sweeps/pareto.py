"""The points that no other point beats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError


def nondominated(objectives: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Find the Pareto front of points whose objectives are all to be small.

    A point is dominated if another one is at most as large in every objective and smaller in one. Points
    that are equal in every objective are on the front together, or not at all.

    Parameters
    ----------
    objectives : array_like of float, shape (points, objectives)
        No NaN.

    Returns
    -------
    array of bool, shape (points,)

    Notes
    -----
    Exact. In the order of their first objective, then of the next, no point is dominated by a later
    one, and one that is dominated is so by a point of the front: each is compared with the front so
    far, at once. Time is proportional to points × front.
    """
    values = np.asarray(objectives, np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise TensorError(f"objectives must have shape (points, objectives), got {values.shape}")
    if np.isnan(values).any():
        point = int(np.argwhere(np.isnan(values))[0, 0])
        raise TensorError(f"objectives of point {point}: NaN can't be compared")
    # Rows are sorted and distinct: "at most as large everywhere" is then domination.
    distinct, position = np.unique(values, axis=0, return_inverse=True)
    on_front = np.zeros(len(distinct), bool)
    front = np.empty_like(distinct)
    size = 0
    for i, point in enumerate(distinct):
        if not (front[:size] <= point).all(axis=1).any():
            front[size] = point
            size += 1
            on_front[i] = True
    found: npt.NDArray[np.bool_] = on_front[position.reshape(-1)]
    return found
