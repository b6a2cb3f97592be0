"""A layer's DRAM time and energy against the bank-state model on the addresses of all its bursts."""

import numpy as np
import pytest
from layer_trace import traces_of, transfers_of

import hwmodel as hw
from hwmodel.dram import load_part, simulate_trace
from hwmodel.memory.channels import Channels
from hwmodel.memory.nest import Nest
from hwmodel.memory.overlap import schedule
from hwmodel.memory.tile_search import best_tiling
from hwmodel.memory.tiling import Buffers
from hwmodel.memory.widths import OperandWidths

BUFFERS = [Buffers(n, n, n // 2) for n in (1 << 19, 1 << 16, 1 << 14)]
LAYERS = [
    hw.Conv("3x3", 16, 32, (28, 28), 3, padding=1),
    hw.Conv("3x3 deep", 64, 64, (14, 14), 3, padding=1),
    hw.Conv("3x3 strided", 24, 48, (20, 20), 3, stride=2, padding=1),
    hw.Conv("5x5", 8, 16, (40, 40), 5, padding=2),
    hw.Conv("stem", 3, 32, (64, 64), 7, stride=2, padding=3),
    hw.Conv("four images", 32, 32, (8, 8), 3, padding=1, batch=4),
    hw.Conv("four groups", 64, 64, (14, 14), 3, padding=1, groups=4),
    hw.Conv("planes", 8, 16, (6, 12, 12), 3, padding=1),
    hw.Conv("depthwise 4", 64, 64, (4, 4), 3, padding=1, groups=64),
    hw.Conv("depthwise 14", 256, 256, (14, 14), 3, padding=1, groups=256),
    hw.Conv("depthwise 28", 96, 96, (28, 28), 3, padding=1, groups=96),
    hw.Conv("depthwise strided", 96, 96, (28, 28), 3, stride=2, padding=1, groups=96),
    hw.Conv("1x1 wide", 64, 128, (28, 28), 1),
    hw.Conv("1x1", 128, 64, (14, 14), 1),
    hw.Conv("1x1 deep", 256, 256, (7, 7), 1),
    hw.Conv("1x1 strided", 64, 64, (28, 28), 1, stride=2),
    hw.ConvTranspose("transposed", 32, 16, (14, 14), 4, stride=2, padding=1),
    hw.Linear("one position", 512, 512),
    hw.Linear("16 positions", 1024, 256, positions=16),
    hw.Linear("64 positions", 384, 384, positions=64),
    hw.Linear("recurrent", 128, 256, positions=12, steps=12),
    hw.Linear("head", 2048, 100),
    hw.MatMul("scores", 64, 64, 64, batch=6),
    hw.MatMul("values", 96, 96, 32, batch=12),
]


def errors_of(layer, buffers, part, channels):
    """Relative errors of a layer's time and energy."""
    n = layer.filters * layer.reduction * 16
    widths = OperandWidths(n, n, 16, 16, 8 * part.burst_bytes)
    tiling = best_tiling(Nest.of(layer), widths, buffers)
    moved = transfers_of(layer, tiling, widths)
    traffic = tiling.traffic(widths)
    for operand in ("activations", "outputs"):
        assert widths.burst * sum(len(at) for o, _, at in moved if o == operand) == getattr(traffic, operand)
    runs = [simulate_trace(part, *trace) for trace in traces_of(moved, part, channels)]
    found = schedule(tiling, widths, Channels(part, channels), 1e9)
    return (
        found.seconds / max(run.total_s for run in runs) - 1,
        found.joules / sum(run.energy_j for run in runs) - 1,
    )


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("DDR4-2400_x64_bgint", [(0.05, 0.06), (0.05, 0.06), (0.05, 0.12)]),
        ("DDR4-2400_x64_brc", [(0.07, 0.25), (0.08, 0.25), (0.1, 0.5)]),
        ("DDR3-1600_x64_brc", [(0.07, 0.25), (0.08, 0.25), (0.1, 0.5)]),
    ],
)
def test_a_layer_takes_as_long_as_its_bursts(name, limits):
    part = load_part(name)
    for buffers, (mean, greatest) in zip(BUFFERS, limits, strict=True):
        for channels in (1, 4):
            found = np.abs([errors_of(layer, buffers, part, channels) for layer in LAYERS])
            assert found[:, 0].mean() < mean
            assert found[:, 0].max() < greatest
            assert found[:, 1].mean() < 0.1
