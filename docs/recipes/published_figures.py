"""Write the README's table of published figures, ours beside them, from `hwmodel.reproduction`.

``python docs/recipes/published_figures.py`` rewrites it in about a minute; a test holds the page to it.
"""

from __future__ import annotations

from pathlib import Path

import hwmodel as hw
from hwmodel.costs.figures import BASES
from hwmodel.studies.reproduction.line import Line
from hwmodel.studies.reproduction.simulations import Simulations

PAGE = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- published -->\n", "<!-- end of published -->"
GAINS = (
    (
        "speed-up over the unpruned network, float32, N = 6, by work, which no machine reaches (Figure 7)",
        ("Figure 7", "ResNext50_32x4d", "fp32, N=6", "gain over unpruned, work"),
        "ResNeXt-50, normal weights",
    ),
    (
        "the same with a barrier after each group, as the paper draws its PE (Figure 9)",
        ("Figure 9", "SqueezeNet1_1", "BitX-wild, fp32", "speed over Pragmatic 16b, barrier"),
        "SqueezeNet 1.1, normal weights",
    ),
    (
        "the same in 16-bit fixed point, by work (Figure 9)",
        ("Figure 9", "SqueezeNet1_1", "BitX-wild, 16b", "speed over Pragmatic 16b, work"),
        "SqueezeNet 1.1, normal weights, deviation 1/34",
    ),
    (
        "the same with the barrier; Figure 9 does not say which of the two it shows",
        ("Figure 9", "SqueezeNet1_1", "BitX-wild, 16b", "speed over Pragmatic 16b, barrier"),
        "the same weights",
    ),
    (
        "zero bits after pruning over those before, whole kernels, N = 6 (Table 3)",
        ("Table 3", "ResNet50", "fp32, N=6", "zero bits over those before"),
        "ResNet-50, normal weights",
    ),
)


def find(lines: tuple[Line, ...], place: str, network: str, setting: str, quantity: str) -> Line:
    """Look up one line."""
    wanted = (place, network, setting, quantity)
    (found,) = (x for x in lines if (x.place, x.network, x.setting, x.quantity) == wanted)
    return found


def table() -> str:
    """Lay out the table."""
    lines = hw.reproduction.reproduce(["Table 3", "Figure 7", "Figure 9"])
    rows = ["| | published | ours | on |", "|---|---:|---:|---|"]
    for words, where, network in GAINS:
        line = find(lines, *where)
        rows.append(f"| {words} | {line.published:.2f}× | {line.ours:.2f}× | {network} |")
    pe = {(c.quantity, c.basis): c for c in Simulations().one_pe()}
    for words, what, unit, scale in (
        ("area of one PE, 28 nm (Table 7)", "Total: area", "mm²", 1.0),
        ("power of one PE, float32 (Table 7)", "Total: power, float32", "mW", 1e3),
        ("power of one PE, fixed16 (Table 7)", "Total: power, fixed16", "mW", 1e3),
    ):
        found = [pe[what, basis] for basis in BASES]
        ours = ", ".join(f"{c.ours * scale:.3g}" for c in found)
        assert found[0].published is not None
        rows.append(
            f"| {words} | {found[0].published * scale:.3g} {unit} | {ours} {unit}"
            f" | SqueezeNet 1.1; component costs from {', '.join(BASES)} |"
        )
    return "\n".join(rows)


def page() -> str:
    """Return the README with the table as it should be."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
