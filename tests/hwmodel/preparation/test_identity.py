"""Of every task: what is written passes the run-time pruner, at the rows of its policy, byte for byte."""

import numpy as np
import pytest

import bitxcore as bx
from bitxcore.batch import prune_dump
from bitxcore.errors import MissingExtraError
from hwmodel.evaluation import task
from hwmodel.evaluation.tasks.task_base import TASKS
from hwmodel.networks.onnx import graph_inputs, read_model
from hwmodel.preparation import Budget, policy_of, prepare_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

QUICK = ("digits",)
NEAREST = Budget(ones=3, rows=6, compensates=False, corrects_bias=False)


def some(model):
    """Samples for a model of pictures that no task gives it directly."""
    rng = np.random.default_rng(8)
    return [
        {
            name: rng.random([size if isinstance(size, int) else (64 if at else 1)
                              for at, size in enumerate(sizes)]).astype(dtype)
            for name, sizes, dtype in graph_inputs(read_model(model))
        }
    ]  # fmt: skip


def leaves(model, batches, folder, budget):
    """Prepare a model, and prune what was written by its policy: the whole file stays."""
    report = prepare_model(model, batches, folder / "p.onnx", budget)
    policy_of(report, budget).save(folder / "rows.json")
    with bx.open_dump(folder / "p.onnx") as dump:
        rows = prune_dump(dump, folder / "again.onnx", policy=folder / "rows.json")
    assert [row.tensor for row in rows if row.changed_values] == []
    assert (folder / "again.onnx").read_bytes() == (folder / "p.onnx").read_bytes()
    assert all(row.ones_max <= (budget.ones or 64) and row.rows_max <= budget.rows for row in report)
    return report


@pytest.mark.parametrize("name", [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted(TASKS)
])  # fmt: skip
def test_the_pruner_leaves_the_whole_file(name, tmp_path):
    try:
        made = task(name)
        batches = {made.model: [part.feeds for part in made.calibration(2)]}
    except MissingExtraError as error:
        pytest.skip(str(error))
    if len(made.models) > 1:
        batches = {model: some(model) for model in made.models}
    for model, samples in batches.items():
        report = leaves(model, samples, tmp_path, NEAREST)
        with bx.open_dump(model) as before, bx.open_dump(tmp_path / "p.onnx") as after:
            changed = {row.tensor for row in report}
            assert all(
                before[tensor].read().tobytes() == after[tensor].read().tobytes()
                for tensor in before
                if tensor not in changed
            )


def quantised(path, dtype, zero_point):
    """A product whose weights are codes in a graph."""
    make, array = onnx.helper, onnx.numpy_helper.from_array
    rng = np.random.default_rng(3)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    stored = {
        "w": rng.integers(low + 1, high, (20, 6)).astype(dtype),
        "scale": np.float32(0.02),
        "zero": np.array(zero_point, dtype),
    }
    graph = make.make_graph(
        [
            make.make_node("DequantizeLinear", ["w", "scale", "zero"], ["weights"]),
            make.make_node("MatMul", ["x", "weights"], ["y"], name="product"),
        ],
        "quantised",
        [make.make_tensor_value_info("x", 1, ["N", 20])],
        [make.make_tensor_value_info("y", 1, ["N", 6])],
        [array(np.asarray(value), name) for name, value in stored.items()],
    )
    made = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", 0), ("uint8", 0), ("uint8", 120), ("int8", 3)])
def test_codes_are_prepared_less_their_zero_point(tmp_path, dtype, zero_point):
    model = quantised(tmp_path / "q.onnx", dtype, zero_point)
    samples = [{"x": np.random.default_rng(1).standard_normal((8, 20)).astype("f4")}]
    (row,) = leaves(model, samples, tmp_path, Budget(ones=2, rows=4))
    assert (row.tensor, row.compensated, row.offset) == ("w", False, None)
    with bx.open_dump(tmp_path / "p.onnx") as dump:
        codes = dump["w"].read().astype(int) - zero_point
    assert max(bin(abs(code)).count("1") for code in codes.reshape(-1)) == row.ones_max <= 2


def test_weights_that_layers_share_get_the_nearest_values(tmp_path):
    make, rng = onnx.helper, np.random.default_rng(4)
    stored = {"shared": rng.standard_normal((12, 12)), "own": rng.standard_normal((12, 4))}
    graph = make.make_graph(
        [
            make.make_node("MatMul", ["x", "shared"], ["a"], name="first"),
            make.make_node("MatMul", ["a", "shared"], ["b"], name="second"),
            make.make_node("MatMul", ["b", "own"], ["y"], name="third"),
        ],
        "shares",
        [make.make_tensor_value_info("x", 1, ["N", 12])],
        [make.make_tensor_value_info("y", 1, ["N", 4])],
        [onnx.numpy_helper.from_array(value.astype("f4"), name) for name, value in stored.items()],
    )
    made = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    samples = [{"x": rng.standard_normal((32, 12)).astype("f4")}]
    report = leaves(tmp_path / "m.onnx", samples, tmp_path, Budget(ones=2, rows=5))
    assert [(row.tensor, row.compensated) for row in report] == [("shared", False), ("own", True)]
    with bx.open_dump(tmp_path / "p.onnx") as dump:
        nearest = bx.prepare(stored["shared"].astype("f4").T, ones=2, rows=5).values.T
        assert (dump["shared"].read() == nearest).all()
