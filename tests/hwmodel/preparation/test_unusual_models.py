"""Models of a fixed batch, with control flow, with values that are none: what is done, or one line."""

import numpy as np
import pytest
from click.testing import CliRunner

from bitxcore.batch import Selection
from bitxcore.errors import BitxError, TensorError
from hwmodel.cli import group
from hwmodel.preparation import Budget, prepare_model, write_equivalent
from hwmodel.preparation.software_pruning import software_prune

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def small(path, batch="N", before=(), weights=None):
    """Two convolutions; `before` are nodes that make ``x`` of ``image``."""
    make, numpy = onnx.helper, onnx.numpy_helper
    rng = np.random.default_rng(3)
    k = rng.standard_normal((8, 2, 3, 3)).astype("f4") if weights is None else weights
    stored = {"k": k, "l": rng.standard_normal((4, 8, 1, 1)).astype("f4")}
    nodes = [
        *(before or [make.make_node("Identity", ["image"], ["x"])]),
        make.make_node("Conv", ["x", "k"], ["a"], name="first"),
        make.make_node("Relu", ["a"], ["b"]),
        make.make_node("Conv", ["b", "l"], ["y"], name="second"),
    ]
    graph = make.make_graph(
        nodes, "small",
        [make.make_tensor_value_info("image", 1, [batch, 2, 6, 6])],
        [make.make_tensor_value_info("y", 1, [batch, 4, 4, 4])],
        [numpy.from_array(x, name) for name, x in stored.items()],
    )  # fmt: skip
    made = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


def samples(count=10):
    return [{"image": np.random.default_rng(4).standard_normal((count, 2, 6, 6)).astype("f4")}]


def test_samples_are_cut_to_a_fixed_batch_and_the_rest_is_left_out(tmp_path):
    path = small(tmp_path / "m.onnx", batch=4)
    found = write_equivalent(path, samples(), tmp_path / "e.onnx", Budget(ones=2))
    assert found.errors["y"].relative < 1e-5
    prepare_model(path, samples(), tmp_path / "p.onnx", Budget(ones=2))
    prepare_model(path, [{"image": samples()[0]["image"][:8]}], tmp_path / "q.onnx", Budget(ones=2))
    assert (tmp_path / "p.onnx").read_bytes() == (tmp_path / "q.onnx").read_bytes()
    software_prune(path, tmp_path / "s.onnx", method="apoz", ratio=0.3, batches=samples())
    with pytest.raises(BitxError, match=r"does not take the samples: these are image float32 \(3, 2, 6, 6\)"):
        prepare_model(path, samples(3), tmp_path / "r.onnx", Budget(ones=2))


def test_layers_of_a_branch_can_be_left_out(tmp_path):
    make, numpy = onnx.helper, onnx.numpy_helper

    def branch(name):
        kernel = numpy.from_array(np.ones((2, 2, 1, 1), "f4"), f"{name}_k")
        node = make.make_node("Conv", ["image", f"{name}_k"], [f"{name}_y"], name=name)
        out = make.make_tensor_value_info(f"{name}_y", 1, None)
        return make.make_graph([node], name, [], [out], [kernel])

    reduced = make.make_node("ReduceMean", ["image"], ["mean"], keepdims=0)
    asks = make.make_node("Greater", ["mean", "mean"], ["asked"])
    choice = make.make_node("If", ["asked"], ["x"], then_branch=branch("then"), else_branch=branch("else"))
    path = small(tmp_path / "m.onnx", before=[reduced, asks, choice])
    with pytest.raises(TensorError, match="can't be cut within a body of control flow") as caught:
        prepare_model(path, samples(), tmp_path / "p.onnx", Budget(ones=2))
    assert caught.value.tensor.endswith("_k")
    report = prepare_model(
        path, samples(), tmp_path / "p.onnx", Budget(ones=2), selection=Selection(include=("k", "l"))
    )
    assert [row.tensor for row in report] == ["k", "l"]


def test_values_that_are_none_are_named(tmp_path):
    make = onnx.helper
    path = small(tmp_path / "m.onnx", before=[make.make_node("Sqrt", ["image"], ["x"])])
    with pytest.raises(TensorError, match=r"'k'.*what its layer reads .* is no number"):
        prepare_model(path, samples(), tmp_path / "p.onnx", Budget(ones=2))
    weights = np.ones((8, 2, 3, 3), "f4")
    weights[1, 0, 2, 2] = np.nan
    path = small(tmp_path / "n.onnx", weights=weights)
    for work in (prepare_model, write_equivalent):
        with pytest.raises(TensorError, match=r"n\.onnx: tensor 'k'.*must be finite") as caught:
            work(path, samples(), tmp_path / "p.onnx", Budget(ones=2))
        assert caught.value.index == 26
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "n.onnx"]


@pytest.mark.parametrize("arguments", [
    ["prepare", "--ones", "2", "--write-policy"],
    ["software-prune", "--method", "l1", "--ratio", "0.3", "--write-report"],
])  # fmt: skip
def test_two_outputs_are_two_files(tmp_path, arguments):
    out = str(tmp_path / "o.onnx")
    found = CliRunner().invoke(group, [*arguments, out, "--task", "digits", "-o", out])
    assert found.exit_code == 2
    assert "name the same file" in found.output
    assert not (tmp_path / "o.onnx").exists()
