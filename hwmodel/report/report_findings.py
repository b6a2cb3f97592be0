"""What a run has found, in at most three sentences, from the tables of its store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bitxcore.tables import Table, Tables
from hwmodel.report.figure_words import count_of, named, quantity, share, times

MOST_FINDINGS = 3


def findings_of(kind: str, tables: Tables) -> list[str]:
    """Say what matters in a run.

    Parameters
    ----------
    kind : str
        One of `hwmodel.report.stored_runs.KINDS`.
    tables : Tables

    Returns
    -------
    list of str
        At most `MOST_FINDINGS` sentences; none if the tables hold too little.
    """
    return [sentence for sentence in _FOUND[kind](tables) if sentence][:MOST_FINDINGS]


def _comparison(tables: Tables) -> list[str]:
    from hwmodel.studies.comparison.findings import comparison_findings

    if "networks" not in tables:
        return []
    return comparison_findings(list(tables["comparison"].rows()), list(tables["networks"].rows()))


def _simulation(tables: Tables) -> list[str]:
    from hwmodel.studies.comparison.findings import machine_finding

    if "networks" not in tables:
        return []
    return [machine_finding(row) for row in tables["networks"].rows()]


def _statistics(tables: Tables) -> list[str]:
    table = tables["statistics"]
    values, bits = _total(table, "values"), None
    if values:
        weighed = [
            row["bit_sparsity"] * row["values"]
            for row in table.rows()
            if row.get("bit_sparsity") is not None and row.get("values") is not None
        ]
        bits = sum(weighed) / values if weighed else None
    found = []
    if bits is not None:
        found.append(f"{bits:.1%} of the bits of {count_of(values, 'value')} in {_tensors(table)} are zero.")
    known = [row for row in table.rows() if row.get("bit_sparsity") is not None]
    if len(known) > 1:
        most = max(known, key=lambda row: row["bit_sparsity"])
        least = min(known, key=lambda row: row["bit_sparsity"])
        found.append(
            f"Bit sparsity is highest in {named(most['tensor'])} ({most['bit_sparsity']:.1%}) and lowest in"
            f" {named(least['tensor'])} ({least['bit_sparsity']:.1%})."
        )
    ones = [
        row for row in table.rows() if row.get("ones_largest_mean") and row.get("pruned_ones_largest_mean")
    ]
    groups = sum(row.get("groups") or 0 for row in ones)
    if groups:
        before = sum(row["ones_largest_mean"] * (row["groups"] or 0) for row in ones) / groups
        after = sum(row["pruned_ones_largest_mean"] * (row["groups"] or 0) for row in ones) / groups
        found.append(
            f"The weight with most ones of a group has {before:.1f} in the mean, {after:.1f} after pruning."
            " BitX takes as many cycles per group."
        )
    return found


def _pruning(tables: Tables) -> list[str]:
    table = tables["pruning"]
    values = _total(table, "values")
    found = []
    changed, bits = _total(table, "changed_values"), _total(table, "packed_bits")
    if values:
        found.append(
            f"{count_of(values, 'value')} in {_tensors(table)} were pruned; {share(changed, values)} changed."
        )
    errors = [row for row in table.rows() if row.get("relative_error") is not None]
    if errors:
        worst = max(errors, key=lambda row: row["relative_error"])
        middle = sorted(row["relative_error"] for row in errors)[len(errors) // 2]
        found.append(
            f"The relative error of a tensor is {middle:.2%} in the median. The largest is"
            f" {worst['relative_error']:.2%}, of {named(worst['tensor'])}."
        )
    if values and bits:
        found.append(f"Packed, a value takes {bits / values:.2f} bits.")
    return found


def _sweep(tables: Tables) -> list[str]:
    rows = [row for row in tables["sweep"].rows() if row.get("cycles") is not None]
    if not rows:
        return [f"None of {count_of(len(tables['sweep']), 'point')} has a result."]
    best = min(rows, key=lambda row: row["cycles"])
    worst = max(rows, key=lambda row: row["cycles"])
    front = sum(bool(row.get("on_front")) for row in rows)
    options = _varied(tables["sweep"])
    told = ", ".join(f"{name} = {best[name]}" for name in options) or f"point {best['point']}"
    found = [
        f"The fastest of {count_of(len(rows), 'point')} takes {quantity(best['cycles'], 'cycles')}: {told}.",
        f"The slowest takes {times(worst['cycles'] / best['cycles'])} as many." if best["cycles"] else "",
    ]
    return [*found, f"{count_of(front, 'point')} {'is' if front == 1 else 'are'} on the Pareto front."]


def _varied(table: Table) -> list[str]:
    """Columns of a sweep's options: those between ``point`` and ``layers`` that vary."""
    names = list(table.columns)
    if "layers" not in names:
        return []
    return [name for name in names[1 : names.index("layers")] if len(set(map(str, table.columns[name]))) > 1]


def _evaluation(tables: Tables) -> list[str]:
    from hwmodel.report.plot.evaluation_figure import charts

    return [chart.see for chart in charts(tables) if chart.name.startswith("score_by_cycles")]


def _reproduction(tables: Tables) -> list[str]:
    rows = [
        row for row in tables["reproduction"].rows() if row.get("published") and row.get("ours") is not None
    ]
    if not rows:
        return []
    near = sum(abs(row["ours"] / row["published"] - 1) <= 0.1 for row in rows)
    far = max(rows, key=lambda row: abs(row["ours"] / row["published"] - 1))
    return [
        f"{near} of {len(rows)} numbers are within 10% of the published ones.",
        f"The farthest is {named(far['place'])}, {named(far['quantity'])}: {far['ours']:.4g} where"
        f" {far['published']:.4g} is published.",
    ]


def _total(table: Table, column: str) -> Any:
    return sum(value for value in table.columns.get(column, ()) if value is not None)


def _tensors(table: Table) -> str:
    return count_of(len(table), "tensor")


_FOUND: dict[str, Callable[[Tables], list[str]]] = {
    "comparison": _comparison,
    "simulation": _simulation,
    "statistics": _statistics,
    "pruning": _pruning,
    "sweep": _sweep,
    "evaluation": _evaluation,
    "reproduction": _reproduction,
}
