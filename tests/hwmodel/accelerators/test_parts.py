"""Energy and area of the machines of the comparison: by hand, by loops, and by what must hold."""

from itertools import product
from math import fsum

import numpy as np
import pytest

import hwmodel as hw
from hwmodel.accelerators import base
from hwmodel.accelerators.bitx.datapath import RowSerial
from hwmodel.costs.components import accumulator, accumulator_bits, adder_tree, crossbar, selector
from hwmodel.costs.figures import BASES, Cost, array_multiplier_cells, costs

GRID = {"lanes": 4, "columns": 4, "rows": 4, "tiles": 2}
PES = {"pe_rows": 2, "pe_columns": 2, "accumulator_entries": 256}
MACHINES = [
    ("dadiannao", {"columns": 2}),
    ("stripes", {}),
    ("shapeshifter", {}),
    ("shapeshifter", {"group_columns": 2, "column_registers": 1}),
    ("loom", {}),
    ("loom", {"serial_bits": 2, "dynamic_weights": True}),
    ("pragmatic", {}),
    ("pragmatic", {"first_stage_bits": 0, "booth": False, "column_registers": 0}),
    ("laconic", {}),
    ("bit_tactical", {}),
    ("bit_tactical", {"back_end": "p", "pattern": "L", "lookahead": 1, "group_columns": 2}),
    ("bit_tactical", {"back_end": None}),
    ("scnn", {}),
    ("scnn", {"rules": "dnnsim"}),
]
LAYERS = [
    hw.Conv("conv", in_channels=10, out_channels=9, in_size=(6, 5), kernel=(3, 2), padding=1),
    hw.Conv("strided", in_channels=3, out_channels=5, in_size=(8, 7), kernel=3, stride=2),
    hw.Conv("depthwise", in_channels=6, out_channels=6, in_size=5, kernel=3, groups=6),
    hw.Conv("grouped", in_channels=8, out_channels=12, in_size=(4, 4), kernel=1, groups=2),
    hw.Linear("fc", 30, 11),
]
CONV = LAYERS[0]
TILED = {
    "multipliers", "adder_trees", "accumulators", "weight_registers", "activation_registers", "and_gates",
    "lane_shifters", "sum_shifters", "weight_sets", "exponent_adders", "decoders", "histograms",
    "count_adders", "activation_accumulators", "selectors",
}  # fmt: skip
"""Parts that each tile has, whatever it shares with others."""


def machine(name, options=None, **more):
    own = PES if name == "scnn" else GRID
    return hw.accelerator(name, **(own | (options or {}) | {"dram": None} | more))


def operands(layer, seed=0, bits=9, zeros=0.4):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 1 << bits, layer.input_count) >> rng.integers(0, bits, layer.input_count)
    w = rng.integers(-60, 61, layer.weight_shape)
    a[rng.random(a.shape) < zeros] = 0
    w[rng.random(w.shape) < zeros] = 0
    return hw.Operands(w, a, weight_bits=7, activation_bits=bits)


@pytest.fixture
def watched(monkeypatch):
    """Simulate, and give the result and the `Work` that its energy came from."""

    def simulate(acc, layer, given):
        seen = []
        whole = base.events_j

        def watching(parts, buffers, work):
            seen.append(work)
            return whole(parts, buffers, work)

        with monkeypatch.context() as patch:
            patch.setattr(base, "events_j", watching)
            result = hw.simulate(acc, layer, given)
        (work,) = seen
        return result, work

    return simulate


def energy(name, layer, given, **options):
    """Energy by part on the machine's side."""
    parts = dict(hw.simulate(machine(name, options), layer, given).energy_parts_j)
    parts.pop("dram", None)
    return parts


# Figures


def test_multipliers_of_each_basis():
    for basis in BASES:
        c = costs(basis)
        whole, half = c.multiplier(16), c.multiplier(16, 8)
        assert half == c.multiplier(8, 16)
        assert half.energy_j == pytest.approx(whole.energy_j / 2, rel=0.06)
        assert c.multiplier(32).area_mm2 == pytest.approx(4 * whole.area_mm2, rel=0.03)
        assert next(f for f in c.figures() if f.name == "multiplier, 16 x 16 bit").energy_j == whole.energy_j
    assert costs("aladdin").multiplier(16).energy_j == pytest.approx(1.872e-12)
    assert costs("horowitz").multiplier(16).energy_j == pytest.approx(1.59e-12 / 4)
    # NeuroSim lists none: an array of AND gates and full adders, in shares of its own adder.
    assert array_multiplier_cells(16, 8) == (128, 112)
    derived = (256 * 1.5 + 240 * 5) / (16 * 5) * costs("neurosim").adder(16).area_mm2
    assert costs("neurosim").multiplier(16).area_mm2 == pytest.approx(derived)
    source = next(f for f in costs("neurosim").figures() if f.name.startswith("multiplier")).source
    assert "256 AND gates and 240 full adders" in source


def test_small_memories_take_the_next_width_of_the_table():
    c = costs("aladdin")
    assert (c.sram(576, 24).bank_bytes, c.sram(576, 24).width_bits) == (1024, 32)
    assert c.sram(1, 1000).width_bits == 512


class Gates:
    """Sizes in NAND2 equivalents instead of areas."""

    def gates(self, cell, count):
        return Cost(0, {"and": 1.5, "xor": 2.5, "multiplexer": 2.5, "full adder": 5}[cell] * count)

    def adder(self, bits):
        return Cost(0, 5 * bits)

    def register(self, bits):
        return Cost(0, 6 * bits)

    def shifter(self, bits, places):
        return self.gates("multiplexer", bits * (places - 1).bit_length())

    def multiplier(self, bits, other):
        ands, adders = array_multiplier_cells(bits, other)
        return self.gates("and", ands) + self.gates("full adder", adders)


def test_a_lane_of_multipliers_beside_a_lane_of_rows(capsys):
    """Synthesis at 8 x 16 bits: 20,800 to 25,500 NAND2 equivalents, 7.2 times a row-serial lane.

    An array multiplier of equivalents is smaller than a synthesised one, so ours is up to 1.6 times less.
    """
    c, path = Gates(), RowSerial(group=16, window=7, rows=7, parallel_bits=16, exponent_bits=0)
    row = (path.lane(c) + path.combine(c)).area_mm2
    sums = adder_tree(c, 16, 24) + accumulator(c, accumulator_bits(8, 16))
    mac = (16 * c.multiplier(16, 8) + sums).area_mm2
    with capsys.disabled():
        print(f"\nMAC lane {mac:,.0f}, row-serial lane {row:,.0f} NAND2 equivalents: {mac / row:.1f} times")
    assert 7.2 / 1.6 <= mac / row <= 7.2
    assert 20_800 / 1.6 <= mac <= 25_500


def test_structures():
    c = Gates()
    assert adder_tree(c, 1, 8) == Cost()
    assert adder_tree(c, 5, 8).area_mm2 == 5 * (2 * 9 + 10 + 11)
    assert selector(c, 8, 3).area_mm2 == 7 * 3 * 2.5
    real = costs("aladdin")
    assert selector(real, 8, 3).energy_j == pytest.approx(real.gates("multiplexer", 9).energy_j)
    assert crossbar(real, 16, 32, 24).area_mm2 > 32 * selector(real, 16, 24).area_mm2


# What must hold of all


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize(("name", "options"), MACHINES)
def test_parts_add_up(name, options, basis):
    acc = machine(name, options, cost_basis=basis)
    r = hw.simulate(acc, CONV, operands(CONV))
    assert r.area_mm2 == fsum(acc.area_parts_mm2.values()) > 0
    assert r.energy_j == fsum(r.energy_parts_j.values()) > 0
    unused = {"weight_sets", "booth_encoders"}
    parts = acc.parts(costs(basis))
    for part in parts:
        assert acc.area_parts_mm2[part] > 0 or part in unused, part
        assert r.energy_parts_j[part] > 0 or part in unused, part
    assert {"leakage", "clock", "weight_buffer", "activation_buffer", "output_buffer"} < set(r.energy_parts_j)
    assert all(figure.source for figure in acc.cost_figures)


@pytest.mark.parametrize(("name", "options"), MACHINES)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("word_bits", [16, 5])
def test_no_part_is_used_more_than_once_a_cycle(name, options, layer, word_bits, watched):
    acc = machine(name, options | ({} if name == "scnn" else {"word_bits": word_bits}))
    r, work = watched(acc, layer, operands(layer))
    parts = acc.parts(costs(acc.cost_basis))
    per_cycle = TILED - {"accumulators", "weight_registers", "weight_sets", "activation_registers"}
    for part in per_cycle & set(parts):
        assert 0 < work.uses[part] <= parts[part].count * r.compute_cycles, part
    assert set(work.uses) == set(parts)
    # Nothing is read less than once.
    assert work.read_bits["activation_buffer"] > 0
    assert work.written_bits["output_buffer"] == layer.output_count * 9


@pytest.mark.parametrize("name", ["dadiannao", "stripes", "shapeshifter", "loom", "pragmatic"])
def test_products_of_activations_and_transposed_layers(name, watched):
    rng = np.random.default_rng(1)
    product_layer = hw.MatMul("m", batch=2, rows=5, inner=6, columns=7)
    a = rng.integers(0, 512, 2 * 5 * 6)
    _, work = watched(machine(name), product_layer, hw.Operands(activations=a, activation_bits=9))
    assert work.uses["weight_registers"] > 0
    # The second operand is an activation, too, and as wide as the first.
    assert work.read_bits["weight_buffer"] % (2 * 6 * 7 * 9) == 0
    assert work.written_bits["output_buffer"] == 2 * 5 * 7 * 9
    layer = hw.ConvTranspose("t", in_channels=5, out_channels=6, in_size=(4, 3), kernel=2, stride=2)
    r, work = watched(machine(name), layer, operands(layer))
    assert r.energy_j > 0
    assert work.uses["accumulators"] > 0


@pytest.mark.parametrize(("name", "options"), MACHINES)
def test_clock_and_leakage_are_proportional_to_cycles(name, options):
    acc, rows = machine(name, options), []
    for layer in (CONV, LAYERS[3]):
        r = hw.simulate(acc, layer, operands(layer))
        rows.append((r.energy_parts_j["clock"] / r.cycles, r.energy_parts_j["leakage"] / r.cycles))
    assert rows[0] == pytest.approx(rows[1])
    assert rows[0][1] == pytest.approx(0.01 * r.area_mm2 / acc.clock_hz)
    slow = machine(name, options, clock_hz=acc.clock_hz / 2)
    halved = hw.simulate(slow, layer, operands(layer)).energy_parts_j
    assert halved["leakage"] == pytest.approx(2 * r.energy_parts_j["leakage"])
    assert halved["clock"] == pytest.approx(r.energy_parts_j["clock"])


@pytest.mark.parametrize(("name", "options"), [m for m in MACHINES if m[0] != "scnn"])
def test_twice_the_tiles_are_twice_the_datapath(name, options):
    one, two = (machine(name, options, tiles=tiles).area_parts_mm2 for tiles in (2, 4))
    for part in TILED & set(one):
        assert two[part] == pytest.approx(2 * one[part])
    for part in set(one) - TILED:
        assert one[part] <= two[part] <= 2 * one[part] * (1 + 1e-9)


def test_twice_the_pes_are_twice_the_datapath():
    one, two = (machine("scnn", pe_rows=rows).area_parts_mm2 for rows in (2, 4))
    buffers = {"weight_buffer", "activation_buffer", "output_buffer"}
    assert all(two[part] == pytest.approx((1 if part in buffers else 2) * one[part]) for part in one)


# What each machine's energy depends on


def test_dadiannao_does_not_see_values():
    given = operands(CONV)
    ones = hw.Operands(np.ones_like(given.weights), np.ones_like(given.activations), 7, 9)
    assert energy("dadiannao", CONV, given) == energy("dadiannao", CONV, ones)


@pytest.mark.parametrize("name", ["pragmatic", "laconic", "bit_tactical"])
def test_fewer_essential_bits_take_less_energy(name):
    """Values with the same highest bits and fewer ones: shapes, precisions and widths stay."""
    given = operands(CONV, zeros=0)
    full = given.activations | 0b101010101
    single = np.full_like(full, 0b100000000)
    found = [energy(name, CONV, hw.Operands(given.weights, a, 7, 9), booth=False) for a in (full, single)]
    for part in set(found[0]) & {"lane_shifters", "adder_trees", "exponent_adders", "histograms", "clock"}:
        assert found[1][part] < found[0][part], part
    assert fsum(found[1].values()) < fsum(found[0].values())
    same = energy("stripes", CONV, hw.Operands(given.weights, full, 7, 9))
    assert same == energy("stripes", CONV, hw.Operands(given.weights, single, 7, 9))


@pytest.mark.parametrize("name", ["stripes", "loom", "shapeshifter"])
def test_lower_precision_takes_less_energy(name):
    a = operands(CONV, bits=9).activations
    totals = [
        fsum(energy(name, CONV, hw.Operands(operands(CONV).weights, a >> cut, 7, 9 - cut)).values())
        for cut in (0, 2, 4, 6)
    ]
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] < 0.7 * totals[0]


def test_zero_weights_save_bit_tacticals_and_scnns_energy():
    dense, sparse = operands(CONV, zeros=0), operands(CONV, zeros=0.7)
    for name in ("bit_tactical", "scnn"):
        less = hw.Operands(sparse.weights, dense.activations, 7, 9)
        assert fsum(energy(name, CONV, less).values()) < fsum(energy(name, CONV, dense).values())


# By hand and by loops


def test_dadiannao_by_hand(watched):
    """6 filters of 10 channels at 7 positions; 4 lanes, 4 rows, one tile: 3 steps, 2 rounds, 7 windows."""
    acc = machine("dadiannao", {"columns": 1}, tiles=1, word_bits=8)
    layer = hw.Linear("l", 10, 6, positions=7)
    given = hw.Operands(np.ones((6, 10), np.int64), np.ones((7, 10), np.int64), 8, 8)
    r, work = watched(acc, layer, given)
    assert r.compute_cycles == 3 * 2 * 7
    assert work.uses == {
        "multipliers": 6 * 10 * 7,
        "adder_trees": 6 * 3 * 7,
        "accumulators": 6 * 3 * 7,
        "weight_registers": 60 * 7,
        "activation_registers": 70 * 2,
    }
    assert work.read_bits == {"weight_buffer": 60 * 7 * 8, "activation_buffer": 140 * 8, "output_buffer": 0}
    assert work.written_bits["output_buffer"] == 42 * 8
    c = costs("aladdin")
    assert r.energy_parts_j["multipliers"] == 420 * c.multiplier(8).energy_j
    assert r.energy_parts_j["weight_buffer"] >= -(-60 * 7 * 8 // 256) * c.sram(1 << 19).read_j


def bricks(layer, a, lanes):
    """Activations of each (window, step), lane by lane, of a convolution in two dimensions."""
    x = np.pad(a.reshape(layer.in_channels, *layer.in_size), ((0, 0), *layer.padding))
    kernel = layer.weight_shape[2:]
    for i, j in product(*map(range, layer.out_size)):
        window = x[:, i : i + kernel[0], j : j + kernel[1]]
        for k, m, c in product(range(kernel[0]), range(kernel[1]), range(0, layer.in_channels, lanes)):
            yield window[c : c + lanes, k, m]


def test_units_of_pragmatic_and_shapeshifter_by_loops(watched):
    """With a first stage that reaches everything, a brick takes the most ones of its lanes."""
    given = operands(CONV)
    filters = CONV.out_channels
    found = list(bricks(CONV, given.activations, 4))
    most = sum(max(1, *(int(v).bit_count() for v in b)) for b in found)
    ones = sum(int(v).bit_count() for b in found for v in b)
    _, work = watched(machine("pragmatic", {"first_stage_bits": 4, "booth": False}), CONV, given)
    assert work.uses["lane_shifters"] == pytest.approx(ones * filters * 7 / 16)
    assert work.uses["adder_trees"] == pytest.approx(most * filters * 7 / 16)
    assert work.uses["oneffset_generators"] == ones * 2  # 9 filters, 8 a round
    assert work.uses["lowest_offset"] == most * 2
    assert work.uses["weight_registers"] == pytest.approx(CONV.macs * 7 / 16)

    widths = [max(1, *(int(v).bit_length() for v in b)) for b in found]
    for options in ({}, {"group_columns": 1, "column_registers": 2}):
        _, work = watched(machine("shapeshifter", options), CONV, given)
        assert work.uses["adder_trees"] == pytest.approx(sum(widths) * filters * 7 / 16)
        lanes = sum(n * len(b) for n, b in zip(widths, found, strict=True))
        assert work.uses["and_gates"] == pytest.approx(lanes * filters * 7 / 16)
        sets = -(-CONV.positions // 4)
        assert sets * 4 >= work.uses["width_detectors"] / (18 * 2) == CONV.positions
    _, shared = watched(machine("shapeshifter", {"group_columns": 4}), CONV, given)
    assert shared.uses["adder_trees"] > work.uses["adder_trees"]


def test_wide_operands_take_words_of_columns_and_rows(watched):
    """9-bit activations and 7-bit weights in words of 5 bits: two columns, two rows."""
    given = operands(CONV)
    found = [b >> shift & 31 for b in bricks(CONV, given.activations, 4) for shift in (0, 5)]
    most = sum(max(1, *(int(v).bit_count() for v in b)) for b in found)
    ones = sum(int(v).bit_count() for b in found for v in b)
    acc = machine("pragmatic", {"first_stage_bits": 3, "booth": False}, word_bits=5)
    _, work = watched(acc, CONV, given)
    assert work.uses["adder_trees"] == pytest.approx(most * 9 * 2 * 7 / 10)
    assert work.uses["lane_shifters"] == pytest.approx(ones * 9 * 2 * 7 / 10)
    _, work = watched(machine("dadiannao", word_bits=5), CONV, given)
    assert work.uses["multipliers"] == pytest.approx(CONV.macs * 4 * (7 / 10) * (9 / 10))
    assert work.uses["accumulators"] > CONV.positions * 9 * 18 * 4 * 0.9


def test_columns_that_share_a_width_by_loops(watched):
    """25 windows on 4 columns, two by two: the last set has one window."""
    layer = hw.Conv("c", in_channels=7, out_channels=9, in_size=(5, 5), kernel=1)
    given = operands(layer)
    x = given.activations.reshape(7, 5, 5)
    windows = [x[:, n % 5, n // 5] for n in range(25)]
    units = lanes = 0
    for first in range(0, 25, 2):  # sets of four begin at even windows, too
        pair = windows[first : first + 2]
        for c in (0, 4):
            width = max(1, *(int(v).bit_length() for w in pair for v in w[c : c + 4]))
            units += width * len(pair)
            lanes += width * len(pair) * len(pair[0][c : c + 4])
    _, work = watched(machine("shapeshifter", {"group_columns": 2}), layer, given)
    assert work.uses["adder_trees"] == pytest.approx(units * 9 * 7 / 16)
    assert work.uses["and_gates"] == pytest.approx(lanes * 9 * 7 / 16)
    assert work.uses["width_detectors"] == 13 * 2 * 2


def test_loom_and_stripes_are_products_of_precisions(watched):
    """Every activation has all its bits: 9, and a weight 7."""
    given = hw.Operands(operands(CONV).weights, np.full(CONV.input_count, 511), 7, 9)
    layer = hw.Conv("c", in_channels=10, out_channels=9, in_size=(6, 5), kernel=(3, 2))
    unit_steps, macs = layer.positions * 9 * 18, layer.macs
    _, work = watched(machine("stripes"), layer, given)
    assert work.uses["adder_trees"] == pytest.approx(unit_steps * 9 * 7 / 16)
    assert work.uses["and_gates"] == pytest.approx(macs * 9 * 7 / 16)
    _, work = watched(machine("loom", {"rows": 4}), layer, given)
    assert work.uses["adder_trees"] == work.uses["activation_accumulators"] == unit_steps * 9 * 7
    assert work.uses["and_gates"] == macs * 9 * 7
    assert work.uses["weight_registers"] == macs * 7
    assert work.read_bits["weight_buffer"] == 9 * 60 * 7 * -(-layer.positions // 4)


def test_laconic_counts_pairs(watched):
    given = operands(CONV)
    x = np.pad(given.activations.reshape(10, 6, 5), ((0, 0), (1, 1), (1, 1)))
    pairs = 0
    for i, j in product(*map(range, CONV.out_size)):
        window = np.bitwise_count(x[:, i : i + 3, j : j + 2]).astype(int)
        pairs += int((window * np.bitwise_count(np.abs(given.weights)).astype(int)).sum())
    _, work = watched(machine("laconic", {"booth": False}), CONV, given)
    assert work.uses["exponent_adders"] == work.uses["decoders"] == pairs
    assert work.uses["histograms"] == pairs / 4
    assert work.uses["count_adders"] == max(pairs / 4, CONV.positions * 18 * 9)


def test_bit_tactical_reads_what_it_schedules(watched):
    """Where no lane is free, nothing moves, and TCLp does what ShapeShifter does; zeros shorten schedules."""
    layer = hw.Conv("c", in_channels=8, out_channels=9, in_size=(6, 5), kernel=(3, 2), padding=1)
    given = operands(layer)
    dense = hw.Operands(np.full(layer.weight_shape, 3), given.activations, 7, 9)
    _, work = watched(machine("bit_tactical", {"back_end": None, "columns": 1}), layer, dense)
    all_read = layer.parameters * layer.positions * (7 + 3)
    assert work.read_bits["weight_buffer"] == all_read
    assert work.uses["multipliers"] == pytest.approx(layer.macs * 7 * 9 / 256)
    _, work = watched(machine("bit_tactical", {"back_end": "p"}), layer, dense)
    _, same = watched(machine("shapeshifter"), layer, dense)
    assert work.uses["adder_trees"] == same.uses["adder_trees"]
    assert work.uses["and_gates"] == same.uses["and_gates"]
    _, work = watched(machine("bit_tactical", {"back_end": None, "columns": 1}), layer, given)
    assert work.read_bits["weight_buffer"] < all_read
    products = np.count_nonzero(given.weights) * layer.positions
    assert work.uses["selectors"] == pytest.approx(products * 9 / 16)


@pytest.mark.parametrize("phase_shift", [True, False])
@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
def test_scnn_multiplies_every_pair_of_a_phase(stride, phase_shift, watched):
    layer = hw.Conv("c", 3, 5, (7, 6), (3, 2), stride=stride, padding=1)
    given = operands(layer)
    x = np.pad(given.activations.reshape(3, 7, 6), ((0, 0), (1, 1), (1, 1)))
    sx, sy = layer.stride
    shift = int(phase_shift)
    pairs = sum(
        int(x[c, i, j] != 0) * int(given.weights[f, c, r, s] != 0)
        for c, i, j, f, r, s in product(range(3), range(9), range(8), range(5), range(3), range(2))
        if i % sx == (r + shift) % sx and j % sy == (s + shift) % sy
    )
    result, work = watched(machine("scnn", {"rules": "dnnsim", "phase_shift": phase_shift}), layer, given)
    assert work.uses["coordinates"] == pairs
    assert work.uses["multipliers"] == pytest.approx(pairs * 7 * 9 / 256)
    useful = round(result.utilisation * result.compute_cycles * 64)
    assert work.uses["crossbars"] == useful
    assert useful <= pairs
    assert work.read_bits["weight_buffer"] == np.count_nonzero(given.weights) * (7 + 4)
    assert work.read_bits["activation_buffer"] == np.count_nonzero(given.activations) * (9 + 4)
