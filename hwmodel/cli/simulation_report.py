"""What `bitx simulate` prints: tables of layers and totals, remarks, or one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwmodel.accelerators.base import Accelerator
from hwmodel.cli import output as out
from hwmodel.networks import Network
from hwmodel.results import LayerResult, NetworkResult, NetworkTotal


def _baseline(run: NetworkResult, machines: tuple[Accelerator, ...]) -> str | None:
    """Label of the first DaDianNao of the run."""
    return next((m.label for m in machines if m.name == "dadiannao"), None)


def _gain(run: NetworkResult, label: str, baseline: str | None) -> float | None:
    return None if baseline is None or label == baseline else run.speedup(label, baseline)


def print_run(net: Network, run: NetworkResult, machines: tuple[Accelerator, ...]) -> None:
    """Print a table a machine, the totals and all remarks."""
    baseline = _baseline(run, machines)
    for machine in machines:
        _print_layers(run, machine, baseline)
    causes = _causes(run.totals)
    out.print_table(
        ["network total", "peak\nMAC/cyc", "layers", "cycles", *(heading for heading, _ in causes), "util.",
         "x all\nrows", "x non-\nempty", "x Da-\nDianNao"],
        (
            [
                total.accelerator,
                f"{machine.peak_macs_per_cycle:,.10g}",
                f"{total.layers}/{len(net)}",
                out.count(total.cycles),
                *(out.count(getattr(total, cause)) for _, cause in causes),
                out.percent(total.utilisation),
                out.times(total.speedup_over_all_rows),
                out.times(total.speedup_over_nonempty_rows),
                out.times(_gain(run, total.accelerator, baseline)),
            ]
            for machine, total in zip(machines, run.totals, strict=True)
        ),
        title=f"{run.network}: {net.macs:,} MACs, {net.parameters:,} weights in {len(net)} layers",
    )  # fmt: skip
    out.say(*_remarks(net, run, machines, baseline))


def _print_layers(run: NetworkResult, machine: Accelerator, baseline: str | None) -> None:
    rows = run.of(machine.label)
    base: tuple[LayerResult | None, ...] = (None,) * len(rows)
    if baseline is not None and baseline != machine.label:
        base = run.of(baseline)
    pairs = list(zip(rows, base, strict=True))
    columns: list[tuple[str, list[str]]] = [
        ("cycles", [out.count(r.cycles) for r in rows]),
        *((heading, [out.count(getattr(r, cause)) for r in rows]) for heading, cause in _causes(rows)),
        ("util.", [out.percent(r.utilisation) for r in rows]),
        ("rows\nmean", [out.number(r.kept_rows_mean) for r in rows]),
        ("x all\nrows", [out.times(r.speedup_over_all_rows) for r in rows]),
        ("x non-\nempty", [out.times(r.speedup_over_nonempty_rows) for r in rows]),
        ("x Da-\nDianNao", [out.times(_over(r, b)) for r, b in pairs]),
    ]
    shown = [(heading, cells) for heading, cells in columns if any(cell != "–" for cell in cells)]
    out.print_table(
        ["layer", *(heading for heading, _ in shown)],
        zip([r.layer for r in rows], *(cells for _, cells in shown), strict=True),
        title=f"{machine.label}: peak {machine.peak_macs_per_cycle:,.10g} MACs a cycle (16 bit)",
    )


_HEADINGS = {
    "compute_cycles": "compute",
    "imbalance_cycles": "imbal-\nance",
    "fifo_full_cycles": "FIFO\nfull",
    "fill_cycles": "fill",
    "weight_wait_cycles": "weight\nwait",
    "activation_wait_cycles": "activ.\nwait",
    "output_wait_cycles": "output\nwait",
}


def _causes(rows: Sequence[LayerResult | NetworkTotal]) -> list[tuple[str, str]]:
    """Heading and name of the causes that any of the rows has cycles of."""
    return [(h, cause) for cause, h in _HEADINGS.items() if any(getattr(r, cause) for r in rows)]


def _over(row: LayerResult, base: LayerResult | None) -> float | None:
    if base is None or base.cycles is None or not row.cycles:
        return None
    return base.cycles / row.cycles


def _remarks(
    net: Network, run: NetworkResult, machines: tuple[Accelerator, ...], baseline: str | None
) -> list[str]:
    lines = [
        "x all rows, x non-empty: gain over the same machine unpruned, which spends a slot on every row of"
        " the window, or on non-empty rows only"
    ] * any(m.name == "bitx" for m in machines)
    for machine in machines:
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
                noted[note] = noted.get(note, 0) + 1
        lines += [f"note, {machine.name}: {n} layers: {note}" for note, n in noted.items()]
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
) -> dict[str, Any]:
    """Return the run as JSON's types."""
    baseline = _baseline(run, machines)
    return {
        "parameters": parameters,
        "network": run.network,
        "macs": net.macs,
        "weights": net.parameters,
        "layers": [
            row.columns() | {"notes": row.notes, "kept_rows_histogram": row.kept_rows_histogram}
            for row in run.layers
        ],
        "totals": [
            total.columns()
            | {
                "peak_macs_per_cycle": machine.peak_macs_per_cycle,
                "speedup_over_dadiannao": _gain(run, total.accelerator, baseline),
            }
            for machine, total in zip(machines, run.totals, strict=True)
        ],
        "not_simulated": [vars(n) for n in run.not_simulated],
        "notes": run.notes,
        "assumptions": {machine.label: machine.assumptions for machine in machines},
        "written": [output] if output else [],
    }
