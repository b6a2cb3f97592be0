"""How many are taken away, and which: exact counts, the lowest first, never all."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError

Array = npt.NDArray[Any]

SCOPES = ("layer", "global")
"""Whether the ratio holds in each layer, or over all of them by one threshold."""


def check_ratio(ratio: float) -> None:
    """Raise an `OptionError` unless a ratio is from 0 to below 1."""
    if not isfinite(ratio) or not 0 <= ratio < 1:
        raise OptionError(f"ratio must be from 0 to below 1, got {ratio}", value=ratio)


def taken(count: int, ratio: float) -> int:
    """Give how many of `count` are taken away: the ratio of them, rounded down; of 10 at 0.3 exactly 3.

    Examples
    --------
    >>> taken(100, 0.29), taken(16, 0.3), taken(1, 0.9)
    (29, 4, 0)
    """
    return floor(count * ratio + 1e-9)


def lowest(scores: Array, count: int) -> Array:
    """Give the places of the `count` lowest scores, of equal ones the first, in rising order."""
    return np.sort(np.argsort(scores, kind="stable")[:count])


def kept_by_layer(scores: Mapping[str, Array], ratio: float) -> dict[str, Array]:
    """Keep of each layer, or space of channels, all but its lowest; at least one stays."""
    return {
        name: np.setdiff1d(np.arange(len(of)), lowest(of, min(taken(len(of), ratio), len(of) - 1)))
        for name, of in scores.items()
    }


def kept_of_all(scores: Mapping[str, Array], ratio: float) -> dict[str, Array]:
    """Keep all but the lowest of all layers together; the highest of each stays.

    Parameters
    ----------
    scores : mapping of str to ndarray
        That can be compared over layers.
    ratio : float

    Returns
    -------
    dict of str to ndarray
        Places that are kept, by layer.
    """
    if not scores:
        return {}
    everything = np.concatenate([np.asarray(of, np.float64) for of in scores.values()])
    starts = np.cumsum([0, *(len(of) for of in scores.values())])
    gone = taken(len(everything), ratio)
    best = [int(start) + int(np.argmax(of)) for start, of in zip(starts, scores.values(), strict=False)]
    order = np.argsort(everything, kind="stable")
    order = order[~np.isin(order, best)][:gone]
    stays = np.ones(len(everything), bool)
    stays[order] = False
    parts = np.split(stays, starts[1:-1])
    return {name: np.flatnonzero(part) for name, part in zip(scores, parts, strict=True)}
