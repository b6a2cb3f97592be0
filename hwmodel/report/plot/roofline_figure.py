"""Rooflines: the speed of every layer against its multiply-accumulates per byte of DRAM traffic.

S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 2009.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Tables
from hwmodel.report.figure_sources import Source, by_accelerator, chosen, tables_of
from hwmodel.report.figure_words import (
    count_of,
    greatest,
    identifiers,
    listed,
    named,
    quantity,
    share,
    table_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNITS = {
    "layer": "",
    "accelerator": "",
    "shown": "",
    "macs_per_byte": "1/B",
    "macs_per_second": "1/s",
    "roof_macs_per_second": "1/s",
    "is_layer": "",
    "is_roof": "",
}
_LAYERS, _ROOF = "layer", "roof"


def charts(tables: Tables) -> list[Chart]:
    """Make one chart per accelerator that has layers with cycles and DRAM traffic.

    Parameters
    ----------
    tables : Tables
        Of which ``simulation`` is read, and ``networks`` for the bandwidth of the DRAM.
    """
    found, totals = by_accelerator(tables), by_accelerator(tables, "networks")
    names = identifiers("roofline", found)
    made = [
        _chart(name, accelerator, rows, totals[accelerator][0] if accelerator in totals else {})
        for name, (accelerator, rows) in zip(names, found.items(), strict=True)
    ]
    return [chart for chart in made if chart is not None]


def roofline(source: Source, accelerator: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the layers of one accelerator under its roofs: its peak, and its DRAM's peak bandwidth.

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
    >>> ax = hw.plot.roofline(run)
    >>> ax.get_xscale(), ax.get_yscale()
    ('log', 'log')
    """
    from bitxcore.plot.drawing import draw

    return draw(chosen(charts(tables_of(source)), "accelerator", accelerator, "simulation"), ax)


def _chart(name: str, accelerator: str, rows: list[dict[str, Any]], total: dict[str, Any]) -> Chart | None:
    points = [
        {
            "layer": row["layer"],
            "macs_per_byte": row["macs"] / row["dram_bytes"],
            "macs_per_second": row["macs"] / row["seconds"],
            "peak": row["peak_macs_per_cycle"] * row["cycles"] / row["seconds"],
        }
        for row in rows
        if all(row[column] for column in ("cycles", "seconds", "macs", "dram_bytes", "peak_macs_per_cycle"))
    ]
    if not points:
        return None
    bandwidth: float | None = total.get("dram_peak_bytes_per_s")
    peak = max(point["peak"] for point in points)
    for point in points:
        memory = peak if bandwidth is None else bandwidth * point["macs_per_byte"]
        point["roof_macs_per_second"] = min(peak, memory)
    data = [
        {k: v for k, v in point.items() if k != "peak"}
        | {"accelerator": accelerator, "shown": _LAYERS, "is_layer": True, "is_roof": False}
        for point in points
    ]
    data += [
        {
            "accelerator": accelerator,
            "shown": _ROOF,
            "macs_per_byte": x,
            "macs_per_second": y,
            "is_layer": False,
            "is_roof": True,
        }
        for x, y in _roof([point["macs_per_byte"] for point in points], peak, bandwidth)
    ]
    x = ChartAxis("macs_per_byte", "MACs per byte of DRAM traffic", log=True)
    y = ChartAxis("macs_per_second", "MACs per second", log=True)
    shown = ChartAxis("shown", "shown", "nominal", order=[_LAYERS, _ROOF])
    without = sum(row["cycles"] is None for row in rows)
    still = sum(bool(row["cycles"]) for row in rows) - len(points)
    return Chart(
        name=name,
        title=f"Roofline: {named(accelerator)}",
        see=_sentence(points, peak, bandwidth, without, still),
        data=table_of(name, data, _UNITS),
        marks=[
            ChartMark("line", x, y, colour=shown, only="is_roof"),
            ChartMark("point", x, y, colour=shown, only="is_layer", told=("layer",)),
        ],
    )


def _roof(xs: list[float], peak: float, bandwidth: float | None) -> list[tuple[float, float]]:
    """Give the corners of the roof, over all layers and the ridge."""
    if bandwidth is None:
        return [(min(xs) / 1.5, peak), (max(xs) * 1.5, peak)]
    ridge = peak / bandwidth
    left, right = min(*xs, ridge) / 1.5, max(*xs, ridge) * 1.5
    return [(left, left * bandwidth), (ridge, peak), (right, peak)]


def _sentence(
    points: list[dict[str, Any]], peak: float, bandwidth: float | None, without: int, still: int
) -> str:
    said = []
    if bandwidth is None:
        said.append("No bandwidth of the DRAM is known, so that only the peak is drawn.")
    else:
        under = sum(point["roof_macs_per_second"] < peak for point in points)
        said.append(
            f"The DRAM's {quantity(bandwidth, 'B/s')} bounds {under:,} of {count_of(len(points), 'layer')}"
            f" below the peak of {quantity(peak, 'MAC/s')}."
        )
    reached = {point["layer"]: point["macs_per_second"] / point["roof_macs_per_second"] for point in points}
    top = greatest(reached)
    most = "reaches most of its roof" if len(top) == 1 else "reach most of their roofs"
    said.append(f"{listed(top)} {most}: {share(reached[top[0]], 1)}.")
    above = sum(value > 1 for value in reached.values())
    if above:
        said.append(f"Layers above their roof: {above:,}. Bits or values that are zero cost no time.")
    if still:
        said.append(f"{count_of(still, 'layer')} without DRAM traffic or work are not drawn.")
    if without:
        said.append(f"It does not run {count_of(without, 'layer')}, which have no numbers.")
    return " ".join(said)
