"""What a comparison says of each machine: speed-up, energy and area against the baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Table, Tables
from hwmodel.report.figure_sources import Source, chosen, rows_of, tables_of
from hwmodel.report.figure_words import greatest, listed, named, table_of, times
from hwmodel.report.plot.machines_figure import bitx_of, partly_run, partly_sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WITH, _WITHOUT = "all cycles", "memory without limits"
_OURS, _OTHERS = "BitX", "others"
_MACHINE = ChartAxis("accelerator", "accelerator", "nominal")


def charts(tables: Tables) -> list[Chart]:
    """Make the charts of speed-up, energy and speed per area of all machines that take part.

    Parameters
    ----------
    tables : Tables
        Of which ``comparison`` is read.
    """
    made = (make(tables) for make in (_speedups, _energies, _areas))
    return [chart for chart in made if chart is not None]


def speedup_over_baseline(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw the speed-up of every machine over the baseline, with and without waits for DRAM.

    Parameters
    ----------
    source : ComparisonResult, Tables, Store, str or path-like
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
    >>> ax = hw.plot.speedup_over_baseline(found)
    >>> ax.get_xlabel()
    'speed-up over dadiannao'
    """
    return _drawn(_speedups, source, ax)


def energy_over_baseline(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw the energy of the baseline over that of every machine.

    Parameters
    ----------
    source : ComparisonResult, Tables, Store, str or path-like
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
    >>> ax = hw.plot.energy_over_baseline(found)
    >>> ax.get_xlabel()
    'energy of dadiannao over its own'
    """
    return _drawn(_energies, source, ax)


def speedup_per_area(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw the speed-up of every machine over the baseline, by the ratio of their areas.

    Parameters
    ----------
    source : ComparisonResult, Tables, Store, str or path-like
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
    >>> ax = hw.plot.speedup_per_area(found)
    >>> ax.get_xlabel()
    'speed per area over dadiannao'
    """
    return _drawn(_areas, source, ax)


def _drawn(make: Callable[[Tables], Chart | None], source: Source, ax: Axes | None) -> Axes:
    from bitxcore.plot.drawing import draw

    chart = make(tables_of(source))
    return draw(chosen([] if chart is None else [chart], "", None, "comparison"), ax)


def _speedups(tables: Tables) -> Chart | None:
    rows, base = _compared(tables, "speedup")
    if not rows:
        return None
    columns = {_WITH: "speedup", _WITHOUT: "speedup_on_chip"}
    data = [
        {"accelerator": row["accelerator"], "memory": memory, "speedup": row[column]}
        for row in rows
        for memory, column in columns.items()
        if row[column] is not None
    ]
    partly = partly_run(tables)
    gains = {
        row["accelerator"]: row["speedup_on_chip"]
        for row in rows
        if row["speedup_on_chip"] is not None and row["accelerator"] not in partly
    }
    see = _sentence(tables, rows, "speedup", f"times the speed of {named(base)}")
    if gains:
        top = greatest(gains)
        see += f" With a memory without limits it is {listed(top)}, with {times(gains[top[0]])}."
    return Chart(
        name="speedup_over_baseline",
        title=f"Speed-up over {named(base)}",
        see=see,
        data=table_of("speedup_over_baseline", data, {"accelerator": "", "memory": "", "speedup": "1"}),
        marks=[
            ChartMark(
                "bar",
                ChartAxis("speedup", f"speed-up over {named(base)}"),
                _ordered(rows),
                colour=ChartAxis("memory", "memory", "nominal", order=list(columns)),
                beside=True,
            )
        ],
    )


def _energies(tables: Tables) -> Chart | None:
    _, base = _compared(tables, "energy_ratio")
    title, label = f"Energy of {named(base)} over each machine's", f"energy of {named(base)} over its own"
    return _ratios(
        tables, "energy_ratio", "energy_over_baseline", title, label, f"of the energy of {named(base)}"
    )


def _areas(tables: Tables) -> Chart | None:
    _, base = _compared(tables, "speedup_per_area")
    title, label = f"Speed per area, over {named(base)}", f"speed per area over {named(base)}"
    return _ratios(
        tables,
        "speedup_per_area",
        "speedup_per_area",
        title,
        label,
        f"times the speed per area of {named(base)}",
    )


def _ratios(tables: Tables, column: str, name: str, title: str, label: str, ratio: str) -> Chart | None:
    rows, _ = _compared(tables, column)
    if not rows:
        return None
    data = [
        {
            "accelerator": row["accelerator"],
            "design": _OURS if bitx_of([row["accelerator"]]) else _OTHERS,
            column: row[column],
        }
        for row in rows
    ]
    return Chart(
        name=name,
        title=title,
        see=_sentence(tables, rows, column, ratio),
        data=table_of(name, data, {"accelerator": "", "design": "", column: "1"}),
        marks=[
            ChartMark(
                "bar",
                ChartAxis(column, label),
                _ordered(rows),
                colour=ChartAxis("design", "design", "nominal", order=[_OURS, _OTHERS]),
            )
        ],
    )


def _compared(tables: Tables, column: str) -> tuple[list[dict[str, Any]], str]:
    """Give the machines with a value, and the baseline: those with most first, those of some layers last."""
    if "comparison" not in tables:
        return [], ""
    table: Table = tables["comparison"]
    rows: list[dict[str, Any]] = [row for row in rows_of(tables, "comparison") if row[column] is not None]
    partly = partly_run(tables)
    rows.sort(key=lambda row: (row["accelerator"] in partly, -row[column]))
    return rows, str(table.attrs.get("baseline", "the baseline"))


def _ordered(rows: list[dict[str, Any]]) -> ChartAxis:
    order = list(dict.fromkeys(row["accelerator"] for row in rows))
    return ChartAxis(_MACHINE.column, _MACHINE.title, _MACHINE.kind, order=order)


def _sentence(tables: Tables, rows: list[dict[str, Any]], column: str, ratio: str) -> str:
    """Say who has the most, where BitX stands, and whose values are of some layers only.

    BitX is ranked among all machines that run every layer, the baseline included, as in the comparison's
    findings: equals share the better place.
    """
    values = {row["accelerator"]: row[column] for row in rows}
    partly = {name: told for name, told in partly_run(tables).items() if name in values}
    whole = {name: value for name, value in values.items() if name not in partly} or values
    top = greatest(whole)
    told = _energy_words if column == "energy_ratio" else times
    verb, rank_word = ("use", "least") if column == "energy_ratio" else ("have", "most")
    base = _baseline(tables)
    if base is not None and partly_run(tables).get(base):
        base = None
    if len(top) == 1:
        verb = {"use": "uses", "have": "has"}[verb]
    lead = (
        "" if base is None or whole[top[0]] >= 1 else f"None does better than {named(base)}; of the others, "
    )
    said = [f"{lead}{listed(top)} {verb} the {rank_word}: {told(whole[top[0]])} {ratio}."]
    if len(whole) > 1:
        better = sum(value > 1 for value in whole.values())
        ranked = whole if base is None else {base: 1.0} | whole
        said.append(f"Machines with more than 1: {better} of {len(ranked)}.")
        if (ours := bitx_of(whole)) is not None:
            rank = 1 + sum(value > whole[ours] for value in ranked.values())
            said.append(f"{named(ours)} is number {rank} of {len(ranked)}, with {told(whole[ours])} {ratio}.")
    said.append(partly_sentence(partly))
    absent = [row["accelerator"] for row in rows_of(tables, "comparison") if row["reason"] is not None]
    if absent:
        said.append(f"{listed(absent)} {'takes' if len(absent) == 1 else 'take'} no part.")
    return " ".join(words for words in said if words)


def _energy_words(ratio: float) -> str:
    """Say what share of the baseline's energy is used, from the baseline's over it."""
    return times(1 / ratio) if ratio else "none"


def _baseline(tables: Tables) -> str | None:
    """Give the baseline's name among the accelerators, if it ran."""
    base = tables["comparison"].attrs.get("baseline")
    found = [r["accelerator"] for r in rows_of(tables, "comparison") if r["cycles"] is not None]
    alike = [name for name in found if base is not None and str(name).partition("(")[0] == str(base)]
    return alike[0] if alike else None
