"""What ``bitx simulate -a all`` prints."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hwmodel.cli import output as out
from hwmodel.cli.simulation_report import is_of_one_layer

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
            "rows": [asdict(row) for row in result.rows],
            "published_averages": [asdict(b.figure) | {"ours": b.ours, "ratio": b.ratio} for b in beside],
        }
        out.print_json(document)
        return
    _print_table(net, result)
    out.say(*_remarks(net, result))
    if published is not None:
        _print_averages(result, beside)
        report.print_published(published)
    out.say(out.written_line([output], "-o STORE.h5 keeps these results"))


def _print_table(net: Network, result: ComparisonResult) -> None:
    columns: list[tuple[str, bool, list[str]]] = [
        ("accelerator", False, [r.accelerator for r in result.rows]),
        ("layers", True, [_layers(r, len(net)) for r in result.rows]),
        ("cycles", True, [out.count(r.cycles) for r in result.rows]),
        ("x Da-\nDianNao", True, [out.times(r.speedup) for r in result.rows]),
        ("mean of\nlayers", True, [out.times(r.speedup_mean) for r in result.rows]),
        ("on\nchip", True, [out.times(r.speedup_on_chip) for r in result.rows]),
        ("x best\nother", True, [out.times(r.speedup_over_best_other) for r in result.rows]),
        ("best other", False, [_best(r) for r in result.rows]),
        ("energy\nuJ", True, [_figures(r.energy_j, 1e6) for r in result.rows]),
        ("energy\nratio", True, [out.times(r.energy_ratio) for r in result.rows]),
        ("area\nmm2", True, [_figures(r.area_mm2) for r in result.rows]),
        ("speed/\narea", True, [out.times(r.speedup_per_area) for r in result.rows]),
    ]
    shown = [c for c in columns if any(cell != "–" for cell in c[2])]
    out.print_table(
        [heading for heading, _, _ in shown],
        zip(*(cells for _, _, cells in shown), strict=True),
        numeric=[number for _, number, _ in shown],
        title=out.network_line(result.run.network, net),
    )


def _layers(row: ComparisonRow, total: int) -> str:
    return "–" if row.layers is None else f"{row.layers}/{total}"


def _best(row: ComparisonRow) -> str:
    if row.best_other is None:
        return "–"
    return (
        row.best_other
        if row.best_other_layers == row.layers
        else f"{row.best_other} ({out.counted(row.best_other_layers or 0, 'layer')})"
    )


def _figures(value: float | None, unit: float = 1.0) -> str:
    return "–" if value is None else f"{value * unit:,.4g}"


def _remarks(net: Network, result: ComparisonResult) -> list[str]:
    from hwmodel.accelerators.base import FIXED_POINT
    from hwmodel.studies.comparison import PEAK_MACS_PER_CYCLE

    c = result.conditions
    rest = ", ".join(f"{name}={value}" for name, value in c.items() if name != "clock_hz")
    lines = [
        f"equal for all: {PEAK_MACS_PER_CYCLE:,} MACs a cycle at 16 bit, {c['clock_hz'] / 1e6:,.10g} MHz,"
        f" {rest}"
    ]
    lines += [
        f"another peak, {row.accelerator}: {row.peak_macs_per_cycle:,.10g} MACs a cycle"
        for row in result.rows
        if row.peak_macs_per_cycle != PEAK_MACS_PER_CYCLE
    ]
    lines += [
        f"number format, {row.accelerator}: {machine.number_format}; the others compute in {FIXED_POINT}"
        for row, machine in zip(result.rows, result.machines, strict=False)
        if machine.number_format != FIXED_POINT
    ]
    lines += [
        "x DaDianNao, energy ratio, speed/area: over DaDianNao, on the layers that both run; mean of layers:"
        " geometric; on chip: with a memory without limits; energy ratio: speed per watt",
        "x best other: over the fastest machine of another design that runs half of its MACs or more, on the"
        " layers that both run",
    ]
    lines += _how_busy(result)
    lines += [
        f"{row.accelerator}: {row.common_layers} of {out.counted(len(net), 'layer')} in common with DaDianNao"
        for row in result.rows
        if row.common_layers not in (None, len(net))
    ]
    lines += [f"takes no part, {row.accelerator}: {row.reason}" for row in result.rows if row.reason]
    names = {row.label: row.accelerator for row in result.rows}
    reasons = ((r.reason, names[r.accelerator]) for r in result.run.layers if r.reason is not None)
    lines += [f"not applicable: {reason}: {who}" for reason, who in _who(reasons)]
    notes = (
        (note, names[r.accelerator])
        for r in result.run.layers
        for note in r.notes
        if not is_of_one_layer(note)
    )
    lines += [f"note: {note}: {who}" for note, who in _who(notes)]
    if any(row.area_mm2 for row in result.rows):
        lines.append(
            f"energy and area: cost basis {c['cost_basis']}; --json and the store's table costs give every"
            " figure with its source. Ratios can be trusted, absolute energies to a factor of two."
        )
    lines += [
        f"not simulated: {n.count} × {n.operation}: {n.reason}"
        + (" (its multiplications are missing from the totals)" if n.multiplies else "")
        for n in result.run.not_simulated
    ]
    lines += [f"note: {note}" for note in result.run.notes]
    lines.append("assumptions of each machine: bitx list accelerators --assumptions")
    return lines


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
        f"DaDianNao: {share:.1%} of its multipliers are at work while it computes; a gain over it tells, too,"
        " how well layers fit a machine"
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
    out.print_table(
        ["published averages", "of what", "published", "ours", "ratio", "source"],
        (
            [
                b.figure.accelerator,
                f"{b.figure.quantity} ({b.figure.statistic})",
                _published(b),
                _figures(b.ours),
                out.times(b.ratio),
                b.figure.source,
            ]
            for b in beside
        ),
        numeric=[False, False, True, True, True, False],
        title=f"published figures beside ours on {result.run.network}; they are never inputs",
    )
    why: dict[str, str] = {}
    for b in beside:
        text = f"{b.figure.workload}: {b.figure.why}" if b.figure.workload else b.figure.why
        why.setdefault(text, b.figure.accelerator)
    out.say(*(f"why {machine} differs: {text}" for text, machine in why.items()))


def _published(b: Beside) -> str:
    figure = f"{b.figure.published:,.10g}"
    return figure if b.figure.low is None else f"{figure} ({b.figure.low:g}–{b.figure.high:g})"
