"""Tetris' time by kneading stride over its time without kneading, beside its paper's Figure 11."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

import numpy as np

from hwmodel.accelerators.registry import accelerator
from hwmodel.networks.layers import Conv
from hwmodel.networks.loading import load_network
from hwmodel.operands.distributions import Distribution
from hwmodel.operands.operands import Operands
from hwmodel.simulation.run import simulate_network
from hwmodel.studies.validation.record import Row, Standing, Study, published_rows

STRIDES = (10, 16, 24, 32)
NETWORKS = {
    "AlexNet": "alexnet-grouped",
    "GoogleNet": "googlenet",
    "VGG-16": "vgg16",
    "VGG-19": "vgg19",
    "NiN": "nin",
}
"""Tables by the paper's names."""

SAMPLE = 1 << 20
"""Weights for the rule alone."""


def published(network: str, stride: int) -> float:
    """T_ks / T_base in 16-bit fixed point, measured in Figure 11."""
    setting = f"Tetris-fp16, KS={stride}"
    (value,) = (
        r["value"]
        for r in published_rows("tetris")
        if (r["table_or_figure"], r["network"], r["setting"]) == ("Figure 11", network, setting)
    )
    return float(value)


def simulated(table: str) -> dict[int, float]:
    """Time over that of DaDianNao by stride: a network's convolutions, weights normal, on the chip.

    DaDianNao has as many lanes and takes one weight per lane and cycle: Tetris without kneading.
    """
    network = load_network(table)
    network = replace(network, layers=tuple(e for e in network.layers if isinstance(e.layer, Conv)))
    base = accelerator("dadiannao", dram=None)
    machines = {ks: accelerator("tetris", kneading_stride=ks, dram=None) for ks in STRIDES}
    run = simulate_network([base, *machines.values()], network, weights="normal")
    unkneaded = run.total(base.label).cycles
    assert unkneaded
    return {ks: (run.total(machine.label).cycles or 0) / unkneaded for ks, machine in machines.items()}


def rule_alone(stride: int) -> float:
    """Kneaded weights over weights, of one lane that waits for no other.

    16-bit sign and magnitude, normal weights; the sign is a bit position, as in the paper's Fig. 2.
    """
    values = Distribution("normal").draw("weights", "lane", (SAMPLE,))
    words = Operands(values).integer_weights.astype(np.int32)
    words = np.where(words < 0, -words | 1 << 15, words)
    groups = words[: SAMPLE // stride * stride].reshape(-1, stride)
    fullest = np.zeros(len(groups), np.int64)
    for bit in range(16):
        np.maximum(fullest, (groups >> bit & 1).sum(axis=1), out=fullest)
    return float(fullest.mean()) / stride


def _row(network: str, what: str, theirs: float, ours: float) -> Row:
    return Row(
        machine="tetris",
        what=f"{what}: time over that without kneading",
        network=network,
        published=theirs,
        ours=ours,
        unit="x",
        standing=Standing.DRAWING,
    )


def rows() -> Iterator[Row]:
    """Yield every network at four strides, then the rule alone beside their mean."""
    for network, table in NETWORKS.items():
        for ks, ours in simulated(table).items():
            yield _row(network, f"KS={ks}", published(network, ks), ours)
    for ks in STRIDES:
        mean = fmean(published(network, ks) for network in NETWORKS)
        yield _row("mean of the five", f"KS={ks}, the rule alone", mean, rule_alone(ks))


STUDY = Study(
    machine="tetris",
    title="Tetris: time by kneading stride",
    method=(
        'All convolutions of a network together, `hw.accelerator("tetris", kneading_stride=KS,'
        ' dram=None)` over `hw.accelerator("dadiannao", dram=None)`, which has as many lanes and'
        ' takes one weight per lane and cycle. The numbers are 16-bit fixed point (the paper\'s "fp16"),'
        " and weights are drawn from a normal distribution, seed 0. Published: the markers of Figure 11"
        " (`data/published/tetris.csv`). The last rows are for the kneading rule alone: kneaded weights"
        " over weights, on 2²⁰ normal weights of a single lane that waits for no other."
    ),
    findings=(
        "The rule alone agrees with the mean of the paper's networks within 2 %. The additional time of"
        " the simulated machine has two reasons other than kneading. Its lanes wait for each other."
        " Where filters are short, the weights of a lane end before KS are collected: in the 1 × 1"
        " layers of GoogLeNet, 192 channels are 12 weights per lane. The paper's figures contain"
        " neither.",
        "The paper's speed-ups of 1.30 and 1.50 are one plus the saved share of time. The ratios of its"
        " own figures are 1.43 and 2.02. The table has the ratios of Figure 11.",
        "Figure 11's int8 times, 0.48 to 0.50, are not compared. All of that factor is dual issue."
        " Kneading then gains nothing: it would need a bit position that is nearly always one, and sign"
        " and magnitude has none.",
    ),
    rows=rows,
)
"""The machine beside its paper."""
