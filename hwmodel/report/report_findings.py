"""What a store has found, in at most three sentences per kind of run: computed from its tables alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import fsum, hypot
from typing import Any

from bitxcore.tables import Tables
from hwmodel.report.evaluation_points import higher_is_better
from hwmodel.report.figure_sources import by_accelerator, rows_of
from hwmodel.report.figure_words import count_of, listed, named, quantity, share, times
from hwmodel.report.sweep_points import (
    OBJECTIVE_WORDS,
    best_sentence,
    failed_sentence,
    possible_points,
    varied_options,
)

ALLOWED_LOSS = 0.01
"""Loss of a score that an evaluation may have where its run names none."""

NEAR = 0.10
"""How far from a published number ours may be to count as near it."""

MOST_FINDINGS = 3


def findings_of(kind: str, tables: Tables, parameters: Mapping[str, Any]) -> list[str]:
    """Say the most important things that a run has found.

    Parameters
    ----------
    kind : str
        The table that tells the kind of the run.
    tables : Tables
    parameters : mapping
        Of the run; ``loss`` is read of an evaluation.

    Returns
    -------
    list of str
        At most `MOST_FINDINGS` sentences.

    Examples
    --------
    >>> from bitxcore.tables import Table, Tables
    >>> table = Table("reproduction", {"ratio": [1.02, 3.0, None], "alike": [True] * 3}, {})
    >>> findings_of("reproduction", Tables([table]), {})
    ['1 of 2 numbers (50%) are within 10% of the published ones.']
    """
    return [words for words in _FINDERS[kind](tables, parameters) if words][:MOST_FINDINGS]


def _comparison(tables: Tables, _: Mapping[str, Any]) -> list[str]:
    # The same sentences as those of `bitx simulate -a all`. Plain rows go in; nothing is simulated.
    from hwmodel.studies.comparison.findings import comparison_findings

    return comparison_findings(rows_of(tables, "comparison"), rows_of(tables, "networks"))


def _simulation(tables: Tables, _: Mapping[str, Any]) -> list[str]:
    from hwmodel.studies.comparison.findings import machine_finding

    totals = [row for row in rows_of(tables, "networks") if row["cycles"] is not None]
    if not totals:
        return ["No machine has a result for this network."]
    said = []
    if len(totals) > 1:
        first, second = sorted(totals, key=lambda row: row["cycles"])[:2]
        ratio = times(second["cycles"] / first["cycles"]) if first["cycles"] else "many"
        of = f"{named(first['accelerator'])} is fastest of {len(totals)} machines"
        said.append(f"{of}: {quantity(first['cycles'], 'cycles')}, {ratio} times as fast as the next.")
    own = [row for row in totals if _is_bitx(row)] or totals[:1]
    said.append(machine_finding({**own[0], "accelerator": named(own[0]["accelerator"])}))
    said.append(_largest_layer(tables, own[0]))
    return said


def _largest_layer(tables: Tables, total: Mapping[str, Any]) -> str:
    rows = [row for row in by_accelerator(tables).get(total["accelerator"], ()) if row["cycles"]]
    if not rows:
        return ""
    most = max(rows, key=lambda row: row["cycles"])
    part = share(most["cycles"], fsum(row["cycles"] for row in rows))
    bound = f", bound by {named(most['bound_by'])}" if most.get("bound_by") else ""
    of = count_of(len(rows), "layer")
    return f"Of {of}, {named(most['layer'])} takes most of its cycles: {part}{bound}."


def _sweep(tables: Tables, _: Mapping[str, Any]) -> list[str]:
    table = tables["sweep"]
    points = possible_points(table)
    if not points:
        return ["No point of the sweep is possible.", failed_sentence(table)]
    front = sum(bool(row["on_front"]) for row in points)
    objectives = str(table.attrs.get("objectives", "")).split(", ")
    of = f" of {listed([OBJECTIVE_WORDS.get(name, name) for name in objectives])}" if objectives[0] else ""
    return [
        best_sentence(points, varied_options(table)),
        f"{count_of(front, 'point')} of {len(points):,} are on the Pareto front{of}.",
        failed_sentence(table),
    ]


def _evaluation(tables: Tables, parameters: Mapping[str, Any]) -> list[str]:
    table = tables["evaluation"]
    metric = str(table.attrs.get("metrics", "")).split(",")[0].strip()
    rows = [row for row in rows_of(tables, "evaluation") if row[metric] is not None]
    base = next((row for row in rows if row["rows"] is None and row.get("policy") is None), None)
    if base is None:
        return [f"{count_of(len(table), 'setting')} evaluated."]
    given = parameters.get("loss")
    loss = given if isinstance(given, int | float) and not isinstance(given, bool) else ALLOWED_LOSS
    better = 1 if higher_is_better(metric) is not False else -1
    pruned = [row for row in rows if row["rows"] is not None]
    said = []
    kept = [row for row in pruned if _loss(row, base, metric) * better <= loss]
    allowed = f"unpruned {base[metric]:.4g}, allowed loss {loss:g}"
    if kept:
        least = min(kept, key=lambda row: (row["rows"], -row[metric] * better))
        many = "1 row per group is" if least["rows"] == 1 else f"{least['rows']} rows per group are"
        said.append(f"{many} enough: {named(metric)} {least[metric]:.4g} ({allowed}){_gain(least)}.")
        if worse := {row["rows"] for row in pruned if row["rows"] > least["rows"]} - {
            r["rows"] for r in kept
        }:
            lost = ", ".join(map(str, sorted(worse)))
            said.append(f"More rows do not always score better: {lost} rows lose more than that.")
    elif pruned:
        said.append(f"No number of rows is enough ({allowed}).")
    policies = [row for row in rows if row["policy"] is not None and row["speedup_over_unpruned"]]
    if good := [row for row in policies if _loss(row, base, metric) * better <= loss]:
        best = max(good, key=lambda row: row["speedup_over_unpruned"])
        chosen = f"{best[metric]:.4g}{_gain(best)}"
        said.append(f"The fastest choice of rows per tensor within that loss: {chosen}.")
    on = f" on {count_of(base['samples'], 'sample')}" if base["samples"] else ""
    said.append(f"Unpruned, {named(metric)} is {base[metric]:.4g}{on}.")
    return said


def _loss(row: Mapping[str, Any], base: Mapping[str, Any], metric: str) -> float:
    # Scores are shares or sums of these: what is equal in decimals may differ in the last bit.
    return round(float(base[metric] - row[metric]), 12)


def _gain(row: Mapping[str, Any]) -> str:
    gain = row.get("speedup_over_unpruned")
    return "" if gain is None else f", {times(gain)} times as fast"


def _reproduction(tables: Tables, _: Mapping[str, Any]) -> list[str]:
    rows = [row for row in rows_of(tables, "reproduction") if row["ratio"] and row["alike"] is not False]
    if not rows:
        return ["No line has a published number and ours."]
    near = [row for row in rows if abs(row["ratio"] - 1) <= NEAR]
    many = f"{len(near):,} of {count_of(len(rows), 'number')} ({share(len(near), len(rows))})"
    said = [f"{many} are within {NEAR:.0%} of the published ones."]
    if "place" not in rows[0]:
        return said
    places: dict[str, list[bool]] = {}
    for row in rows:
        places.setdefault(row["place"], []).append(abs(row["ratio"] - 1) <= NEAR)
    shares = {place: sum(flags) / len(flags) for place, flags in places.items()}
    best, worst = max(shares, key=lambda p: shares[p]), min(shares, key=lambda p: shares[p])
    for place, words in ((best, "Nearest"), (worst, "Furthest")):
        told = f"{sum(places[place]):,} of {len(places[place]):,} within {NEAR:.0%}"
        said.append(f"{words} of the tables and figures: {named(place)}, {told}.")
    return said


def _pruning(tables: Tables, _: Mapping[str, Any]) -> list[str]:
    rows = rows_of(tables, "pruning")
    values, groups = (fsum(row[name] or 0 for row in rows) for name in ("values", "groups"))
    if not values or not groups:
        return ["No tensor has values."]
    kept = fsum((row["kept_rows_mean"] or 0) * (row["groups"] or 0) for row in rows) / groups
    what = f"{count_of(len(rows), 'tensor')} of {quantity(int(values), 'values')}"
    said = [f"{what}: {kept:.3g} rows per group are kept."]
    if known := [row for row in rows if row["relative_error"] is not None]:
        whole = _whole_error([(row["relative_error"], row.get("norm")) for row in known])
        most = max(known, key=lambda row: row["relative_error"])
        over = (
            "Relative errors differ" if whole is None else f"The relative error of all weights is {whole:.2%}"
        )
        said.append(f"{over}; the largest is {most['relative_error']:.2%}, of {named(most['tensor'])}.")
    if bits := fsum(row.get("packed_bits") or 0 for row in rows):
        said.append(f"Packed, a weight takes {bits / values:.3g} bits.")
    return said


def _whole_error(errors: Sequence[tuple[float, float | None]]) -> float | None:
    """Return the error of all tensors together, relative to their common norm."""
    if any(norm is None for _, norm in errors):
        return None
    largest = max(norm or 0 for _, norm in errors)
    if not largest:
        return None
    # Shares of the largest norm: squares of norms may overflow.
    shares = [(error, (norm or 0) / largest) for error, norm in errors]
    return hypot(*(error * part for error, part in shares)) / hypot(*(part for _, part in shares))


def _statistics(tables: Tables, _: Mapping[str, Any]) -> list[str]:
    rows = [row for row in rows_of(tables, "statistics") if row["values"]]
    values = fsum(row["values"] for row in rows)
    if not rows:
        return ["No tensor has values."]
    said = []
    zeros = fsum((row["value_sparsity"] or 0) * row["values"] for row in rows) / values
    nonzero = {id(row): row["values"] * (1 - (row["value_sparsity"] or 0)) for row in rows}
    known = [row for row in rows if row["bit_sparsity"] is not None]
    if weight := fsum(nonzero[id(row)] for row in known):
        bits = fsum(row["bit_sparsity"] * nonzero[id(row)] for row in known) / weight
        words = f"{share(bits, 1)} of the bits of non-zero weights are zero"
        said.append(f"{words}, and {share(zeros, 1)} of the weights.")
    if ones := [row for row in known if row["essential_bits_per_nonzero"] is not None]:
        most = max(ones, key=lambda row: row["essential_bits_per_nonzero"])
        count = f"{most['essential_bits_per_nonzero']:.3g}"
        said.append(f"{named(most['tensor'])} has most ones per non-zero weight: {count}.")
    largest = [row for row in rows if row.get("ones_largest_mean") and row.get("pruned_ones_largest_mean")]
    groups = sum(row.get("groups") or 0 for row in largest)
    if groups:
        before = sum(row["ones_largest_mean"] * (row["groups"] or 0) for row in largest) / groups
        after = sum(row["pruned_ones_largest_mean"] * (row["groups"] or 0) for row in largest) / groups
        said.append(
            f"The weight with most ones of a group has {before:.1f} in the mean, {after:.1f} after pruning."
            " BitX takes as many cycles per group."
        )
    if full := [row for row in rows if row["nonempty_rows_mean"] is not None]:
        groups = fsum(row["groups"] or 0 for row in full)
        mean = (
            fsum(row["nonempty_rows_mean"] * (row["groups"] or 0) for row in full) / groups if groups else 0.0
        )
        most_rows = max(row["nonempty_rows_max"] or 0 for row in full)
        at_most = f", and at most {most_rows}" if most_rows else ""
        said.append(f"A group has {mean:.3g} non-empty bit rows on average{at_most}.")
    return said


_FINDERS: dict[str, Callable[[Tables, Mapping[str, Any]], list[str]]] = {
    "comparison": _comparison,
    "simulation": _simulation,
    "sweep": _sweep,
    "evaluation": _evaluation,
    "reproduction": _reproduction,
    "pruning": _pruning,
    "statistics": _statistics,
}


def _is_bitx(row: Mapping[str, Any]) -> bool:
    return str(row["accelerator"]).partition("(")[0] == "bitx"
