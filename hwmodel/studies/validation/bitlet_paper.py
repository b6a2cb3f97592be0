"""Bitlet's cycles for 64 products beside its paper's, and by the size N of a group."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from hwmodel.accelerators.engines.bit_rows import float_cycles
from hwmodel.accelerators.engines.float_parts import float32_parts
from hwmodel.accelerators.engines.row_walks import RowWalk
from hwmodel.accelerators.registry import accelerator
from hwmodel.operands.workload import Workload
from hwmodel.simulation.run import simulate_network
from hwmodel.studies.validation.record import Row, Standing, Study, published_rows

FRAME_CYCLES = 2048
"""Frames per second times work is 2048 / c, for c cycles for 64 products; Table 4 prints c / 2.048."""

OVERHEAD = {"8b": 10, "16b": 10, "fp32": 13}
SIZES = (2, 4, 8, 16, 32, 64)
NETWORKS = {
    "ResNet-50": ("resnet50", "8b"),
    "MobileNetV2": ("mobilenetv2", "8b"),
    "YoloV3": ("yolov3", "8b"),
    "DenseNet-161": ("densenet161", "16b"),
}
"""Networks of the paper whose tables are here, and their numbers; in fixed point."""
FLOATS = ("CartoonGAN", "Transformer", "C3D", "D3DNet")

EIGHT_BITS = RowWalk(look=8)


def figures(source: str, place: str, network: str) -> list[tuple[str, str, str]]:
    """Read setting, quantity and value of a table's or a figure's rows."""
    found = [r for r in published_rows("bitlet") if r["source"] == source and r["table_or_figure"] == place]
    return [(r["setting"], r["quantity"], r["value"]) for r in found if r["network"] == network]


def bounds(printed: str) -> tuple[float, float, float]:
    """Least value that rounds to what is printed, itself, and the greatest."""
    value, half = float(printed), 0.5 * 10.0 ** -len(printed.partition(".")[2])
    return value - half, value, value + half


def cycles_of_a_group(network: str, size: int, *, distilled: bool) -> tuple[float, float, float]:
    """Cycles of a group of `size` by Table 8: least, as printed, and most that rounding allows."""
    work = next(v for _, q, v in figures("MICRO21", "Table 2", network) if q == "work per inference")
    ending = "with distillation" if distilled else "without distillation"
    (rate,) = (
        v
        for s, _, v in figures("MICRO21", "Table 8", network)
        if f"N={size}," in s and s.endswith(f" {ending}")
    )
    pairs = zip(bounds(rate), bounds(work), strict=True)
    low, middle, high = sorted(size / 64 * FRAME_CYCLES / (frames * gflop) for frames, gflop in pairs)
    return low, middle, high


def published_steps(network: str, mode: str) -> dict[int, float]:
    """Return the steps of the fullest row by N, from Fig. 10, whose markers are read off to +-0.05.

    The figure's unit is not stated: its N = 64 is that of Table 8.
    """
    speeds = {
        int(size[1]): float(v)
        for s, _, v in figures("MICRO21", "Figure 10", network)
        if (size := re.search(r"N=(\d+)", s))
    }
    unit = speeds[64] * cycles_of_a_group(network, 64, distilled=True)[1] / 64
    return {n: n * unit / speeds[n] - OVERHEAD[mode] for n in SIZES}


def our_cycles(table: str, mode: str, sizes: Sequence[int] = SIZES, **options: Any) -> dict[int, float]:
    """Count the cycles of the paper's machine for a group, by size: one PE, normal weights."""
    load = Workload.of(table, weights="normal", precisions=int(mode[:-1]))
    one_pe = {"variant": "paper", "pe_rows": 1, "pe_columns": 1, "dram": None, **options}
    machines = {n: accelerator("bitlet", group=n, **one_pe) for n in sizes}
    run = simulate_network(list(machines.values()), load)
    return {n: (run.total(m.label).cycles or 0) * n / load.network.macs for n, m in machines.items()}


def our_float_steps(size: int, walk: RowWalk = EIGHT_BITS, count: int = 2000) -> float:
    """Mean steps of groups of normal weights and activations in float32."""
    w, a = np.random.default_rng(0).standard_normal((2, count, size)).astype(np.float32)
    (e, s), (x, _) = float32_parts("w", w), float32_parts("a", a)
    groups = (slice(i, i + 1) for i in range(count))
    options: dict[str, Any] = {"group": size, "rows": walk, "bit_rows": 24}
    return fmean(int(float_cycles(s[i], e[i], x[i], **options)[0][0, 0, 0]) for i in groups)


def _without_distillation() -> Iterator[Row]:
    """Yield what a group takes if every pair is a step: the overhead and the size."""
    for network, mode in (*((n, m) for n, (_, m) in NETWORKS.items()), *((n, "fp32") for n in FLOATS)):
        yield _row(
            network,
            f"{mode}, N=64, every pair a step",
            cycles_of_a_group(network, 64, distilled=False)[1],
            64 + OVERHEAD[mode],
            Standing.PRINTED,
        )


def _with_distillation(network: str, mode: str, group_cycles: dict[int, float]) -> Iterator[Row]:
    """Yield the cycles for 64 products by size of a group."""
    steps = published_steps(network, mode)
    for size, ours in group_cycles.items():
        # The figure's unit comes from Table 8, whose N = 64 it is.
        standing = Standing.PRINTED if size == 64 else Standing.DRAWING
        in_groups, overhead = 64 / size, OVERHEAD[mode]
        remark = f"steps per group: {steps[size]:.1f}, ours {ours - overhead:.1f}"
        what, theirs = f"{mode}, N={size}", (steps[size] + overhead) * in_groups
        yield _row(network, what, theirs, ours * in_groups, standing, remark)


def _row(network: str, what: str, published: float, ours: float, standing: Standing, remark: str = "") -> Row:
    return Row(
        machine="bitlet",
        what=f"{what}: cycles for 64 products",
        network=network,
        published=published,
        ours=ours,
        unit="cycles",
        standing=standing,
        remark=remark,
    )


def rows() -> Iterator[Row]:
    """Yield cycles for 64 products: every pair a step, then bits distilled, by size of a group."""
    yield from _without_distillation()
    for network, (table, mode) in NETWORKS.items():
        yield from _with_distillation(network, mode, our_cycles(table, mode))
    floats = {n: our_float_steps(n) + OVERHEAD["fp32"] for n in SIZES}
    for network in FLOATS:
        yield from _with_distillation(network, "fp32", floats)


STUDY = Study(
    machine="bitlet",
    title="Bitlet: cycles for 64 products",
    method=(
        'One PE of `hw.accelerator("bitlet", variant="paper", pe_rows=1, pe_columns=1, dram=None)`'
        " with groups of N pairs. In fixed point: whole networks, with weights drawn from a normal"
        ' distribution (`weights="normal"`, seed 0) and quantised to 8 or 16 bits. In float32: 2,000'
        " groups of normal weights and activations (NumPy's generator, seed 0), the same for all four"
        " networks. Published: frames per second (Table 8) and work (Table 2) give c = 2048 / (frames/s"
        " × GFLOP) cycles for 64 products. For N below 64 the published figures are the markers of Fig."
        " 10, whose unit is derived from N = 64 in Table 8. A group takes an overhead, 10 cycles in"
        " fixed point and 13 in float32 [fits], and the steps of its fullest row (remark)."
    ),
    findings=(
        "Without distillation, the overhead and the size fit all networks except C3D, whose 0.670"
        " frames/s would have to be 0.690.",
        "In fixed point ours takes more steps wherever the paper's weights have more zero bits than"
        " normal ones, of which 62 to 73 % are zero. Table 2 prints 70 % for ResNet-50 (within 4 % in"
        " cycles), 69 % for DenseNet-161 in 16 bits (within 4 %), but 78 % for YoloV3 (up to 15 %"
        " above).",
        "MobileNetV2 is up to 22 % above. Table 2 prints 77 % zero bits, and its depthwise filters fill"
        " only 9 places of a group. How the paper maps them is not stated.",
        "In float32 ours is one figure for all networks. The published figures differ as much among"
        " themselves as from ours. D3DNet at N=64 differs most: 13 % below.",
    ),
    rows=rows,
)
"""The machine beside its paper."""
