"""What a comparison has found, in sentences: who is fastest, where BitX stands, what bounds them.

They are computed from plain rows, those of the tables ``comparison`` and ``networks``, so that rows read
back from a store serve as well as those of a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodel.accelerators.cycle_attribution import CAUSES
from hwmodel.studies.comparison.contenders import BASELINE

if TYPE_CHECKING:
    from hwmodel.studies.comparison.comparing import ComparisonResult

Rows = Sequence[Mapping[str, Any]]

SUBJECT = "bitx"
"""The machine whose place is told, in each of its variants."""

BASELINE_TITLE = "DaDianNao"

SPENT: dict[str, str] = {
    "fill_cycles": "filling the pipeline",
    "compute_cycles": "computing",
    "lane_wait_cycles": "waiting for the slowest lane",
    "imbalance_cycles": "waiting for the busiest unit",
    "fifo_full_cycles": "waiting for room in a FIFO",
    "weight_wait_cycles": "waiting for weights from memory",
    "activation_wait_cycles": "waiting for activations from memory",
    "output_wait_cycles": "waiting to write outputs to memory",
}
"""How a machine spends the cycles of each cause."""

_NAMED = 3  # machines that tie are named up to here


def comparison_findings(rows: Iterable[Mapping[str, Any]], totals: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say who is fastest, where BitX stands, and what most cycles go to.

    Parameters
    ----------
    rows : iterable of mappings
        Of the table ``comparison``. Machines are ranked among those that run as many layers as any does; a
        value that is missing is None, NaN or empty text.
    totals : iterable of mappings
        Of the table ``networks``: cycles by cause.

    Returns
    -------
    list of str
        Sentences, at least one.

    Examples
    --------
    >>> rows = [{"accelerator": name, "label": name, "layers": 2, "not_applicable": 0, "cycles": cycles,
    ...          "speedup": gain} for name, cycles, gain in
    ...         [("dadiannao", 300, None), ("bitx", 200, 1.5), ("unpu", 100, 3.0)]]
    >>> totals = [{"accelerator": "bitx", "cycles": 200, "compute_cycles": 150, "fill_cycles": 50}]
    >>> for sentence in comparison_findings(rows, totals):
    ...     print(sentence)
    unpu is fastest of 3 machines: 3.00x DaDianNao.
    bitx ranks 2 of 3 at 1.50x DaDianNao.
    The largest cause of cycles: computing (bitx 75%).
    """
    found = list(rows)
    timed = [row for row in found if _value(row, "cycles") is not None]
    most = max((_value(row, "layers") or 0 for row in timed), default=0)
    ranked = sorted(
        (row for row in timed if (_value(row, "layers") or 0) == most), key=lambda row: row["cycles"]
    )
    if not ranked:
        return ["No machine has a result for this network."]
    said = [_fastest(ranked, len(timed) - len(ranked), most)]
    own = [row for row in found if _is(row, SUBJECT)]
    said += _standing(own, ranked)
    told = [ranked[0], *(row for row in own if row is not ranked[0] and row in ranked)]
    if spent := _spent(told, {str(total["accelerator"]): total for total in totals}):
        said.append(spent)
    return said


def findings(result: ComparisonResult) -> list[str]:
    """Say what a comparison has found, as `comparison_findings` does.

    Examples
    --------
    >>> import hwmodel as hw
    >>> found = hw.compare("resnet20-cifar10", accelerators=["dadiannao", "stripes"], precisions=8,
    ...                    options={"dram": None})
    >>> findings(found)[0]
    'stripes is fastest of 2 machines: 2.00x DaDianNao.'
    """
    totals = (total.columns() for total in result.run.totals)
    return comparison_findings([asdict(row) for row in result.rows], totals)


def machine_finding(total: Mapping[str, Any]) -> str:
    """Say in one sentence how fast a machine is, and what most of its cycles go to.

    Parameters
    ----------
    total : mapping
        A row of the table ``networks``.

    Examples
    --------
    >>> machine_finding({"accelerator": "bitx", "cycles": 200, "speedup_over_unpruned": 1.25,
    ...                  "compute_cycles": 150, "fill_cycles": 50})
    'bitx: 200 cycles, 1.25x as fast as unpruned; largest cause: computing, 75%.'
    """
    name, cycles = total["accelerator"], _value(total, "cycles")
    if cycles is None:
        return f"{name}: runs no layer of this network."
    said = f"{name}: {cycles:,.0f} cycle{'' if cycles == 1 else 's'}"
    gain, over = _value(total, "speedup_over_unpruned"), "unpruned"
    if gain is None:
        gain, over = _value(total, "speedup_over_all_rows"), "unpruned with every row"
    said += "" if gain is None else f", {gain:.2f}x as fast as {over}"
    largest = _largest(total)
    return said + ("." if largest is None else f"; largest cause: {largest[0]}, {largest[1]:.0%}.")


# -- sentences ---------------------------------------------------------------------------------


def _fastest(ranked: Rows, left_out: int, layers: int) -> str:
    best = [row for row in ranked if row["cycles"] == ranked[0]["cycles"]]
    cycles = f"{ranked[0]['cycles']:,.0f} cycles"
    if len(ranked) == 1:
        of = f" of those that run {_counted(layers, 'layer')}" if left_out else ""
        return f"{ranked[0]['accelerator']} is the only machine{of}: {cycles}."
    named = [str(row["accelerator"]) for row in best[:_NAMED]]
    more = [f"{len(best) - _NAMED} more"] if len(best) > _NAMED else []
    of = f" that run {_counted(layers, 'layer')}" if left_out else ""
    gain = _gain(ranked[0], ranked)
    ratio = f"{gain:.2f}x {BASELINE_TITLE}" if gain is not None and not _is(best[0], BASELINE) else cycles
    verb = "is" if len(best) == 1 else "are equally fast, and"
    return f"{_listed([*named, *more])} {verb} fastest of {len(ranked)} machines{of}: {ratio}."


def _standing(own: Rows, ranked: Rows) -> list[str]:
    """Give the rank and the gain of each of BitX's variants."""
    said: list[str] = []
    absent: dict[str, list[str]] = {}
    for row in own:
        if row not in ranked:
            reason = _value(row, "reason")
            layers = _counted(_value(row, "layers") or 0, "layer")
            why = f"not ranked, for running {layers} only" if reason is None else f"not compared: {reason}"
            absent.setdefault(why, []).append(str(row["accelerator"]))
        elif len(ranked) > 1:
            rank = 1 + sum(other["cycles"] < row["cycles"] for other in ranked)
            ties = sum(other["cycles"] == row["cycles"] for other in ranked) - 1
            gain = _gain(row, ranked)
            ratio = "" if gain is None else f" at {gain:.2f}x {BASELINE_TITLE}"
            shared = f", with {_counted(ties, 'other')}," if ties else ""
            said.append(f"{row['accelerator']} ranks {rank} of {len(ranked)}{shared}{ratio}")
    missing = [
        f"{_listed(names)} {'is' if len(names) == 1 else 'are'} {why}." for why, names in absent.items()
    ]
    return ([f"{'; '.join(said)}."] if said else []) + missing


def _spent(told: Rows, totals: Mapping[str, Mapping[str, Any]]) -> str:
    """Name the cause of most cycles of machines, those of one cause together."""
    causes: dict[str, list[str]] = {}
    for row in told:
        total = totals.get(str(row.get("label") or row["accelerator"]))
        largest = None if total is None else _largest(total)
        if largest is not None:
            causes.setdefault(largest[0], []).append(f"{row['accelerator']} {largest[1]:.0%}")
    parts = [f"{words} ({', '.join(shares)})" for words, shares in causes.items()]
    return f"The largest cause of cycles: {'; '.join(parts)}." if parts else ""


def _largest(total: Mapping[str, Any]) -> tuple[str, float] | None:
    """Words for the cause of most cycles and its share; of equals the first."""
    cycles = {cause: _value(total, cause) or 0 for cause in CAUSES}
    whole = sum(cycles.values())
    if not whole:
        return None
    cause = max(cycles, key=lambda name: cycles[name])
    return SPENT[cause], cycles[cause] / whole


def _gain(row: Mapping[str, Any], ranked: Rows) -> float | None:
    """Gain over the baseline: what the row tells, 1 for itself; None without it."""
    base = next((other for other in ranked if _is(other, BASELINE)), None)
    if base is None:
        return None
    return 1.0 if row is base else _value(row, "speedup")


def _is(row: Mapping[str, Any], name: str) -> bool:
    return str(row["accelerator"]).partition("(")[0] == name


def _value(row: Mapping[str, Any], name: str) -> Any:
    """Return a value; None where a store has none."""
    value = row.get(name)
    if (
        value is None
        or np.ma.is_masked(value)
        or value == ""
        or (isinstance(value, float) and not isfinite(value))
    ):
        return None
    return value


def _counted(number: float, noun: str) -> str:
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
