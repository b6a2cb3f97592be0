"""Cycles by cause: of every layer, and of the accelerators side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitxcore.plot.chart import Chart, ChartAxis
from bitxcore.tables import Tables
from hwmodel.accelerators.cycle_attribution import CAUSES
from hwmodel.report.figure_sources import Source, by_accelerator, chosen, tables_of
from hwmodel.report.figure_stacks import layers_sentence, stack_of, stacked_chart
from hwmodel.report.figure_words import identifiers, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LAYER = ChartAxis("layer", "layer", "nominal")
CYCLES_AXIS = ChartAxis("cycles", "time", unit="cycles")


def cause_words(column: str) -> str:
    """Name a cause as figures do.

    Examples
    --------
    >>> cause_words("weight_wait_cycles"), cause_words("fifo_full_cycles")
    ('weight wait', 'FIFO full')
    """
    return column.removesuffix("_cycles").replace("_", " ").replace("fifo", "FIFO")


CAUSE_AXIS = ChartAxis("cause", "cause", "nominal", order=[cause_words(name) for name in CAUSES])


def charts(tables: Tables) -> list[Chart]:
    """Make one chart per accelerator that has layers with cycles.

    Parameters
    ----------
    tables : Tables
        Of which ``simulation`` is read.
    """
    found = by_accelerator(tables)
    names = identifiers("cycles_by_layer", found)
    made = [_chart(name, *item) for name, item in zip(names, found.items(), strict=True)]
    return [chart for chart in made if chart is not None]


def cycles_by_layer(source: Source, accelerator: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the cycles of every layer on one accelerator, by cause.

    Parameters
    ----------
    source : NetworkResult, ComparisonResult, Tables, Store, str or path-like
        A result, or a store of one.
    accelerator : str, optional
        Its label; by default the first.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no data for this figure, or no such accelerator.

    Examples
    --------
    >>> import hwmodel as hw
    >>> run = hw.simulate_network(["dadiannao", "stripes"], "resnet20-cifar10", precisions=8)
    >>> ax = hw.plot.cycles_by_layer(run, "stripes")
    >>> ax.get_xlabel()
    'time (cycles)'
    """
    from bitxcore.plot.drawing import draw

    return draw(chosen(charts(tables_of(source)), "accelerator", accelerator, "simulation"), ax)


def causes_of_row(row: dict[str, Any]) -> list[tuple[str, float | None]]:
    """List the cycles of a row of ``simulation`` or ``networks`` by cause; nothing if it is not run."""
    if row["cycles"] is None:
        return []
    found = [(cause_words(name), row[name]) for name in CAUSES]
    return found if any(value is not None for _, value in found) else [("compute", row["cycles"])]


def _chart(name: str, accelerator: str, rows: list[dict[str, Any]]) -> Chart | None:
    stack = stack_of(
        ((row["layer"], cause, cycles) for row in rows for cause, cycles in causes_of_row(row)),
        bar="layer",
    )
    if not stack.values:
        return None
    without = [row["layer"] for row in rows if row["cycles"] is None]
    return stacked_chart(
        stack,
        name=name,
        title=f"Cycles by layer and cause: {named(accelerator)}",
        see=layers_sentence(stack, "cycles", "cycles", "cause", without),
        bar=_LAYER,
        part=CAUSE_AXIS,
        value=CYCLES_AXIS,
        also={"accelerator": accelerator},
    )
