"""The machines that stand beside their papers' tables, and their rows."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from bitxcore.errors import OptionError
from hwmodel.studies.validation.record import Row, Study

MACHINES: dict[str, str] = {
    "bitx": "bitx_paper",
    "stripes": "stripes_paper",
    "eie": "eie_paper",
    "scnn": "scnn_paper",
    "bitlet": "bitlet_paper",
    "tetris": "tetris_paper",
}
"""Module of this package by machine, in the order of the page; each has a `STUDY`."""


def study(machine: str) -> Study:
    """Return how a machine is compared with its paper; nothing is computed yet.

    Raises
    ------
    OptionError
        If the machine has no such comparison.

    Examples
    --------
    >>> study("eie").title
    'EIE: nine layers'
    """
    if machine not in MACHINES:
        raise OptionError(
            f"no table of a paper stands beside {machine!r}; there are {', '.join(MACHINES)}", value=machine
        )
    found = import_module(f"hwmodel.studies.validation.{MACHINES[machine]}").STUDY
    assert isinstance(found, Study)
    return found


def rows(machines: Iterable[str] | None = None) -> tuple[Row, ...]:
    """Compute every row, ours beside the published figure.

    Parameters
    ----------
    machines : iterable of str, optional
        Names from `MACHINES`; all of them by default, which takes a minute or two.

    Raises
    ------
    OptionError
        If a machine has no such comparison.

    Examples
    --------
    >>> found = rows(["stripes"])
    >>> found[0].network, found[0].published, round(found[0].ours, 2)
    ('AlexNet', 2.38, 2.33)
    """
    studies = [study(machine) for machine in (MACHINES if machines is None else machines)]
    return tuple(row for each in studies for row in each.rows())
