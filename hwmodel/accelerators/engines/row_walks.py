"""How Bitlet's bit rows walk over a group, and the rules of its variants.

A row looks at its next few bits in each cycle and emits the first 1 that it sees. How it then moves on is
its walk:

``"second"``
    To the second 1 that it sees; past all that it has looked at if it sees only one or none. The state
    machine of the public RTL (Zhu-Zixuan/Bitlet-PE, ``Bitlet_CheckWindow.v``).
``"next"``
    Right behind the 1; past all that it has looked at if it sees none. What the published cycles of the IP
    follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

WALKS = ("second", "next")
MAX_TABLE_LOOK = 12
"""Bits of a window up to which moves are looked up; those of wider windows are computed bit by bit."""


@dataclass(frozen=True, kw_only=True)
class RowWalk:
    """How the rows of a PE walk over a group.

    Parameters
    ----------
    look : int
        Bits that a row sees, at most 64.
    walk : {"second", "next"}
        As this module says.
    stops_early : bool
        Whether a row is done with its last 1, instead of at the end of the group. A group then takes at
        least one cycle.
    pads_groups : bool
        Whether a group with fewer members is walked over as a whole one, filled up with zeros.
    """

    look: int
    walk: str = "second"
    stops_early: bool = False
    pads_groups: bool = False

    @property
    def in_kernels(self) -> tuple[Any, ...]:
        """Arguments of the kernels."""
        table = moves(self.look, self.walk) if self.look <= MAX_TABLE_LOOK else np.zeros(1, np.uint8)
        return self.look, self.walk == "next", self.stops_early, self.pads_groups, table


@cache
def moves(look: int, walk: str = "second") -> npt.NDArray[np.uint8]:
    """How far a row moves on, by the bits that it sees.

    Parameters
    ----------
    look : int
        At most `MAX_TABLE_LOOK`.
    walk : {"second", "next"}

    Returns
    -------
    array of uint8, shape (2**look,)
        The nearest member is in bit 0 of the index.
    """
    seen = np.arange(1 << look, dtype=np.int64)
    if walk == "next":
        behind = np.bitwise_count((seen & -seen) - 1) + 1
        table = np.where(seen > 0, behind, look).astype(np.uint8)
    else:
        rest = seen & (seen - 1)  # without the first 1
        second = np.bitwise_count((rest & -rest) - 1)
        table = np.where(rest > 0, second, look).astype(np.uint8)
    table.setflags(write=False)
    return table


@dataclass(frozen=True, kw_only=True)
class GroupRules:
    """What tells the variants of Bitlet apart.

    Attributes
    ----------
    overhead : mapping of str to int, or None
        Cycles of a group besides its steps, by `Bitlet.numbers`; None: the parts of the RTL's.
    look : int
        Bits that a row sees.
    look_range : pair of int
        Least and most of them.
    walk : {"second", "next"}
        How a row moves on.
    pads_groups : bool
        Whether a short group is walked over as a whole one.
    """

    overhead: Mapping[str, int] | None
    look: int
    look_range: tuple[int, int]
    walk: str
    pads_groups: bool


VARIANTS: Mapping[str, GroupRules] = MappingProxyType(
    {
        "rtl": GroupRules(overhead=None, look=8, look_range=(1, 12), walk="second", pads_groups=False),
        # Steps below 32 in groups of 64, as printed, rule out a window of 2; 8 bits are drawn.
        "paper": GroupRules(
            overhead={"fixed": 10, "float": 13}, look=8, look_range=(8, 64), walk="second", pads_groups=False
        ),
        "ip": GroupRules(
            overhead={"fixed": 17, "float": 17}, look=2, look_range=(1, 64), walk="next", pads_groups=True
        ),
    }
)
