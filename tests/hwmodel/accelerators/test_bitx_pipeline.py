"""The compiled engine against the machine that is stepped cycle by cycle, and what must be conserved."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import stepped_bitx as stepped

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import OptionError, TensorError
from bitxcore.formats import number_format
from hwmodel.accelerators.cycle_attribution import CAUSES
from hwmodel.operands.im2col import windows

LAYERS = 2_000
SHARDS = 8


def pick(rng, *choices):
    return choices[rng.integers(len(choices))]


def random_case(seed):
    """Draw a layer, a machine, weights with zeros and skew, and activations."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.5:
        steps = pick(rng, 1, 1, 2)
        positions = steps * int(rng.integers(1, 4))
        layer = hw.Linear("l", int(rng.integers(1, 31)), int(rng.integers(1, 9)), positions, steps)
        shape = (layer.positions, layer.in_features)
    else:
        groups = pick(rng, 1, 1, 2, 3)
        kernel = pick(rng, (1, 1), (2, 2), (1, 3))
        layer = hw.Conv(
            "c",
            in_channels=groups * pick(rng, 1, 2, 5),
            out_channels=groups * pick(rng, 1, 2, 4),
            in_size=(int(rng.integers(2, 4)), 3),
            kernel=kernel,
            stride=pick(rng, 1, 2),
            padding=pick(rng, 0, 1),
            groups=groups,
        )
        shape = (layer.in_channels, *layer.in_size)
    fmt = number_format(pick(rng, "float32", "int8", "int16", "uint8", "bfloat16", "float16", "int8-twos"))
    criterion = pick(rng, "topn", "topn", "msb", "threshold", "energy")
    acc = hw.accelerator(
        "bitx",
        compute_units=int(rng.integers(1, 6)),
        processing_elements=int(rng.integers(1, 4)),
        lanes=pick(rng, 1, 1, 2, 3),
        rows=int(rng.integers(1, 16)),
        group=int(rng.integers(1, 6)),
        window=pick(rng, None, None, 7, 20),
        format=fmt.name,
        criterion=criterion,
        threshold=0.1 if criterion == "threshold" else None,
        budget=0.05 if criterion == "energy" else None,
        grouping=pick(rng, "flat", "channel"),
        fifo_depth=pick(rng, 0, 0, 1, 2, 3, None),
        skip_zero_groups=bool(rng.integers(2)),
        pack_zeros=bool(rng.integers(2)),
        weight_bytes_per_cycle=pick(rng, None, None, None, 3, 8),
        activation_bytes_per_cycle=pick(rng, None, None, None, 3, 8),
        output_bytes_per_cycle=pick(rng, None, None, None, 1, 2),
        dram=None,
    )
    values = rng.standard_normal(layer.weight_shape) * 10 ** rng.uniform(-3, 0, layer.weight_shape)
    values *= rng.random(layer.weight_shape) < pick(rng, 1, 0.5, 0.2)
    if fmt.is_float:
        weights = values.astype(fmt.dtype)
        activations = rng.standard_normal(shape).astype(np.float32)
    else:
        top = min(fmt.max_magnitude, 127)
        low = 0 if fmt.encoding == "unsigned" else -top
        weights = np.clip(np.rint(values * top / 2), low, top).astype(fmt.dtype)
        activations = rng.integers(-300, 300, shape)
    return layer, acc, fmt, weights, activations


def codes_of(weights, fmt):
    unsigned = weights.view(f"u{weights.dtype.itemsize}")
    return unsigned.reshape(len(weights), -1).tolist()


def nearest_float32(x):
    """Nearest float32 of a fraction, by looking at the neighbours."""
    near = np.float32(float(x))
    around = (near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf)))
    return min(around, key=lambda v: (abs(Fraction(float(v)) - x), int(v.view(np.uint32)) & 1))


def expected_outputs(acc, layer, fmt, weights, activations):
    """Integer convolution with the pruned weights; of floats, exact group sums in float32."""
    pruned = prune(acc, fmt, weights)
    found = np.empty((layer.filters, layer.positions), object)
    for f in range(layer.filters):
        used = (weights.reshape(layer.filters, -1)[f] != 0).tolist()
        for q in range(layer.positions):
            there = stepped.patch(layer, activations, f, q)
            if not fmt.is_float:
                found[f, q] = sum(int(w) * a for w, a in zip(pruned[f], there, strict=True))
                continue
            total = np.float32(0)
            for indices in stepped.gather(used, acc, layer.channels, layer.kernel_positions):
                aligned = align([there[i] for i in indices])
                exact = sum(
                    (Fraction(float(pruned[f][i])) * a for i, a in zip(indices, aligned, strict=True)),
                    Fraction(0),
                )
                total += nearest_float32(exact)
            found[f, q] = total
    return found


def align(activations):
    """Activations with what lies 32 bits or more below the top of their largest cut off."""
    exponents = [int(np.frexp(np.float32(a))[1]) for a in activations if a]
    unit = Fraction(2) ** (max(exponents, default=0) - stepped.ACTIVATION_WINDOW)
    return [(abs(Fraction(a)) // unit) * unit * (1 if a > 0 else -1) for a in activations]


def prune(acc, fmt, weights):
    """Pruned weights, by the compiled pruner, filter by filter in the groups that are gathered."""
    names = ("rows", "group", "window", "criterion", "threshold", "budget")
    options = {name: getattr(acc, name) for name in names} | {"format": fmt}
    whole = bx.prune(weights, grouping=acc.grouping, **options).values
    if not acc.pack_zeros:
        return whole.reshape(len(weights), -1)
    pruned = weights.reshape(len(weights), -1).copy()
    channels = weights.shape[1]
    for f in range(len(weights)):
        flat = weights[f].reshape(channels, -1)
        order = np.arange(flat.size).reshape(flat.shape)
        order = (order.T if acc.grouping == "channel" else order).reshape(-1)
        used = order[pruned[f][order] != 0]
        if len(used):
            pruned[f][used] = bx.prune(pruned[f][used][None], **options).values[0]
    return pruned


@pytest.mark.parametrize("shard", range(SHARDS))
def test_engine_equals_the_stepped_machine(shard):
    for seed in range(shard, LAYERS, SHARDS):
        layer, acc, fmt, weights, activations = random_case(seed)
        operands = hw.Operands(weights, activation_bits=None if fmt.is_float else 10)
        r = hw.simulate(acc, layer, operands)
        bits = fmt.storage_bits if fmt.is_float else 10
        causes, outputs = stepped.simulate(acc, layer, codes_of(weights, fmt), fmt, activations, bits)
        assert {c: getattr(r, c) for c in CAUSES} == {c: causes[c] for c in CAUSES}, (seed, acc.label)
        assert r.cycles == sum(causes.values())
        expected = expected_outputs(acc, layer, fmt, weights, activations)
        assert np.array(outputs, object).tolist() == expected.tolist(), (seed, acc.label)


@pytest.mark.parametrize("shard", range(2))
def test_serial_activations_equal_the_stepped_machine_with_its_roles_swapped(shard):
    for seed in range(10_000 + shard, 10_500, 2):
        layer, acc, fmt, weights, activations = random_case(seed)
        acc = with_options(acc, serial="activations")
        low = 0 if fmt.encoding == "unsigned" else -100
        activations = np.clip(activations, low, 100).astype(fmt.dtype)
        operands = hw.Operands(weights, activations, weight_bits=None if fmt.is_float else 8)
        r = hw.simulate(acc, layer, operands)
        causes = Counter()
        rows = weights.reshape(layer.filters, -1)
        rows = rows.astype(np.float32) if fmt.is_float else rows.astype(int)
        for filters in np.split(np.arange(layer.filters), layer.conv_groups):
            patches = [stepped.patch(layer, activations, filters[0], q) for q in range(layer.positions)]
            patches = np.array(patches).astype(fmt.dtype)
            bits = fmt.storage_bits if fmt.is_float else 8
            turned = stepped.swapped(layer)
            found, outputs = stepped.simulate(acc, turned, codes_of(patches, fmt), fmt, rows[filters], bits)
            causes += found
            patches = patches.reshape(layer.positions, layer.channels, -1)
            expected = expected_outputs(acc, turned, fmt, patches, rows[filters])
            assert np.array(outputs, object).tolist() == expected.tolist(), (seed, acc.label)
        assert {c: getattr(r, c) for c in CAUSES} == {c: causes[c] for c in CAUSES}, (seed, acc.label)


@pytest.mark.parametrize("bits", [5, 8, 9, 15])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int64])
def test_integers_without_a_sign_have_all_their_bits_in_rows(bits, dtype):
    layer, acc = hw.Linear("l", 40, 6, positions=3), hw.accelerator("bitx", rows=16)
    values = np.random.default_rng(bits).integers(0, 1 << bits, (6, 40))
    values[0, 0] = (1 << bits) - 1
    r = hw.simulate(acc, layer, hw.Operands(values.astype(dtype), weight_bits=bits))
    signed = hw.simulate(acc, layer, hw.Operands(values.astype(dtype), weight_bits=bits + 1))
    assert r.on_chip_cycles == signed.on_chip_cycles
    assert r.kept_rows_histogram[:bits] == signed.kept_rows_histogram[:bits]
    acc = with_options(acc, serial="activations")
    turned = hw.Linear("l", 40, 3, positions=6)
    ones = np.ones((3, 40), np.int8)
    serial = hw.simulate(acc, turned, hw.Operands(ones, values.astype(dtype), 8, bits))
    assert serial.on_chip_cycles == r.on_chip_cycles


@pytest.mark.parametrize("bits", [None, 6])
def test_fixed_point_of_integers_is_their_own(bits):
    layer = hw.Conv("c", in_channels=9, out_channels=5, in_size=(4, 3), kernel=2)
    w = np.random.default_rng(1).integers(-31, 32, layer.weight_shape).astype(np.int8)
    results = [
        hw.simulate(hw.accelerator("bitx", format=form), layer, hw.Operands(w, weight_bits=bits))
        for form in (None, "fixed16")
    ]
    assert results[0].columns() == results[1].columns() | {"accelerator": "bitx"}


@pytest.mark.parametrize("bits", [None, 8])
def test_the_most_negative_value_takes_a_row_more(bits):
    layer, acc = hw.Linear("l", 40, 6), hw.accelerator("bitx", rows=16)
    w = np.random.default_rng(2).integers(-128, 128, (6, 40))
    w[0, 0] = -128
    r = hw.simulate(acc, layer, hw.Operands(w.astype(np.int8), weight_bits=bits))
    assert r == hw.simulate(acc, layer, hw.Operands(w.astype(np.int16), weight_bits=9))


def test_sixteen_bits_without_a_sign_are_refused():
    w = np.full((2, 4), 40_000, np.uint16)
    with pytest.raises(TensorError, match="integer weights must be from -32767 to 32767 on bitx, got 40000"):
        hw.simulate(hw.accelerator("bitx"), hw.Linear("l", 4, 2), hw.Operands(w, weight_bits=16))


def test_serial_activations_need_activations():
    acc = hw.accelerator("bitx", serial="activations")
    w = np.ones((2, 4), np.float32)
    with pytest.raises(TensorError, match="layer 'l': bitx needs activations, none were given"):
        hw.simulate(acc, hw.Linear("l", 4, 2), hw.Operands(w))
    up = hw.ConvTranspose("up", in_channels=2, out_channels=2, in_size=(3, 3), kernel=2)
    assert "conv_transpose" in acc.not_applicable(up)


@pytest.mark.parametrize(
    "layer",
    [
        hw.Conv("2d", in_channels=6, out_channels=3, in_size=(7, 8), kernel=(3, 2), stride=(2, 1),
                padding=((1, 0), (0, 2)), dilation=(1, 2), groups=3, batch=2),
        hw.Conv("1d", in_channels=2, out_channels=3, in_size=9, kernel=3, padding=1, stride=2),
        hw.Conv("3d", in_channels=2, out_channels=3, in_size=(4, 5, 6), kernel=(2, 3, 1), padding=1),
    ],
)  # fmt: skip
def test_windows_times_filters_are_the_convolution(layer):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x = rng.integers(-9, 10, (layer.batch, layer.in_channels, *layer.in_size))
    w = rng.integers(-9, 10, layer.weight_shape)
    seen = windows(layer, x).reshape(layer.groups, layer.positions, -1)
    filters = w.reshape(layer.groups, layer.filters // layer.groups, -1)
    found = np.einsum("gpr,gfr->gfp", seen, filters).reshape(layer.filters, layer.batch, *layer.out_size)
    padding = [n for pair in reversed(layer.padding) for n in pair]
    conv = getattr(torch.nn.functional, f"conv{len(layer.in_size)}d")
    expected = conv(
        torch.nn.functional.pad(torch.tensor(x), padding), torch.tensor(w),
        stride=layer.stride, dilation=layer.dilation, groups=layer.groups,
    )  # fmt: skip
    assert (found.swapaxes(0, 1) == expected.numpy()).all()


def test_random_cases_reach_every_cause():
    reached = set()
    for seed in range(60):
        layer, acc, _, weights, _ = random_case(seed)
        r = hw.simulate(acc, layer, hw.Operands(weights))
        reached |= {c for c in CAUSES if getattr(r, c)}
    assert reached == set(CAUSES)


# By hand


def test_causes_by_hand():
    """Two units, two groups each: work 1 + 5 and 5 + 1, and a third unit without a filter.

    An even share is 12 / 3 = 4 cycles; each filter alone takes 6. In lock step the groups take 5 + 5 = 10
    cycles. The extractor fills 2 cycles. Reading 4 groups of 2 bytes takes 8 cycles at 1 byte a cycle, which
    hides in the 12; at one position, 2 groups of 4 bytes of activations take 8; so nothing waits until the
    output port writes its 2 x 2 bytes.
    """
    w = np.array([[1, 0, 31, 0], [31, 0, 1, 0]], np.int8)
    base = {"compute_units": 3, "group": 2, "rows": 7, "fifo_depth": 0, "pack_zeros": False, "dram": None}

    def causes(**options):
        r = hw.simulate(hw.accelerator("bitx", **(base | options)), hw.Linear("l", 4, 2), hw.Operands(w))
        assert r.cycles == sum(getattr(r, c) for c in CAUSES)
        return tuple(getattr(r, c) for c in CAUSES)

    assert causes() == (2, 4, 2, 4, 0, 0, 0)
    assert causes(fifo_depth=None) == (2, 4, 2, 0, 0, 0, 0)
    assert causes(fifo_depth=1) == (2, 4, 2, 0, 0, 0, 0)
    assert causes(compute_units=2) == (2, 6, 0, 4, 0, 0, 0)
    assert causes(compute_units=1) == (4, 12, 0, 0, 0, 0, 0)
    assert causes(weight_bytes_per_cycle=1) == (2, 4, 2, 4, 0, 0, 0)
    assert causes(fifo_depth=None, activation_bytes_per_cycle=1) == (2, 4, 2, 0, 0, 0, 0)
    assert causes(fifo_depth=None, compute_units=2, group=4, weight_bytes_per_cycle=1) == (
        3,
        5,
        0,
        0,
        0,
        0,
        0,
    )
    assert causes(rows=1, weight_bytes_per_cycle=1) == (2, 2, 0, 0, 4, 0, 0)
    assert causes(rows=1, weight_bytes_per_cycle=2, activation_bytes_per_cycle=1) == (2, 2, 0, 0, 0, 4, 0)
    assert causes(rows=1, output_bytes_per_cycle=1) == (2, 2, 0, 0, 0, 0, 0)


def test_ports_meet_a_position_tile_that_is_cut_short():
    layer = hw.Linear("l", 4, 1, positions=10, steps=2)
    w = np.ones((1, 4), np.int8)
    acc = hw.accelerator(
        "bitx",
        compute_units=1,
        processing_elements=3,
        group=4,
        output_bytes_per_cycle=1,
        pack_zeros=False,
        dram=None,
    )
    r = hw.simulate(acc, layer, hw.Operands(w))
    # Each step is 3 + 2 positions, of 2 bytes each; a pass alone takes 3 + 1 cycles.
    assert (r.position_tiles, r.fill_cycles, r.compute_cycles, r.output_wait_cycles) == (4, 12, 4, 4)


# Laws


def random_layers(count=60):
    for seed in range(count):
        layer, acc, fmt, weights, _ = random_case(5_000 + seed)
        yield layer, acc, fmt, hw.Operands(weights)


def with_options(acc, **options):
    return hw.accelerator("bitx", **(acc.options | options))


@pytest.mark.parametrize("dram", [None, "DDR4-2400_x64_brc"])
def test_less_in_the_way_is_never_slower(dram):
    for layer, acc, _, operands in random_layers(60 if dram is None else 20):
        acc = with_options(acc, dram=dram)
        for option, values in {
            "fifo_depth": (0, 1, 2, 5, None),
            "lanes": (1, 2, 3, 8),
            "compute_units": (1, 2, 4, 8),
            "processing_elements": (1, 2, 4),
            "weight_bytes_per_cycle": (1, 2, 7, None),
            "activation_bytes_per_cycle": (1, 2, 7, None),
            "output_bytes_per_cycle": (1, 2, 7, None),
        }.items():
            found = [hw.simulate(with_options(acc, **{option: v}), layer, operands).cycles for v in values]
            # Wider position tiles move more bytes a pass, but in fewer passes.
            assert found == sorted(found, reverse=True), (option, acc.label)


def test_a_cause_is_what_lifting_it_saves():
    for layer, acc, _, operands in random_layers():
        r = hw.simulate(acc, layer, operands)
        ports = dict.fromkeys(
            ("weight_bytes_per_cycle", "activation_bytes_per_cycle", "output_bytes_per_cycle")
        )
        waits = r.weight_wait_cycles + r.activation_wait_cycles + r.output_wait_cycles
        no_ports = hw.simulate(with_options(acc, **ports), layer, operands)
        assert no_ports.cycles == r.cycles - waits
        unbounded = hw.simulate(with_options(acc, **ports, fifo_depth=None), layer, operands)
        assert unbounded.fifo_full_cycles == 0
        assert unbounded.cycles == r.cycles - waits - r.fifo_full_cycles


@pytest.mark.parametrize("dram", [None, "DDR4-2400_x64_brc"])
def test_keeping_every_row_is_the_unpruned_machine(dram):
    for layer, acc, fmt, operands in random_layers():
        window = acc.window or fmt.default_window
        plain = {"criterion": "topn", "threshold": None, "budget": None, "pack_zeros": False}
        whole = with_options(acc, rows=window, dram=dram, **plain)
        r = hw.simulate(whole, layer, operands)
        assert r.cycles == r.unpruned_nonempty_rows_cycles <= r.unpruned_all_rows_cycles


def test_all_rows_do_not_depend_on_the_weights():
    """They are read as if every group had all rows, which groups of 255 have."""
    for layer, acc, _, _ in random_layers(40):
        acc = with_options(acc, format="uint8", window=None)
        rng = np.random.default_rng(layer.macs)
        some = hw.Operands(rng.integers(0, 99, layer.weight_shape).astype(np.uint8), activation_bits=10)
        full = hw.Operands(np.full(layer.weight_shape, 255, np.uint8), activation_bits=10)
        r, whole = hw.simulate(acc, layer, some), hw.simulate(acc, layer, full)
        unpruned = {"rows": 8, "criterion": "topn", "threshold": None, "budget": None, "pack_zeros": False}
        assert r.unpruned_all_rows_cycles == whole.unpruned_all_rows_cycles
        assert r.unpruned_all_rows_cycles == hw.simulate(with_options(acc, **unpruned), layer, full).cycles


def test_depthwise_layers_show_their_fill_and_their_empty_units():
    layer = hw.Conv("d", in_channels=64, out_channels=64, in_size=(14, 14), kernel=3, padding=1, groups=64)
    w = np.random.default_rng(0).standard_normal(layer.weight_shape).astype(np.float32)
    r = hw.simulate(hw.accelerator("bitx"), layer, hw.Operands(w))
    tiles = 64 * 13
    # A filter has one group of 9 weights: 5 rows on one unit of 256, behind 2 x 5 cycles of filling.
    assert (r.fill_cycles, r.compute_cycles, r.imbalance_cycles) == (10 * tiles, tiles, 4 * tiles)


def test_refuses_ports_without_width():
    with pytest.raises(OptionError, match="output_bytes_per_cycle must be an integer of at least 1, got 0"):
        hw.accelerator("bitx", output_bytes_per_cycle=0)
