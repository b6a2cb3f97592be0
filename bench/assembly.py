"""Look at the machine code of the kernels: register width, gathers, spills, instructions per value.

``python -m bench.assembly`` prints one row per kernel, for the machine it runs on. Counted is the text of
a loop over vectors. Pruning works block by block and has several, which rarely run ones are among: the
first takes the largest magnitudes, the next the ones of rows, the last clears the weights; one between
chooses the rows of the groups of a whole block.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

import bitxcore as bx
from bitxcore.kernels import counting, fields, floats, packing
from bitxcore.kernels.vectors import lanes_of
from bitxcore.pruning import plan_of

LEAST = 50
"""Vector instructions of a loop that is shown."""
LABEL = re.compile(r"^(\.?\w[\w.$]*):")
JUMP = re.compile(r"^\s+j\w+\s+(\.\w+)")


def loops_of(assembly: str) -> list[list[str]]:
    """Instructions of every loop."""
    lines = [line for line in assembly.splitlines() if not line.lstrip().startswith((".cfi", "#"))]
    labels: dict[str, int] = {}
    loops = []
    for at, line in enumerate(lines):
        if match := LABEL.match(line):
            labels[match[1]] = at
        elif (match := JUMP.match(line)) and match[1] in labels:
            body = [text for text in lines[labels[match[1]] : at + 1] if text.startswith("\t")]
            loops.append([text for text in body if not text.startswith("\t.")])
    return loops


def vector_loop(assembly: str) -> list[str]:
    """Instructions of the smallest loop that holds nearly all of the vector code."""
    loops = loops_of(assembly)
    most = max(vector_lines(loop) for loop in loops)
    return min((loop for loop in loops if vector_lines(loop) >= 0.7 * most), key=len)


def inner_loops(assembly: str) -> list[list[str]]:
    """Instructions of the loops over vectors of a kernel that works block by block."""
    loops = [loop for loop in loops_of(assembly) if vector_lines(loop) >= LEAST]
    # A loop around others is longer than any of them.
    return [loop for loop in loops if not any(len(o) < len(loop) and set(o) <= set(loop) for o in loops)]


def vector_lines(loop: list[str]) -> int:
    """Count the instructions that use a vector register."""
    return sum("mm" in line for line in loop)


def row(name: str, loop: list[str], values: int) -> str:
    """Format a row: a loop handles `values` values."""
    text = "\n".join(loop)
    stack = len(re.findall(r"\(%rsp\)", text))
    widths = [len(re.findall(rf"%{r}mm\d", text)) for r in "zyx"]
    gathers = len(re.findall(r"gather", text))
    wide = len(re.findall(r"\tvpmov[sz]x\w*q\s", text))
    return (
        f"| {name} | {len(loop)} | {len(loop) / values:.2f} | {widths[0]} / {widths[1]} / {widths[2]} "
        f"| {gathers} | {wide} | {stack} |"
    )


def report(name: str, kernel: Any, values: int) -> str:
    """Format a row: a kernel's loop handles `values` values."""
    return row(name, vector_loop(next(iter(kernel.inspect_asm().values()))), values)


def report_blocks(name: str, group: int, values: int) -> Iterator[str]:
    """Format the rows of a pruning kernel, one for each loop over the `values` values of a vector."""
    x = np.ones((64, 64), np.float32).astype(bx.number_format(name).dtype)
    bx.prune(x, rows=6, group=group)
    plan = plan_of(x, 6, group, None, None, "topn", "truncate", "flat", None, None, None)
    assembly = next(iter(plan.prune_groups.kernel.inspect_asm().values()))
    for number, loop in enumerate(inner_loops(assembly), 1):
        yield row(f"prune {name}, group {group}, loop {number}", loop, values)


def main() -> None:
    """Compile by use, then print the table."""
    os.environ["BITX_CACHE_DIR"] = os.devnull  # Numba shows no code that it took from a cache
    x = np.ones((64, 64), np.float32)
    bx.prune(x, rows=5, group=16, statistics=True)
    bx.decompose(x)
    bx.essential_bits(x)
    print("| kernel | instructions | a value | zmm / ymm / xmm uses | gathers | widened to 64 | stack uses |")
    print("|---|---:|---:|---|---:|---:|---:|")
    for group in (8, 16, 64):
        print("\n".join(report_blocks("float32", group, lanes_of(32, group))))
    for name, bits in (("bfloat16", 16), ("float16", 16), ("int16", 16), ("int8", 8)):
        print("\n".join(report_blocks(name, 8, lanes_of(bits, 8))))
    print(report("statistics float32, group 16", counting.summary_kernel(floats.FLOAT32, 32, 16), 128))
    print(report("decompose float32", fields.fields_kernel(32, fields.FLOAT), 128))
    print(report("essential_bits float32", fields.ones_kernel(32, fields.FLOAT), 128))
    for group, values in ((8, 128), (16, 16)):
        bx.unpack(bx.pack(bx.prune(x, group=group)))
        for name, kernel in (("pack", packing.pack_kernel), ("unpack", packing.unpack_kernel)):
            print(report(f"{name} float32, group {group}", kernel(floats.FLOAT32, 32, group), values))


if __name__ == "__main__":
    main()
