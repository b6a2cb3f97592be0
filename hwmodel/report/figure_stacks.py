"""Stacked bars: one bar per name, divided into parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum

from bitxcore.plot.chart import SERIES_COLOURS, Chart, ChartAxis, ChartMark
from hwmodel.report.figure_words import count_of, greatest, listed, named, quantity, share, table_of

MOST_BARS = 80
"""More names than these are drawn as the heaviest, and one bar for all others."""

MOST_PARTS = len(SERIES_COLOURS)
"""More parts than these are drawn as those with the largest shares, and one for all others."""


@dataclass(frozen=True)
class Stack:
    """Values by bar and part.

    Parameters
    ----------
    values : dict of str to dict of str to float
        By bar, then by part; a part without a value is not there.
    others : str or None
        Name of the bar that all bars without one of their own share; None if there is none.
    other_count : int
        How many these are.
    other_parts : str or None
        Name of the part that represents all without a colour of their own, likewise.
    """

    values: dict[str, dict[str, float]]
    others: str | None = None
    other_count: int = 0
    other_parts: str | None = None

    @property
    def bars(self) -> dict[str, float]:
        """Sum of each bar."""
        return {bar: _sum(parts.values()) for bar, parts in self.values.items()}

    @property
    def parts(self) -> dict[str, float]:
        """Sum of each part over all bars."""
        names = dict.fromkeys(part for parts in self.values.values() for part in parts)
        if self.other_parts in names:
            names[self.other_parts] = names.pop(self.other_parts)  # last
        return {name: _sum(p[name] for p in self.values.values() if name in p) for name in names}

    @property
    def total(self) -> float:
        """Sum of everything."""
        return _sum(value for parts in self.values.values() for value in parts.values())


def stack_of(found: Iterable[tuple[str, str, float | None]], *, bar: str, part: str) -> Stack:
    """Add up values by bar and part, in the order in which they come.

    Parameters
    ----------
    found : iterable of (str, str, float or None)
        Bar, part, value. A bar without any value is not drawn: it is not zero.
    bar, part : str
        What they are, for the names of the others: ``"layer"``.

    Examples
    --------
    >>> stack_of([("a", "fill", 3), ("b", "fill", None), ("a", "fill", 1)], bar="layer", part="cause").values
    {'a': {'fill': 4}}
    """
    lists: dict[str, dict[str, list[float]]] = {}
    for name, component, value in found:
        if value is not None:
            lists.setdefault(name, {}).setdefault(component, []).append(value)
    values = {b: {p: _sum(several) for p, several in parts.items()} for b, parts in lists.items()}
    values, other_parts = _few_parts(values, part)
    return replace(_few_bars(values, bar), other_parts=other_parts)


def stacked_chart(
    stack: Stack,
    *,
    name: str,
    title: str,
    see: str,
    bar: ChartAxis,
    part: ChartAxis,
    value: ChartAxis,
    also: dict[str, str] | None = None,
) -> Chart:
    """Make a figure of lying bars.

    Parameters
    ----------
    stack : Stack
    name, title, see : str
        As of `Chart`.
    bar, part, value : ChartAxis
    also : dict of str to str, optional
        Columns of text that are the same in all rows.
    """
    rows = [
        {bar.column: b, **(also or {}), part.column: p, value.column: v}
        for b, parts in stack.values.items()
        for p, v in sorted(parts.items(), key=lambda item: item[0] == stack.other_parts)
        if v or (not any(parts.values()) and p == next(iter(parts)))
    ]
    units = {bar.column: "", **dict.fromkeys(also or {}, ""), part.column: "", value.column: value.unit}
    drawn = {row[part.column] for row in rows}
    order = part.order if part.order is not None else list(stack.parts)
    names = [p for p in order if p in drawn] + [p for p in stack.parts if p in drawn and p not in order]
    return Chart(
        name=name,
        title=title,
        see=see,
        data=table_of(name, rows, units),
        marks=[
            ChartMark(
                "bar",
                value,
                ChartAxis(bar.column, bar.title, "nominal", order=list(stack.values)),
                colour=ChartAxis(part.column, part.title, "nominal", order=names),
            )
        ],
    )


def parts_sentence(parts: Mapping[str, float], what: str, whole: str, other_parts: str | None = None) -> str:
    """Say which part is the largest.

    Parameters
    ----------
    parts : mapping of str to float
        Not all zero.
    what : str
        What they are: ``"cause"``.
    whole : str
        What they add up to.
    other_parts : str, optional
        One that represents several, and is not compared.

    Examples
    --------
    >>> parts_sentence({"fill": 1, "compute": 2, "imbalance": 2}, "cause", "5 cycles")
    'the largest causes are compute and imbalance, each with 40% of 5 cycles'
    """
    top = greatest({name: value for name, value in parts.items() if name != other_parts} or parts)
    part = share(parts[top[0]], _sum(parts.values()))
    if len(top) == 1:
        return f"the largest {what} is {named(top[0])}, with {part} of {whole}"
    return f"the largest {what}s are {listed(top)}, each with {part} of {whole}"


def layers_sentence(stack: Stack, unit: str, noun: str, part: str, without: Sequence[str] = ()) -> str:
    """Say which part and which layer have most.

    Parameters
    ----------
    stack : Stack
        Of layers.
    unit : str
    noun : str
        What is counted: ``"cycles"``.
    part : str
        What the parts are: ``"cause"``.
    without : sequence of str
        Layers that the machine does not run.
    """
    said = []
    if not stack.total:
        said.append(f"All layers have 0 {noun}.")
    else:
        whole = _told(stack.total, unit, noun)
        said.append(_capital(parts_sentence(stack.parts, part, whole, stack.other_parts)) + ".")
        bars = {name: value for name, value in stack.bars.items() if name != stack.others}
        top = greatest(bars)
        most = share(bars[top[0]], stack.total)
        if len(bars) == 1:
            said.append(f"There is one layer: {named(top[0])}.")
        elif len(top) == 1:
            said.append(f"The layer with most is {named(top[0])}, with {most}.")
        else:
            said.append(f"{count_of(len(top), 'layer')} have most, with {most} each: {listed(top)}.")
    if stack.others is not None:
        said.append(f"The {stack.other_count:,} layers with least are one bar.")
    if without:
        said.append(f"It does not run {count_of(len(without), 'layer')}, which have no numbers.")
    return " ".join(said)


def _told(total: float, unit: str, noun: str) -> str:
    told = quantity(total, unit)
    return told if unit == noun else f"{told} of {noun}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sum(values: Iterable[float]) -> float:
    several = list(values)
    return fsum(several) if any(isinstance(value, float) for value in several) else sum(several)


def _few_parts(
    values: dict[str, dict[str, float]], what: str
) -> tuple[dict[str, dict[str, float]], str | None]:
    """Join the parts with the smallest shares, so that every part has a colour of its own."""
    shares: dict[str, float] = {}
    for parts in values.values():
        whole = _sum(parts.values()) or 1
        for name, value in parts.items():
            shares[name] = shares.get(name, 0.0) + value / whole
    if len(shares) <= MOST_PARTS:
        return values, None
    kept = set(sorted(shares, key=lambda name: -shares[name])[: MOST_PARTS - 1])
    others = _free(f"other {what}s", kept)
    found = {}
    for bar, parts in values.items():
        rest = [value for name, value in parts.items() if name not in kept]
        found[bar] = {name: value for name, value in parts.items() if name in kept}
        found[bar] |= {others: _sum(rest)} if rest else {}
    return found, others


def _few_bars(values: dict[str, dict[str, float]], what: str) -> Stack:
    """Join the lightest bars."""
    if len(values) <= MOST_BARS:
        return Stack(values)
    totals = {bar: _sum(parts.values()) for bar, parts in values.items()}
    kept = set(sorted(totals, key=lambda bar: -totals[bar])[: MOST_BARS - 1])
    rest = [parts for bar, parts in values.items() if bar not in kept]
    others = _free(f"{len(rest):,} other {what}s", kept)
    joined: dict[str, list[float]] = {}
    for parts in rest:
        for name, value in parts.items():
            joined.setdefault(name, []).append(value)
    found = {bar: parts for bar, parts in values.items() if bar in kept}
    found[others] = {name: _sum(several) for name, several in joined.items()}
    return Stack(found, others, len(rest))


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "…"
    return name
