"""Energy by part of the machine, of every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitxcore.plot.chart import Chart, ChartAxis
from bitxcore.tables import Tables
from hwmodel.report.figure_sources import Source, by_accelerator, chosen, tables_of
from hwmodel.report.figure_stacks import layers_sentence, stack_of, stacked_chart, with_few_parts
from hwmodel.report.figure_words import identifiers, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENERGY_AXIS = ChartAxis("energy_j", "energy", unit="J")
PART_AXIS = ChartAxis("part", "part", "nominal")
_LAYER = ChartAxis("layer", "layer", "nominal")


def charts(tables: Tables) -> list[Chart]:
    """Make one chart per accelerator that has a cost model.

    Parameters
    ----------
    tables : Tables
        Of which ``energy`` is read, and ``simulation`` for the layers that are not run.
    """
    found, layers = by_accelerator(tables, "energy"), by_accelerator(tables)
    names = identifiers("energy_by_layer", found)
    made = [
        _chart(name, accelerator, rows, layers.get(accelerator, []))
        for name, (accelerator, rows) in zip(names, found.items(), strict=True)
    ]
    return [chart for chart in made if chart is not None]


def energy_by_layer(source: Source, accelerator: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the energy of every layer on one accelerator, by part of the machine.

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
    >>> ax = hw.plot.energy_by_layer(run, "stripes")
    >>> ax.get_xlabel()
    'energy (J)'
    """
    from bitxcore.plot.drawing import draw

    return draw(chosen(charts(tables_of(source)), "accelerator", accelerator, "energy"), ax)


def part_words(part: str) -> str:
    """Name a part as figures do: ``"weight_buffer"`` is ``"weight buffer"``, ``"dram"`` is ``"DRAM"``."""
    return {"dram": "DRAM", "pes": "PEs", "and_gates": "AND gates"}.get(part, part.replace("_", " "))


def _chart(
    name: str, accelerator: str, rows: list[dict[str, Any]], layers: list[dict[str, Any]]
) -> Chart | None:
    found = ((row["layer"], part_words(row["part"]), row["energy_j"]) for row in rows)
    stack = with_few_parts(stack_of(found, bar="layer"))
    if not stack.values:
        return None
    without = [row["layer"] for row in layers if row["energy_j"] is None]
    return stacked_chart(
        stack,
        name=name,
        title=f"Energy by layer and part: {named(accelerator)}",
        see=layers_sentence(stack, "J", "energy", "part", without),
        bar=_LAYER,
        part=PART_AXIS,
        value=ENERGY_AXIS,
        also={"accelerator": accelerator},
    )
