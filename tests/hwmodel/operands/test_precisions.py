"""Precisions of layers: profiled, from a file, or one number."""

import json

import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import BitxError, DumpError, OptionError, TensorError
from hwmodel.operands.precisions import fixed_point, precisions_of

RNG = np.random.default_rng(8)
LAYER = hw.Linear("l", in_features=64, out_features=16, positions=8)
NETWORK = hw.Network(
    "small",
    (hw.NetworkLayer(LAYER, "w"), hw.NetworkLayer(hw.MatMul("m", rows=4, inner=8, columns=2))),
    source="a test",
)
WEIGHTS = {"w": RNG.standard_normal((16, 64)).astype(np.float32)}
TRACES = {
    "l": np.maximum(RNG.standard_normal((8, 64)), 0).astype(np.float32),
    "m": RNG.standard_normal((1, 4, 8)).astype(np.float32),
}


def relative_error(x, codes, scale):
    return np.linalg.norm(codes * scale - x) / np.linalg.norm(x)


@pytest.mark.parametrize("error", [0.1, 0.01, 0.001])
@pytest.mark.parametrize(
    "x", [WEIGHTS["w"], TRACES["l"], TRACES["l"].astype(np.float16)], ids=["w", "a", "half"]
)
def test_smallest_precision_within_the_bound(x, error):
    bits = hw.needed_bits(x, error)
    negative = bool((x < 0).any())
    wide = x.astype(np.float64)
    for p, within in ((bits, True), (bits - 1, False)):
        fixed = bx.quantize(x, p + (not negative))  # without negative values all p bits are magnitude
        assert fixed.codes.min() >= (-(1 << p - 1) if negative else 0)
        assert fixed.codes.max() < 1 << (p - negative)
        assert (relative_error(wide, fixed.codes, fixed.scale) <= error) == within
    assert hw.needed_bits(x, error, signed=True) - bits == (0 if negative else 1)
    hw.Operands(activations=fixed_point(x, bits).codes, activation_bits=bits).check(
        hw.Linear("l", in_features=x.shape[1], out_features=1, positions=x.shape[0])
    )


def test_limits_of_profiling():
    assert hw.needed_bits(np.zeros(4, np.float32)) == 1
    assert hw.needed_bits(np.array([1.0, 0, 0])) == 1
    assert hw.needed_bits(np.array([1.0, -1, 0])) == 2
    assert hw.needed_bits(RNG.standard_normal(100), 1e-9) == 16
    with pytest.raises(TensorError, match=r"\[1\]|index 1|1"):
        hw.needed_bits(np.array([1.0, np.nan], np.float32))
    with pytest.raises(OptionError, match="between 0 and 1, got 0"):
        hw.Profile(0)


@pytest.mark.parametrize(
    ("values", "bits"), [([0, 0], 1), ([0, 1], 1), ([0, 255], 8), ([-1, 0], 1), ([-4, 3], 3), ([-5, 3], 4)]
)
def test_integers_are_kept_exactly(values, bits):
    x = np.array(values, np.int16)
    assert hw.needed_bits(x) == bits
    hw.Operands(activations=x, activation_bits=bits).check(hw.Linear("l", 2, 1))


def test_profile_of_a_network():
    found = hw.profile_precisions(NETWORK, WEIGHTS, TRACES, error=0.02)
    assert found == {
        "l": hw.Precision(hw.needed_bits(TRACES["l"], 0.02), hw.needed_bits(WEIGHTS["w"], 0.02)),
        "m": hw.Precision(hw.needed_bits(TRACES["m"], 0.02), None),
    }
    assert hw.profile_precisions(NETWORK) == {"l": hw.Precision(), "m": hw.Precision()}
    drawn = hw.profile_precisions(NETWORK, weights="laplace", activations="relu-normal")
    assert drawn["l"].weight_bits == hw.needed_bits(hw.synthetic_weights(NETWORK, "laplace")["w"])
    assert drawn["l"].activation_bits == hw.needed_bits(hw.stand_ins(NETWORK)["l"])


def test_what_machines_are_given():
    machines = [hw.accelerator(n) for n in ("stripes", "pragmatic", "loom", "laconic", "bitx")]
    found = hw.profile_precisions(NETWORK, WEIGHTS, TRACES)
    p = found["l"]
    for given in ("profile", hw.Profile(), found):
        run = hw.simulate_network(machines, NETWORK, dump=WEIGHTS, traces=TRACES, precisions=given)
        rows = {r.accelerator: r for r in run.layers if r.layer == "l"}
        assert p.note in rows["stripes"].notes
        integers = hw.Operands(
            bx.quantize(WEIGHTS["w"], p.weight_bits).codes,
            bx.quantize(TRACES["l"], p.activation_bits + 1).codes,
            p.weight_bits,
            p.activation_bits,
        )
        for machine in machines[:4]:
            assert rows[machine.label].cycles == hw.simulate(machine, LAYER, integers).cycles
        # BitX prunes the floats themselves.
        floats = hw.Operands(WEIGHTS["w"], None, p.weight_bits, p.activation_bits)
        assert rows["bitx"].cycles == hw.simulate(machines[4], LAYER, floats).cycles
    stripes = hw.simulate_network(machines[0], NETWORK, precisions=8).layers[0]
    wide = hw.simulate_network(machines[0], NETWORK).layers[0]
    assert stripes.compute_cycles * 2 == wide.compute_cycles
    assert wide.notes == ()


def test_run_says_where_precisions_come_from():
    machine = hw.accelerator("stripes")

    def notes(given):
        return hw.simulate_network(machine, NETWORK, traces=TRACES, precisions=given).notes

    bits = sorted(hw.needed_bits(x, 0.05) for x in TRACES.values())
    profiled = (
        f"precisions profiled, relative error of a tensor up to 0.05: activations {bits[0]} to {bits[1]} bits"
    )
    assert notes("profile:0.05") == (profiled,)
    assert notes(9) == ("precisions given: activations 9 bits, weights 9 bits",)
    assert notes({"l": hw.Precision(7)}) == ("precisions given: activations 7 to 16 bits",)
    assert notes(None) == ()


def test_files(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"l": {"activation_bits": 9}, "m": {"weight_bits": 8}}))
    (tmp_path / "p.csv").write_text("layer,weight_bits,activation_bits\nl,,9\nm,8,\n\n")
    expected = {"l": hw.Precision(9, None), "m": hw.Precision(None, 8)}
    assert hw.read_precisions(tmp_path / "p.json") == expected == hw.read_precisions(tmp_path / "p.csv")
    assert precisions_of(str(tmp_path / "p.csv")) == expected
    run = hw.simulate_network(
        hw.accelerator("stripes"), NETWORK, precisions=tmp_path / "p.json", store=tmp_path / "r.h5"
    )
    assert run.layers[0].notes == ("precision in fixed point: activations 9 bits",)


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("p.txt", "", "p.txt: precisions are a .json or a .csv file"),
        ("p.json", "{", "p.json: is not JSON"),
        ("p.json", "[1]", "p.json: must be a JSON object"),
        ("p.json", '{"l": 3}', "layer 'l': must have activation_bits and weight_bits, got 3"),
        ("p.json", '{"l": {"bits": 3}}', "layer 'l': must have"),
        ("p.json", '{"l": {"weight_bits": 17}}', "layer 'l': weight_bits must be an integer from 1 to 16"),
        ("p.json", '{"l": {"weight_bits": 8.5}}', "weight_bits must be an integer from 1 to 16, got 8.5"),
        ("p.json", '{"l": {}, "l": {}}', "layer 'l' is there twice"),
        ("p.json", '{"x": {"weight_bits": 8}}', "network 'small' has no layer 'x'"),
        ("p.csv", "", "the first line must be layer,activation_bits,weight_bits"),
        ("p.csv", "layer,activation_bits,weight_bits\nl,1\n", "line 2 has 2 fields, not 3"),
        ("p.csv", "layer,activation_bits,weight_bits\nl,x,1\n", "activation_bits must be an integer"),
        ("p.csv", "layer,activation_bits,weight_bits\nl,1,1\nl,1,1\n", "layer 'l' is there twice"),
    ],
)
def test_bad_files(tmp_path, name, text, part):
    (tmp_path / name).write_text(text)
    with pytest.raises(BitxError) as raised:
        hw.simulate_network(hw.accelerator("stripes"), NETWORK, precisions=tmp_path / name)
    assert part in str(raised.value)
    assert "\n" not in str(raised.value)


def test_other_bad_precisions(tmp_path):
    machine = hw.accelerator("stripes")
    for given, part in (
        (0, "from 1 to 16, got 0"),
        ("17", "from 1 to 16, got 17"),
        ("profile:x", "could not convert"),
        ("profile:2", "between 0 and 1"),
        ({"x": hw.Precision(3)}, "no layer 'x'"),
    ):
        with pytest.raises(OptionError, match=part):
            hw.simulate_network(machine, NETWORK, precisions=given)
    with pytest.raises(DumpError, match=r"none\.json: does not exist"):
        hw.simulate_network(machine, NETWORK, precisions=str(tmp_path / "none.json"))
    bad = TRACES | {"l": np.full((8, 64), np.inf, np.float32)}
    with pytest.raises(TensorError, match="layer 'l'"):
        hw.simulate_network(machine, NETWORK, traces=bad, precisions="profile")
