"""What `bitx simulate` prints: tables of layers and totals, remarks, or one JSON document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hwmodel.accelerators.base import Accelerator
from hwmodel.cli import output as out
from hwmodel.networks.matching import MATCH_NOTE
from hwmodel.networks.network import Network
from hwmodel.operands.precisions import PRECISION_NOTE
from hwmodel.simulation.columns import BY_NAME, INTEGER, TEXT
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
    """Print a line per machine."""
    baseline = _baseline(run, machines)
    rows = [
        total.columns()
        | {
            "peak": machine.peak_macs_per_cycle,
            "layers": f"{total.layers}/{len(net)}",
            "cycles": total.cycles if total.layers else None,
            _OVER_BASELINE: _gain(run, total.accelerator, baseline),
        }
        for machine, total in zip(machines, run.totals, strict=True)
    ]
    out.print_rows(
        [
            out.Shown("accelerator", "network total", text=True),
            out.Shown("peak", "peak\nMAC/cyc", _peak, more=True),
            out.Shown("layers", "layers"),
            *_COLUMNS,
        ],
        rows,
        title=out.network_line(run.network, net),
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


def print_remarks(run: NetworkResult, machines: tuple[Accelerator, ...]) -> None:
    """Print all that is assumed, left out or not applicable."""
    out.say_notes(_remarks(run, machines, _baseline(run, machines)))


def _print_energy(machine: Accelerator, total: NetworkTotal) -> None:
    parts = total.energy_parts_j
    if parts is None or not total.energy_j:
        return
    areas = machine.area_parts_mm2
    whole = {"part": "all parts", "energy_j": total.energy_j, "share": 1.0, "area_mm2": total.area_mm2}
    rows = [
        {"part": part, "energy_j": energy, "share": energy / total.energy_j, "area_mm2": areas.get(part)}
        for part, energy in parts.items()
    ]
    out.print_rows(
        (
            out.Shown("part", "energy and area", text=True),
            out.Shown("energy_j", "uJ", out.scaled(1e6)),
            out.Shown("share", "share", out.percent),
            out.Shown("area_mm2", "mm2", out.figure),
        ),
        [*rows, whole],
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
    rows: dict[str, dict[str, Any]] = {}
    for c in found:
        quantity = f"{c.quantity}, {c.unit}"
        row = rows.setdefault(quantity, {"quantity": quantity, "published": c.published})
        row |= {c.basis: c.ours, f"{c.basis} ratio": c.ratio}
    out.print_rows(
        [
            out.Shown("quantity", "one PE beside the paper's Table 7", text=True),
            out.Shown("published", "published", out.figure),
            *(out.Shown(basis, basis, out.figure, more=True) for basis in bases),
            *(out.Shown(f"{basis} ratio", f"{basis}\nratio", out.times) for basis in bases),
        ],
        rows.values(),
        title="BitX with one PE at 1 GHz, without buffers and memory",
    )
    out.say(
        "published: TSMC 28 nm at 1 GHz, workload not named. Bases: where our costs of components come"
        " from. Nothing is fitted."
    )


def _print_layers(run: NetworkResult, machine: Accelerator, baseline: str | None, top: int | None) -> None:
    own = run.of(machine.label)
    base: tuple[LayerResult | None, ...] = (None,) * len(own)
    if baseline is not None and baseline != machine.label:
        base = run.of(baseline)
    pairs = list(zip(own, base, strict=True))
    chosen, others = out.heaviest(pairs, top, lambda pair: pair[0].cycles)
    rows = [row.columns() | {_OVER_BASELINE: _over([pair])} for pair in chosen for row in pair[:1]]
    if others:
        rest = total_of(machine.label, [row for row, _ in others])
        name = f"(the other {out.counted(len(others), 'layer')})"
        rows.append(rest.columns() | {"layer": name, _OVER_BASELINE: _over(others)})
    out.print_rows(
        [out.Shown("layer", "layer", text=True), *_COLUMNS],
        rows,
        title=f"{machine.label}: peak {_peak(machine.peak_macs_per_cycle)} MACs per cycle (16 bit)",
    )


_OVER_BASELINE = "speedup_over_dadiannao"

_MAIN = (
    "cycles",
    "on_chip_cycles",
    "bound_by",
    "speedup_over_unpruned",
    "speedup_over_all_rows",
    _OVER_BASELINE,
)
"""Columns that are always shown."""


def _peak(value: float) -> str:
    return f"{value:,.10g}"


def _shown(name: str) -> out.Shown:
    """Show a column of results as its unit is written: cycles, megabytes, shares, gains, numbers, text."""
    column = BY_NAME[name]
    show: Callable[[Any], str] = out.number
    if column.unit == "B":
        show = _megabytes
    elif column.dtype is TEXT:
        show = out.words
    elif column.dtype is INTEGER:
        show = out.count
    elif "speedup" in name:
        show = out.times
    elif name == "utilisation":
        show = out.percent
    return out.Shown(name, column.heading, show, more=name not in _MAIN, if_any=True)


def _megabytes(value: float | None) -> str:
    return out.number(None if value is None else value / 1e6, 3)


_CAUSES = (
    "compute_cycles",
    "lane_wait_cycles",
    "imbalance_cycles",
    "fifo_full_cycles",
    "fill_cycles",
    *WAITS,
)
"""In the order of tables: first what is work."""

_COLUMNS = (
    *map(
        _shown,
        (
            "cycles",
            *_CAUSES,
            "utilisation",
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
        ),
    ),
    out.Shown(_OVER_BASELINE, "x Da-\nDianNao", out.times, if_any=True),
)
"""Cycles by cause, traffic, and gains with the memory and on the chip."""


def _over(pairs: Sequence[tuple[LayerResult, LayerResult | None]]) -> float | None:
    """Gain over the baseline, of the layers that both run."""
    both = [
        (row.cycles, base.cycles) for row, base in pairs if base and base.cycles is not None and row.cycles
    ]
    return sum(b for _, b in both) / sum(a for a, _ in both) if both else None


def _remarks(run: NetworkResult, machines: tuple[Accelerator, ...], baseline: str | None) -> list[out.Note]:
    notes = [
        out.Note("columns", remark)
        for remark in dict.fromkeys(remark for machine in machines for remark in machine.remarks)
    ]
    for machine in machines:
        if figures := machine.cost_figures:
            notes.append(
                out.Note(
                    "energy and area",
                    f"energy and area, {machine.label}: basis {machine.options['cost_basis']}:"
                    f" {figures[0].source}; SRAM: {figures[-1].source}; assumptions for the rest. --json and"
                    f" the store's table costs give all {len(figures)} figures with their sources. Ratios can"
                    " be trusted, absolute energies to a factor of two.",
                )
            )
        rows = run.of(machine.label)
        reasons: dict[str, list[str]] = {}
        for row in rows:
            if row.reason is not None:
                reasons.setdefault(row.reason, []).append(row.layer)
        for reason, layers in reasons.items():
            shown = ", ".join(layers[:3]) + (", …" if len(layers) > 3 else "")
            line = f"not applicable on {machine.name}: {len(layers)} × {reason}"
            notes.append(out.Note("layers not run", f"{line}: {shown}", line))
        noted = Counter(note for row in rows for note in row.notes if not is_of_one_layer(note))
        notes += [
            out.Note("layers", f"note, {machine.name}: {out.counted(n, 'layer')}: {note}")
            for note, n in noted.items()
        ]
    notes += run_notes(run)
    if baseline is not None and len({m.peak_macs_per_cycle for m in machines}) > 1:
        line = "note: the machines differ in peak; compare cycles at equal peak"
        notes.append(out.Note("peak", line, line))
    notes.append(ASSUMPTIONS)
    return notes


ASSUMPTIONS = out.Note("assumptions", "assumptions of each machine: bitx list accelerators --assumptions")


def run_notes(run: NetworkResult) -> list[out.Note]:
    """Say which operations were not simulated, and what holds for the whole run; this is always printed."""
    notes = []
    for n in run.not_simulated:
        line = f"not simulated: {n.count} × {n.operation}: {n.reason}"
        if n.multiplies:
            line += " (its multiplications are missing from the totals)"
        notes.append(out.Note("operations not simulated", line, line if n.multiplies else None))
    return [*notes, *(out.Note("run", f"note: {note}", f"note: {note}") for note in run.notes)]


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
