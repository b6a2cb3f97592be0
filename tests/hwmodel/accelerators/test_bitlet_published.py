"""What the papers print of Bitlet beside ours: cycles for 64 products, and by the size N of a group.

`pytest -s -m "slow or not slow"` on this file prints every line: published, ours, ratio. No published figure
is an input of a machine.
"""

import csv
import re
from functools import cache
from statistics import fmean

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.data import data_folder
from hwmodel.accelerators.engines.bit_rows import float_cycles
from hwmodel.accelerators.engines.float_parts import float32_parts
from hwmodel.accelerators.engines.row_walks import RowWalk

# Frames per second times work is 2048 / c, for c cycles for 64 products: Table 4 prints c / 2.048.
FRAME_CYCLES = 2048
OVERHEAD = {"8b": 10, "16b": 10, "fp32": 13}
SIZES = (2, 4, 8, 16, 32, 64)
NETWORKS = {
    "ResNet-50": ("resnet50", "8b"),
    "MobileNetV2": ("mobilenetv2", "8b"),
    "YoloV3": ("yolov3", "8b"),
    "DenseNet-161": ("densenet161", "16b"),
}
"""Networks of the papers whose tables are here, and their numbers; in fixed point."""
FLOATS = ("CartoonGAN", "Transformer", "C3D", "D3DNet")


@cache
def published():
    """Rows of the papers' figures."""
    with (data_folder("published") / "bitlet.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def figures(source, place, network):
    rows = [r for r in published() if r["source"] == source and r["table_or_figure"] == place]
    return [(r["setting"], r["quantity"], r["value"]) for r in rows if r["network"] == network]


def bounds(printed):
    """Least value that rounds to what is printed, itself, and the greatest."""
    value, half = float(printed), 0.5 * 10.0 ** -len(printed.partition(".")[2])
    return value - half, value, value + half


def cycles_of_a_group(network, size, distilled):
    """Cycles of a group of `size` by Table 8: least, as printed, and most that rounding allows."""
    work = next(v for _, q, v in figures("MICRO21", "Table 2", network) if q == "work per inference")
    ending = "with distillation" if distilled else "without distillation"
    (rate,) = (
        v
        for s, _, v in figures("MICRO21", "Table 8", network)
        if f"N={size}," in s and s.endswith(f" {ending}")
    )
    pairs = zip(bounds(rate), bounds(work), strict=True)
    return sorted(size / 64 * FRAME_CYCLES / (frames * gflop) for frames, gflop in pairs)


def published_steps(network, mode):
    """Steps of the fullest row by N, from Fig. 10, whose markers are read off to +-0.05.

    The figure's unit is not stated: its N = 64 is that of Table 8.
    """
    speeds = {
        int(re.search(r"N=(\d+)", s)[1]): float(v) for s, _, v in figures("MICRO21", "Figure 10", network)
    }
    unit = speeds[64] * cycles_of_a_group(network, 64, distilled=True)[1] / 64
    return {n: n * unit / speeds[n] - OVERHEAD[mode] for n in SIZES}


def our_cycles(name, mode, size, **options):
    """Cycles of the paper's machine for `size` products, one PE, weights drawn from a normal distribution."""
    load = hw.Workload.of(name, weights="normal", precisions=int(mode[:-1]))
    machine = hw.accelerator(
        "bitlet", variant="paper", pe_rows=1, pe_columns=1, dram=None, group=size, **options
    )
    run = hw.simulate_network(machine, load)
    return run.total(machine.label).cycles * size / load.network.macs


def our_float_steps(size, rows=RowWalk(look=8), count=2000):  # noqa: B008
    """Mean steps of groups of normal weights and activations in float32."""
    w, a = np.random.default_rng(0).standard_normal((2, count, size)).astype(np.float32)
    (e, s), (x, _) = float32_parts("w", w), float32_parts("a", a)
    return fmean(
        int(
            float_cycles(s[i : i + 1], e[i : i + 1], x[i : i + 1], group=size, rows=rows, bit_rows=24)[0][
                0, 0, 0
            ]
        )
        for i in range(count)
    )


def line(what, theirs, ours):
    print(f"{what:<58}{theirs:8.2f}{ours:8.2f}{ours / theirs:7.2f}")
    return ours / theirs


@pytest.mark.parametrize("network", ["lapSRN", "DCPDNet", "FCOS", "Multi-Pose", *NETWORKS, *FLOATS])
def test_without_distillation_a_group_takes_its_overhead_and_its_size(network):
    overhead = 13 if network in FLOATS else 10
    for size in (32, 64) if network in FLOATS else (1, 32, 64):
        low, theirs, high = cycles_of_a_group(network, size, distilled=False)
        line(f"{network}, N={size}, every pair a step: cycles of a group", theirs, size + overhead)
        if (network, size) != ("C3D", 64):  # printed 0.670 frames/s; 0.690 would fit
            assert low <= size + overhead <= high


@pytest.mark.parametrize("network", ["lapSRN", "DCPDNet", "FCOS", "Multi-Pose", *NETWORKS])
def test_table_4_and_table_8_are_one_figure(network):
    bits = [v for s, _, v in figures("MICRO21", "Table 4", network) if s.startswith("Bitlet")]
    low, _, high = cycles_of_a_group(network, 64, distilled=True)
    assert low - 0.02 <= float(bits[0]) * FRAME_CYCLES / 1000 <= high + 0.02


SOME = [("ResNet-50", 8), ("ResNet-50", 32), ("ResNet-50", 64)]
ALL = [(network, size) for network in NETWORKS for size in SIZES]


@pytest.mark.parametrize(
    ("network", "size"),
    [pytest.param(*case, marks=[] if case in SOME else pytest.mark.slow) for case in ALL],
)
def test_steps_in_fixed_point_by_group(network, size):
    name, mode = NETWORKS[network]
    ours = our_cycles(name, mode, size)
    what = f"{network}, {mode}, N={size}, normal weights"
    theirs = published_steps(network, mode)[size]
    line(f"{what}: steps", theirs, ours - 10)
    ratio = line(f"{what}: cycles for 64 products", (theirs + 10) * 64 / size, ours * 64 / size)
    # MobileNetV2's depthwise filters fill a ninth of a group; how the paper maps them is not stated.
    assert 0.95 < ratio < (1.25 if network == "MobileNetV2" else 1.15)


@pytest.mark.parametrize("size", SIZES)
def test_steps_in_float32_by_group(size):
    ours = our_float_steps(size)
    for network in FLOATS:
        ratio = line(
            f"{network}, fp32, N={size}, normal products: steps", published_steps(network, "fp32")[size], ours
        )
        assert 0.8 < ratio < 1.2


def test_windows_of_small_groups_tell_the_walks_apart():
    # Right behind a 1 a row of two members takes a second step unless it stops early; the paper has 1.6.
    theirs = published_steps("ResNet-50", "8b")[2]
    layer = hw.Linear("fc", 2, 4000)
    w = np.random.default_rng(0).standard_normal(layer.weight_shape)
    operands = hw.Operands(w, None, 8)
    steps = {}
    for walk in ("second", "next"):
        machine = hw.accelerator(
            "bitlet", variant="paper", pe_rows=1, pe_columns=1, dram=None, group=2, walk=walk
        )
        steps[walk] = hw.simulate(machine, layer, operands).cycles / 4000 - 10
        line(f"ResNet-50, 8b, N=2, walk={walk}: steps", theirs, steps[walk])
    assert steps["second"] < 1.8 < 1.95 < steps["next"]
