"""Write the table of results into docs/comparison.md: ResNet-50 on all machines, operands synthetic.

``python docs/recipes/comparison.py`` rewrites the page in about a minute.
"""

from __future__ import annotations

from pathlib import Path

import hwmodel as hw

PAGE = Path(__file__).parents[1] / "comparison.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->"
ALSO = [
    ("bitx", {"preset": "mild"}),
    ("bitx", {"preset": "mild", "format": "fixed16"}),
    ("bitx", {"lane_fifo_depth": 1}),
    ("bitx", {"serial_unit": "row"}),
]


def times(gain: float | None) -> str:
    """Write a gain."""
    return "–" if gain is None else f"{gain:.2f}"


def table() -> str:
    """Compare all machines, and lay them out in the order of their speed on the chip."""
    result = hw.compare(
        hw.load_network("resnet50"),
        weights="normal",
        activations="relu-normal",
        precisions="profile",
        also=ALSO,
    )
    layers = max(row.layers or 0 for row in result.rows)
    rows = sorted(result.rows, key=lambda row: -(row.speedup_on_chip or row.speedup or 1.0))
    head = "| machine | layers | cycles, M | x DaDianNao | on chip | energy ratio | area, mm² | speed/area |"
    lines = [head, "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        if row.reason is not None:
            lines.append(f"| {row.accelerator} | – | {row.reason} | | | | | |")
            continue
        assert row.cycles is not None
        assert row.area_mm2 is not None
        lines.append(
            f"| {row.accelerator} | {row.layers}/{layers} | {row.cycles / 1e6:.2f} | {times(row.speedup)}"
            f" | {times(row.speedup_on_chip)} | {times(row.energy_ratio)} | {row.area_mm2:.1f}"
            f" | {times(row.speedup_per_area)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table()}\n{END}{rest.partition(END)[2]}", "utf-8")
