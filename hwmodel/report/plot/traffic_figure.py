"""DRAM traffic by kind, of every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitxcore.plot.chart import Chart, ChartAxis
from bitxcore.tables import Tables
from hwmodel.report.figure_sources import Source, by_accelerator, chosen, tables_of
from hwmodel.report.figure_stacks import layers_sentence, stack_of, stacked_chart
from hwmodel.report.figure_words import identifiers, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = {
    "dram_weight_bytes": "weights",
    "dram_activation_bytes": "activations",
    "dram_output_bytes": "outputs",
    "dram_partial_sum_bytes": "partial sums",
}
"""Columns of traffic, and what figures call them."""

TRAFFIC_AXIS = ChartAxis("dram_bytes", "DRAM traffic", unit="B")
KIND_AXIS = ChartAxis("kind", "kind", "nominal", order=list(KINDS.values()))
_LAYER = ChartAxis("layer", "layer", "nominal")


def charts(tables: Tables) -> list[Chart]:
    """Make one chart per accelerator that has layers with traffic.

    Parameters
    ----------
    tables : Tables
        Of which ``simulation`` is read.
    """
    found = by_accelerator(tables)
    names = identifiers("traffic_by_layer", found)
    made = [_chart(name, *item) for name, item in zip(names, found.items(), strict=True)]
    return [chart for chart in made if chart is not None]


def traffic_by_layer(source: Source, accelerator: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the DRAM traffic of every layer on one accelerator, by kind.

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
    >>> ax = hw.plot.traffic_by_layer(run)
    >>> ax.get_xlabel()
    'DRAM traffic (B)'
    """
    from bitxcore.plot.drawing import draw

    return draw(chosen(charts(tables_of(source)), "accelerator", accelerator, "simulation"), ax)


def _chart(name: str, accelerator: str, rows: list[dict[str, Any]]) -> Chart | None:
    stack = stack_of(
        ((row["layer"], kind, row[column]) for row in rows for column, kind in KINDS.items()),
        bar="layer",
    )
    if not stack.values:
        return None
    without = [row["layer"] for row in rows if row["dram_bytes"] is None]
    return stacked_chart(
        stack,
        name=name,
        title=f"DRAM traffic by layer and kind: {named(accelerator)}",
        see=layers_sentence(stack, "B", "DRAM traffic", "kind", without),
        bar=_LAYER,
        part=KIND_AXIS,
        value=TRAFFIC_AXIS,
        also={"accelerator": accelerator},
    )
