"""The parts of a comparison with a paper's table: rows, and the text about them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from bitxcore.data import data_folder


class Standing(StrEnum):
    """How certain it is that a published figure is the paper's; the words used in ``data/published``."""

    PRINTED = "printed"
    ABSTRACT = "abstract"
    DRAWING = "measured in a drawing"
    SECOND_HAND = "second hand"
    MEMORY = "quoted from memory"


STANDINGS: dict[Standing, str] = {
    Standing.PRINTED: "the paper prints it, and we had its text",
    Standing.ABSTRACT: "the paper's abstract prints it",
    Standing.DRAWING: "a bar or a marker without a label, measured in the paper's vector drawing",
    Standing.SECOND_HAND: "summaries of the paper print it; we did not have its text",
    Standing.MEMORY: "written down from memory; we did not have the paper's text",
}
"""What each standing means."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One published figure with ours beside it.

    Parameters
    ----------
    machine : str
        Name of the accelerator.
    what : str
        Quantity and setting.
    network : str
        Network or layer, as the paper calls it.
    published, ours : float
    unit : str
        Of both; ``x`` for a ratio.
    standing : Standing
        Of the published figure.
    remark : str
        What else is known of this row.

    Examples
    --------
    >>> Row(machine="eie", what="time", network="FC6", published=30, ours=27, unit="us",
    ...     standing=Standing.MEMORY).ratio
    0.9
    """

    machine: str
    what: str
    network: str
    published: float
    ours: float
    unit: str
    standing: Standing
    remark: str = ""

    @property
    def ratio(self) -> float:
        """Ours over the published one."""
        return self.ours / self.published


@dataclass(frozen=True, kw_only=True)
class Study:
    """One machine beside its paper.

    Parameters
    ----------
    machine : str
        Name of the accelerator.
    title : str
    method : str
        How ours is computed: the machine's options, the layers, the operands and their seed.
    findings : tuple of str
        Every mismatch, with the best-known reason.
    rows : callable
        Computes the rows, in the order of the page.
    """

    machine: str
    title: str
    method: str
    findings: tuple[str, ...]
    rows: Callable[[], Iterable[Row]]


@cache
def published_rows(name: str) -> tuple[dict[str, str], ...]:
    """Read a file of ``data/published``.

    Raises
    ------
    BitxError
        If the data are not installed.

    Examples
    --------
    >>> published_rows("eie-layers")[0]["layer"]
    'FC6'
    """
    with (data_folder("published") / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
