"""Share of values with a one in every bit row, tensor by tensor."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from bitxcore.plot.chart import Chart, ChartAxis
from bitxcore.tables import Tables
from hwmodel.report.figure_sources import Source, tables_of
from hwmodel.report.figure_words import named
from hwmodel.report.plot.bit_heat_maps import largest, left_out_words, share_heat_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def charts(tables: Tables) -> list[Chart]:
    """Make the heat map of a store of ``bitx inspect``.

    Parameters
    ----------
    tables : Tables
        Of which ``statistics`` is read, and ``ones_per_row`` of the tensors.
    """
    if "statistics" not in tables:
        return []
    statistics = tables["statistics"]
    sizes = {
        row["tensor"]: row["values"]
        for row in statistics.rows()
        if row.get("values") and "ones_per_row" in tables.tensors.get(row["tensor"], {})
    }
    if not sizes:
        return []
    drawn = largest(sizes)
    counts = {name: [int(n) for n in tables.tensors[name]["ones_per_row"]] for name in drawn}
    shares = {name: [n / sizes[name] for n in counts[name]] for name in drawn}
    tops = {name: max(range(len(row)), key=lambda i: row[i]) for name, row in shares.items()}
    fullest = max(drawn, key=lambda name: shares[name][tops[name]])
    ones = [sum(column) for column in zip_longest(*counts.values(), fillvalue=0)]
    upper = next((i for i in range(len(ones)) if 2 * sum(ones[: i + 1]) >= sum(ones)), 0)
    see = (
        f"Half of all ones lie in rows 0 to {upper}."
        f" The fullest row is row {tops[fullest]} of {named(fullest)}:"
        f" {shares[fullest][tops[fullest]]:.0%} of its values have a one there."
    )
    return [
        share_heat_map(
            name="bit_rows",
            title="Ones in the bit rows of aligned groups",
            see=see + left_out_words(len(drawn), len(sizes), "tensors"),
            shares=shares,
            counts=counts,
            of=ChartAxis("tensor", "tensor", "nominal", order=drawn),
            along=ChartAxis("row", "bit row, 0 the most significant", "ordinal"),
            counted=("ones", "values with a one"),
        )
    ]


def bit_rows(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw the share of values that have a one in each bit row, for every tensor.

    Parameters
    ----------
    source : Tables, Store, str or path-like
        Of ``bitx inspect -o``.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no statistics of tensors.

    Examples
    --------
    >>> import numpy as np
    >>> from bitxcore.tables import Table, Tables
    >>> table = Table("statistics", {"tensor": ["fc"], "values": [4]}, {"tensor": "", "values": "1"})
    >>> ax = bit_rows(Tables([table], {"fc": {"ones_per_row": np.array([1, 3, 2])}}))
    >>> ax.collections[0].get_array().tolist()
    [[0.25, 0.75, 0.5]]
    """
    from bitxcore.plot.drawing import draw
    from hwmodel.report.figure_sources import chosen

    return draw(chosen(charts(tables_of(source)), "tensor", None, "statistics"), ax)
