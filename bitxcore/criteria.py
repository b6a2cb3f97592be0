"""Pruning criteria: what is kept of a group, and the parameter each one takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bitxcore.checks import check_one_of, checked_share, is_integer, shown
from bitxcore.errors import OptionError

CRITERIA = ("topn", "msb", "threshold", "energy", "calibrated")
ROUNDINGS = ("truncate", "nearest")


@dataclass(frozen=True, slots=True)
class Criterion:
    """A checked criterion.

    Parameters
    ----------
    name : {"topn", "msb", "threshold", "energy", "calibrated"}
    rows : int
        Most rows a group keeps; no more than the window has.
    wanted : int
        Rows that a group should keep: as many as were asked for, or the window's.
    threshold : float, optional
        ``threshold``: rows are kept whose significance is at least this share of the greatest.
    budget : float, optional
        ``energy``: the greatest relative error. The error of pruned rows is the root of the sum of
        their squared significances, relative to that of all rows; the budget's square is taken
        down to a multiple of 2**-38.
    """

    name: str
    rows: int
    wanted: int
    threshold: float | None = None
    budget: float | None = None

    @property
    def counts_every_row(self) -> bool:
        """Whether the ones of all rows must be known."""
        return self.name in ("threshold", "energy", "calibrated")

    @property
    def energy_share(self) -> int:
        """Share of a group's energy that may be pruned, in units of 2**-38."""
        return math.floor(Fraction(self.budget or 0.0) ** 2 * 2**38)


@lru_cache(64)
def least_ones(threshold: float) -> npt.NDArray[np.uint8]:
    """Table ``[d + 3, n]``: ones that a row needs, d rows below a most significant row of n ones."""
    square = Fraction(threshold) ** 2
    table = np.full((68, 65), 65, np.uint8)
    for distance in range(-3, 65):
        for ones in range(65):
            table[distance + 3, ones] = min(65, math.ceil(square * ones * Fraction(4) ** distance))
    return table


def criterion(
    name: str,
    rows: int | None,
    threshold: float | None,
    budget: float | None,
    window: int,
    norms: object = None,
) -> Criterion:
    """Check the parameters of a criterion; of `norms` only whether they are given.

    Raises
    ------
    OptionError
        If the name is unknown, a parameter is missing, out of range or of another criterion.
    """
    check_one_of(CRITERIA, "criterion", name)
    if rows is None and name in ("topn", "msb", "calibrated"):
        raise OptionError(f"criterion {name!r} needs rows, the number of rows to keep")
    if rows is not None and (not is_integer(rows) or rows < 1):
        raise OptionError(f"rows must be a positive integer, got {shown(rows)}", value=rows)
    parameters = (
        ("threshold", threshold, "threshold"),
        ("budget", budget, "energy"),
        ("norms", norms, "calibrated"),
    )
    for parameter, value, owner in parameters:
        if (value is None) == (name == owner):
            verb = "needs" if value is None else "takes no"
            raise OptionError(f"criterion {name!r} {verb} {parameter}", value=value)
    wanted = window if rows is None else int(rows)
    return Criterion(
        name,
        min(wanted, window),
        wanted,
        None if threshold is None else checked_share("threshold", threshold),
        None if budget is None else checked_share("budget", budget),
    )
