"""Where tiles of filters, or of other vectors, begin and end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def tile_bounds(groups: int, members: int, together: int) -> npt.NDArray[np.int64]:
    """Cut each group into tiles of up to `together` of its members; no tile spans two groups.

    Parameters
    ----------
    groups : int
    members : int
        Of each group; members of all groups are numbered through.
    together : int

    Returns
    -------
    array of int64, shape (tiles + 1,)
        Where tiles begin, and the end.

    Examples
    --------
    >>> tile_bounds(2, 5, 3).tolist()
    [0, 3, 5, 8, 10]
    """
    starts = np.arange(groups)[:, None] * members + np.arange(0, members, together)
    return np.append(starts.reshape(-1), groups * members)
