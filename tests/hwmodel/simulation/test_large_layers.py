"""Memory of BitX: linear in the weights, whatever the layers' size."""

import tracemalloc

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import TensorError
from hwmodel.accelerators.bitx import counts as bitx_counts

MILLION = 1 << 20


def matrices(count, million=1):
    """A network of matrices, of a number of million weights each, and its weights."""
    rng = np.random.default_rng(0)
    layers = [hw.Linear(f"l{i}", 1024, 1024 * million, positions=64) for i in range(count)]
    weights = {f"l{i}": rng.standard_normal((1024 * million, 1024), np.float32) for i in range(count)}
    return hw.Network("matrices", tuple(hw.NetworkLayer(x, x.name) for x in layers), source="a test"), weights


@pytest.mark.parametrize(
    "options", [{}, {"format": "fixed16"}, {"grouping": "channel"}, {"pack_zeros": True}]
)
def test_blocks_of_filters_change_nothing(monkeypatch, options):
    rng = np.random.default_rng(1)
    layer = hw.Conv("c", in_channels=6, out_channels=50, in_size=(4, 4), kernel=3)
    weights = rng.standard_normal(layer.weight_shape) * 10 ** rng.uniform(-3, 0, layer.weight_shape)
    weights = hw.Operands((weights * (rng.random(layer.weight_shape) < 0.6)).astype(np.float32))
    machine = hw.accelerator("bitx", processing_elements=16, **options)
    whole = hw.simulate(machine, layer, weights)
    for block in (1, 200, 54 * 49):
        monkeypatch.setattr(bitx_counts, "BLOCK", block)
        assert hw.simulate(machine, layer, weights) == whole


def test_a_bad_value_is_named_by_its_place_in_the_whole_tensor(monkeypatch):
    weights = np.ones((50, 20), np.float32)
    weights[40, 3] = np.nan
    found = []
    for block in (1 << 22, 100):
        monkeypatch.setattr(bitx_counts, "BLOCK", block)
        with pytest.raises(TensorError) as error:
            hw.simulate(hw.accelerator("bitx"), hw.Linear("l", 20, 50), hw.Operands(weights))
        found.append(str(error.value))
    assert found[0] == found[1]
    assert "803" in found[0]


@pytest.mark.parametrize("options", [{}, {"format": "fixed16"}, {"pack_zeros": True}])
def test_memory_of_one_large_layer(options):
    """Beside its 64 MiB: blocks, counts, and with them the codes of fixed point or the packed weights."""
    network, dump = matrices(1, million=16)
    tracemalloc.start()
    hw.simulate_network(hw.accelerator("bitx", **options), network, dump=dump)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (48 if not options else 160) * MILLION


MILLIARD = 10**9
MANY_POSITIONS = [
    hw.Linear("linear", 48, 40, positions=MILLIARD),
    hw.Linear("recurrent", 48, 40, positions=MILLIARD, steps=MILLIARD // 10),
    hw.Conv("1d", 4, 8, (10**8,), 5, padding=2),
    hw.Conv("2d", 4, 8, (30000, 30001), 3, stride=2, padding=1),
    hw.Conv("3d", 2, 4, (1000, 1000, 1000), 3, padding=1),
    hw.Conv("images", 4, 8, (10, 10), 3, batch=10**7),
    hw.ConvTranspose("transposed", 4, 8, (10**8,), 4, stride=3, padding=1),
]


def machines_of_any_position():
    """All machines of a comparison whose cycles do not depend on activations."""
    for name in hw.accelerator_names():
        of = type(hw.accelerator(name))
        for variant in of.variants:
            machine = hw.accelerator(name, **{**of.comparison, **variant})
            if not machine.reads.activations:
                yield pytest.param(machine, id=machine.label)


@pytest.mark.slow
@pytest.mark.parametrize("machine", list(machines_of_any_position()))
def test_a_milliard_positions_are_not_gone_through(machine):
    rng = np.random.default_rng(2)
    given = [
        hw.Operands(rng.standard_normal(layer.weight_shape).astype(np.float32)) for layer in MANY_POSITIONS
    ]
    hw.simulate(machine, hw.Linear("small", 48, 40, positions=100), given[0])  # compiles
    tracemalloc.start()
    found = [hw.simulate(machine, layer, of) for layer, of in zip(MANY_POSITIONS, given, strict=True)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * MILLION
    run = [(layer, row) for layer, row in zip(MANY_POSITIONS, found, strict=True) if row.applicable]
    assert run
    for layer, row in run:
        assert row.cycles >= row.on_chip_cycles > layer.positions // machine.peak_macs_per_cycle
        moved = layer.input_count + layer.output_count
        assert row.dram_bytes > moved // 4, layer


@pytest.mark.parametrize("machine", list(machines_of_any_position()))
def test_cycles_grow_with_the_positions_and_nothing_else(machine):
    few, many = (hw.Linear("l", 48, 40, positions=4096 * n) for n in (64, 64 * 4096))
    weights = hw.Operands(np.random.default_rng(3).standard_normal(few.weight_shape).astype(np.float32))
    found = [hw.simulate(machine, layer, weights) for layer in (few, many)]
    for name in ("on_chip_cycles", "cycles", "dram_bytes"):
        less, more = (getattr(row, name) for row in found)
        assert more == pytest.approx(4096 * less, rel=0.05), name
