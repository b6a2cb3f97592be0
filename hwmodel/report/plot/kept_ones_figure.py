"""Share of weights by their number of ones after pruning, tensor by tensor or layer by layer."""

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
        Of which ``kept_ones`` is read, and ``pruned_ones_histogram`` of the tensors of ``pruning`` or
        ``statistics``.
    """
    return histogram_charts(tables, "kept_ones", "weights", "pruned_ones_histogram", "kept ones per weight")


def kept_ones(source: Source, accelerator: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the share of weights by their number of kept ones, for every tensor or layer.

    Parameters
    ----------
    source : NetworkResult, ComparisonResult, Tables, Store, str or path-like
        A result or a store of a simulation, a store of ``bitx prune --store``, or one of ``bitx inspect -o``
        with ``--preset``.
    accelerator : str, optional
        Its label; by default the first that keeps ones.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no kept ones, or not those of `accelerator`.

    Examples
    --------
    >>> from bitxcore.tables import Table, Tables
    >>> columns = {"layer": ["a", "a"], "accelerator": ["bitx"] * 2, "kept_ones": [1, 2], "weights": [1, 3]}
    >>> units = {"layer": "", "accelerator": "", "kept_ones": "1", "weights": "1"}
    >>> table = Table("kept_ones", columns, units)
    >>> kept_ones(Tables([table])).collections[0].get_array().tolist()
    [[0.0, 0.25, 0.75]]
    """
    from bitxcore.plot.drawing import draw
    from hwmodel.report.figure_sources import chosen

    return draw(chosen(charts(tables_of(source)), "accelerator", accelerator, "kept_ones"), ax)
