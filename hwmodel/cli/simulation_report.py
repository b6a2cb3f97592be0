"""What `bitx simulate` prints: tables of layers and totals, remarks, or one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hwmodel.accelerators.base import Accelerator
from hwmodel.cli import output as out
from hwmodel.networks.matching import MATCH_NOTE
from hwmodel.networks.network import Network
from hwmodel.operands.precisions import PRECISION_NOTE
from hwmodel.simulation.columns import BY_NAME, INTEGER, TEXT, Column
from hwmodel.simulation.joining import WAITS
from hwmodel.simulation.results import LayerResult, NetworkResult, NetworkTotal, total_of
from hwmodel.studies.comparison import BASELINE

if TYPE_CHECKING:
    from hwmodel.studies.published import Comparison


def is_of_one_layer(note: str) -> bool:
    """Whether a row's note tells what only that layer has: for ``--json`` and stores, not for the text."""
    return note.startswith((MATCH_NOTE, PRECISION_NOTE))


def _baseline(run: NetworkResult, machines: tuple[Accelerator, ...]) -> str | None:
    """Label of the first DaDianNao of the run."""
    return next((m.label for m in machines if m.name == BASELINE), None)


def _gain(run: NetworkResult, label: str, baseline: str | None) -> float | None:
    return None if baseline is None or label == baseline else run.speedup(label, baseline)


def print_totals(net: Network, run: NetworkResult, machines: tuple[Accelerator, ...]) -> None:
    """Print a line a machine: cycles by cause, and below it the gains."""
    causes = _causes(run.totals)
    out.print_table(
        [
            "network total",
            "peak\nMAC/cyc",
            "layers",
            "cycles",
            *(BY_NAME[cause].heading for cause in causes),
            "util.",
        ],
        (
            [
                total.accelerator,
                f"{machine.peak_macs_per_cycle:,.10g}",
                f"{total.layers}/{len(net)}",
                out.count(total.cycles if total.layers else None),
                *(out.count(getattr(total, cause)) for cause in causes),
                out.percent(total.utilisation),
            ]
            for machine, total in zip(machines, run.totals, strict=True)
        ),
        title=out.network_line(run.network, net),
    )
    baseline = _baseline(run, machines)
    gains = [_gain(run, total.accelerator, baseline) for total in run.totals]
    columns = _gains(run.totals, gains)
    out.print_table(
        ["network total", *(heading for heading, _ in columns)],
        zip([t.accelerator for t in run.totals], *(cells for _, cells in columns), strict=True),
    )


def print_layers(run: NetworkResult, machines: tuple[Accelerator, ...], top: int | None) -> None:
    """Print the layers of every machine: all, or the `top` with most cycles and a line for the others."""
    baseline = _baseline(run, machines)
    for machine in machines:
        _print_layers(run, machine, baseline, top)


def print_energy(run: NetworkResult, built: Sequence[Accelerator]) -> None:
    """Print energy and area by part, of machines that have costs, as they are built."""
    for machine, total in zip(built, run.totals, strict=True):
        _print_energy(machine, total)


def print_remarks(net: Network, run: NetworkResult, machines: tuple[Accelerator, ...]) -> None:
    """Print all that is assumed, left out or not applicable."""
    out.say(*_remarks(net, run, machines, _baseline(run, machines)))


def _print_energy(machine: Accelerator, total: NetworkTotal) -> None:
    parts = total.energy_parts_j
    if parts is None or not total.energy_j:
        return
    areas = machine.area_parts_mm2
    out.print_table(
        ["energy and area", "uJ", "share", "mm2"],
        [
            *(
                [
                    part,
                    f"{energy * 1e6:,.4g}",
                    out.percent(energy / total.energy_j),
                    f"{areas[part]:,.4g}" if part in areas else "–",
                ]
                for part, energy in parts.items()
            ),
            ["all parts", f"{total.energy_j * 1e6:,.4g}", "100.0%", f"{total.area_mm2:,.4g}"],
        ],
        title=f"{total.accelerator}: {_in_words(total)}",
    )


def _in_words(total: NetworkTotal) -> str:
    assert total.energy_j is not None
    assert total.seconds
    assert total.power_w is not None
    return (
        f"{total.seconds * 1e6:,.4g} us at {total.cycles / total.seconds / 1e6:,.4g} MHz, "
        f"{total.energy_j * 1e6:,.4g} uJ, {total.power_w:,.4g} W"
        f" ({'with' if total.dram_seconds is not None else 'without'} DRAM)"
    )


def print_published(found: Sequence[Comparison]) -> None:
    """Print one PE beside the paper's Table 7, in every basis of costs."""
    bases = list(dict.fromkeys(c.basis for c in found))
    rows: dict[str, dict[str, Comparison]] = {}
    for c in found:
        rows.setdefault(f"{c.quantity}, {c.unit}", {})[c.basis] = c
    out.print_table(
        ["one PE beside the paper's Table 7", "published", *bases],
        (
            [
                quantity,
                "–" if (first := next(iter(own.values()))).published is None else f"{first.published:.4g}",
                *(f"{own[b].ours:.4g} ({out.times(own[b].ratio)})" for b in bases),
            ]
            for quantity, own in rows.items()
        ),
        title="BitX with one PE at 1 GHz, without buffers and memory",
    )
    out.say(
        "published: TSMC 28 nm at 1 GHz, workload not named; bases: where our costs of components come from;"
        " nothing is fitted"
    )


def _print_layers(run: NetworkResult, machine: Accelerator, baseline: str | None, top: int | None) -> None:
    own = run.of(machine.label)
    base: tuple[LayerResult | None, ...] = (None,) * len(own)
    if baseline is not None and baseline != machine.label:
        base = run.of(baseline)
    pairs = list(zip(own, base, strict=True))
    chosen, others = out.heaviest(pairs, top, lambda pair: pair[0].cycles)
    rows: list[LayerResult | NetworkTotal] = [row for row, _ in chosen]
    names = [row.layer for row, _ in chosen]
    gains = [_over([pair]) for pair in chosen]
    if others:
        rows.append(total_of(machine.label, [row for row, _ in others]))
        names.append(f"(the other {out.counted(len(others), 'layer')})")
        gains.append(_over(others))
    columns = [
        _column("cycles", rows),
        *(_column(cause, rows) for cause in _causes(rows)),
        _column("utilisation", rows),
    ]
    shown = _with_values(columns)
    out.print_table(
        ["layer", *(heading for heading, _ in shown)],
        zip(names, *(cells for _, cells in shown), strict=True),
        title=f"{machine.label}: peak {machine.peak_macs_per_cycle:,.10g} MACs a cycle (16 bit)",
    )
    shown = _gains(rows, gains)
    out.print_table(
        ["layer", *(heading for heading, _ in shown)],
        zip(names, *(cells for _, cells in shown), strict=True),
    )


_GAINS = (
    "on_chip_cycles",
    "dram_bytes",
    "dram_weight_bytes_plain",
    "bound_by",
    "kept_rows_mean",
    "kept_ones_mean",
    "speedup_over_unpruned",
    "on_chip_speedup_over_unpruned",
    "work_speedup",
    "speedup_over_every_bit",
    "speedup_over_all_rows",
    "on_chip_speedup_over_all_rows",
    "speedup_over_nonempty_rows",
    "on_chip_speedup_over_nonempty_rows",
)
"""Columns of traffic and of gains, with the memory and on the chip."""

_Columns = list[tuple[str, list[str]]]
"""Headings, and their cells as text."""


def _gains(rows: Sequence[LayerResult | NetworkTotal], over_baseline: Sequence[float | None]) -> _Columns:
    """Those of `_GAINS` that have values, and the gain over the baseline."""
    columns = [_column(name, rows) for name in _GAINS]
    return _with_values([*columns, ("x Da-\nDianNao", [out.times(gain) for gain in over_baseline])])


def _column(name: str, rows: Sequence[LayerResult | NetworkTotal]) -> tuple[str, list[str]]:
    """Heading and cells of a column of results."""
    column = BY_NAME[name]
    return column.heading, [_cell(column, getattr(row, name, None)) for row in rows]


def _cell(column: Column, value: Any) -> str:
    """Write a value as its unit is written: cycles, megabytes, shares, gains, plain numbers, text."""
    if value is None:
        return "–"
    if column.unit == "B":
        return f"{value / 1e6:,.3f}"
    if column.dtype is TEXT:
        return str(value)
    if column.dtype is INTEGER:
        return out.count(value)
    if "speedup" in column.name:
        return out.times(value)
    return out.percent(value) if column.name == "utilisation" else out.number(value)


def _with_values(columns: _Columns) -> _Columns:
    return [(heading, cells) for heading, cells in columns if any(cell != "–" for cell in cells)]


_CAUSES = (
    "compute_cycles",
    "lane_wait_cycles",
    "imbalance_cycles",
    "fifo_full_cycles",
    "fill_cycles",
    *WAITS,
)
"""In the order of tables: first what is work."""


def _causes(rows: Sequence[LayerResult | NetworkTotal]) -> list[str]:
    """Causes that any of the rows has cycles of."""
    return [cause for cause in _CAUSES if any(getattr(row, cause) for row in rows)]


def _over(pairs: Sequence[tuple[LayerResult, LayerResult | None]]) -> float | None:
    """Gain over the baseline, of the layers that both run."""
    both = [
        (row.cycles, base.cycles) for row, base in pairs if base and base.cycles is not None and row.cycles
    ]
    return sum(b for _, b in both) / sum(a for a, _ in both) if both else None


def _remarks(
    net: Network, run: NetworkResult, machines: tuple[Accelerator, ...], baseline: str | None
) -> list[str]:
    lines = list(dict.fromkeys(remark for machine in machines for remark in machine.remarks))
    for machine in machines:
        if figures := machine.cost_figures:
            lines.append(
                f"energy and area, {machine.label}: basis {machine.options['cost_basis']}:"
                f" {figures[0].source}; SRAM: {figures[-1].source}; assumptions for the rest. --json and the"
                f" store's table costs give all {len(figures)} figures with their sources. Ratios can be"
                " trusted, absolute energies to a factor of two."
            )
        rows = run.of(machine.label)
        reasons: dict[str, list[str]] = {}
        for row in rows:
            if row.reason is not None:
                reasons.setdefault(row.reason, []).append(row.layer)
        for reason, layers in reasons.items():
            shown = ", ".join(layers[:3]) + (", …" if len(layers) > 3 else "")
            lines.append(f"not applicable on {machine.name}: {len(layers)} × {reason}: {shown}")
        noted: dict[str, int] = {}
        for row in rows:
            for note in row.notes:
                if is_of_one_layer(note):
                    continue
                noted[note] = noted.get(note, 0) + 1
        lines += [f"note, {machine.name}: {out.counted(n, 'layer')}: {note}" for note, n in noted.items()]
    lines += [
        f"not simulated: {n.count} × {n.operation}: {n.reason}"
        + (" (its multiplications are missing from the totals)" if n.multiplies else "")
        for n in run.not_simulated
    ]
    lines += [f"note: {note}" for note in run.notes]
    if baseline is not None:
        peaks = {m.peak_macs_per_cycle for m in machines}
        if len(peaks) > 1:
            lines.append("note: the machines differ in peak; compare cycles at equal peak")
    lines.append("assumptions of each machine: bitx list accelerators --assumptions")
    return lines


def document(
    net: Network,
    run: NetworkResult,
    machines: tuple[Accelerator, ...],
    parameters: dict[str, Any],
    output: str | None,
    published: Sequence[Comparison] | None = None,
    built: Sequence[Accelerator] | None = None,
) -> dict[str, Any]:
    """Return the run as JSON's types; areas by part are those of the machines as built, where they differ."""
    baseline = _baseline(run, machines)
    return {
        "parameters": parameters,
        "network": run.network,
        "macs": net.macs,
        "weights": net.parameters,
        "layers": [
            row.columns()
            | {
                "notes": row.notes,
                "kept_rows_histogram": row.kept_rows_histogram,
                "kept_ones_histogram": row.kept_ones_histogram,
                "energy_parts_j": row.energy_parts_j,
            }
            for row in run.layers
        ],
        "totals": [
            total.columns()
            | {
                "peak_macs_per_cycle": machine.peak_macs_per_cycle,
                "speedup_over_dadiannao": _gain(run, total.accelerator, baseline),
                "energy_parts_j": total.energy_parts_j,
                "area_parts_mm2": whole.area_parts_mm2,
            }
            for machine, whole, total in zip(machines, built or machines, run.totals, strict=True)
        ],
        "not_simulated": [vars(n) for n in run.not_simulated],
        "notes": run.notes,
        "costs": {m.label: [asdict(figure) for figure in m.cost_figures] for m in machines},
        "published": None if published is None else [asdict(c) | {"ratio": c.ratio} for c in published],
        "assumptions": {machine.label: machine.assumptions for machine in machines},
        "written": [output] if output else [],
    }
