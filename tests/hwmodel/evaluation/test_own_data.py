"""A user's own models and data: what is odd is told, and nothing that is read is replaced."""

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner

import hwmodel as hw
from bitxcore.errors import BitxError
from hwmodel.cli import group
from hwmodel.evaluation import Evaluator, Setting, evaluate, search_rows
from hwmodel.evaluation.tasks.labelled import Labelled

onnx = pytest.importorskip("onnx")


def bitx(*args, code=0):
    found = CliRunner().invoke(group, ["evaluate", *map(str, args)])
    assert found.exit_code == code, found.output
    return found


def digests(folder):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def save(path, nodes, tensors, inputs, outputs):
    """Write a graph; inputs and outputs are (name, type, sizes)."""
    make = onnx.helper
    graph = make.make_graph(
        [make.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "own",
        [make.make_tensor_value_info(*value) for value in inputs],
        [make.make_tensor_value_info(*value) for value in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("target", ["tiny.onnx", "arrays.npz", "table.csv", "pictures/a/00.png", "rows.json"])
def test_no_output_replaces_what_is_read(model, data, tmp_path, target):
    first = next((tmp_path / "pictures").rglob("00.png"))
    target = first if target.startswith("pictures") else tmp_path / target
    (tmp_path / "rows.json").write_text('{"version": 1, "tensors": {"conv": {"rows": 4}}}')
    before = digests(tmp_path)
    kind = {".csv": "table", ".png": "folder"}.get(target.suffix, "arrays")
    given = [model, "--data", data[kind], "--policy", tmp_path / "rows.json"]
    for wrong in (["--rows", "auto:50", "--write-policy", target], ["-o", target]):
        assert "is the input; choose another output" in bitx(*given, *wrong, code=1).stderr
    assert digests(tmp_path) == before


def test_the_two_outputs_are_two_files(model, data, tmp_path):
    same = tmp_path / "z.h5"
    found = bitx(
        model, "--data", data["arrays"], "--rows", "auto:50", "--write-policy", same, "-o", same, code=2
    )
    assert "are the same file" in found.stderr
    assert not same.exists()


@pytest.mark.parametrize("batch", [4, 5])
def test_cycles_are_of_one_sample_whatever_the_batch(write_model, data, tmp_path, batch):
    """18 samples: the last batch is filled up, and what fills it does not count."""
    fixed = write_model(tmp_path / "fixed.onnx", batch=batch)
    found = evaluate(Labelled(fixed, data["arrays"]), [Setting(rows=4)], resamples=2)
    whole = hw.simulate_network(hw.accelerator("bitx", rows=4), hw.load_network(fixed)).totals[0]
    assert found.points[1].machine.cycles == round(whole.cycles / batch)
    assert found.points[0].machine.cycles == round(whole.unpruned_cycles / batch)


def test_what_was_left_out_of_a_search_stays_unpruned(model, data, tmp_path):
    policy = tmp_path / "rows.json"
    given = [model, "--data", data["arrays"], "--json"]
    search = ["--rows", "auto:100", "--include", "fc", "--write-policy", policy]
    found = json.loads(bitx(*given, *search).stdout)["rows_found"]
    assert found["policy"]["default"] == {"rows": None}
    assert set(found["policy"]["tensors"]) == {"fc"}
    point = json.loads(bitx(*given, "--policy", policy).stdout)["points"][1]
    assert point["cycles"] == found["cycles"]


@pytest.fixture
def logarithm(tmp_path):
    """A model that takes the logarithm of a sum which pruning to few rows makes 0 or less."""
    many, fewer = sum(2.0**-i for i in (0, 3, 5, 7, 9, 11)), sum(2.0**-i for i in (0, 3, 5, 7, 9))
    alternating = np.where(np.arange(64)[:, None] % 2 == 0, many, -fewer).astype("f4")
    rng = np.random.default_rng(0)
    tensors = {"w": rng.normal(size=(64, 10)).astype("f4"), "d": alternating, "one": np.ones(1, "f4")}
    nodes = [
        ("Flatten", ["x"], ["f"]), ("MatMul", ["f", "w"], ["o"]), ("Sub", ["f", "f"], ["z"]),
        ("Add", ["z", "one"], ["ones"]), ("MatMul", ["ones", "d"], ["s"]), ("Log", ["s"], ["l"]),
        ("Add", ["o", "l"], ["y"]),
    ]  # fmt: skip
    np.savez(tmp_path / "x.npz", x=rng.normal(size=(20, 64)).astype("f4"))
    path = save(tmp_path / "log.onnx", nodes, tensors, [("x", 1, ["N", 64])], [("y", 1, ["N", 10])])
    return Labelled(path, tmp_path / "x.npz")


def test_an_output_that_is_no_number_names_the_setting(logarithm):
    with pytest.raises(BitxError, match="pruned to rows 4, group 8: an output of sample 0 to 15 is NaN"):
        evaluate(logarithm, [Setting(rows=12), Setting(rows=4)], resamples=2)
    with Evaluator(logarithm, resamples=2) as evaluator:
        found = search_rows(evaluator, 0.05)
    kept = found.policy.of("d").rows
    assert kept is not None
    assert kept > 4


def test_a_value_of_the_data_that_is_no_number_is_told(model, data, tmp_path):
    arrays = dict(np.load(data["arrays"]))
    arrays["image"][7, 0, 0, 0] = np.nan
    np.savez(tmp_path / "nan.npz", **arrays)
    with pytest.raises(BitxError, match="and so is a value of input 'image' of sample 7"):
        evaluate(Labelled(model, tmp_path / "nan.npz"), [])


@pytest.mark.parametrize(("labels", "said"), [
    (np.int64(3), "needs as many samples in every array"),
    (np.full(18, (1 << 64) - 1, np.uint64), "label 18446744073709551615 of sample 0 is no class number"),
    (np.full(18, -1), "label -1 of sample 0 is no class number"),
])  # fmt: skip
def test_labels_that_are_no_classes(model, data, tmp_path, labels, said):
    np.savez(tmp_path / "odd.npz", image=np.load(data["arrays"])["image"], labels=labels)
    with pytest.raises(BitxError, match=said):
        Labelled(model, tmp_path / "odd.npz")


def test_classes_of_folders_and_tables(model, data, tmp_path):
    large = "9" * 23
    table = data["table"].read_text().splitlines()
    table[2] = table[2].rpartition(",")[0] + f",{large}"
    (tmp_path / "large.csv").write_text("\n".join(table))
    with pytest.raises(BitxError, match=f"line 3: the label must be a class number, got '{large}'"):
        Labelled(model, tmp_path / "large.csv")
    (data["folder"] / "a").rename(data["folder"] / "5")
    with pytest.raises(BitxError, match=r"has folders that are class numbers \('5'\) and others \('b'\)"):
        Labelled(model, data["folder"])


def test_an_input_that_is_called_like_labels(tmp_path):
    rng = np.random.default_rng(1)
    tensors = {"w": rng.normal(size=(8, 3)).astype("f4")}
    path = save(
        tmp_path / "y.onnx", [("MatMul", ["y", "w"], ["z"])], tensors, [("y", 1, ["N", 8])],
        [("z", 1, ["N", 3])],
    )  # fmt: skip
    np.savez(tmp_path / "y.npz", y=rng.normal(size=(9, 8)).astype("f4"))
    assert Labelled(path, tmp_path / "y.npz").metrics == ("agreement", "cosine")


@pytest.mark.parametrize(("codes", "said"), [
    (np.full((4, 2), 0.75, "f4"), r"value 0\.75 is none of int64"),
    (np.full((4, 2), np.nan, "f4"), "value nan is none of int64"),
    (np.full((4, 2), 1j), "is complex128; the model's input is int64"),
])  # fmt: skip
def test_values_that_the_input_would_cut(tmp_path, codes, said):
    table = np.random.default_rng(2).normal(size=(6, 3)).astype("f4")
    nodes = [("Gather", ["table", "ids"], ["e"]), ("ReduceMean", ["e"], ["z"], {"axes": [1], "keepdims": 0})]
    path = save(tmp_path / "ids.onnx", nodes, {"table": table}, [("ids", 7, ["N", 2])], [("z", 1, ["N", 3])])
    np.savez(tmp_path / "ids.npz", ids=codes)
    with pytest.raises(BitxError, match=f"tensor 'ids': {said}"):
        Labelled(path, tmp_path / "ids.npz")


def test_pictures_into_integers_keep_their_values(data, tmp_path):
    weights = np.random.default_rng(3).normal(size=(192, 3)).astype("f4")
    nodes = [("Cast", ["x"], ["c"], {"to": 1}), ("Flatten", ["c"], ["f"]), ("MatMul", ["f", "w"], ["z"])]
    path = save(tmp_path / "u8.onnx", nodes, {"w": weights}, [("x", 2, ["N", 3, 8, 8])], [("z", 1, ["N", 3])])
    (first, *_) = Labelled(path, data["folder"]).samples()
    wanted = np.load(data["arrays"])["image"] * 255
    assert np.array_equal(first.feeds["x"], np.rint(wanted[:16]).astype("u1"))


def test_the_output_that_is_scored(data, tmp_path):
    rng = np.random.default_rng(4)
    tensors = {"a": rng.normal(size=(192, 32)).astype("f4"), "b": rng.normal(size=(32, 3)).astype("f4"),
               "s": np.array([0, 3, 1, 1])}  # fmt: skip
    nodes = [("Flatten", ["image"], ["x"]), ("MatMul", ["x", "a"], ["features"]),
             ("MatMul", ["features", "b"], ["m"]), ("Reshape", ["m", "s"], ["scores"])]  # fmt: skip
    outputs = [("features", 1, ["N", 32]), ("scores", 1, ["N", 3, 1, 1])]
    path = save(tmp_path / "two.onnx", nodes, tensors, [("image", 1, ["N", 3, 8, 8])], outputs)
    assert "(output features)" in Labelled(path, data["arrays"]).title
    chosen = Labelled(path, data["arrays"], scored="scores")
    assert "(output scores)" in chosen.title
    found = evaluate(chosen, [], resamples=2).points[0].scores["top1"].value
    arrays = np.load(data["arrays"])
    scores = arrays["image"].reshape(18, -1) @ tensors["a"] @ tensors["b"]
    assert found == np.mean(scores.argmax(axis=1) == arrays["labels"])
    with pytest.raises(BitxError, match="has no output 'logits'; its outputs are features, scores"):
        Labelled(path, data["arrays"], scored="logits")


def test_policies_are_refused_as_prune_refuses_them(write_model, data, tmp_path):
    model = write_model(tmp_path / "m.onnx")
    policy = tmp_path / "p.json"
    policy.write_text('{"version": 1, "tensors": {"fc": {"rows": 4}}}')
    given = [model, "--data", data["arrays"], "--policy", policy]
    assert "p.json" in bitx(*given).stdout
    found = bitx(*given, "--group", "4", code=2)
    assert "--policy says how each tensor is pruned: --group can't be given besides" in found.stderr
    both = json.loads(bitx(*given, "--rows", "5", "--group", "4", "--json").stdout)
    assert [point["group"] for point in both["points"][1:]] == [4, 8]
    policy.write_text('{"version": 1, "tensors": {"other": {"rows": 4}}}')
    assert "has no such tensor" in bitx(*given, code=1).stderr
