"""`bitx trace`, and where `bitx simulate` takes operands from."""

import json

import numpy as np
import pytest
import safetensors.numpy

import hwmodel as hw
from bitxcore.store import Store

NEEDY = ("pragmatic", "stripes", "shapeshifter", "laconic", "loom", "bit_tactical", "scnn")
ALL = [arg for name in NEEDY for arg in ("-a", name)]


@pytest.fixture(scope="module")
def digit(tmp_path_factory):
    """A picture of a zero, as scikit-learn has it; and its pixels from 0 to 1."""
    image = pytest.importorskip("PIL.Image")
    pixels = (pytest.importorskip("sklearn.datasets").load_digits().images[0] * 15).astype(np.uint8)
    path = tmp_path_factory.mktemp("digit") / "zero.png"
    image.fromarray(pixels).save(path)
    return path, pixels


@pytest.fixture
def traces(bitx, sample, digit, out):
    bitx("trace", sample, "--input", digit[0], "--scale", 1 / 240, "-o", out / "t.h5")
    return out / "t.h5"


def test_numbers_are_the_librarys(bitx, sample, digit, out):
    path, pixels = digit
    document = bitx.json("trace", sample, "--input", path, "--scale", 1 / 240, "-o", out / "t.h5")
    x = (pixels * (1 / 240)).astype(np.float32)[None, None]
    expected = hw.trace(sample, x, out / "l.h5")
    assert document["layers"] == len(expected.operands) == 13
    assert document["input_sizes"] == {"image": [1, 1, 8, 8]}
    assert [row | {"shape": tuple(row["shape"])} for row in document["operands"]] == [
        vars(row) for row in expected.operands
    ]
    with hw.open_traces(out / "t.h5") as cli, hw.open_traces(out / "l.h5") as library:
        assert all(np.array_equal(cli[name], library[name]) for name in library)


def test_text_and_arrays(bitx, sample, out):
    np.save(out / "x.npy", np.random.default_rng(1).random((2, 1, 8, 8)))
    text = bitx("trace", sample, "--input", out / "x.npy", "--memory", 1, "-o", out / "t.h5").stdout
    assert text.startswith("digits_resnet: 13 layers, the model ran once")
    assert "2x16x8x8" in text
    assert text.splitlines()[-1].startswith(f"wrote {out / 't.h5'} (")
    named = bitx.json("trace", sample, "--input", f"image={out / 'x.npy'}", "-o", out / "n.h5")
    assert named["input_sizes"] == {"image": [2, 1, 8, 8]}


def test_scaling_of_pictures(bitx, sample, digit, out):
    args = ["--scale", 0.5, "--mean", "3", "--std", "2", "-o", out / "t.h5"]
    bitx("trace", sample, "--input", digit[0], *args)
    with hw.open_traces(out / "t.h5") as traces:
        assert np.array_equal(traces["stem"][0, 0], ((digit[1] * 0.5 - 3) / 2).astype(np.float32))


def test_bad_input(bitx, sample, digit, out, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 4, 4), np.float32))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    cases = [
        (sample, ["--input", tmp_path / "x.npy"], "x.npy: input 'image': shape 1x1x4x4 is given"),
        (sample, ["--input", tmp_path / "bad.png"], "bad.png: can't be read"),
        (sample, ["--input", f"x={digit[0]}"], "there is no input 'x'; it has image"),
        (sample, ["--input", digit[0], "--mean", "1,2"], "mean has 2 values, the input has 1 channels"),
        (sample, ["--input", digit[0], "--std", "0"], "std not 0"),
        (sample, ["--input", digit[0], "--size", "M=1"], "no dynamic dimension is called 'M'"),
        (tmp_path / "bad.onnx", ["--input", digit[0]], "bad.onnx: "),
        (tmp_path / "none.onnx", ["--input", digit[0]], "none.onnx: "),
        (tmp_path / "w.npz", ["--input", digit[0]], "only ONNX models can be traced"),
    ]
    for model, args, part in cases:
        assert part in bitx.error("trace", model, *args, "-o", out / "t.h5")
    assert not list(out.iterdir())
    for args in (["--mean", "x"], ["--memory", "0"], ["--input", digit[0]]):
        bitx("trace", sample, "--input", digit[0], *args, "-o", out / "t.h5", code=2)


# -- simulate ----------------------------------------------------------------------------------


def test_a_digit_on_every_machine_that_looks_at_activations(bitx, sample, traces, out):
    document = bitx.json("simulate", sample, "--traces", traces, *ALL, "-o", out / "r.h5")
    machines = [hw.accelerator(name) for name in NEEDY]
    with hw.open_traces(traces) as opened:
        run = hw.simulate_network(machines, hw.load_network(sample), traces=dict(opened))
    assert [row["cycles"] for row in document["layers"]] == [row.cycles for row in run.layers]
    assert not any("seed" in note for row in document["layers"] for note in row["notes"])
    with Store.open(out / "r.h5") as store:
        assert [item.path for item in store.provenance.inputs] == [str(sample), str(traces)]
    stand_in = bitx.json("simulate", sample, *ALL)
    assert "stand-in activations in 13 layers: relu-normal, seed 0" in stand_in["notes"]
    for name, total, other in zip(NEEDY, document["totals"], stand_in["totals"], strict=True):
        assert (total["cycles"] == other["cycles"]) == (name == "stripes")  # no precision is given


def test_sizes_are_those_of_the_trace(bitx, sample, out):
    np.save(out / "x.npy", np.ones((3, 1, 8, 8), np.float32))
    bitx("trace", sample, "--input", out / "x.npy", "-o", out / "t.h5")
    document = bitx.json("simulate", sample, "--traces", out / "t.h5", "-a", "pragmatic")
    assert document["macs"] == hw.load_network(sample, sizes={"N": 3}).macs
    message = bitx.error("simulate", sample, "--traces", out / "t.h5", "--size", "N=2", "-a", "pragmatic")
    assert "t.h5: activations of layer 'stem' were recorded with shape (3, 1, 8, 8)" in message
    assert "no such file" in bitx.error("simulate", sample, "--traces", out / "none.h5")
    assert "holds no traces" in bitx.error("simulate", sample, "--traces", other_store(out))


def other_store(out):
    with Store.create(out / "s.h5") as store:
        store.write_table("t", {"a": [1]}, units={"a": "1"})
    return out / "s.h5"


def test_stand_ins(bitx, sample):
    args = ["simulate", sample, "--size", "N=1", "-a", "pragmatic", "-a", "dadiannao"]
    document = bitx.json(*args, "--activations", "laplace:zeros=0.3,seed=4")
    notes = {row["accelerator"]: row["notes"] for row in document["layers"]}
    assert notes == {"pragmatic": ["stand-in activations: laplace, zeros 0.3, seed 4"], "dadiannao": []}
    assert "note: stand-in activations in 13 layers: relu-normal, seed 0" in bitx(*args).stdout
    text = bitx(*args, "--notes").stdout
    assert "note, pragmatic: 13 layers: stand-in activations: relu-normal, seed 0" in text
    assert "distribution 'gauss' is none of" in bitx.error(*args, "--activations", "gauss")


def test_precisions(bitx, sample, traces, out):
    args = ["simulate", sample, "--traces", traces, "-a", "stripes", "-a", "pragmatic"]
    profiled = bitx.json(*args, "--precisions", "profile:0.02")
    with hw.open_traces(traces) as opened:
        found = hw.profile_precisions(hw.load_network(sample), sample, opened, error=0.02)
    for row in profiled["layers"]:
        assert row["notes"] == [found[row["layer"]].note]
    assert "1 layers: precision" not in bitx(*args, "--precisions", "profile").stdout
    (out / "p.json").write_text(json.dumps({name: vars(p) for name, p in found.items()}))
    given = bitx.json(*args, "--precisions", out / "p.json", "-o", out / "r.h5")
    assert [r["cycles"] for r in given["layers"]] == [r["cycles"] for r in profiled["layers"]]
    with Store.open(out / "r.h5") as store:
        assert str(out / "p.json") in [item.path for item in store.provenance.inputs]
    assert "p.csv: does not exist" in bitx.error(*args, "--precisions", out / "p.csv")
    explained = bitx.json(*args, "--precisions", "8", "--explain")
    for total, found in zip(explained["totals"], explained["explanations"], strict=True):
        wider = next(c for c in found["changes"] if c["options"] == {"columns": 32})
        assert found["cycles"] == total["cycles"] == wider["cycles"] + wider["saved_cycles"]


# -- weights -----------------------------------------------------------------------------------


def table(tmp_path, layers=3):
    """A table of equal layers but for the last."""
    from hwmodel.networks.network import Network, NetworkLayer
    from hwmodel.networks.tables import network_to_table

    entries = [
        NetworkLayer(hw.Linear(f"l{i}", in_features=8, out_features=6 + i), f"l{i}.weight")
        for i in range(layers)
    ]
    path = tmp_path / "net.json"
    path.write_text(json.dumps(network_to_table(Network("net", tuple(entries), "made up"))))
    return path


def weights(path, **shapes):
    rng = np.random.default_rng(2)
    safetensors.numpy.save_file(
        {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}, path
    )
    return path


def test_weights_are_matched(bitx, tmp_path, out):
    shapes = {"l0.weight": (6, 8), "module.l1.weight": (7, 8), "other": (8, 8), "left": (3, 3)}
    path, net = weights(tmp_path / "w.safetensors", **shapes), table(tmp_path)
    document = bitx.json("simulate", net, "--weights", path, "-a", "bitx", "-o", out / "r.h5")
    matches = {m["layer"]: (m["tensor"], m["rule"]) for m in document["matching"]["matches"]}
    assert matches == {
        "l0": ("l0.weight", "by name"),
        "l1": ("module.l1.weight", "by normalised name"),
        "l2": ("other", "by shape"),
    }
    assert document["matching"]["unused"] == ["left"]
    loaded = safetensors.numpy.load_file(path)
    for row, (layer, (tensor, _)) in zip(document["layers"], matches.items(), strict=True):
        alone = hw.simulate(hw.accelerator("bitx"), hw.load_network(net).layers[int(layer[1])].layer,
                            hw.Operands(loaded[tensor]))  # fmt: skip
        assert row["cycles"] == alone.cycles
    text = bitx("simulate", net, "--weights", path, "-a", "bitx").stdout
    assert (
        "note: weights of 3 of 3 layers matched (1 by name, 1 by normalised name, 1 by shape);"
        " tensors not used: left" in text
    )
    with Store.open(out / "r.h5") as store:
        assert [item.path for item in store.provenance.inputs] == [str(path), str(net)]


def test_layers_without_weights_and_ambiguous_ones(bitx, tmp_path):
    net = table(tmp_path)
    path = weights(tmp_path / "some.safetensors", **{"l0.weight": (6, 8)})
    text = bitx("simulate", net, "--weights", path, "-a", "bitx", "-a", "dadiannao").stdout
    assert "not applicable on bitx: 2 × no weights matched: l1, l2" in text
    assert "weights of 1 of 3 layers matched (1 by name); not matched: l1, l2" in text
    document = bitx.json("simulate", net, "--weights", path, "-a", "bitx", "-a", "dadiannao")
    assert document["matching"]["unmatched"] == {"l1": "no weights matched", "l2": "no weights matched"}
    assert [total["layers"] for total in document["totals"]] == [1, 3]
    path = weights(tmp_path / "two.safetensors", a=(6, 8), b=(6, 8))
    message = bitx.error("simulate", net, "--weights", path, "-a", "bitx")
    assert (
        "1 layers and 2 tensors have the same shapes, but not in the same order: layers l0; tensors a, b"
        in message
    )
    path = weights(tmp_path / "none.safetensors", a=(1, 2))
    assert "no tensor matches any layer" in bitx.error("simulate", net, "--weights", path, "-a", "bitx")


def test_synthetic_weights(bitx, tmp_path, sample):
    net = table(tmp_path)
    document = bitx.json(
        "simulate", net, "--weights", "synthetic:laplace,zeros=0.5", "-a", "bitx", "-a", "scnn"
    )
    note = "synthetic weights: laplace, zeros 0.5, seed 0"
    assert all(note in row["notes"] for row in document["layers"])
    assert "synthetic weights in 3 layers: laplace, zeros 0.5, seed 0" in document["notes"]
    assert document["matching"] is None
    machines = [hw.accelerator("bitx"), hw.accelerator("scnn")]
    run = hw.simulate_network(machines, hw.load_network(net), weights="laplace:zeros=0.5")
    assert [row["cycles"] for row in document["layers"]] == [row.cycles for row in run.layers]
    # Of a model with weights they replace these.
    own = bitx.json("simulate", sample, "--size", "N=1", "-a", "bitx")
    drawn = bitx.json(
        "simulate", sample, "--size", "N=1", "-a", "bitx", "--weights", "synthetic:normal,zeros=0.9"
    )
    assert drawn["totals"][0]["cycles"] != own["totals"][0]["cycles"]
    assert "synthetic weights in 13 layers: normal, zeros 0.9, seed 0" in drawn["notes"]
    assert "is none of" in bitx.error("simulate", net, "--weights", "synthetic:x", "-a", "bitx")
    usage = bitx("simulate", net, "--weights", "synthetic", "--network", "resnet18", code=2)
    assert "give one of them" in usage.stderr
    usage = bitx("simulate", net, code=2)
    assert "--weights DUMP, or --weights synthetic" in usage.stderr


def test_synthetic_operands_are_explained_too(bitx, tmp_path):
    text = bitx(
        "simulate", table(tmp_path), "--weights", "synthetic", "-a", "pragmatic", "-a", "bitx", "--explain"
    )
    assert "stand-in activations in 3 layers" in text.stdout


def test_norms_for_calibrated_pruning(bitx, sample, out):
    import bitxcore as bx
    from bitxcore.batch import prune_dump

    x = np.random.default_rng(1).random((6, 1, 8, 8)).astype(np.float32)
    np.save(out / "x.npy", x)
    args = ["--input", out / "x.npy", "--norms", "-o", out / "n.h5"]
    document = bitx.json("trace", sample, *args, "--batch", 3)
    assert document["runs"] == 2
    assert document["tensors"][0]["tensor"] == "stem.weight"
    text = bitx("trace", sample, *args).stdout
    assert text.startswith("digits_resnet: 13 tensors, the model ran once")
    how = ["--criterion", "calibrated", "--norms", out / "n.h5", "--rows", 3]
    pruned = bitx.json("prune", sample, *how, "-o", out / "p.onnx")
    assert pruned["parameters"]["norms"] == str(out / "n.h5")
    with bx.open_dump(sample) as dump:
        norms = hw.open_norms(out / "n.h5")
        rows = prune_dump(dump, out / "l.onnx", criterion="calibrated", norms=norms, rows=3)
    assert (out / "p.onnx").read_bytes() == (out / "l.onnx").read_bytes()
    assert [row["relative_error"] for row in pruned["tensors"]] == [row.relative_error for row in rows]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["prune", "--criterion", "calibrated", "-o", "p.onnx"], "--criterion calibrated needs --norms"),
        (["prune", "--norms", "n.h5", "-o", "p.onnx"], "--norms needs --criterion calibrated"),
        (["trace", "--input", "x.npy", "--batch", "2", "-o", "t.h5"], "--batch needs --norms"),
    ],
)
def test_options_that_belong_together(bitx, sample, args, said):
    assert said in bitx(args[0], sample, *args[1:], code=2).output
