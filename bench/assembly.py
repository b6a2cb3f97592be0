"""Look at the machine code of the kernels: register width, gathers, spills, instructions per value.

``python -m bench.assembly`` prints one row per kernel, for the machine it runs on. Counted is the text of
the loop over vectors; the short loop over the rows to keep runs several times in it.
"""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

import bitxcore as bx
from bitxcore.kernels import counting, fields, floats, integers, packing
from bitxcore.kernels.vectors import lanes_of

LABEL = re.compile(r"^(\.?\w[\w.$]*):")
JUMP = re.compile(r"^\s+j\w+\s+(\.\w+)")


def vector_loop(assembly: str) -> list[str]:
    """Instructions of the smallest loop that holds nearly all of the vector code."""
    lines = [line for line in assembly.splitlines() if not line.lstrip().startswith((".cfi", "#"))]
    labels: dict[str, int] = {}
    loops = []
    for at, line in enumerate(lines):
        if match := LABEL.match(line):
            labels[match[1]] = at
        elif (match := JUMP.match(line)) and match[1] in labels:
            body = [text for text in lines[labels[match[1]] : at + 1] if text.startswith("\t")]
            loops.append([text for text in body if not text.startswith("\t.")])
    most = max(vector_lines(loop) for loop in loops)
    return min((loop for loop in loops if vector_lines(loop) >= 0.7 * most), key=len)


def vector_lines(loop: list[str]) -> int:
    """Count the instructions that use a vector register."""
    return sum("mm" in line for line in loop)


def report(name: str, kernel: Any, values: int) -> str:
    """Format a row: a kernel's loop handles `values` values."""
    loop = vector_loop(next(iter(kernel.inspect_asm().values())))
    text = "\n".join(loop)
    stack = len(re.findall(r"\(%rsp\)", text))
    widths = [len(re.findall(rf"%{r}mm\d", text)) for r in "zyx"]
    gathers = len(re.findall(r"gather", text))
    wide = len(re.findall(r"\tvpmov[sz]x\w*q\s", text))
    return (
        f"| {name} | {len(loop)} | {len(loop) / values:.2f} | {widths[0]} / {widths[1]} / {widths[2]} "
        f"| {gathers} | {wide} | {stack} |"
    )


def main() -> None:
    """Compile by use, then print the table."""
    os.environ["BITX_CACHE_DIR"] = os.devnull  # Numba shows no code that it took from a cache
    x = np.ones((64, 64), np.float32)
    bx.prune(x, rows=5, group=16, statistics=True)
    bx.decompose(x)
    bx.essential_bits(x)
    print("| kernel | instructions | a value | zmm / ymm / xmm uses | gathers | widened to 64 | stack uses |")
    print("|---|---:|---:|---|---:|---:|---:|")
    for group in (1, 4, 8, 16, 64):
        bx.prune(x, rows=5, group=group)
        lanes = lanes_of(32, group)
        print(report(f"prune float32, group {group}", floats.prune_kernel(floats.FLOAT32, group), lanes))
    for name in ("bfloat16", "float16"):
        bx.prune(x.astype(bx.number_format(name).dtype), rows=5, group=16)
        print(report(f"prune {name}, group 16", floats.prune_kernel(getattr(floats, name.upper()), 16), 128))
    for name, width in (("int16", 16), ("int8", 8)):
        bx.prune(x.astype(name), rows=5, group=16)
        kernel = integers.prune_kernel(width, 16)
        print(report(f"prune {name}, group 16", kernel, lanes_of(width, 16)))
    print(report("statistics float32, group 16", counting.summary_kernel(floats.FLOAT32, 32, 16), 128))
    print(report("decompose float32", fields.fields_kernel(32, fields.FLOAT), 128))
    print(report("essential_bits float32", fields.ones_kernel(32, fields.FLOAT), 128))
    for group, values in ((8, 128), (16, 16)):
        bx.unpack(bx.pack(bx.prune(x, group=group)))
        for name, kernel in (("pack", packing.pack_kernel), ("unpack", packing.unpack_kernel)):
            print(report(f"{name} float32, group {group}", kernel(floats.FLOAT32, 32, group), values))


if __name__ == "__main__":
    main()
