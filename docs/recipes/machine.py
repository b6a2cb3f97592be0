"""Write the tables of docs/machine.md: what queues, other operands and rows make of the machine.

``python docs/recipes/machine.py`` rewrites the page in some seconds; a test holds it to what is computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import bitxcore as bx
import hwmodel as hw
from hwmodel.accelerators.bitx.hardware import PE_PARTS
from hwmodel.costs.figures import BASES

PAGE = Path(__file__).parents[1] / "machine.md"
SEED, FILTERS, WEIGHTS = 0, 256, 2304

PUBLISHED = {
    10: ("2.61–2.67", "2.31–2.34"),
    8: ("3.36–3.44", ""),
    6: ("4.68–4.82", "3.74–3.79"),
    4: ("7.64–7.93", ""),
}
"""Figure 7 over its networks, and the float32 bars of Figure 9; printed beside ours."""


def weights() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Draw Gaussian weights of one layer."""
    return np.random.default_rng(SEED).standard_normal((FILTERS, WEIGHTS), np.float32)


def run(w: np.ndarray[Any, Any], **options: Any) -> hw.LayerResult:
    """Simulate the layer on one PE at 16 positions, with a memory without limits."""
    layer = hw.Linear("layer", w.shape[1], len(w), positions=16)
    machine = hw.accelerator("bitx", **({"processing_elements": 1, "dram": None} | options))
    return hw.simulate(machine, layer, hw.Operands(w))


def pe_area_mm2(basis: str, **options: Any) -> float:
    """Return the area of one PE."""
    parts = hw.accelerator("bitx", processing_elements=1, cost_basis=basis, **options).area_parts_mm2
    return sum(parts[part] for part in PE_PARTS)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Lay out a table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def by_rows_kept(w: np.ndarray[Any, Any]) -> str:
    """Cycles per group by N, and the gains, beside those of the paper."""
    rows = []
    ones = bx.weight_ones(w, rows=10)
    rows.append(["unpruned", f"{ones.before.largest:.2f}", f"{ones.before.mean:.2f}", "1", "1", "", "", ""])
    for n, (work, barrier) in PUBLISHED.items():
        r, ones = run(w, rows=n), bx.weight_ones(w, rows=n)
        rows.append(
            [
                str(n), f"{ones.after.largest:.2f}", f"{ones.after.mean:.2f}",
                f"{r.on_chip_speedup_over_unpruned:.2f}", f"{r.work_speedup:.2f}", barrier, work,
                f"{r.on_chip_speedup_over_every_bit:.2f}",
            ]
        )  # fmt: skip
    head = [
        "N", "cycles per group", "ones per weight", "gain, barrier", "gain, work", "Fig. 9, float32",
        "Fig. 7", "over every bit",
    ]  # fmt: skip
    return markdown(head, rows)


def queues(w: np.ndarray[Any, Any]) -> str:
    """Gain and area of a PE by the depth of the queue before each lane."""
    barrier, rows = run(w), []
    least, most = barrier.speedup_over_unpruned or 0.0, barrier.work_speedup or 0.0
    plain = {basis: pe_area_mm2(basis) for basis in BASES}
    for depth in (0, 1, 2, 4, 8, None):
        r = run(w, lane_fifo_depth=depth)
        gain = r.speedup_over_unpruned or 0.0
        closed = (gain - least) / (most - least)
        areas = [
            "–" if depth is None else f"{pe_area_mm2(basis, lane_fifo_depth=depth) / plain[basis]:.2f}"
            for basis in BASES
        ]
        name = "no bound" if depth is None else str(depth)
        rows.append([name, f"{r.cycles / barrier.cycles:.2f}", f"{gain:.2f}", f"{closed:.0%}", *areas])
    head = ["d", "cycles", "gain over itself unpruned", f"of the gap from {least:.2f} to {most:.2f}"]
    return markdown([*head, *(f"area per PE, {basis}" for basis in BASES)], rows)


def organisations(w: np.ndarray[Any, Any]) -> str:
    """Other readings and alternatives: cycles, area, and speed per area."""
    machines: list[tuple[str, dict[str, Any]]] = [
        ("lanes of 8 weights, 16 positions", {}),
        ('`cu_operands="weights"`', {"cu_operands": "weights"}),
        ('`serial_unit="row"`', {"serial_unit": "row"}),
        ('`serial_unit="row", rows_per_cycle=2`', {"serial_unit": "row", "rows_per_cycle": 2}),
        ('`serial_unit="row", group=16`', {"serial_unit": "row", "group": 16}),
    ]
    first = run(w).cycles
    plain = {basis: pe_area_mm2(basis) for basis in BASES}
    rows = []
    for name, options in machines:
        cycles = run(w, **options).cycles
        areas = {basis: pe_area_mm2(basis, **options) / plain[basis] for basis in BASES}
        rows.append(
            [
                name, f"{cycles / first:.2f}", *(f"{areas[basis]:.2f}" for basis in BASES),
                *(f"{first / cycles / areas[basis]:.2f}" for basis in BASES),
            ]
        )  # fmt: skip
    areas_of = [f"area, {basis}" for basis in BASES]
    return markdown(["one PE", "cycles", *areas_of, *(f"speed per area, {basis}" for basis in BASES)], rows)


TABLES = {"rows": by_rows_kept, "queues": queues, "organisations": organisations}


def page() -> str:
    """Return the page with its tables as they should be."""
    text, w = PAGE.read_text("utf-8"), weights()
    for name, table in TABLES.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        after = rest.partition(f"<!-- end of {name} -->")[2]
        text = f"{before}<!-- {name} -->\n{table(w)}\n<!-- end of {name} -->{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
