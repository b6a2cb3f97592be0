"""What ``bitx simulate -a all`` prints."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from hwmodel.cli import output as out
from hwmodel.cli.simulation_report import ASSUMPTIONS, is_of_one_layer, run_notes
from hwmodel.studies.comparison.findings import findings

if TYPE_CHECKING:
    from hwmodel.networks.network import Network
    from hwmodel.studies.comparison import ComparisonResult, ComparisonRow
    from hwmodel.studies.published import Beside, Comparison

_NUMBER = re.compile(r"\d[\d,.]*")


def show(
    net: Network,
    result: ComparisonResult,
    parameters: dict[str, Any],
    output: str | None,
    published: Sequence[Comparison] | None,
    as_json: bool,
) -> None:
    """Print a comparison, and if `published` is given, the published figures beside ours."""
    from hwmodel.cli import simulation_report as report
    from hwmodel.studies.published import beside_averages

    beside = beside_averages(result) if published is not None else ()
    if as_json:
        document = report.document(net, result.run, result.machines, parameters, output, published)
        document["comparison"] = {
            "conditions": dict(result.conditions),
            "findings": findings(result),
            "rows": [asdict(row) for row in result.rows],
            "published_averages": [asdict(b.figure) | {"ours": b.ours, "ratio": b.ratio} for b in beside],
        }
        out.print_json(document)
        return
    out.say(*findings(result), "")
    _print_table(net, result)
    out.say_notes(_remarks(net, result))
    if published is not None:
        out.say("")
        _print_averages(result, beside)
        out.say("")
        report.print_published(published)
    out.finish([output], "-o STORE.h5 keeps these results")


_COLUMNS = (
    out.Shown("accelerator", "accelerator", text=True),
    out.Shown("layers", "layers", out.words),
    out.Shown("cycles", "cycles", out.count),
    out.Shown("speedup", "x Da-\nDianNao", out.times),
    out.Shown("speedup_mean", "mean of\nlayers", out.times, more=True),
    out.Shown("speedup_on_chip", "on\nchip", out.times),
    out.Shown("speedup_over_best_other", "x best\nother", out.times, more=True),
    out.Shown("best_other", "best other", out.words, text=True, more=True),
    out.Shown("energy_j", "energy\nuJ", out.scaled(1e6), more=True),
    out.Shown("energy_ratio", "energy\nratio", out.times),
    out.Shown("area_mm2", "area\nmm2", out.figure, more=True),
    out.Shown("speedup_per_area", "speed/\narea", out.times),
)


def _print_table(net: Network, result: ComparisonResult) -> None:
    rows = [asdict(row) | {"layers": _layers(row, len(net)), "best_other": _best(row)} for row in result.rows]
    out.print_rows(
        [replace(column, if_any=True) for column in _COLUMNS],
        rows,
        title=out.network_line(result.run.network, net),
    )


def _layers(row: ComparisonRow, total: int) -> str | None:
    return None if row.layers is None else f"{row.layers}/{total}"


def _best(row: ComparisonRow) -> str | None:
    return (
        row.best_other
        if row.best_other is None or row.best_other_layers == row.layers
        else f"{row.best_other} ({out.counted(row.best_other_layers or 0, 'layer')})"
    )


def _remarks(net: Network, result: ComparisonResult) -> list[out.Note]:
    from hwmodel.accelerators.base import FIXED_POINT
    from hwmodel.studies.comparison import PEAK_MACS_PER_CYCLE

    c = result.conditions
    rest = ", ".join(f"{name}={value}" for name, value in c.items() if name != "clock_hz")
    equal = (
        f"equal for all: {PEAK_MACS_PER_CYCLE:,} MACs per cycle at 16 bit, {c['clock_hz'] / 1e6:,.10g} MHz"
    )
    notes = [out.Note("conditions", f"{equal}, {rest}", equal)]
    for row in result.rows:
        if row.peak_macs_per_cycle != PEAK_MACS_PER_CYCLE:
            line = f"another peak, {row.accelerator}: {row.peak_macs_per_cycle:,.10g} MACs per cycle"
            notes.append(out.Note("peak", line, line))
    for row, machine in zip(result.rows, result.machines, strict=False):
        if machine.number_format != FIXED_POINT:
            line = f"number format, {row.accelerator}: {machine.number_format}"
            notes.append(out.Note("number formats", f"{line}; the others compute in {FIXED_POINT}", line))
    notes += [
        out.Note("columns", text)
        for text in (
            "x DaDianNao, energy ratio, speed/area: over DaDianNao, on the layers that both run; mean of"
            " layers: geometric; on chip: with a memory without limits; energy ratio: speed per watt",
            "x best other: over the fastest machine of another design that runs half of its MACs or more, on"
            " the layers that both run",
        )
    ]
    notes += [out.Note("the baseline", line) for line in _how_busy(result)]
    notes += [
        out.Note(
            "common layers",
            f"{row.accelerator}: {row.common_layers} of {out.counted(len(net), 'layer')} in common with"
            " DaDianNao",
        )
        for row in result.rows
        if row.common_layers not in (None, len(net))
    ]
    for row in result.rows:
        if row.reason:
            line = f"takes no part, {row.accelerator}: {row.reason}"
            notes.append(out.Note("absent machines", line, line))
    names = {row.label: row.accelerator for row in result.rows}
    reasons = ((r.reason, names[r.accelerator]) for r in result.run.layers if r.reason is not None)
    notes += [out.Note("layers not run", f"not applicable: {reason}: {who}") for reason, who in _who(reasons)]
    told = (
        (note, names[r.accelerator])
        for r in result.run.layers
        for note in r.notes
        if not is_of_one_layer(note)
    )
    notes += [out.Note("layers", f"note: {note}: {who}") for note, who in _who(told)]
    if any(row.area_mm2 for row in result.rows):
        notes.append(
            out.Note(
                "energy and area",
                f"energy and area: cost basis {c['cost_basis']}; --json and the store's table costs give"
                " every figure with its source. Ratios can be trusted, absolute energies to a factor of two.",
            )
        )
    return [*notes, *run_notes(result.run), ASSUMPTIONS]


def _how_busy(result: ComparisonResult) -> list[str]:
    """Say how much of the baseline a network fills: the rest can be gained without skipping anything."""
    from hwmodel.studies.comparison import BASELINE

    base = next((row for row in result.rows if row.accelerator == BASELINE and row.reason is None), None)
    if base is None:
        return []
    total = result.run.total(base.label)
    cycles = total.on_chip_cycles or total.cycles
    share = total.macs / (base.peak_macs_per_cycle * cycles)
    return [
        f"DaDianNao: {share:.1%} of its multipliers are at work while it computes. A gain over it also tells"
        " how well layers fit a machine."
    ]


def _who(told: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Texts, and the machines with the number of their layers; texts that differ in numbers only are one."""
    found: dict[str, tuple[dict[str, None], Counter[str]]] = {}
    for text, machine in told:
        texts, machines = found.setdefault(_NUMBER.sub("#", text), ({}, Counter()))
        texts[text] = None
        machines[machine] += 1
    return [
        (
            next(iter(texts)) + (f" (and {len(texts) - 1} more such)" if len(texts) > 1 else ""),
            ", ".join(f"{machine} {n} x" for machine, n in machines.items()),
        )
        for texts, machines in found.values()
    ]


def _print_averages(result: ComparisonResult, beside: Sequence[Beside]) -> None:
    out.print_rows(
        (
            out.Shown("accelerator", "published averages", text=True),
            out.Shown("of_what", "of what", text=True),
            out.Shown("figure", "published"),
            out.Shown("ours", "ours", out.figure),
            out.Shown("ratio", "ratio", out.times),
            out.Shown("source", "source", text=True, more=True),
        ),
        (
            asdict(b.figure)
            | {
                "of_what": f"{b.figure.quantity} ({b.figure.statistic})",
                "figure": _published(b),
                "ours": b.ours,
                "ratio": b.ratio,
            }
            for b in beside
        ),
        title=f"published figures beside ours on {result.run.network}; they are never inputs",
    )
    why: dict[str, str] = {}
    for b in beside:
        text = f"{b.figure.workload}: {b.figure.why}" if b.figure.workload else b.figure.why
        why.setdefault(text, b.figure.accelerator)
    out.say_notes(
        out.Note("why averages differ", f"why {machine} differs: {text}") for text, machine in why.items()
    )


def _published(b: Beside) -> str:
    figure = f"{b.figure.published:,.10g}"
    return figure if b.figure.low is None else f"{figure} ({b.figure.low:g}–{b.figure.high:g})"
