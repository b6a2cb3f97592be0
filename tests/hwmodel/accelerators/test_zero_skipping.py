"""Cnvlutin, EIE, ESE, Cambricon-S: equal to their naive simulations; what holds whatever the operands."""

from dataclasses import replace

import numpy as np
import pytest
import stepped_zero_skipping as stepped
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stepped_machines import integers, layers

import hwmodel as hw
from bitxcore.errors import OptionError
from hwmodel.accelerators.cambricon_s import CambriconS
from hwmodel.accelerators.eie import EIE
from hwmodel.accelerators.engines.interleaved_csc import count_entries
from hwmodel.costs.figures import BASES, costs

OPTIONS = {
    "cnvlutin": {
        "lanes": st.sampled_from([1, 2, 5, 16]),
        "rows": st.sampled_from([2, 4]),
        "tiles": st.sampled_from([1, 2]),
        "brick": st.sampled_from([1, 3, 4, 16]),
        "slices": st.sampled_from(["bricks", "channels"]),
        "encoded_first_layer": st.booleans(),
        "fold_first_layer": st.booleans(),
    },
    "eie": {
        "pes": st.sampled_from([1, 2, 3, 8]),
        "fifo_depth": st.sampled_from([1, 2, 3, 8]),
        "index_bits": st.sampled_from([1, 2, 4]),
        "output_registers": st.sampled_from([2, 5, 64]),
    },
    "ese": {
        "pes": st.sampled_from([1, 2, 3, 8]),
        "channels": st.sampled_from([1, 2, 4]),
        "fifo_depth": st.sampled_from([1, 2, 3, 8]),
        "index_bits": st.sampled_from([1, 2, 4]),
        "load_balanced": st.booleans(),
    },
    "cambricon_s": {
        "pes": st.sampled_from([1, 2, 4]),
        "multipliers": st.sampled_from([1, 2, 4]),
        "conv_block": st.tuples(*(st.integers(1, n) for n in (3, 8, 2, 2))),
        "fc_block": st.tuples(st.integers(1, 8), st.integers(1, 8)),
        "neuron_window": st.sampled_from([1, 3, 8, 70, 256]),
        "synapse_window": st.sampled_from([1, 2, 5, 64]),
        "units": st.sampled_from([1, 2, 3]),
    },
}
CAUSES = ("fill_cycles", "compute_cycles", "imbalance_cycles", "fifo_full_cycles")
matrices = st.builds(
    hw.Linear, st.just("m"), st.integers(1, 40), st.integers(1, 70), positions=st.integers(1, 4)
) | st.builds(
    hw.Linear, st.just("m"), st.integers(1, 20), st.integers(1, 70), positions=st.just(4), steps=st.just(2)
)


def run(machine, layer, w, a):
    """Count the cycles without memory."""
    assert machine.not_applicable(layer) is None
    result = machine.run(layer, hw.Operands(w, a, 8, 8))
    assert 0 <= result.utilisation <= 1
    assert sum(getattr(result, c) or 0 for c in CAUSES) == result.cycles
    assert all(e >= 0 for e in result.energy.events_j.values())
    return result


def draw_operands(data, layer):
    a = data.draw(integers(layer.input_count, 7, data.draw(st.booleans())))
    w = data.draw(integers(layer.parameters, 7, True)).reshape(layer.weight_shape)
    return w, a


@pytest.mark.parametrize("name", OPTIONS)
@given(st.data())
@settings(max_examples=150)
def test_machines_equal_their_stepped_models(name, data):
    layer = data.draw(matrices if name in ("eie", "ese") else layers())
    machine = hw.accelerator(name, **{k: data.draw(v) for k, v in OPTIONS[name].items()})
    w, a = draw_operands(data, layer)
    result = run(machine, layer, w, a)
    assert result.cycles == getattr(stepped, name)(machine, layer, a, w)


@given(st.data())
@settings(max_examples=30)
def test_full_queues_cost_what_queues_without_bound_would_save(data):
    layer = data.draw(matrices)
    machine = hw.accelerator("eie", **{k: data.draw(v) for k, v in OPTIONS["eie"].items()})
    w, a = draw_operands(data, layer)
    r = run(machine, layer, w, a)
    assert r.cycles - r.fifo_full_cycles == stepped.eie(machine, layer, a, w, depth=10**9)


def test_entries_by_hand():
    """The column that the paper shows: a run of 18 zeros takes an entry of value zero."""
    column = [0, 0, 1, 2, *[0] * 18, 3]
    assert stepped.stored_column(column, 0, 1, 4) == [(1, 2), (2, 0), (0, 15), (3, 2)]
    held = np.array(column, bool)[:, None]
    assert count_entries(held, 1, 4).tolist() == [[4]]
    assert count_entries(held, 1, 5).tolist() == [[3]]
    assert count_entries(held, 2, 4).tolist() == [[2, 1]]
    assert count_entries(np.repeat(held, 300, axis=1), 64, 40).sum() == 900


# What must hold whatever the operands ---------------------------------------------------------------------

CONV = hw.Conv("c", in_channels=48, out_channels=24, in_size=(6, 5), kernel=(3, 2))
FC = hw.Linear("fc", 96, 64, positions=2)
SMALL = {
    "cnvlutin": {"lanes": 4, "rows": 4, "tiles": 2, "brick": 4},
    "eie": {"pes": 8},
    "ese": {"pes": 8, "channels": 2},
    "cambricon_s": {
        "pes": 4,
        "multipliers": 4,
        "neuron_window": 32,
        "synapse_window": 16,
        "fc_block": (4, 8),
    },
}
RUNS = [
    ("cnvlutin", CONV),
    ("cnvlutin", FC),
    ("eie", FC),
    ("ese", FC),
    ("cambricon_s", CONV),
    ("cambricon_s", FC),
]


def small(name):
    return hw.accelerator(name, **SMALL[name])


def random(layer, zeros, seed=0):
    rng = np.random.default_rng(seed)
    a, w = rng.integers(1, 100, layer.input_count), rng.integers(1, 100, layer.weight_shape)
    a[rng.random(a.shape) < zeros] = 0
    w[rng.random(w.shape) < zeros] = 0
    return w, a


@pytest.mark.parametrize(("name", "layer"), RUNS)
def test_nothing_to_skip_is_the_dense_bound(name, layer):
    r = run(small(name), layer, *random(layer, zeros=0))
    dense = layer.macs / small(name).peak_macs_per_cycle
    assert r.cycles - r.fill_cycles == dense
    assert not r.imbalance_cycles
    assert not r.fifo_full_cycles


@pytest.mark.parametrize(("name", "layer"), RUNS)
@pytest.mark.parametrize("zeros", [0.3, 0.8, 0.99])
def test_never_faster_than_its_ideal(name, layer, zeros):
    """All multipliers busy with pairs that are not zero; ESE skips weights, Cnvlutin activations only."""
    w, a = random(layer, zeros)
    if name == "ese":
        a = np.ones_like(a)
    if name == "cnvlutin":
        w = np.ones_like(w)
    held_w, held_a = (w != 0).astype(np.int64), (a != 0).astype(np.int64)
    pairs = sum(
        v * int(held_w[(slice(None), *at)].sum())
        for windows in stepped.gathered(layer, held_a)
        for window in windows
        for at, v in window.items()
    )
    assert run(small(name), layer, w, a).cycles >= pairs / small(name).peak_macs_per_cycle


@pytest.mark.parametrize(("name", "layer"), RUNS)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.02, 0.3, 0.9]))
@settings(max_examples=10)
def test_more_zeros_are_never_slower(name, layer, seed, share):
    """Of activations on all machines; of weights on EIE and ESE (on Cambricon-S segments may split worse)."""
    rng = np.random.default_rng(seed)
    w, a = random(layer, 0.4, seed)
    before = run(small(name), layer, w, a).cycles
    fewer = np.where(rng.random(a.shape) < share, 0, a)
    after = run(small(name), layer, w, fewer).cycles
    assert after <= before
    if name in ("eie", "ese"):
        assert run(small(name), layer, np.where(rng.random(w.shape) < share, 0, w), a).cycles <= before


@pytest.mark.parametrize(("name", "layer"), RUNS)
def test_only_zeros_matter(name, layer):
    w, a = random(layer, 0.5)
    expected = run(small(name), layer, w, a).cycles
    assert run(small(name), layer, np.sign(w), -(a // 2 + 1) * np.sign(a)).cycles == expected
    floats = hw.Operands(np.sign(w) * 0.5, np.sign(a) * np.float32(0.25))
    assert small(name).run(layer, floats).cycles == expected


def test_nothing_but_zeros():
    for name, layer in RUNS:
        machine = small(name)
        w, a = np.zeros(layer.weight_shape, np.int8), np.zeros(layer.input_count, np.int8)
        r = run(machine, layer, w, a)
        assert r.utilisation == 0
        if name == "eie":
            assert r.cycles == 0
        elif name == "ese":
            assert r.cycles == 1 + layer.in_features
        elif name == "cambricon_s":
            chunks = -(-layer.reduction // 32)
            assert r.cycles == chunks * layer.positions * layer.filters // 4
        else:
            bricks = layer.reduction // 4
            assert r.cycles == layer.positions * bricks // 4 * (layer.filters // 8)


def test_deeper_queues_are_never_slower():
    w, a = random(FC, 0.7)
    last = None
    for depth in (1, 2, 3, 4, 8, 64):
        r = run(hw.accelerator("eie", pes=8, fifo_depth=depth), FC, w, a)
        assert last is None or r.cycles <= last.cycles
        last = r
    assert last.fifo_full_cycles == 0


def test_rows_of_a_pe_trade_places_freely():
    """PEs wait for each other by column only, so which PE has which rows is all the same."""
    w, a = random(FC, 0.6)
    machine = hw.accelerator("eie", pes=8, index_bits=8)
    rows = np.arange(64).reshape(-1, 8)
    rng = np.random.default_rng(1)
    turned = rng.permuted(rows[:, rng.permutation(8)], axis=0).reshape(-1)
    assert run(machine, FC, w[turned], a).cycles == run(machine, FC, w, a).cycles


def test_lanes_of_whole_channel_blocks_are_the_same_slices():
    layer = hw.Conv("c", in_channels=32, out_channels=8, in_size=(5, 5), kernel=3, padding=1)
    w, a = random(layer, 0.5)
    options = {"lanes": 4, "brick": 4}
    by_brick = hw.accelerator("cnvlutin", **options)
    by_channel = hw.accelerator("cnvlutin", slices="channels", **options)
    assert run(by_brick, layer, w, a).cycles == run(by_channel, layer, w, a).cycles


def test_cnvlutin_on_products_and_transposed_convolutions():
    machine = small("cnvlutin")
    a = np.random.default_rng(3).integers(0, 3, (2, 6, 16))
    product = hw.MatMul("qk", rows=6, inner=16, columns=10, batch=2)
    linear = hw.Linear("l", 16, 10, positions=6)
    expected = sum(machine.run(linear, hw.Operands(activations=x)).cycles for x in a)
    assert machine.run(product, hw.Operands(activations=a)).cycles == expected
    up = hw.ConvTranspose("up", in_channels=16, out_channels=10, in_size=(3, 2), kernel=2, stride=2)
    x = a[0].reshape(3, 2, 16)
    tiled = hw.Linear("l", 64, 10, positions=6)
    scattered = hw.Operands(activations=x.transpose(2, 0, 1))
    read = hw.Operands(activations=np.tile(x.transpose(1, 0, 2).reshape(6, 16), 4))
    assert machine.run(up, scattered).cycles == machine.run(tiled, read).cycles


def test_first_layer_runs_dense_unless_its_input_is_encoded():
    image = hw.Conv("c", in_channels=3, out_channels=20, in_size=(9, 9), kernel=3, stride=2)
    w, a = random(image, 0.9)
    dense = hw.accelerator("dadiannao", lanes=4, rows=4, tiles=2).run(image, hw.Operands(w, a))
    assert run(small("cnvlutin"), image, w, a).cycles == dense.cycles
    encoded = hw.accelerator("cnvlutin", encoded_first_layer=True, **SMALL["cnvlutin"])
    assert run(encoded, image, w, a).cycles != dense.cycles


def test_blocks_that_are_pruned_whole_are_skipped():
    w, a = random(FC, 0)
    w[:, 32:] = 0
    machine = small("cambricon_s")
    r = run(machine, FC, w, a)
    # A third of the inputs is multiplied, the others cost a look a window of 32.
    assert r.cycles == 2 * 16 * (32 // 4 + 2)
    w[::8, 32:] = 1  # one weight of every block: nothing is pruned any more
    assert run(machine, FC, w, a).cycles == 2 * 16 * 96 // 4


def test_units_share_windows_and_outputs():
    w, a = random(CONV, 0.5)
    many = hw.accelerator("cambricon_s", units=4, **SMALL["cambricon_s"])
    one, four = run(small("cambricon_s"), CONV, w, a), run(many, CONV, w, a)
    assert four.compute_cycles == -(-one.cycles // 4)
    assert four.cycles >= four.compute_cycles
    assert many.area_mm2 > small("cambricon_s").area_mm2


def test_ese_fills_its_channels_with_independent_positions():
    w = random(FC, 0.8)[0]
    machine = hw.accelerator("ese", pes=8, channels=4)
    one = run(machine, hw.Linear("l", 96, 64), w, np.ones(96)).cycles
    for positions, steps, turns in ((4, 1, 1), (5, 1, 2), (8, 2, 2), (8, 8, 8)):
        layer = hw.Linear("l", 96, 64, positions=positions, steps=steps)
        assert run(machine, layer, w, np.ones(96 * positions)).cycles == turns * one


def test_balanced_pruning_is_a_bound():
    w, a = random(FC, 0.8)
    measured = run(small("ese"), FC, w, a)
    bound = run(hw.accelerator("ese", load_balanced=True, **SMALL["ese"]), FC, w, a)
    assert bound.cycles == measured.fill_cycles + measured.compute_cycles < measured.cycles


# Energy and storage ---------------------------------------------------------------------------------------


def test_codes_change_storage_and_energy_but_no_cycle():
    w, a = random(FC, 0.5)
    coded = {"eie": ["code_bits"], "ese": ["weight_bits"], "cambricon_s": ["conv_code_bits", "fc_code_bits"]}
    for name, options in coded.items():
        assert set(options) <= set(small(name).comparison)  # others store weights at their precision, too
        plain = replace(small(name), **dict.fromkeys(options))
        r, p = run(small(name), FC, w, a), run(plain, FC, w, a)
        assert r.cycles == p.cycles
        assert r.energy.events_j["weight_buffer"] != p.energy.events_j["weight_buffer"]
        assert ("decoders" in plain.parts(costs("aladdin"))) is False
    assert (
        "decoders"
        in run(replace(small("cambricon_s"), conv_code_bits=None), CONV, *random(CONV, 0)).energy.events_j
    )


@pytest.mark.parametrize(("name", "layer"), RUNS)
def test_multipliers_spend_what_their_products_need(name, layer):
    machine = small(name)
    cost = machine.parts(costs("aladdin"))["multipliers"].cost.energy_j

    def products(w, a):
        r = machine.run(layer, hw.Operands(w, a, 16, 16))
        return r.energy.events_j["multipliers"] / cost, r.utilisation * r.cycles * machine.peak_macs_per_cycle

    w, a = random(layer, zeros=0)
    assert products(w, a) == pytest.approx((layer.macs, layer.macs))
    fewer = random(layer, zeros=0.5)[1]
    energy, useful = products(w, fewer)
    assert energy == pytest.approx(layer.macs if name == "ese" else useful)


def test_cnvlutin_without_zeros_spends_what_dadiannao_does():
    """But for the format's offsets."""
    w, a = random(CONV, zeros=0)
    o = hw.Operands(w, a, 16, 16)
    dense = hw.accelerator("dadiannao", lanes=4, rows=4, tiles=2).run(CONV, o).energy.events_j
    ours = small("cnvlutin").run(CONV, o).energy.events_j
    for part in ("multipliers", "adder_trees", "accumulators"):
        assert ours[part] == pytest.approx(dense[part])
    assert ours["activation_registers"] > dense["activation_registers"]


def stored(machine, layer, w, a):
    o = hw.Operands(w, a, 8, 8)
    return machine.stored_bits(layer, o, machine.run(layer, o))


def test_stored_bits_by_hand():
    w, a = random(FC, 0.9)
    entries = sum(len(stepped.stored_column(column, pe, 8, 4)) for column in w.T.tolist() for pe in range(8))
    eie = stored(small("eie"), FC, w, a)
    assert eie.weights == entries * (4 + 4) + 97 * 8 * 16 + 16 * 16
    assert (eie.activations, eie.outputs) == (2 * 96 * 16, 2 * 64 * 16)
    assert stored(small("ese"), FC, w, a).weights == entries * (12 + 4) + 97 * 8 * 16
    encoded = stored(small("cnvlutin"), FC, w, a)
    assert (encoded.weights, encoded.activations, encoded.outputs) == (96 * 64 * 16, 192 * 18, 128 * 18)
    plain = replace(small("eie"), code_bits=None), replace(small("ese"), weight_bits=None)
    assert [stored(m, FC, w, a).weights for m in plain] == [entries * (16 + 4) + 97 * 8 * 16] * 2
    pruned = np.zeros_like(w)
    pruned[3, 5] = pruned[40, 90] = 1
    assert stored(small("cambricon_s"), FC, pruned, a).weights == 2 * 4 * 8 * 4 + 24 * 8
    assert stored(replace(small("cambricon_s"), fc_code_bits=None), FC, pruned, a).weights == 64 * 16 + 192
    image = hw.Conv("c", in_channels=3, out_channels=4, in_size=(5, 5), kernel=3)
    w, a = random(image, 0.5)
    first = stored(small("cnvlutin"), image, w, a)
    assert (first.activations, first.outputs) == (75 * 16, 36 * 18)
    kept = np.count_nonzero(w.any(axis=0))  # blocks of all 4 filters
    assert stored(CambriconS(), image, w, a).weights == kept * 4 * 8 + 27


# Refusals, options, and speed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cnvlutin", {"slices": "rows"}, "slices must be one of bricks, channels, got 'rows'"),
        ("cnvlutin", {"brick": 0}, "brick must be an integer of at least 1, got 0"),
        ("eie", {"fifo_depth": 0}, "fifo_depth must be an integer of at least 1, got 0"),
        ("ese", {"load_balanced": 1}, "load_balanced must be True or False, got 1"),
        (
            "cambricon_s",
            {"conv_block": (1, 16)},
            r"conv_block must be 4 integers of at least 1, got \(1, 16\)",
        ),
        ("cambricon_s", {"fc_block": (0, 1)}, r"fc_block must be 2 integers of at least 1, got \(0, 1\)"),
        ("cambricon_s", {"fc_block": 32}, "fc_block must be 2 integers of at least 1, got 32"),
    ],
)
def test_bad_options_are_refused(name, options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator(name, **options)


def test_what_they_do_not_run():
    conv = hw.Conv("c", in_channels=4, out_channels=4, in_size=4, kernel=1)
    up = hw.ConvTranspose("u", in_channels=4, out_channels=4, in_size=4, kernel=1)
    product = hw.MatMul("m", rows=2, inner=3, columns=4)
    reasons = {
        (name, layer.name): hw.simulate(hw.accelerator(name), layer).reason
        for name, layers in (
            ("eie", (conv, up, product)),
            ("ese", (conv, up, product)),
            ("cambricon_s", (up, product)),
        )
        for layer in layers
    }
    assert set(reasons.values()) == {
        "runs fully connected layers only",
        "runs fully connected and recurrent layers only",
        "runs convolutions and fully connected layers only",
        "both operands are activations: there are no weights to index",
    }


@pytest.mark.parametrize("name", OPTIONS)
def test_they_enter_comparisons_at_equal_peak(name):
    machine = hw.accelerator(name, **hw.accelerator(name).comparison)
    assert machine.peak_macs_per_cycle == 4096
    for basis in BASES:
        assert min(replace(machine, cost_basis=basis).area_parts_mm2.values()) > 0
    assert any(a.startswith("Guessed: ") for a in machine.assumptions)


def test_paper_configurations():
    assert EIE().peak_macs_per_cycle == 64
    assert hw.accelerator("ese").peak_macs_per_cycle == 1024
    assert CambriconS().peak_macs_per_cycle == 256
    assert hw.accelerator("cnvlutin").peak_macs_per_cycle == 4096
