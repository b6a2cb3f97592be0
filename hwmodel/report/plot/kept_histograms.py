"""Histograms of what pruning keeps, from simulations and from pruned dumps, as heat maps."""

from __future__ import annotations

from bitxcore.errors import DumpError
from bitxcore.plot.chart import Chart, ChartAxis
from bitxcore.store.table_rules import KEPT
from bitxcore.tables import Table, Tables
from hwmodel.report.figure_words import named
from hwmodel.report.plot.bit_heat_maps import largest, left_out_words, mean_of, share_heat_map, shares_of

_OF_SOFTWARE = "pruned weights"


def histogram_charts(tables: Tables, column: str, counted: str, array: str, words: str) -> list[Chart]:
    """Make one heat map per accelerator, or one of the tensors of a dump.

    Parameters
    ----------
    tables : Tables
    column : str
        Table of a simulation, and its column of the number that is kept.
    counted : str
        Its column of what has so many.
    array : str
        Array of a tensor with the same histogram.
    words : str
        What is kept, of what.
    """
    found = []
    if column in tables:
        for name, histograms in _by_accelerator(tables[column], column, counted).items():
            found.append(_chart(histograms, column, counted, words, name, "layer"))
    named = [name for name in ("pruning", "statistics") if name in tables]
    tensors = [row["tensor"] for name in named for row in tables[name].rows()]
    stored = {
        name: [int(n) for n in tables.tensors[name][array]]
        for name in dict.fromkeys(tensors)
        if array in tables.tensors.get(name, {})
    }
    if stored:
        found.append(_chart(stored, column, counted, words, _OF_SOFTWARE, "tensor"))
    return found


def _by_accelerator(table: Table, column: str, counted: str) -> dict[str, dict[str, list[int]]]:
    """Histogram of every layer, of every accelerator."""
    found: dict[str, dict[str, list[int]]] = {}
    for number, row in enumerate(table.rows()):
        if row[column] is None or row[counted] is None:
            continue
        if not KEPT.holds(row[column]):  # else it would give the histogram any length
            words = f"column {column!r}, row {number}: must be {KEPT.words}"
            raise DumpError(words, part=f"table {table.name}", index=number, value=row[column])
        histogram = found.setdefault(row["accelerator"], {}).setdefault(row["layer"], [])
        histogram += [0] * (row[column] + 1 - len(histogram))
        histogram[row[column]] += row[counted]
    return found


def _chart(
    histograms: dict[str, list[int]], column: str, counted: str, words: str, accelerator: str, of: str
) -> Chart:
    there = {name: sum(histogram) for name, histogram in histograms.items()}
    drawn = largest(there)
    longest = max(len(histograms[name]) for name in drawn)
    counts = {name: histograms[name] + [0] * (longest - len(histograms[name])) for name in drawn}
    means = {name: mean_of(counts[name]) for name in drawn}
    least, most = (choose(drawn, key=lambda name: means[name]) for choose in (min, max))
    all_counts = [sum(column) for column in zip(*counts.values(), strict=True)]
    spread = f"in every {of}"
    if f"{means[least]:.2f}" != f"{means[most]:.2f}":
        spread = f"from {means[least]:.2f} in {named(least)} to {means[most]:.2f} in {named(most)}"
    see = f"The mean is {mean_of(all_counts):.2f} {words}, {spread}."
    return share_heat_map(
        name=column,
        title=f"{words.capitalize()}: {accelerator}",
        see=see + left_out_words(len(drawn), len(there), f"{of}s"),
        shares={name: shares_of(row) for name, row in counts.items()},
        counts=counts,
        of=ChartAxis(of, of, "nominal", order=drawn),
        along=ChartAxis(column, words, "ordinal"),
        counted=(counted, f"share of {counted}"),
        more={"accelerator": accelerator},
    )
