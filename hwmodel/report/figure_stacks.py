"""Stacked bars: one bar per name, divided into parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum

from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from hwmodel.report.figure_colours import REST_COLOUR, part_colour
from hwmodel.report.figure_words import count_of, greatest, listed, named, quantity, share, table_of

MOST_BARS = 80
"""More names than these are drawn as the heaviest, and one bar for all others."""

_DRAWN_AS = "drawn_as"

MOST_PARTS = 16
"""So many parts are drawn with a colour of their own, and all others with one."""


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
    drawn_as : dict of str to str
        By part: itself, or the name that all parts without a colour of their own share. Empty if no parts
        are joined.
    colours : dict of str to str
        By what is drawn, as ``#rrggbb``; empty where the axis of parts says them.
    """

    values: dict[str, dict[str, float]]
    others: str | None = None
    other_count: int = 0
    drawn_as: dict[str, str] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)

    @property
    def bars(self) -> dict[str, float]:
        """Sum of each bar."""
        return {bar: _sum(parts.values()) for bar, parts in self.values.items()}

    @property
    def parts(self) -> dict[str, float]:
        """Sum of each part over all bars."""
        names = dict.fromkeys(part for parts in self.values.values() for part in parts)
        return {name: _sum(p[name] for p in self.values.values() if name in p) for name in names}

    @property
    def total(self) -> float:
        """Sum of everything."""
        return _sum(value for parts in self.values.values() for value in parts.values())


def stack_of(found: Iterable[tuple[str, str, float | None]], *, bar: str) -> Stack:
    """Add up values by bar and part, in the order in which they come.

    Parameters
    ----------
    found : iterable of (str, str, float or None)
        Bar, part, value. A bar without any value is not drawn: it is not zero.
    bar : str
        What bars are, for the name of the others: ``"layer"``.

    Examples
    --------
    >>> stack_of([("a", "fill", 3), ("b", "fill", None), ("a", "fill", 1)], bar="layer").values
    {'a': {'fill': 4}}
    """
    lists: dict[str, dict[str, list[float]]] = {}
    for name, component, value in found:
        if value is not None:
            lists.setdefault(name, {}).setdefault(component, []).append(value)
    values = {b: {p: _sum(several) for p, several in parts.items()} for b, parts in lists.items()}
    return _few_bars(values, bar)


def with_few_parts(stack: Stack) -> Stack:
    """Choose the parts of a machine that have a colour of their own.

    They are chosen so that no bar has most of its length in other parts, where that is possible: next is the
    part that most shortens what bars have of others beyond half of their length, then the one with the
    largest share in any bar. No two have the same colour.

    Examples
    --------
    >>> with_few_parts(stack_of([("a", "DRAM", 3), ("a", "clock", 1)], bar="layer")).colours
    {'DRAM': '#0072b2', 'clock': '#e69f00'}
    """
    left: dict[str, dict[str, float]] = {}
    for bar, parts in stack.values.items():
        whole = _sum(parts.values()) or 1
        left[bar] = {name: value / whole for name, value in parts.items()}
    colours: dict[str, str] = {}
    free = list(stack.parts)
    while free and len(colours) < MOST_PARTS:
        top = max(free, key=lambda name: _need_of(name, left.values()))
        colours[top] = part_colour(top)
        for parts in left.values():
            parts[top] = 0.0
        free = [name for name in free if part_colour(name) not in colours.values()]
    names = list(stack.parts)
    others = _free("other parts", set(names))
    drawn_as = {name: name if name in colours else others for name in names}
    order = sorted(colours, key=names.index)
    rest = {others: REST_COLOUR} if others in drawn_as.values() else {}
    return replace(stack, drawn_as=drawn_as, colours={name: colours[name] for name in order} | rest)


def _need_of(part: str, left: Iterable[Mapping[str, float]]) -> tuple[float, float]:
    """Weigh a part by the shares that bars have of it, and of parts without a colour yet."""
    bars = [parts for parts in left if part in parts]
    return (
        round(sum(min(parts[part], max(0.0, sum(parts.values()) - 0.5)) for parts in bars), 9),
        max((parts[part] for parts in bars), default=0.0),
    )


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
    joined = {_DRAWN_AS: ""} if stack.drawn_as else {}
    rows = [
        {bar.column: b, **(also or {}), part.column: p, value.column: v}
        | ({_DRAWN_AS: stack.drawn_as[p]} if joined else {})
        for b, parts in stack.values.items()
        for p, v in sorted(parts.items(), key=lambda item: stack.drawn_as.get(item[0], item[0]) != item[0])
        if v or (not any(parts.values()) and p == next(iter(parts)))
    ]
    units = {bar.column: "", **dict.fromkeys(also or {}, ""), part.column: "", **joined}
    colour = replace(part, order=part.order if part.order is not None else list(stack.parts))
    if joined:
        colour = ChartAxis(
            _DRAWN_AS, part.title, "nominal", order=list(stack.colours), colours=list(stack.colours.values())
        )
    return Chart(
        name=name,
        title=title,
        see=see,
        data=table_of(name, rows, units | {value.column: value.unit}),
        marks=[
            ChartMark(
                "bar",
                value,
                ChartAxis(bar.column, bar.title, "nominal", order=list(stack.values)),
                colour=colour,
                told=(part.column,) if joined else (),
            )
        ],
    )


def parts_sentence(parts: Mapping[str, float], what: str, whole: str) -> str:
    """Say which part is the largest.

    Parameters
    ----------
    parts : mapping of str to float
        Not all zero.
    what : str
        What they are: ``"cause"``.
    whole : str
        What they add up to.

    Examples
    --------
    >>> parts_sentence({"fill": 1, "compute": 2, "imbalance": 2}, "cause", "5 cycles")
    'the largest causes are compute and imbalance, each with 40% of 5 cycles'
    """
    top = greatest(parts)
    part = share(parts[top[0]], _sum(parts.values()))
    if len(top) == 1:
        return f"the largest {what} is {named(top[0])}, with {part} of {whole}"
    return f"the largest {what}s are {listed(top)}, each with {part} of {whole}"


def layers_sentence(stack: Stack, unit: str, noun: str, part: str, without: Sequence[str] = ()) -> str:
    """Say which part and which layer have the most.

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
        said.append(_capital(parts_sentence(stack.parts, part, whole)) + ".")
        bars = {name: value for name, value in stack.bars.items() if name != stack.others}
        top = greatest(bars)
        most = share(bars[top[0]], stack.total)
        if len(bars) == 1:
            said.append(f"There is one layer: {named(top[0])}.")
        elif len(top) == 1:
            said.append(f"The layer with the most is {named(top[0])}, with {most}.")
        else:
            said.append(f"{count_of(len(top), 'layer')} have the most, with {most} each: {listed(top)}.")
    if stack.others is not None:
        said.append(f"The {stack.other_count:,} layers with the least are one bar.")
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
