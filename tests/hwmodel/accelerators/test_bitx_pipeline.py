"""The compiled engine against the machine that is stepped cycle by cycle, and what must be conserved."""

import os
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


def serial_unit(rng):
    """Draw what a lane holds, and the options that go with it."""
    if rng.random() < 0.25:
        return {"serial_unit": "row", "rows_per_cycle": pick(rng, 1, 1, 2, 3)}
    return {
        "lane_fifo_depth": pick(rng, 0, 0, 1, 2, 4, None),
        "cu_operands": pick(rng, "positions", "positions", "weights"),
    }


PRUNINGS = 64 if "BITX_THOROUGH" in os.environ else 8
"""How many ways to prune are drawn."""


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
    # Each way to prune has kernels to compile: some of them in many machines.
    own = np.random.default_rng(int(rng.integers(PRUNINGS)))
    form = pick(own, "float32", "int8", "int16", "uint8", "bfloat16", "float16", "int8-twos", "fixed16")
    fmt = number_format("int16" if form == "fixed16" else form)
    rows = int(rng.integers(1, 16))
    criterion = pick(own, "topn", "topn", "msb", "threshold", "energy")
    acc = hw.accelerator(
        "bitx",
        processing_elements=int(rng.integers(1, 6)),
        compute_units=int(rng.integers(1, 4)),
        rows=rows,
        group=int(own.integers(1, 6)),
        window=pick(own, None, None, 7, 20),
        format=form,
        criterion=criterion,
        threshold=0.1 if criterion == "threshold" else None,
        budget=0.05 if criterion == "energy" else None,
        rounding=pick(own, "truncate", "nearest") if rows < 4 else "truncate",
        grouping=pick(own, "flat", "channel", "kernel"),
        fifo_depth=pick(rng, 0, 0, 1, 2, 3, None),
        skip_zero_groups=bool(rng.integers(2)),
        pack_zeros=bool(rng.integers(2)),
        weight_bytes_per_cycle=pick(rng, None, None, None, 3, 8),
        activation_bytes_per_cycle=pick(rng, None, None, None, 3, 8),
        output_bytes_per_cycle=pick(rng, None, None, None, 1, 2),
        fill=pick(rng, "load", "load", "pass"),
        weight_buffer_bytes=pick(rng, 1 << 19, 40, 75, 150),
        activation_buffer_bytes=pick(rng, 1 << 19, 40, 75, 150),
        dram=None,
        **serial_unit(rng),
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
        if form == "fixed16":
            weights = values.astype(np.float32)
    return layer, acc, fmt, weights, activations


def in_format(x, fmt):
    """Codes of 16-bit fixed point, if floats are to be that; else the array itself."""
    return bx.quantize(x, 16).codes if x.dtype.kind not in "iu" and not fmt.is_float else x


def codes_of(weights, fmt):
    weights = in_format(weights, fmt)
    unsigned = weights.view(f"u{weights.dtype.itemsize}")
    return unsigned.reshape(len(weights), -1).tolist()


def nearest_float32(x):
    """Nearest float32 of a fraction, by looking at the neighbours."""
    near = np.float32(float(x))
    around = (near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf)))
    return min(around, key=lambda v: (abs(Fraction(float(v)) - x), int(v.view(np.uint32)) & 1))


def expected_outputs(acc, layer, fmt, weights, activations):
    """Convolution with the pruned weights: of integers, or of floats the float32 of the exact sum."""
    weights = in_format(weights, fmt)
    pruned = prune(acc, fmt, weights)
    found = np.empty((layer.filters, layer.positions), object)
    for f in range(layer.filters):
        used = (weights.reshape(layer.filters, -1)[f] != 0).tolist()
        for q in range(layer.positions):
            there = stepped.patch(layer, activations, f, q)
            if not fmt.is_float:
                found[f, q] = sum(int(w) * a for w, a in zip(pruned[f], there, strict=True))
                continue
            exact = Fraction(0)
            for indices in stepped.gather(used, acc, layer.channels, layer.kernel_positions):
                aligned = align([there[i] for i in indices])
                exact += sum(Fraction(float(pruned[f][i])) * a for i, a in zip(indices, aligned, strict=True))
            found[f, q] = nearest_float32(exact)
    return found


def align(activations):
    """Activations with what lies 16 bits or more below the top of their largest cut off."""
    exponents = [int(np.frexp(np.float32(a))[1]) for a in activations if a]
    unit = Fraction(2) ** (max(exponents, default=0) - stepped.ACTIVATION_WINDOW)
    return [(abs(Fraction(a)) // unit) * unit * (1 if a > 0 else -1) for a in activations]


def prune(acc, fmt, weights):
    """Pruned weights, by the compiled pruner, filter by filter in the groups that are gathered."""
    names = ("rows", "group", "window", "criterion", "threshold", "budget", "rounding")
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


def check(r, acc, layer, codes, fmt, others, other_bits, fixed16, unpruned):
    """Compare a result with the stepped machine, `unpruned` ones too or not; return that one's outputs."""
    serial = stepped.Serial(acc, layer, codes, fmt)
    width = other_bits or (fmt.storage_bits if fmt.is_float else 16)
    causes, outputs = stepped.simulate(acc, layer, serial, others, width)
    assert {c: getattr(r, c) for c in CAUSES} == {c: causes[c] for c in CAUSES}, acc.label
    assert r.cycles == sum(causes.values())
    columns = stepped.counts(acc, layer, serial)
    if unpruned:
        columns |= stepped.unpruned(acc, layer, codes, fmt, other_bits, fixed16)
    for name, expected in columns.items():
        found = getattr(r, name)
        if name.endswith("histogram"):
            found = {k: n for k, n in enumerate(found) if n}
        assert found == expected, (name, acc.label)
    return np.array(outputs, object)


# The unpruned machines take longer than the pruned one: they are stepped for every other layer.
@pytest.mark.parametrize(
    "shard", [pytest.param(n, marks=[pytest.mark.slow] * (n > 0)) for n in range(SHARDS)]
)
def test_engine_equals_the_stepped_machine(shard):
    for seed in range(shard, LAYERS, SHARDS):
        layer, acc, fmt, weights, activations = random_case(seed)
        bits = pick(np.random.default_rng(seed), None, 10)
        r = hw.simulate(acc, layer, hw.Operands(weights, activation_bits=bits))
        fixed16 = codes_of(weights, number_format("int16")) if fmt.is_float else None
        outputs = check(
            r, acc, layer, codes_of(weights, fmt), fmt, activations, bits, fixed16, seed % 16 < SHARDS
        )
        expected = expected_outputs(acc, layer, fmt, weights, activations)
        assert outputs.tolist() == expected.tolist(), (seed, acc.label)


@pytest.mark.parametrize("shard", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_serial_activations_equal_the_stepped_machine_with_its_roles_swapped(shard):
    for seed in range(10_000 + shard, 10_500, 2):
        layer, acc, fmt, weights, activations = random_case(seed)
        acc = with_options(acc, serial="activations")
        if acc.format == "fixed16":
            weights = bx.quantize(weights, 8).codes
        low = 0 if fmt.encoding == "unsigned" else -100
        dtype = np.float32 if acc.format == "fixed16" else fmt.dtype
        activations = np.clip(activations, low, 100).astype(dtype)
        bits = pick(np.random.default_rng(seed), None, 8)
        r = hw.simulate(acc, layer, hw.Operands(weights, activations, weight_bits=bits))
        turned = stepped.swapped(layer)
        patches = patches_of(layer, in_format(activations, fmt)).astype(fmt.dtype)
        others = weights.reshape(layer.conv_groups, turned.positions, -1)
        others = others.astype(np.float32 if fmt.is_float else int)
        fixed16 = None
        if fmt.is_float:
            fixed16 = codes_of(patches_of(layer, bx.quantize(activations, 16).codes), number_format("int16"))
        outputs = check(r, acc, turned, codes_of(patches, fmt), fmt, others, bits, fixed16, seed % 4 < 2)
        expected = expected_outputs(acc, turned, fmt, patches, others)
        assert outputs.tolist() == expected.tolist(), (seed, acc.label)


def patches_of(layer, activations):
    """What each position of each convolution group reads, shape (vectors, channels, kernel positions)."""
    firsts = range(0, layer.filters, layer.filters // layer.conv_groups)
    patches = [stepped.patch(layer, activations, f, q) for f in firsts for q in range(layer.positions)]
    return np.array(patches).astype(activations.dtype).reshape(len(patches), layer.channels, -1)


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
    reached = {"weight": set(), "row": set()}
    for seed in range(150):
        layer, acc, _, weights, _ = random_case(seed)
        r = hw.simulate(acc, layer, hw.Operands(weights))
        reached[acc.serial_unit] |= {c for c in CAUSES if getattr(r, c)}
    assert reached == {"weight": set(CAUSES), "row": set(CAUSES) - {"lane_wait_cycles"}}


# By hand


def test_figure_2_of_the_paper():
    """Six weights as drawn in Fig. 2(a); three rows are kept, which leaves at most two ones of a weight."""
    drawn = [
        (0, "1101100"),
        (-3, "1001111"),
        (-1, "1101000"),
        (-2, "1010100"),
        (-2, "1110100"),
        (-3, "1111000"),
    ]
    w = np.array([[np.ldexp(int(bits, 2), exponent - 6) for exponent, bits in drawn]], np.float32)
    acc, layer = hw.accelerator("bitx", group=6, rows=3, dram=None), hw.Linear("l", 6, 1)
    r = hw.simulate(acc, layer, hw.Operands(w))
    latency = 2 * 4
    assert (r.fill_cycles, r.cycles - latency, r.unpruned_cycles - latency) == (latency, 2, 5)
    assert (r.kept_rows_histogram[3], r.kept_ones_histogram[:3]) == (1, (2, 2, 2))
    # 6 ones in 6 lanes; 23 of them unpruned.
    assert (r.work_cycles, r.unpruned_work_cycles, r.every_bit_cycles) == (1, 4, latency + 24)
    # By hand: cycle 1 is A1 + A3 / 2 + (A4 + A5) / 4, cycle 2 is A1 / 2 + A3 / 4.
    serial = stepped.Serial(acc, layer, codes_of(w, number_format("float32")), number_format("float32"))
    turns = [
        [shift for lane in stepped.turns_of_weights(acc, serial.vectors[0])[0] for shift in lane[t : t + 1]]
        for t in range(2)
    ]
    assert [[(m, e) for ((_, m, e, _),) in turn] for turn in turns] == [
        [(0, 0), (2, -1), (3, -2), (4, -2)],
        [(0, -1), (2, -2)],
    ]  # fmt: skip


def causes_of(acc, layer, weights):
    r = hw.simulate(acc, layer, hw.Operands(weights))
    assert r.cycles == sum(getattr(r, c) for c in CAUSES)
    return tuple(getattr(r, c) for c in CAUSES)


def test_causes_by_hand():
    """Two PEs, two groups each: 1 + 5 ones and 5 + 1, and a third PE without a filter.

    Half of the lanes hold a zero. 3 x 2 lanes would take 12 / 6 = 2 cycles; each filter alone takes 6, an
    even share of which is 12 / 3 = 4. In lock step the groups take 5 + 5 = 10 cycles. Bit-Extraction fills 2
    cycles. Reading 4 groups of 2 bytes takes 8 cycles at 1 byte per cycle, which hides in the 12; at one
    position, 2 groups of 4 bytes of activations take 8.
    """
    w = np.array([[1, 0, 31, 0], [31, 0, 1, 0]], np.int8)
    base = {
        "processing_elements": 3, "group": 2, "rows": 7, "fifo_depth": 0, "pack_zeros": False, "dram": None
    }  # fmt: skip

    def causes(**options):
        return causes_of(hw.accelerator("bitx", **(base | options)), hw.Linear("l", 4, 2), w)

    assert causes() == (2, 2, 2, 2, 4, 0, 0, 0)
    assert causes(fifo_depth=None) == (2, 2, 2, 2, 0, 0, 0, 0)
    assert causes(fifo_depth=1) == (2, 2, 2, 2, 0, 0, 0, 0)
    assert causes(processing_elements=2) == (2, 3, 3, 0, 4, 0, 0, 0)
    assert causes(weight_bytes_per_cycle=1) == (2, 2, 2, 2, 4, 0, 0, 0)
    assert causes(fifo_depth=None, activation_bytes_per_cycle=1) == (2, 2, 2, 2, 0, 0, 0, 0)
    assert causes(fifo_depth=None, processing_elements=2, group=4, weight_bytes_per_cycle=1) == (
        3, 2, 3, 0, 0, 0, 0, 0
    )  # fmt: skip
    assert causes(rows=1, weight_bytes_per_cycle=1) == (2, 1, 1, 0, 0, 4, 0, 0)
    assert causes(rows=1, weight_bytes_per_cycle=2, activation_bytes_per_cycle=1) == (2, 1, 1, 0, 0, 0, 4, 0)
    assert causes(rows=1, output_bytes_per_cycle=1) == (2, 1, 1, 0, 0, 0, 0, 0)
    # One tile for each filter, of 4 bytes: loaded together, or half the buffer holds one, or half of one.
    assert causes(processing_elements=1) == (2, 6, 6, 0, 0, 0, 0, 0)
    assert causes(processing_elements=1, fill="pass") == (4, 6, 6, 0, 0, 0, 0, 0)
    assert causes(processing_elements=1, weight_buffer_bytes=8) == (4, 6, 6, 0, 0, 0, 0, 0)
    assert causes(processing_elements=1, weight_buffer_bytes=4) == (8, 6, 6, 0, 0, 0, 0, 0)
    # Two groups at once: in each filter one CU has 1 one, the other 5.
    assert causes(compute_units=2, cu_operands="weights") == (2, 1, 3, 1, 0, 0, 0, 0)
    # As rows: 1 + 5 and 5 + 1 again.
    assert causes(serial_unit="row") == (2, 4, 0, 2, 4, 0, 0, 0)


def test_queues_before_the_lanes_by_hand():
    """Two lanes with 3, 1, 1, 3 and 1, 3, 3, 1 ones: a barrier at each group costs 12 cycles, none 8.

    With a queue of one, group 2 is taken when both lanes have finished group 0, at 3, and group 3 when
    they have finished group 1, at 4: in time for both. A group of zeros costs every lane a cycle.
    """
    w = np.array([[7, 1, 1, 7, 1, 7, 7, 1]], np.int8)
    base = {"processing_elements": 1, "group": 2, "rows": 7, "pack_zeros": False, "dram": None}
    layer = hw.Linear("l", 8, 1)
    for depth, waits in ((0, 4), (1, 0), (None, 0)):
        acc = hw.accelerator("bitx", **base, lane_fifo_depth=depth)
        assert causes_of(acc, layer, w) == (2, 8, waits, 0, 0, 0, 0, 0)
        w[0, 2:4] = 0
        found = [sum(causes_of(with_options(acc, skip_zero_groups=s), layer, w)[1:]) for s in (False, True)]
        assert found == ([10, 9] if depth == 0 else [8, 7])
        w[0, 2:4] = 1, 7


@pytest.mark.parametrize(("fill", "filled", "waits"), [("pass", 12, 4), ("load", 3, 13)])
def test_ports_meet_a_position_tile_that_is_cut_short(fill, filled, waits):
    layer = hw.Linear("l", 4, 1, positions=10, steps=2)
    w = np.ones((1, 4), np.int8)
    acc = hw.accelerator(
        "bitx",
        processing_elements=1,
        compute_units=3,
        group=4,
        fill=fill,
        output_bytes_per_cycle=1,
        pack_zeros=False,
        dram=None,
    )
    r = hw.simulate(acc, layer, hw.Operands(w))
    # Each step is 3 + 2 positions, of 2 bytes each; a pass alone takes 3 + 1 cycles, or 1 behind another one.
    assert (r.position_tiles, r.fill_cycles, r.compute_cycles, r.output_wait_cycles) == (4, filled, 4, waits)


# Laws


def random_layers(count=60):
    for seed in range(count):
        layer, acc, fmt, weights, _ = random_case(5_000 + seed)
        yield layer, acc, fmt, hw.Operands(weights)


def with_options(acc, **options):
    return hw.accelerator("bitx", **(acc.options | options))


LARGE_BUFFERS = {"weight_buffer_bytes": 1 << 19, "activation_buffer_bytes": 1 << 19}


@pytest.mark.slow
@pytest.mark.parametrize("dram", [None, "DDR4-2400_x64_brc"])
def test_less_in_the_way_is_never_slower(dram):
    for layer, acc, _, operands in random_layers(60 if dram is None else 20):
        acc = with_options(acc, dram=dram, **LARGE_BUFFERS)
        own = {"lane_fifo_depth": (0, 1, 2, 5, None)}
        if acc.serial_unit == "row":
            own = {"rows_per_cycle": (1, 2, 3, 8)}
        for option, values in {
            **own,
            "fifo_depth": (0, 1, 2, 5, None),
            "processing_elements": (1, 2, 4, 8),
            "compute_units": (1, 2, 4),
            "weight_bytes_per_cycle": (1, 2, 7, None),
            "activation_bytes_per_cycle": (1, 2, 7, None),
            "output_bytes_per_cycle": (1, 2, 7, None),
        }.items():
            results = [hw.simulate(with_options(acc, **{option: v}), layer, operands) for v in values]
            assert all(r.compute_cycles <= r.cycles for r in results)
            found = [r.cycles for r in results]
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


def test_without_bounds_a_lane_takes_its_own_ones():
    """And work is the least that PEs can take."""
    checked = 0
    for layer, acc, fmt, operands in random_layers():
        if acc.serial_unit == "row":
            continue
        checked += 1
        ports = dict.fromkeys(
            ("weight_bytes_per_cycle", "activation_bytes_per_cycle", "output_bytes_per_cycle")
        )
        acc = with_options(acc, lane_fifo_depth=None, processing_elements=1, **ports)
        serial = stepped.Serial(acc, layer, codes_of(operands.weights, fmt), fmt)
        at_once = acc.compute_units if acc.cu_operands == "weights" else 1
        cycles = 0
        for groups in serial.vectors:
            counts = np.zeros((-(-len(groups) // at_once) * at_once, acc.group), int)
            for g, group in enumerate(groups):
                counts[g, : len(group.ones)] = [len(ones) for ones in group.ones]
            steps = counts.reshape(-1, at_once * acc.group)
            zeros = 0 if acc.skip_zero_groups else (steps.sum(axis=1) == 0).sum()
            cycles += steps.sum(axis=0).max() + zeros
        r = hw.simulate(acc, layer, operands)
        assert r.cycles - r.fill_cycles == cycles * r.position_tiles
        assert r.work_cycles <= r.cycles - r.fill_cycles
    assert checked > 30


def test_the_pipeline_fills_once_for_each_half_of_a_buffer():
    for layer, acc, fmt, operands in random_layers():
        serial = stepped.Serial(acc, layer, codes_of(operands.weights, fmt), fmt)
        loaded = sum(map(len, serial.vectors)) * -(-acc.group * serial.bits // 8)
        latency = ((acc.group - 1).bit_length() + 1) * (1 + fmt.is_float)
        for size in (40, 75, 1 << 19):
            r = hw.simulate(with_options(acc, fill="load", weight_buffer_bytes=size), layer, operands)
            assert r.fill_cycles == latency * -(-loaded // (size // 2))
        r = hw.simulate(with_options(acc, fill="pass"), layer, operands)
        assert r.fill_cycles == latency * r.filter_tiles * r.position_tiles


@pytest.mark.parametrize("dram", [None, "DDR4-2400_x64_brc"])
def test_keeping_every_row_is_the_unpruned_machine(dram):
    for layer, acc, fmt, operands in random_layers():
        plain = {"criterion": "topn", "threshold": None, "budget": None, "pack_zeros": False}
        plain |= {"rounding": "truncate", "dram": dram}
        if acc.serial_unit == "row":
            window = acc.window or fmt.default_window
            r = hw.simulate(with_options(acc, rows=window, **plain, **LARGE_BUFFERS), layer, operands)
            assert r.cycles == r.unpruned_nonempty_rows_cycles <= r.unpruned_all_rows_cycles
            continue
        whole = with_options(acc, rows=64, window=64, **plain, **LARGE_BUFFERS)
        r = hw.simulate(whole, layer, operands)
        assert r.cycles == r.unpruned_cycles <= r.every_bit_cycles
        assert r.work_cycles == r.unpruned_work_cycles


def test_all_rows_and_every_bit_do_not_depend_on_the_weights():
    """They are read as if every group had all rows, and every weight all bits, which 255 has."""
    for layer, acc, _, _ in random_layers(40):
        acc = with_options(acc, format="uint8", window=None, rounding="truncate")
        rng = np.random.default_rng(layer.macs)
        some = hw.Operands(rng.integers(0, 99, layer.weight_shape).astype(np.uint8), activation_bits=10)
        full = hw.Operands(np.full(layer.weight_shape, 255, np.uint8), activation_bits=10)
        r, whole = hw.simulate(acc, layer, some), hw.simulate(acc, layer, full)
        unpruned = {"rows": 8, "criterion": "topn", "threshold": None, "budget": None, "pack_zeros": False}
        name = "unpruned_all_rows_cycles" if acc.serial_unit == "row" else "every_bit_cycles"
        assert getattr(r, name) == getattr(whole, name)
        unpruned_cycles = hw.simulate(with_options(acc, **unpruned), layer, full).cycles
        if acc.serial_unit == "row" or acc.lane_fifo_depth == 0:
            assert getattr(r, name) == unpruned_cycles
        else:
            assert getattr(r, name) >= unpruned_cycles  # lanes behind a short last group run on


def test_depthwise_layers_fill_once_and_leave_pes_empty():
    layer = hw.Conv("d", in_channels=64, out_channels=64, in_size=(14, 14), kernel=3, padding=1, groups=64)
    w = np.random.default_rng(0).standard_normal(layer.weight_shape).astype(np.float32)
    r = hw.simulate(hw.accelerator("bitx"), layer, hw.Operands(w))
    # A filter has a group of 8 weights and one of 1, on one PE of 512, for 13 tiles of 16 positions.
    kept = np.abs(bx.prune(w, rows=6, group=8).values.reshape(64, 9))
    ones = bx.essential_bits(kept)
    alone = 13 * int((ones[:, :8].max(axis=1) + np.maximum(ones[:, 8], 1)).sum())
    assert (r.fill_cycles, r.compute_cycles, r.lane_wait_cycles) == (2 * 4, 64 * 13, 0)
    assert r.imbalance_cycles == alone - 64 * 13
    every_pass = hw.simulate(hw.accelerator("bitx", fill="pass"), layer, hw.Operands(w))
    assert every_pass.fill_cycles == 2 * 4 * 64 * 13


def test_options_of_the_other_serial_unit_are_refused():
    with pytest.raises(OptionError, match="rows_per_cycle"):
        hw.accelerator("bitx", rows_per_cycle=2)
    with pytest.raises(OptionError, match="lane_fifo_depth"):
        hw.accelerator("bitx", serial_unit="row", lane_fifo_depth=1)
    with pytest.raises(OptionError, match="lane_fifo_depth"):
        hw.accelerator("bitx", serial_unit="row", lane_fifo_depth=None)
    with pytest.raises(OptionError, match="cu_operands"):
        hw.accelerator("bitx", serial_unit="row", cu_operands="weights")
    for option in ("serial_unit", "cu_operands", "fill"):
        with pytest.raises(OptionError, match=option):
            hw.accelerator("bitx", **{option: "both"})


def test_refuses_ports_without_width():
    with pytest.raises(OptionError, match="output_bytes_per_cycle must be an integer of at least 1, got 0"):
        hw.accelerator("bitx", output_bytes_per_cycle=0)
