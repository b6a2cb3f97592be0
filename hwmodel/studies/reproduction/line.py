"""The parts of a reproduction: lines, each a number of the paper with ours beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Mark(StrEnum):
    """Where the reading behind our number comes from."""

    PAPER = "paper"
    FITS = "fits"
    CHOSEN = "chosen"


HELD = "fewest rows that hold"
"""How the quantity of a line begins that says at how few rows one of our networks loses little enough."""

MARKS: dict[Mark, str] = {
    Mark.PAPER: "the paper says it",
    Mark.FITS: "the paper does not say it, but its numbers fit it",
    Mark.CHOSEN: "the paper does not say it, and we chose it",
}
"""What each mark means."""

COLUMNS: dict[str, tuple[type, str]] = {
    "place": (str, "table or figure of the paper"),
    "network": (str, "as the paper calls it"),
    "setting": (str, "number format, rows kept, machine"),
    "quantity": (str, "what is told, and by which reading"),
    "unit": (str, "of both numbers"),
    "published": (float, "the paper's number; of a contradiction what one place of it says, or gives"),
    "ours": (float, "our number; of a contradiction what another place of the paper gives"),
    "ratio": (float, "ours over published"),
    "weights": (str, "weights and network table"),
    "why": (str, "reading, and why the two differ"),
    "mark": (str, "paper, fits or chosen: where the reading comes from"),
    "detail": (bool, "one of many: in stores and documents only"),
    "alike": (bool, "both numbers are of the same thing"),
}
"""Columns of a line: dtype and meaning."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One number of the paper with ours beside it.

    Parameters
    ----------
    place : str
        Table or figure, such as ``"Table 3"``.
    network : str
        As the paper calls it.
    setting : str
        Number format, rows kept, machine.
    quantity : str
        What is told, and by which reading.
    unit : str
        Of both numbers; ``x`` for a ratio.
    published : float or None
        None where the paper prints nothing.
    ours : float or None
        None where we have nothing.
    weights : str
        Weights and network table.
    why : str
        What the reading is, and why the two differ.
    mark : Mark
        Where the reading comes from.
    detail : bool
        Whether it is one of many that only stores and documents hold.
    alike : bool
        Whether both numbers are of the same thing, so that their ratio says something.

    Examples
    --------
    >>> Line(place="Table 3", network="ResNet50", setting="fp32, N=6", quantity="zero bits", unit="x",
    ...     published=1.6, ours=2.0, weights="normal", why="", mark=Mark.FITS).ratio
    1.25
    """

    place: str
    network: str
    setting: str
    quantity: str
    unit: str
    published: float | None
    ours: float | None
    weights: str
    why: str
    mark: Mark
    detail: bool = False
    alike: bool = True

    @property
    def ratio(self) -> float | None:
        """Ours over the published one; None without one of them, or where they are of different things."""
        return self.ours / self.published if self.alike and self.ours is not None and self.published else None

    def columns(self) -> dict[str, Any]:
        """Return a table row: a value, or None, for each of `COLUMNS`."""
        row = asdict(self) | {"ratio": self.ratio, "mark": self.mark.value}
        return {name: row[name] for name in COLUMNS}
