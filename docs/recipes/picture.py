"""Draw the README's picture: a group of the sample network's weights as a bit matrix, and the kept rows.

    python docs/recipes/picture.py

writes docs/bit-matrix.svg. Every number in it is computed here by the definition, `bitxcore.reference`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import bitxcore as bx
from bitxcore import reference
from bitxcore.formats import number_format

ROOT = Path(__file__).parents[2] if "__file__" in globals() else Path.cwd()
SAMPLE, TENSOR, FILTER, GROUP = "data/samples/digits_resnet.onnx", "stage1.block1.conv2.weight", 4, 2
G, ROWS = 8, 6  # what `bitxcore.prune` does where nothing else is said
SHOWN = 14  # rows drawn; the rest of the window is much like the last of them

CELL, LEFT, TOP = 26, 92, 118
KEPT, DROPPED, EMPTY, INK, QUIET = "#1f6fb5", "#c9c9c9", "#f4f4f4", "#222222", "#777777"


def group_of_weights() -> np.ndarray:
    """Return the weights of the picture, float32."""
    with bx.open_dump(ROOT / SAMPLE) as dump:
        tensor = dump[TENSOR]
        weights = tensor.layout.turn(tensor.read())
    return np.ascontiguousarray(weights.reshape(len(weights), -1)[FILTER, G * GROUP : G * (GROUP + 1)])


def draw() -> str:
    """Return the picture as SVG."""
    fmt = number_format("float32")
    weights = group_of_weights()
    codes = weights.view(np.uint32).tolist()
    window = fmt.default_window
    group = reference.align(codes, fmt, window)
    ones = reference.row_ones(group)
    pruned_codes, mask, emax = reference.prune_group(codes, fmt, window, rows=ROWS)
    pruned = np.array(pruned_codes, np.uint32).view(np.float32)
    rank = {row: place + 1 for place, row in enumerate(reference.ranking(ones)[:ROWS])}

    right = LEFT + G * CELL + 14
    width, height = right + 218, TOP + SHOWN * CELL + 132
    parts: list[str] = []

    def label(
        x: float, y: float, content: str, anchor: str = "middle", colour: str = INK, more: str = ""
    ) -> None:
        parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}" {more}>{content}</text>'
        )

    def middle(column: int) -> float:
        return LEFT + column * CELL + CELL / 2

    def upright(column: int, y: float, value: float, colour: str) -> None:
        x = middle(column) + 4
        label(
            x, y, f"{value:+.4f}".replace("-", "−"), "start", colour, f'transform="rotate(-90 {x:g} {y:g})"'
        )

    label(LEFT - 10, TOP - 52, "weights", "end", QUIET)
    label(LEFT - 10, TOP - 8, "row weighs", "end", QUIET)
    label(right, TOP - 8, "ones", "start", QUIET)
    label(right + 42, TOP - 8, "significance", "start", QUIET)
    for column, weight in enumerate(weights):
        upright(column, TOP - 10, float(weight), INK)
    for row in range(SHOWN):
        y = TOP + row * CELL
        base = y + CELL / 2 + 4
        kept = row in rank
        colour = INK if kept else QUIET
        weight_of_row = emax - fmt.bias - row
        power = f'2<tspan dy="-5" font-size="9">{str(weight_of_row).replace("-", "−")}</tspan>'
        label(LEFT - 10, base, power, "end", colour)
        for column, bits in enumerate(group.aligned):
            one = bits >> (window - 1 - row) & 1
            fill = (KEPT if kept else DROPPED) if one else EMPTY
            parts.append(
                f'<rect x="{LEFT + column * CELL + 1}" y="{y + 1}" width="{CELL - 2}" height="{CELL - 2}" '
                f'rx="3" fill="{fill}"/>'
            )
            label(middle(column), base, str(one), colour="#ffffff" if one and kept else QUIET)
        label(right + 20, base, str(ones[row]), "end", colour)
        significance = 2.0**weight_of_row * ones[row] ** 0.5
        label(right + 108, base, f"{significance:.4f}", "end", colour)
        if kept:
            label(right + 122, base, f"kept, no. {rank[row]}", "start", KEPT, 'font-weight="bold"')
    bottom = TOP + SHOWN * CELL
    below = sum(1 for n in ones[SHOWN:] if n)
    label(right, bottom + 18, f"and {below} rows below, none kept", "start", QUIET)
    label(LEFT - 10, bottom + 44, "pruned", "end", QUIET)
    for column, value in enumerate(pruned):
        upright(column, bottom + 68, float(value), KEPT)
    error = float(np.linalg.norm(weights.astype(float) - pruned) / np.linalg.norm(weights.astype(float)))
    filled = sum(n > 0 for n in ones)
    note = f"{mask.bit_count()} of {filled} rows are kept; the group changes by {100 * error:.1f} %"
    label(LEFT, bottom + 98, note, "start")
    whole = max(member.significand.bit_count() for member in group.members)
    most = max((bits & mask).bit_count() for bits in group.aligned)
    label(LEFT, bottom + 118, f"most ones of a weight: {whole} before, {most} after", "start")

    title = f"Bit matrix of group {GROUP} of filter {FILTER} of {TENSOR}, {mask.bit_count()} rows kept"
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">\n'
        f'<title>{title}</title>\n<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>\n'
        f"{body}\n</svg>\n"
    )


if __name__ == "__main__":
    (ROOT / "docs/bit-matrix.svg").write_text(draw(), "utf-8")
