"""The memory's part of a layer: bytes against loops turned one by one, and laws of waits and energy."""

from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest
import stepped_memory as stepped

import hwmodel as hw
from bitxcore.errors import OptionError
from hwmodel.dram import StreamModel, load_part
from hwmodel.memory.stored import StoredBits, dense_bits
from hwmodel.memory.tiling import Buffers
from hwmodel.memory.traffic import BURST_BITS, Memory

PART = load_part("DDR4-2400_x64_brc")
SMALL = Buffers(512, 256, 256)
LARGE = Buffers(1 << 20, 1 << 20, 1 << 20)
LAYERS = [
    hw.Conv("conv", in_channels=8, out_channels=12, in_size=(6, 7), kernel=3, padding=1),
    hw.Conv("strided", in_channels=4, out_channels=8, in_size=(9, 8), kernel=3, stride=2, batch=2),
    hw.Conv("grouped", in_channels=8, out_channels=8, in_size=(5, 5), kernel=2, groups=4),
    hw.ConvTranspose("up", in_channels=4, out_channels=4, in_size=(4, 5), kernel=2, stride=2),
    hw.Linear("linear", 96, 40, positions=6),
    hw.Linear("recurrent", 32, 24, positions=6, steps=3),
    hw.MatMul("matmul", 6, 16, 10, batch=2),
]
each_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)


def memory(buffers=SMALL, dram=None, channels=1, clock_hz=1e8):
    return Memory(buffers, dram, channels, clock_hz)


def walked(layer, tiling, weight_bits):
    sizes = (tiling.filters, tiling.channels, tiling.rows, tiling.columns, tiling.batch, tiling.groups)
    return stepped.walk(layer, tiling.order, sizes, weight_bits, 16, 16, BURST_BITS)


def whole_bytes(bits):
    return ceil(Fraction(bits) / 8)


@each_layer
def test_bytes_equal_the_turned_loops(layer):
    found = memory().move(layer, dense_bits(layer, 16, 16))
    loops = walked(layer, found.tiling, 16)
    assert len(loops.tiles) > 1
    assert found.dram_bytes == {
        "dram_weight_bytes": whole_bytes(loops.total("weights")),
        "dram_activation_bytes": whole_bytes(loops.total("activations")),
        "dram_output_bytes": whole_bytes(loops.total("outputs")),
        "dram_partial_sum_bytes": whole_bytes(loops.total("spilled") + loops.total("resumed")),
    }


@each_layer
def test_the_outer_ports_pass_what_the_dram_moves(layer):
    found = memory().move(layer, dense_bits(layer, 16, 16))
    loops = walked(layer, found.tiling, 16)
    outputs, spilled = loops.total("outputs"), loops.total("spilled")
    assert found.port_bits == {
        "weight_buffer": (0, loops.total("weights")),
        "activation_buffer": (0, loops.total("activations")),
        "output_buffer": (outputs + spilled, loops.total("resumed")),
    }


@each_layer
def test_compressed_weights_are_expanded_on_their_way(layer):
    plain = dense_bits(layer, 16, 16)
    stored = replace(plain, weights=plain.weights * 5 // 16, plain_weights=plain.weights)
    found, dense = memory().move(layer, stored), memory().move(layer, plain)
    assert found.dram_bytes["dram_weight_bytes"] == whole_bytes(
        walked(layer, found.tiling, 5).total("weights")
    )
    # The buffer takes them as they are, and the unpruned machine keeps them like that in DRAM.
    assert found.port_bits["weight_buffer"] == (0, walked(layer, found.tiling, 16).total("weights"))
    assert found.plain_weight_bytes == dense.dram_bytes["dram_weight_bytes"]
    assert dense.plain_weight_bytes is None


def test_a_layer_that_fits_moves_its_values_once():
    layer = hw.Conv("c", in_channels=4, out_channels=8, in_size=(6, 6), kernel=3, padding=1)
    found = memory(LARGE).move(layer, dense_bits(layer, 16, 8))
    assert str(found.tiling) == "one tile"
    # 288 weights of 2 bytes; 144 and 288 values of one byte, to the end of a burst of 64.
    assert found.dram_bytes == {
        "dram_weight_bytes": 576,
        "dram_activation_bytes": 192,
        "dram_output_bytes": 320,
        "dram_partial_sum_bytes": 0,
    }


def test_values_may_take_fractions_of_a_bit():
    layer = hw.Linear("f", in_features=3, out_features=5)
    # 3 values in 4 bits, one burst; 5 in 600 bits, two bursts. Weights are not moved in bursts.
    found = memory(LARGE).move(layer, StoredBits(weights=13, activations=4, outputs=600))
    assert list(found.dram_bytes.values()) == [2, 64, 128, 0]


@each_layer
def test_a_memory_without_limits_costs_no_time(layer):
    found = memory().move(layer, dense_bits(layer, 16, 16))
    assert found.waits == found.unpruned_waits(0) == (0, 0, 0)
    assert found.dram_seconds is None
    assert found.dram_j(1.0) is None


@each_layer
@pytest.mark.parametrize("channels", [1, 4])
def test_waits_end_when_the_dram_is_done(layer, channels):
    of, stored = memory(dram=PART, channels=channels, clock_hz=1e8), dense_bits(layer, 16, 16)
    found = of.move(layer, stored)
    idle = sum(found.waits)
    # A machine that takes no time waits for every transfer, each rounded up to whole cycles.
    assert 0 <= idle - found.dram_seconds * 1e8 <= found.tiling.tiles + 2
    for cycles in (1, 100, idle, 10 * idle):
        found = of.move(layer, stored, cycles)
        assert min(found.waits) >= 0
        assert sum(found.waits) <= idle
        assert cycles + sum(found.waits) >= found.dram_seconds * 1e8
        assert found.unpruned_waits(cycles) == found.waits


def test_an_idle_memory_is_refreshed():
    layer = LAYERS[0]
    found = memory(dram=PART, channels=4).move(layer, dense_bits(layer, 16, 16))
    busy = found.dram_seconds
    moving = found.dram_j(busy)
    assert found.dram_j(0.0) == moving > 0
    idle_w = 4 * StreamModel(PART).idle_power_w
    assert found.dram_j(busy + 1e-3) - moving == pytest.approx(1e-3 * idle_w)


def test_bursts_are_those_of_the_dram():
    layer = hw.Linear("f", in_features=3, out_features=5)
    stored = dense_bits(layer, 16, 16)
    found = memory(LARGE, PART).move(layer, stored)
    assert found.dram_bytes["dram_activation_bytes"] == PART.burst_bytes == BURST_BITS // 8


def test_a_buffer_that_holds_no_tile_is_named():
    layer = hw.Conv("c", in_channels=1, out_channels=1, in_size=(20, 20), kernel=11)
    with pytest.raises(OptionError, match="activation_buffer_bytes=200: half of it is 100 bytes") as raised:
        memory(Buffers(1 << 12, 200, 1 << 12)).move(layer, dense_bits(layer, 16, 16))
    assert raised.value.value == 200
