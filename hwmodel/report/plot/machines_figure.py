"""All accelerators side by side: cycles by cause, energy and area by part, DRAM traffic by kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bitxcore.plot.chart import Chart, ChartAxis
from bitxcore.tables import Tables
from hwmodel.report.figure_sources import Source, chosen, rows_of, tables_of
from hwmodel.report.figure_stacks import Stack, parts_sentence, stack_of, stacked_chart, with_few_parts
from hwmodel.report.figure_words import (
    count_of,
    greatest,
    least,
    listed,
    named,
    quantity,
    times,
)
from hwmodel.report.plot.cycles_figure import CAUSE_AXIS, CYCLES_AXIS, causes_of_row
from hwmodel.report.plot.energy_figure import ENERGY_AXIS, PART_AXIS, part_words
from hwmodel.report.plot.traffic_figure import KIND_AXIS, KINDS, TRAFFIC_AXIS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Found = Iterable[tuple[str, str, "float | None"]]
_MACHINE = ChartAxis("accelerator", "accelerator", "nominal")
_AREA = ChartAxis("area_mm2", "area", unit="mm2")


def charts(tables: Tables) -> list[Chart]:
    """Make the charts of cycles, energy, area and traffic, where a store has the tables.

    Parameters
    ----------
    tables : Tables
        Of which ``networks``, ``energy``, ``area`` and, for the names, ``comparison`` are read.
    """
    made = (make(tables) for make in (_cycles, _energy, _area, _traffic))
    return [chart for chart in made if chart is not None]


def cycles_by_accelerator(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw the cycles of all accelerators side by side, by cause.

    Parameters
    ----------
    source : NetworkResult, ComparisonResult, Tables, Store, str or path-like
        A result, or a store of one.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no data for this figure.

    Examples
    --------
    >>> import hwmodel as hw
    >>> run = hw.simulate_network(["dadiannao", "stripes"], "resnet20-cifar10", precisions=8)
    >>> ax = hw.plot.cycles_by_accelerator(run)
    >>> ax.get_xlabel()
    'time (cycles)'
    """
    return _drawn(_cycles, source, ax, "networks")


def energy_by_accelerator(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw the energy of all accelerators side by side, by part.

    Parameters
    ----------
    source : NetworkResult, ComparisonResult, Tables, Store, str or path-like
        A result, or a store of one.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no data for this figure.

    Examples
    --------
    >>> import hwmodel as hw
    >>> run = hw.simulate_network(["dadiannao", "stripes"], "resnet20-cifar10", precisions=8)
    >>> ax = hw.plot.energy_by_accelerator(run)
    >>> ax.get_xlabel()
    'energy (J)'
    """
    return _drawn(_energy, source, ax, "energy")


def area_by_accelerator(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw the area of all accelerators side by side, by part; a store or a comparison has it.

    Parameters
    ----------
    source : NetworkResult, ComparisonResult, Tables, Store, str or path-like
        A result, or a store of one.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no data for this figure.

    Examples
    --------
    >>> import hwmodel as hw
    >>> found = hw.compare("resnet20-cifar10", accelerators=["dadiannao", "stripes"], precisions=8)
    >>> ax = hw.plot.area_by_accelerator(found)
    >>> ax.get_xlabel()
    'area (mm²)'
    """
    return _drawn(_area, source, ax, "area")


def traffic_by_accelerator(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw the DRAM traffic of all accelerators side by side, by kind.

    Parameters
    ----------
    source : NetworkResult, ComparisonResult, Tables, Store, str or path-like
        A result, or a store of one.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no data for this figure.

    Examples
    --------
    >>> import hwmodel as hw
    >>> run = hw.simulate_network(["dadiannao", "stripes"], "resnet20-cifar10", precisions=8)
    >>> ax = hw.plot.traffic_by_accelerator(run)
    >>> ax.get_xlabel()
    'DRAM traffic (B)'
    """
    return _drawn(_traffic, source, ax, "networks")


def names_of(tables: Tables) -> dict[str, str]:
    """Return the short name of each accelerator of a comparison, by its label.

    Examples
    --------
    >>> names_of(Tables())
    {}
    """
    return {row["label"]: row["accelerator"] for row in rows_of(tables, "comparison")}


def partly_run(tables: Tables) -> dict[str, str]:
    """Say of each accelerator that runs only some layers how many: ``"10 of 13 layers"``.

    Examples
    --------
    >>> partly_run(Tables())
    {}
    """
    rows = rows_of(tables, "networks")
    names = names_of(tables)
    return {
        names.get(row["accelerator"], row["accelerator"]): (
            f"{row['layers']:,} of {row['layers'] + row['not_applicable']:,} layers"
        )
        for row in rows
        if row["not_applicable"] and row["layers"] is not None
    }


def partly_sentence(partly: Mapping[str, str]) -> str:
    """Say which accelerators run only some layers.

    Examples
    --------
    >>> partly_sentence({"eie": "1 of 54 layers"})
    'eie (1 of 54 layers) runs only some layers.'
    """
    if not partly:
        return ""
    told = listed([f"{named(name)} ({count})" for name, count in partly.items()])
    return f"{told} {'runs' if len(partly) == 1 else 'run'} only some layers."


def _drawn(make: Callable[[Tables], Chart | None], source: Source, ax: Axes | None, table: str) -> Axes:
    from bitxcore.plot.drawing import draw

    chart = make(tables_of(source))
    return draw(chosen([] if chart is None else [chart], "", None, table), ax)


def _rows(tables: Tables, name: str) -> list[dict[str, Any]]:
    """Give the rows of a table, each accelerator by its short name."""
    names, rows = names_of(tables), rows_of(tables, name)
    for row in rows:
        row["accelerator"] = names.get(row["accelerator"], row["accelerator"])
    return list(rows)


def _cycles(tables: Tables) -> Chart | None:
    found = (
        (row["accelerator"], cause, cycles)
        for row in _rows(tables, "networks")
        for cause, cycles in causes_of_row(row)
    )
    stack = stack_of(found, bar="accelerator")
    return _chart(
        tables, stack, "cycles_by_accelerator", "Cycles by accelerator and cause", CAUSE_AXIS, CYCLES_AXIS
    )


def _energy(tables: Tables) -> Chart | None:
    found = ((r["accelerator"], part_words(r["part"]), r["energy_j"]) for r in _rows(tables, "energy"))
    stack = with_few_parts(stack_of(found, bar="accelerator"))
    return _chart(
        tables, stack, "energy_by_accelerator", "Energy by accelerator and part", PART_AXIS, ENERGY_AXIS
    )


def _area(tables: Tables) -> Chart | None:
    found = ((r["accelerator"], part_words(r["part"]), r["area_mm2"]) for r in _rows(tables, "area"))
    stack = with_few_parts(stack_of(found, bar="accelerator"))
    name, title = "area_by_accelerator", "Area by accelerator and part"
    return _chart(tables, stack, name, title, PART_AXIS, _AREA)


def _traffic(tables: Tables) -> Chart | None:
    found = (
        (row["accelerator"], kind, row[column])
        for row in _rows(tables, "networks")
        for column, kind in KINDS.items()
    )
    stack = stack_of(found, bar="accelerator")
    name, title = "traffic_by_accelerator", "DRAM traffic by accelerator and kind"
    return _chart(tables, stack, name, title, KIND_AXIS, TRAFFIC_AXIS)


def _chart(
    tables: Tables, stack: Stack, name: str, title: str, part: ChartAxis, value: ChartAxis
) -> Chart | None:
    """Make a figure of accelerators: those that run all layers first, each from the least to the most."""
    if not stack.values:
        return None
    partly = {} if value is _AREA else partly_run(tables)
    bars = stack.bars
    order = sorted(bars, key=lambda bar: (bar == stack.others, bar in partly, bars[bar]))
    stack = replace(stack, values={bar: stack.values[bar] for bar in order})
    return stacked_chart(
        stack,
        name=name,
        title=title,
        see=_sentence(stack, {n: told for n, told in partly.items() if n in bars}, part, value),
        bar=_MACHINE,
        part=part,
        value=value,
    )


def _sentence(stack: Stack, partly: dict[str, str], part: ChartAxis, value: ChartAxis) -> str:
    bars = {name: total for name, total in stack.bars.items() if name not in partly and name != stack.others}
    said = []
    if len(bars) == 1:
        [(name, total)] = bars.items()
        said.append(f"{named(name)} has {quantity(total, value.unit)}.")
    elif bars:
        low, high = least(bars), greatest(bars)
        if bars[low[0]] == bars[high[0]]:
            said.append(f"All {len(bars)} have the same: {quantity(bars[low[0]], value.unit)}.")
        else:
            ratio = f", {times(bars[high[0]] / bars[low[0]])} times as much" if bars[low[0]] else ""
            said.append(
                f"{listed(low)} {_has(low)} the least, {quantity(bars[low[0]], value.unit)};"
                f" {listed(high)} {_has(high)} the most, {quantity(bars[high[0]], value.unit)}{ratio}."
            )
    ours = bitx_of(bars)
    if ours is not None and bars[ours]:
        rank = 1 + sum(total < bars[ours] for total in bars.values())
        place = f"{named(ours)} is number {rank} of {len(bars)}; its" if len(bars) > 2 else f"{named(ours)}:"
        whole = quantity(bars[ours], value.unit)
        words = parts_sentence(stack.values[ours], part.title, whole)
        said.append(f"{place} {words.removeprefix('the ') if len(bars) > 2 else words}.")
    if stack.others is not None:
        said.append(f"The {count_of(stack.other_count, 'accelerator')} with the least are one bar.")
    said.append(partly_sentence(partly))
    return " ".join(words for words in said if words)


def bitx_of(names: Iterable[str]) -> str | None:
    """Find BitX among accelerators: without options, else its first variant.

    Examples
    --------
    >>> bitx_of(["bitx(format=fixed16)", "bitx"]), bitx_of(["dadiannao"])
    ('bitx', None)
    """
    found = sorted((n for n in names if n == "bitx" or n.startswith("bitx(")), key=lambda n: n != "bitx")
    return found[0] if found else None


def _has(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"
