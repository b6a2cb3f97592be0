"""Tiles, traffic and the search against loops that are turned one by one."""

from collections import Counter
from dataclasses import asdict, astuple, replace
from itertools import permutations, product

import numpy as np
import pytest
import stepped_memory as stepped

import hwmodel as hw
from bitxcore.errors import OptionError, TensorError
from hwmodel.dram import load_part
from hwmodel.memory.channels import Channels, TileCosts
from hwmodel.memory.layout import Extent, runs
from hwmodel.memory.nest import Axis, Nest
from hwmodel.memory.overlap import schedule, timed_tilings
from hwmodel.memory.tile_search import best_tiling, most_reads, tile_bits
from hwmodel.memory.tiling import ORDERS, Buffers, Tiling
from hwmodel.memory.transfers import transfers
from hwmodel.memory.widths import OperandWidths

BURST = 64
BUFFERED = [
    hw.Conv("3x3", 32, 48, (14, 14), 3, padding=1),
    hw.Conv("strided", 16, 32, (28, 28), 3, stride=2, padding=1),
    hw.Conv("depthwise", 64, 64, (14, 14), 3, padding=1, groups=64),
    hw.Linear("positions", 256, 256, positions=64),
    hw.MatMul("matmul", 64, 64, 64, batch=4),
]


def pick(rng, *choices):
    return choices[rng.integers(len(choices))]


def random_layer(rng, small=False):
    kind = rng.integers(4)
    if kind == 0:
        steps = pick(rng, 1, 2)
        return hw.Linear("l", pick(rng, 2, 6, 12), pick(rng, 1, 4, 6), steps * pick(rng, 1, 3, 4), steps)
    if kind == 1:
        rows, inner, columns = (pick(rng, 2, 3, 4) for _ in range(3))
        return hw.MatMul("m", rows, inner, columns, batch=pick(rng, 1, 2, 4))
    n = pick(rng, 1, 2, 2, 2, 3) if not small else 2
    groups = pick(rng, 1, 1, 2, 4)
    make = hw.Conv if kind == 2 else hw.ConvTranspose
    while True:
        try:
            return make(
                "c",
                in_channels=groups * pick(rng, 1, 2, 4),
                out_channels=groups * pick(rng, 1, 2, 3),
                in_size=tuple(pick(rng, 3, 4, 5, 6) if n < 3 else pick(rng, 2, 3) for _ in range(n)),
                kernel=tuple(pick(rng, 1, 2, 3) for _ in range(n)),
                stride=tuple(pick(rng, 1, 1, 2, 3) for _ in range(n)),
                padding=tuple((pick(rng, 0, 1, 2), pick(rng, 0, 1)) for _ in range(n)),
                dilation=tuple(pick(rng, 1, 1, 2) for _ in range(n)),
                groups=groups,
                batch=pick(rng, 1, 1, 2, 4),
            )
        except TensorError:
            continue


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


def sizes_of(layer):
    """All sizes of tiles: filters, channels, rows, columns, images, groups."""
    n = Nest.of(layer)
    whole = (n.filters, n.channels, n.rows.outputs, n.columns.outputs)
    found = []
    for sizes in product(*map(divisors, (*whole, n.batch, n.groups))):
        several_images, several_groups = sizes[4] > 1, sizes[5] > 1
        if several_images and sizes[2:4] != whole[2:]:
            continue
        if several_groups and sizes[:2] != whole[:2]:
            continue
        found.append(sizes)
    return found


def weights_of(layer):
    return layer.filters * layer.reduction


def widths_of(layer, rng):
    w, a, o = (pick(rng, 8, 16, 11, 32) for _ in range(3))
    return OperandWidths(weights_of(layer) * w, weights_of(layer) * w, a, o, BURST), (w, a, o, BURST)


def random_tiling(layer, rng):
    order = pick(rng, *ORDERS)
    sizes = pick(rng, *sizes_of(layer))
    return Tiling(Nest.of(layer), order, *sizes), (order, sizes)


@pytest.mark.parametrize("shard", range(2))
def test_traffic_equals_the_turned_loops(shard):
    spilling = 0
    for seed in range(shard, 800, 2):
        rng = np.random.default_rng(seed)
        layer = random_layer(rng)
        widths, bits = widths_of(layer, rng)
        tiling, (order, sizes) = random_tiling(layer, rng)
        walked = stepped.walk(layer, order, sizes, *bits)
        found = tiling.traffic(widths)
        expected = [
            walked.total("weights"),
            walked.total("activations"),
            walked.total("outputs"),
            walked.total("spilled") + walked.total("resumed"),
        ]
        assert [found.weights, found.activations, found.outputs, found.partial_sums] == expected, (
            seed,
            layer,
            tiling,
        )
        assert tiling.tiles == len(walked.tiles)
        assert walked.total("spilled") == walked.total("resumed")
        spilling += expected[3] > 0
    assert spilling > 5


def test_the_search_finds_what_trying_everything_finds():
    buffers = Buffers(72, 96, 64)
    tried, several = 0, np.zeros(2, int)
    for seed in range(60):
        rng = np.random.default_rng(1000 + seed)
        layer = random_layer(rng, small=True)
        widths, bits = widths_of(layer, rng)
        if len(sizes_of(layer)) > 20:
            continue
        best = None
        for (n, order), sizes in product(enumerate(ORDERS), sizes_of(layer)):
            walked = stepped.walk(layer, order, sizes, *bits)
            held = np.max([tile.held for tile in walked.tiles], axis=0)
            if (held > [36 * 8, 48 * 8, 32 * 8]).any():
                continue
            moved = sum(walked.total(n) for n in ("weights", "activations", "outputs", "spilled", "resumed"))
            filters, channels, rows, columns, images, groups = sizes
            wide = (-columns, -rows, -channels, -filters, -images, -groups)
            key = (moved, len(walked.tiles), n, *wide)
            best = min(best, key) if best else key
        if best is None:
            with pytest.raises(OptionError, match=r"half of it is \d+ bytes, the smallest tile has"):
                best_tiling(Nest.of(layer), widths, buffers)
            continue
        found = best_tiling(Nest.of(layer), widths, buffers)
        sizes = (-found.columns, -found.rows, -found.channels, -found.filters, -found.batch, -found.groups)
        key = (found.traffic(widths).total, found.tiles, ORDERS.index(found.order), *sizes)
        assert key == best, (seed, layer)
        tried += 1
        several += (found.batch > 1, found.groups > 1)
    assert tried > 12
    assert (several > 1).all()


def fitting(layer, widths, buffers):
    """All tilings, of all orders, whose tiles fit half a buffer, and their bits."""
    scaled, unit = widths.integers()
    for order, sizes in product(ORDERS, sizes_of(layer)):
        tiling = Tiling(Nest.of(layer), order, *sizes)
        reads = tiling.batch * most_reads(tiling.nest, tiling.rows, tiling.columns)
        outputs = tiling.batch * tiling.rows * tiling.columns
        held = tile_bits(tiling.nest, scaled, tiling.groups, tiling.filters, tiling.channels, outputs, reads)
        if all(bits <= size // 2 * 8 * unit for bits, size in zip(held, astuple(buffers), strict=True)):
            yield tiling, tiling.traffic(widths).total


def test_no_tiling_of_equal_bytes_has_fewer_cycles():
    channels = Channels(load_part("DDR4-2400_x64_bgint"), 1)
    several = better = 0
    for seed in range(30):
        rng = np.random.default_rng(3000 + seed)
        layer = random_layer(rng, small=True)
        widths, _ = widths_of(layer, rng)
        buffers = Buffers(*(int(pick(rng, 64, 256, 4096)) for _ in range(3)))
        everything = list(fitting(layer, widths, buffers))
        if not everything or len(everything) > 200:
            continue
        fewest = min(bits for _, bits in everything)
        equal = [schedule(tiling, widths, channels, 1e9) for tiling, bits in everything if bits == fewest]
        timed = timed_tilings(Nest.of(layer), widths, buffers, channels, 1e9)
        for on_chip in (0, int(rng.integers(1, 60)), int(rng.integers(100, 2000))):
            tiling, found = timed.fastest(on_chip)
            assert tiling.traffic(widths).total == fewest
            assert found == schedule(tiling, widths, channels, 1e9)
            cycles = [of.cycles(on_chip) for of in equal]
            assert on_chip + sum(found.waits(on_chip)) == min(cycles), (seed, layer, tiling)
            several += len(set(cycles)) > 1
            better += min(cycles) < timed.schedules[0].cycles(on_chip)
    assert several > 10
    assert better > 5


def test_a_larger_buffer_of_equal_bytes_is_never_slower():
    channels = Channels(load_part("DDR4-2400_x64_bgint"), 4)
    equal = 0
    for layer, factor in product(BUFFERED, (1, 4, 64)):
        widths = OperandWidths(*[weights_of(layer) * 16] * 2, 16, 16, 512)
        small = Buffers(factor << 12, factor << 12, factor << 11)
        for name, size in asdict(small).items():
            few, many = (
                timed_tilings(Nest.of(layer), widths, buffers, channels, 1e9)
                for buffers in (small, replace(small, **{name: 2 * size}))
            )
            bits = [timed.tilings[0].traffic(widths).total for timed in (few, many)]
            if bits[0] == bits[1]:
                for on_chip in (10, 1000, 100000):
                    assert many.fastest(on_chip)[1].cycles(on_chip) <= few.fastest(on_chip)[1].cycles(on_chip)
                equal += 1
    assert equal > 10


def test_what_tiles_read_equals_every_tile_looked_at():
    rng = np.random.default_rng(6)
    repeated = 0
    for _ in range(600):
        outputs = int(rng.integers(1, 80))
        kernel, stride, dilation, padding = (int(rng.integers(low, 7)) for low in (1, 1, 1, 0))
        transposed = bool(rng.integers(2))
        inputs = outputs // stride if transposed else outputs * stride
        axis = Axis(
            outputs, max(1, inputs + int(rng.integers(-9, 9))), kernel, stride, dilation, padding, transposed
        )
        for size in divisors(outputs):
            read = []
            for begin in range(0, outputs, size):
                places = set()
                for out, k in product(range(begin, begin + size), range(kernel)):
                    place, gap = out * stride - padding + k * dilation, 0
                    if transposed:
                        place, gap = divmod(out + padding - k * dilation, stride)
                    if not gap and 0 <= place < axis.inputs:
                        places.add(place)
                read.append((len(places), max(places) - min(places) + 1 if places else 0))
            found = axis.reads(size)
            turns = np.arange(outputs // size)
            assert found.at(turns).T.tolist() == [list(pair) for pair in read], (axis, size)
            assert found.count.sum() == len(turns)
            # What a kept tile stands for reads as much, and so does the next one.
            following = Counter((*read[n], *read[(n + 1) % len(read)]) for n in turns)
            kept = Counter()
            for turn, count in zip(found.turns.tolist(), found.count.tolist(), strict=True):
                kept[(*read[turn], *read[(turn + 1) % len(read)])] += count
            assert kept == following
            repeated += len(found.turns) < len(turns)
    assert repeated > 300


def test_bits_beyond_an_integer_do_not_wrap_around():
    # 12288 x 12288 weights at a milliard positions: partial sums of single channels have over 2^63 bits.
    few, many = (hw.Linear("l", 12288, 12288, positions=n) for n in (10**6, 10**9))
    widths = OperandWidths(*[12288 * 12288 * 16] * 2, 16, 16, 512)
    found = [best_tiling(Nest.of(layer), widths, Buffers(1 << 19, 1 << 19, 1 << 18)) for layer in (few, many)]
    assert (found[0].columns, found[0].filters) == (found[1].columns, found[1].filters)
    bits = [tiling.traffic(widths).total for tiling in found]
    assert bits[1] == pytest.approx(1000 * bits[0], rel=1e-3)


def test_orders_are_all_orders():
    assert sorted(ORDERS) == sorted(permutations(("filters", "channels", "positions")))


@pytest.mark.parametrize("shard", range(2))
def test_waits_equal_the_machine_that_is_stepped_tick_by_tick(shard):
    part = hw.accelerator("bitx").dram_part
    reached = np.zeros(3, int)
    for seed in range(2000 + shard, 2090, 2):
        rng = np.random.default_rng(seed)
        layer = random_layer(rng)
        widths, bits = widths_of(layer, rng)
        tiling, (order, sizes) = random_tiling(layer, rng)
        if not 1 <= tiling.tiles <= 40:
            continue
        walked = stepped.walk(layer, order, sizes, *bits)
        clock_hz = pick(rng, 2e7, 1e8)
        channels = Channels(part, pick(rng, 1, 4))
        costs = TileCosts(channels, tiling, widths)

        def prices(load, store, costs=costs, clock_hz=clock_hz, begin=walked.tiles[0]):
            elapsed, ends = [0.0, 0.0, 0.0], []
            if load is not None and load.weights:
                elapsed[0] += costs.weights(first=load is begin).seconds
            if load is not None and load.activations:
                elapsed[1] += costs.activations(*load.box).seconds
            if store is not None and store.outputs:
                elapsed[2] += costs.outputs().seconds
            if store is not None and store.spilled:
                elapsed[2] += costs.partial_sums(write=True).seconds
            if load is not None and load.resumed:
                elapsed[2] += costs.partial_sums(write=False).seconds
            for n in range(3):
                ends.append(int(np.ceil(sum(elapsed[: n + 1]) * clock_hz)))
            return ends

        for on_chip in (0, int(rng.integers(1, 60)), tiling.tiles * int(rng.integers(1, 12))):
            found = schedule(tiling, widths, channels, clock_hz).waits(on_chip)
            assert list(found) == stepped.waits(walked, prices, on_chip), (seed, on_chip, layer)
            reached += np.array(found) > 0
    assert (reached > 10).all()


def test_a_layer_that_fits_moves_everything_once():
    layer = hw.Conv("c", in_channels=4, out_channels=8, in_size=(6, 6), kernel=3, padding=1)
    widths = OperandWidths(weights_of(layer) * 16, weights_of(layer) * 16, 16, 16, 512)
    tiling = best_tiling(Nest.of(layer), widths, Buffers(1 << 20, 1 << 20, 1 << 20))
    assert str(tiling) == "one tile"
    moved = tiling.traffic(widths)
    assert (moved.weights, moved.partial_sums) == (8 * 36 * 16, 0)
    # 144 and 288 values of two bytes: 4.5 and 9 bursts of 64.
    assert (moved.activations, moved.outputs) == (5 * 512, 9 * 512)


def test_depthwise_layers_that_fit_are_one_tile():
    layer = hw.Conv("c", in_channels=64, out_channels=64, in_size=(4, 4), kernel=3, padding=1, groups=64)
    nest, n = Nest.of(layer), weights_of(layer) * 16
    widths = OperandWidths(n, n, 16, 16, 512)
    assert str(best_tiling(nest, widths, Buffers(1 << 19, 1 << 19, 1 << 18))) == "one tile"
    # 2048 bytes of inputs, of which half of the buffer holds a quarter.
    few = best_tiling(nest, widths, Buffers(1 << 19, 1 << 10, 1 << 18))
    assert (few.groups, few.tiles) == (16, 4)


def test_only_the_first_load_of_a_layer_waits_for_an_idle_memory():
    nest = Nest.of(hw.Linear("l", 512, 64))
    widths = OperandWidths(512 * 64 * 16, 512 * 64 * 16, 16, 16, 512)
    tiling = best_tiling(nest, widths, Buffers(1 << 14, 1 << 14, 1 << 13))
    channels = Channels(load_part("DDR4-2400_x64_bgint"), 4)
    costs = TileCosts(channels, tiling, widths)
    start = costs.weights(first=True).seconds - costs.weights().seconds
    assert 2e-8 < start < 5e-8
    load = costs.weights() + costs.activations((1, 1), (1, 1), (1, 1))
    queued = tiling.tiles * load.seconds + costs.outputs().seconds
    assert schedule(tiling, widths, channels, 1e9).seconds == pytest.approx(start + queued)


def test_runs_are_as_far_apart_as_their_addresses_say():
    rng = np.random.default_rng(3)
    for _ in range(300):
        whole = [int(pick(rng, 1, 2, 3, 5)) for _ in range(4)]
        part = [int(rng.integers(1, n + 1)) for n in whole]
        found = runs([Extent(p, p, n) for p, n in zip(part, whole, strict=True)])
        places = np.zeros((), int)
        for p, n in zip(part[::-1], whole[::-1], strict=True):
            places = np.add.outer(places * n, np.arange(p)).reshape(-1)
        starts = places[:: found.values]
        assert (len(starts), len(places)) == (found.count, found.count * found.values)
        if len(starts) > 1:
            assert np.diff(starts).min() == found.stride, (whole, part)


def test_rows_that_no_output_reads_stay_in_dram():
    layer = hw.Conv("c", in_channels=1, out_channels=1, in_size=(8, 32), kernel=1, stride=2)
    widths = OperandWidths(32, 32, 32, 32, 512)
    moved = best_tiling(Nest.of(layer), widths, Buffers(8, 1 << 20, 1 << 20)).traffic(widths)
    # Every second of 8 rows: 31 values, to the end of their second burst.
    assert moved.activations == 4 * 2 * 512


def test_the_smallest_tile_that_does_not_fit_is_named():
    layer = hw.Conv("c", in_channels=1, out_channels=1, in_size=(20, 20), kernel=11)
    weights = np.ones(layer.weight_shape, np.float32)
    machine = hw.accelerator("bitx", weight_buffer_bytes=900)
    with pytest.raises(
        OptionError,
        match="layer 'c': weight_buffer_bytes=900: half of it is 450 bytes, the smallest tile has 484",
    ) as raised:
        hw.simulate(machine, layer, hw.Operands(weights))
    assert (raised.value.layer, raised.value.value) == ("c", 900)


def test_cost_does_not_grow_with_the_number_of_tiles():
    layer = hw.Linear("l", 1 << 15, 1 << 15, positions=1 << 10)
    conv = hw.Conv("c", in_channels=64, out_channels=64, in_size=(224, 224), kernel=5, padding=2, batch=64)
    for nest, order, channels in ((Nest.of(layer), ORDERS[0], 1), (Nest.of(conv), ORDERS[-1], 2)):
        tiling = Tiling(nest, order, 1, channels, 1, 1)
        found = transfers(tiling)
        assert sum(n for n, _ in found.kinds) == tiling.tiles > 1e9
        assert len(found.kinds) < 200
