"""What a figure shows, apart from who draws it: data, marks and axes, all with units.

A `Chart` is drawn by matplotlib for papers (`bitxcore.plot.drawing`) and by Vega for the report of
`hwmodel`; both show the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bitxcore.tables import Table

__all__ = ["SERIES_COLOURS", "Chart", "ChartAxis", "ChartMark", "series_colours", "values_of"]

AxisKind = Literal["nominal", "ordinal", "quantitative"]
Shape = Literal["bar", "line", "step", "point", "cell", "rule"]

# Okabe and Ito, "Color Universal Design", 2008: told apart by colour-blind readers. Its yellow and black are
# left out: one can't be seen on white, the other not on a dark page.
SERIES_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#7f5fc2")
"""Colours of series, in order."""


@dataclass(frozen=True)
class ChartAxis:
    """A column of the data, and how it is shown: along an axis, or as colour.

    Parameters
    ----------
    column : str
    title : str
        Without the unit.
    kind : {"quantitative", "ordinal", "nominal"}
        A quantity; whole numbers or names in order; names.
    unit : str
        As in stores: ``"cycles"``, ``"J"``; ``"1"`` and ``""`` are not printed.
    log : bool
        Whether the scale is logarithmic.
    zero : bool
        Whether the scale of a quantity begins at zero.
    order : sequence, optional
        All values of a nominal or ordinal axis, first to last; by default as they occur.
    percent : bool
        Whether a share is written as per cent.
    colours : sequence of str, optional
        Of the values of a nominal axis, as ``#rrggbb``; by default `SERIES_COLOURS`.

    Examples
    --------
    >>> ChartAxis("energy_j", "energy", unit="J").label, ChartAxis("cycles", "cycles", unit="cycles").label
    ('energy (J)', 'cycles')
    """

    column: str
    title: str
    kind: AxisKind = "quantitative"
    unit: str = ""
    log: bool = False
    zero: bool = True
    order: Sequence[Any] | None = None
    percent: bool = False
    colours: Sequence[str] | None = None

    @property
    def label(self) -> str:
        """Title and unit: ``energy (J)``, ``area (mm²)``. A title that is the unit is written once."""
        if self.unit in ("", "1", self.title):
            return self.title
        return f"{self.title} ({'mm²' if self.unit == 'mm2' else self.unit})"


@dataclass(frozen=True)
class ChartMark:
    """One layer of a figure: a shape for every row of the data, or a line through them.

    Parameters
    ----------
    shape : {"bar", "line", "step", "point", "cell", "rule"}
        Bars with one nominal or ordinal axis, stacked by colour; lines through the rows of one colour and one
        `line`, by `x`; steps likewise, level until the next; points; cells of a heat map, whose colour is a
        quantity or a name; a rule across the figure at `y`.
    x, y : ChartAxis
    colour : ChartAxis, optional
    line : str, optional
        Column that tells the lines of one colour apart.
    only : str, optional
        Column of flags: rows without the flag are not drawn by this mark.
    text : str, optional
        Column of labels: beside points, inside cells.
    beside : bool
        Bars of several colours stand side by side, not on each other.
    told : sequence of str
        Further columns that an interactive figure tells when a mark is pointed at.
    """

    shape: Shape
    x: ChartAxis
    y: ChartAxis
    colour: ChartAxis | None = None
    line: str | None = None
    only: str | None = None
    text: str | None = None
    beside: bool = False
    told: Sequence[str] = ()

    @property
    def places(self) -> tuple[ChartAxis, ...]:
        """The axes on which its rows have a place; a rule has none along `x`."""
        return (self.y,) if self.shape == "rule" else (self.x, self.y)


@dataclass(frozen=True)
class Chart:
    """A figure.

    Parameters
    ----------
    name : str
        An identifier, unique in a report; files of its data and picture are named by it.
    title : str
        What is shown, of what.
    see : str
        One or two sentences that say what to see, from these data.
    data : Table
        Long form: one row per thing that is drawn. This is what is downloaded as CSV, in SI units.
    marks : sequence of ChartMark
        The first is drawn first.
    """

    name: str
    title: str
    see: str
    data: Table
    marks: Sequence[ChartMark]

    def rows(self, mark: ChartMark) -> list[dict[str, Any]]:
        """Give the rows that a mark draws: flagged, and with a place on both axes.

        None has no place, nor has a quantity that is not positive on a logarithmic axis.

        Examples
        --------
        >>> data = Table("t", {"n": [1, 2, 3], "error": [0.5, 0.0, None]}, {"n": "1", "error": "1"})
        >>> mark = ChartMark("line", ChartAxis("n", "rows"), ChartAxis("error", "error", log=True))
        >>> Chart("t", "Error", "It falls.", data, [mark]).rows(mark)
        [{'n': 1, 'error': 0.5}]
        """
        return [
            row
            for row in self.data.rows()
            if (mark.only is None or row[mark.only])
            and all(_placed(row[axis.column], axis) for axis in mark.places)
        ]


def _placed(value: Any, axis: ChartAxis) -> bool:
    return value is not None and not (axis.log and axis.kind == "quantitative" and value <= 0)


def series_colours(axis: ChartAxis, rows: Sequence[dict[str, Any]]) -> dict[Any, str]:
    """Give every name of a nominal axis its colour; of more names than colours these begin anew.

    With `ChartAxis.order` a name keeps its colour whichever names the data have.

    Examples
    --------
    >>> series_colours(ChartAxis("cause", "cause", "nominal", order=["fill", "compute"]), [])
    {'fill': '#0072b2', 'compute': '#e69f00'}
    """
    colours = axis.colours or SERIES_COLOURS
    return {name: colours[i % len(colours)] for i, name in enumerate(values_of(axis, rows))}


def values_of(axis: ChartAxis, rows: Sequence[dict[str, Any]]) -> list[Any]:
    """List the values of a nominal or ordinal axis, first to last.

    Examples
    --------
    >>> values_of(ChartAxis("layer", "layer", "nominal"), [{"layer": "b"}, {"layer": "a"}, {"layer": "b"}])
    ['b', 'a']
    """
    if axis.order is not None:
        return list(axis.order)
    found = dict.fromkeys(row[axis.column] for row in rows if row[axis.column] is not None)
    return sorted(found) if axis.kind == "ordinal" else list(found)
