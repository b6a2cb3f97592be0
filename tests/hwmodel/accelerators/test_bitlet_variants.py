"""Bitlet's variants: against naive PEs that move single ones, and against the manual of the IP."""

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import stepped_essential_bits as stepped
from essential_bit_cases import DEPTHS, LAYER, bitlet_operands, cycles, simulate, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import layers

import hwmodel as hw
from bitxcore.errors import OptionError, TensorError
from hwmodel.accelerators.engines.bit_rows import fixed_cycles, float_cycles
from hwmodel.accelerators.engines.float_parts import float32_parts
from hwmodel.accelerators.engines.row_walks import RowWalk

VECTORS = Path(__file__).parent / "data" / "bitlet-ip-vectors.csv"
# Manual of the IP, v11.0: cycles (Table 4.10) and result (Sec. 4.2, Table 4.9), without and with pruning.
# The manual prints T06's unpruned reference as its pruned result, a slip of copying.
PUBLISHED = {
    "T01": ((63, -3.666779041290283), (50, -3.700136184692383)),
    "T02": ((67, 0.385515958070755), (54, 0.38472646474838257)),
    "T03": ((62, -1.4899413585662842), (52, -1.4869602918624878)),
    "T04": ((63, -0.09360458701848984), (57, -0.0987386628985405)),
    "T05": ((63, -1.4142440557479858), (55, -1.4157835245132446)),
    "T06": ((62, -1.3206576108932495), (54, None)),
}
VARIANTS = ["rtl", "paper", "ip"]
WALKS = [
    RowWalk(look=8),
    RowWalk(look=12, stops_early=True),
    RowWalk(look=13),
    RowWalk(look=64),
    RowWalk(look=64, walk="next"),
    RowWalk(look=2, walk="next"),
    RowWalk(look=8, walk="next", stops_early=True),
    RowWalk(look=31, walk="next", pads_groups=True),
]
COUNTS = pytest.mark.parametrize("count", [300, pytest.param(4000, marks=pytest.mark.slow)])


def vector(test):
    """Weights and activations of one of the manual's tests, in input order."""
    with VECTORS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["test"] == test]
    assert [int(row["index"]) for row in rows] == list(range(64))
    return (np.array([float(row[name]) for row in rows], np.float32) for name in ("weight", "activation"))


def step_rows(words, factors, bits, rows, members):
    """Move single ones through all rows of a PE at once, until the slowest row is done.

    Returns the cycles and the sum of what the rows took, the lowest of the `bits` bits counting 1.
    """
    lanes = list(range(bits))
    at = dict.fromkeys(lanes, 0)
    clock = total = 0
    taken = set()
    while True:
        running = []
        for b in lanes:
            ahead = [i for i in range(at[b], len(words)) if words[i] >> b & 1]
            if at[b] < members and (ahead or not rows.stops_early):
                running.append((b, [i for i in ahead if i < at[b] + rows.look]))
        if not running:
            break
        for b, seen in running:
            to = at[b] + rows.look
            if seen:
                assert (b, seen[0]) not in taken
                taken.add((b, seen[0]))
                total += factors[seen[0]] << b
                if rows.walk == "next":
                    to = seen[0] + 1
                elif len(seen) > 1:
                    to = seen[1]
            at[b] = to
        clock += 1
    assert len(taken) == sum(word.bit_count() for word in words)
    return max(clock, 1), total


def step_float(weight_values, activation_values, kept_rows, rows, members):
    """Cycles of a group of floats and its exact sum, as a fraction."""
    parts = [stepped.float32_parts(float(w)) for w in weight_values]
    factors = [stepped.float32_parts(float(a)) for a in activation_values]
    exponents = [e + x for (e, _), (x, _) in zip(parts, factors, strict=True)]
    words = [s >> max(exponents) - e >> 24 - kept_rows for (_, s), e in zip(parts, exponents, strict=True)]
    signs = np.signbit(weight_values) ^ np.signbit(activation_values)
    signed = [-s if negative else s for (_, s), negative in zip(factors, signs, strict=True)]
    clock, total = step_rows(words, signed, kept_rows, rows, members)
    return clock, total * Fraction(2) ** (max(exponents) - 2 * 150 + 24 - kept_rows)


def as_naive(rows, members):
    return rows, 64 if rows.pads_groups else members


@COUNTS
def test_fixed_groups_equal_naive_pes(count):
    rng = np.random.default_rng(1)
    for rows in WALKS:
        members = int(rng.integers(40, 65))
        w = rng.integers(0, 256, (count // 8, members)).astype(np.uint32)
        w &= rng.integers(0, 256, w.shape, np.uint32)
        w[rng.random(w.shape) < rng.random((len(w), 1))] = 0  # every group has a density of its own
        found, ones = fixed_cycles(w, group=64, rows=rows, bit_rows=8)
        naive = [step_rows(g, [1] * members, 8, *as_naive(rows, members)) for g in w.tolist()]
        assert found[:, 0].tolist() == [c for c, _ in naive]
        assert ones == np.bitwise_count(w).sum()
        assert w.sum(axis=1).tolist() == [total for _, total in naive]


@COUNTS
def test_float_groups_equal_naive_pes_in_cycles_and_sums(count):
    rng = np.random.default_rng(2)
    for i in range(count):
        rows, kept = WALKS[i % len(WALKS)], (24, 8, 15)[i % 3]
        members = int(rng.integers(1, 65))
        w, a = rng.standard_normal((2, members)) * 2.0 ** rng.integers(-12, 4, (2, members))
        w[rng.random(members) < 0.2] = 0
        a[rng.random(members) < 0.2] = 0
        w, a = w.astype(np.float32), a.astype(np.float32)
        (e, s), (x, _) = float32_parts("w", w), float32_parts("a", a)
        found, _ = float_cycles(
            s[None] >> np.uint32(24 - kept), e[None], x[None], group=64, rows=rows, bit_rows=kept
        )
        clock, total = step_float(w, a, kept, *as_naive(rows, members))
        assert found[0, 0, 0] == clock
        machine = hw.accelerator("bitlet", numbers="float", kept_rows=kept)
        assert float(machine.group_sums(w, a)) == float(total)


@pytest.mark.parametrize("members", [1, 2, 7, 12])
@pytest.mark.parametrize("walk", ["second", "next"])
@pytest.mark.parametrize("stops_early", [False, True])
@pytest.mark.parametrize("look", [1, 2, 3, 8, 12, 13, 40])
def test_all_short_rows(members, walk, stops_early, look):
    rows = RowWalk(look=look, walk=walk, stops_early=stops_early)
    patterns = np.arange(1 << members, dtype=np.uint32)
    bits = patterns[:, None] >> np.arange(members, dtype=np.uint32) & np.uint32(1)
    found = fixed_cycles(bits, group=64, rows=rows, bit_rows=1)[0][:, 0]
    naive = [stepped.row_cycles(row, look, walk, stops_early) for row in bits.tolist()]
    assert found.tolist() == [max(c, 1) for c in naive]


@given(st.data())
@settings(max_examples=60)
def test_equals_its_stepped_model(data):
    numbers = data.draw(st.sampled_from(["fixed", "float"]))
    variant = data.draw(st.sampled_from(VARIANTS))
    layer = data.draw(layers())
    machine = hw.accelerator(
        "bitlet",
        dram=None,
        variant=variant,
        numbers=numbers,
        pe_rows=data.draw(st.integers(1, 4)),
        pe_columns=data.draw(st.integers(1, 3)),
        group=data.draw(st.sampled_from([3, 8, 20, 64])),
        look=data.draw(st.sampled_from([None, 8, 12] if variant == "rtl" else [None, 8, 9, 33, 64])),
        walk=data.draw(st.sampled_from([None, "second", "next"])),
        stops_early=data.draw(st.booleans()),
        pads_groups=data.draw(st.sampled_from([None, False, True])),
        kept_rows=data.draw(st.sampled_from([None, 1, 8])) if numbers == "float" else None,
        double_buffered=data.draw(st.booleans()),
        fifo_depth=data.draw(DEPTHS),
    )
    w, a = bitlet_operands(data, layer, numbers)
    result = simulate(machine, layer, w, a)
    assert result.cycles == stepped.bitlet(machine, layer, a, w)
    assert 0 <= result.utilisation <= 1


@pytest.mark.parametrize("test", PUBLISHED)
@pytest.mark.parametrize("pruned", [False, True])
def test_the_manuals_vectors(test, pruned):
    w, a = vector(test)
    machine = hw.accelerator(
        "bitlet", variant="ip", numbers="float", kept_rows=8 if pruned else None, dram=None
    )
    published, value = PUBLISHED[test][pruned]
    assert simulate(machine, hw.Linear("fc", 64, 1), w[None], a).cycles == published
    own = float(machine.group_sums(w, a))
    kept = machine.working_rows
    assert step_float(w, a, kept, RowWalk(look=2, walk="next"), 64) == (published - 17, Fraction(own))
    if value is None:
        assert own == pytest.approx(-1.320286, abs=9e-7)
    else:
        assert own == pytest.approx(value, abs=9e-7 if pruned else 7e-6)


def test_no_other_rule_meets_the_manuals_counts():
    layer = hw.Linear("fc", 64, 1)
    for options in ({"look": 4}, {"look": 8}, {"walk": "second"}, {"stops_early": True}):
        apart = set()
        for test, counts in PUBLISHED.items():
            w, a = vector(test)
            for kept, (published, _) in zip((24, 8), counts, strict=True):
                machine = hw.accelerator(
                    "bitlet", variant="ip", numbers="float", kept_rows=kept, dram=None, **options
                )
                apart.add(published - simulate(machine, layer, w[None], a).cycles)
        assert len(apart) > 1


def test_fig_4_takes_3_cycles():
    w = np.array([[12.625, 5.15625, 9.75, 1.625, 0.25, 76.25]], np.float32)
    layer = hw.Linear("fc", 6, 1)
    machine = hw.accelerator("bitlet", variant="paper", numbers="float", dram=None)
    assert simulate(machine, layer, w, np.ones(6, np.float32)).cycles == 13 + 3
    words = stepped.aligned(w[0], np.ones(6), 24)
    # Lane 0 is the top one; all ones lie in the first twelve.
    lanes = [sum(s >> 23 - b & 1 for s in words) for b in range(24)]
    assert lanes == [1, 0, 0, 3, 3, 0, 3, 3, 3, 3, 0, 1] + [0] * 12
    assert machine.group_sums(w[0], np.ones(6, np.float32)) == w.sum()


@pytest.mark.parametrize(("variant", "fixed", "floating"), [("paper", 10, 13), ("ip", 17, 17)])
def test_overheads(variant, fixed, floating):
    layer = hw.Linear("fc", 640, 1)
    w = np.full((1, 640), 0x7FFF)
    ones = np.ones((1, 640), np.float32)
    machine = hw.accelerator("bitlet", variant=variant, numbers="float", dram=None)
    assert cycles("bitlet", layer, w, variant=variant) == 10 * (fixed + 64)
    assert simulate(machine, layer, ones, ones).cycles == 10 * (floating + 64)
    # One for all sizes of a group: the paper's N + 10.
    assert cycles("bitlet", layer, w, variant=variant, group=32) == 20 * (fixed + 32)
    assert cycles("bitlet", layer, w, variant=variant, group=1) == 640 * (fixed + 1)
    assert cycles("bitlet", layer, w, variant=variant, double_buffered=True) == fixed + 640
    empty = {"paper": 8, "ip": 32}[variant]
    assert cycles("bitlet", layer, w * 0, variant=variant) == 10 * (fixed + empty)
    assert cycles("bitlet", layer, w * 0, variant=variant, stops_early=True) == 10 * (fixed + 1)


def test_an_unlimited_window_takes_the_ones_of_the_fullest_row():
    w = weights(LAYER, 3, 0.8)[:1]
    layer = hw.Linear("fc", 64, 1)
    w = w.reshape(1, -1)[:, :64]
    fullest = (np.abs(w)[..., None] >> np.arange(16) & 1).sum(axis=1).max()
    assert cycles("bitlet", layer, w, variant="paper", look=64) == 10 + fullest


@pytest.mark.parametrize("variant", VARIANTS)
@given(st.integers(0, 1000))
@settings(max_examples=5)
def test_double_buffering_never_takes_longer(variant, seed):
    w = weights(LAYER, seed)
    alone = cycles("bitlet", LAYER, w, variant=variant)
    assert cycles("bitlet", LAYER, w, variant=variant, double_buffered=True) <= alone


def test_bitlet_x_gates_rows_but_has_them():
    rng = np.random.default_rng(7)
    w = rng.standard_normal(LAYER.weight_shape).astype(np.float32)
    a = rng.standard_normal(LAYER.input_count).astype(np.float32)
    whole, x = (
        hw.accelerator("bitlet", variant="paper", numbers="float", kept_rows=k, dram=None) for k in (None, 8)
    )
    assert x.area_mm2 == whole.area_mm2
    before, after = simulate(whole, LAYER, w, a), simulate(x, LAYER, w, a)
    assert after.cycles < before.cycles
    assert after.energy_parts_j["row_windows"] < before.energy_parts_j["row_windows"] / 3
    assert after.dram_bytes < before.dram_bytes
    assert x.float_bits == 16
    # Cutting the stored weight cuts nothing that alignment would have left in the top 8 rows.
    stored = (w.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    assert simulate(x, LAYER, stored, a).cycles == after.cycles
    assert (x.group_sums(stored[0, 0], w[0, 0]) == x.group_sums(w[0, 0], w[0, 0])).all()


def test_changes_are_those_of_its_window():
    words = {change.words for change in hw.accelerator("bitlet").own_changes()}
    assert "look=16 instead of 8" in words
    assert "look=4 instead of 2" in {c.words for c in hw.accelerator("bitlet", variant="ip").own_changes()}
    x = hw.accelerator("bitlet", numbers="float", kept_rows=8)
    assert not any("kept_rows" in change.words for change in x.own_changes())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "asic"}, "variant must be one of rtl, paper, ip, got 'asic'"),
        ({"variant": "paper", "look": 7}, "look must be an integer of at least 8, got 7"),
        ({"variant": "paper", "look": 65}, "look must be at most 64, got 65"),
        ({"look": 0}, "look must be an integer of at least 1, got 0"),
        ({"walk": "back"}, "walk must be one of second, next, got 'back'"),
        ({"kept_rows": 8}, "kept_rows needs numbers='float', got numbers='fixed'"),
        ({"kept_rows": 9, "bit_rows": 8, "numbers": "float"}, "kept_rows must be at most 8, got 9"),
        ({"kept_rows": 0, "numbers": "float"}, "kept_rows must be an integer of at least 1, got 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("bitlet", **options)


def test_sums_of_bad_groups_are_refused():
    machine = hw.accelerator("bitlet", numbers="float")
    with pytest.raises(TensorError, match=r"weights of shape \(3,\) and activations of \(4,\)"):
        machine.group_sums(np.ones(3), np.ones(4))
    with pytest.raises(TensorError, match=r"groups must have 1 to 64 members, got shape \(2, 65\)"):
        machine.group_sums(np.ones((2, 65)), np.ones((2, 65)))
    with pytest.raises(TensorError, match=r"activations \[1\] = inf is not finite in float32"):
        machine.group_sums(np.ones(2), np.array([1, np.inf]))
