"""Share of groups by their number of kept rows, tensor by tensor or layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitxcore.plot.chart import Chart
from bitxcore.tables import Tables
from hwmodel.report.figure_sources import Source, tables_of
from hwmodel.report.plot.kept_histograms import histogram_charts

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def charts(tables: Tables) -> list[Chart]:
    """Make one heat map per accelerator of a simulation, and one of a pruned dump.

    Parameters
    ----------
    tables : Tables
        Of which ``kept_rows`` is read, and ``kept_rows_histogram`` of the tensors of ``pruning``.
    """
    return histogram_charts(tables, "kept_rows", "groups", "kept_rows_histogram", "kept rows per group")


def kept_rows(source: Source, accelerator: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the share of groups by their number of kept rows, for every tensor or layer.

    Parameters
    ----------
    source : NetworkResult, ComparisonResult, Tables, Store, str or path-like
        A result or a store of a simulation, or a store of ``bitx prune --store``.
    accelerator : str, optional
        Its label; by default the first that keeps rows.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no kept rows, or not those of `accelerator`.

    Examples
    --------
    >>> from bitxcore.tables import Table, Tables
    >>> columns = {"layer": ["a", "a"], "accelerator": ["bitx"] * 2, "kept_rows": [5, 6], "groups": [1, 3]}
    >>> table = Table("kept_rows", columns, {"layer": "", "accelerator": "", "kept_rows": "1", "groups": "1"})
    >>> kept_rows(Tables([table])).collections[0].get_array().tolist()
    [[0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.75]]
    """
    from bitxcore.plot.drawing import draw
    from hwmodel.report.figure_sources import chosen

    return draw(chosen(charts(tables_of(source)), "accelerator", accelerator, "kept_rows"), ax)
