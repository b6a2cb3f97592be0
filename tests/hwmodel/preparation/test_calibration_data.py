"""Calibration data that do not fit a model end in one line, which names what is wrong."""

import numpy as np
import pytest
from click.testing import CliRunner

import bitxcore as bx
from bitxcore.errors import DumpError, TensorError
from hwmodel.cli import group
from hwmodel.evaluation import task
from hwmodel.preparation import Budget, prepare_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

NEAREST = Budget(ones=2, compensates=False)


def digits(count=10):
    return np.random.default_rng(1).random((count, 1, 8, 8)).astype("f4")


def holed(at):
    found = digits()
    found[at, 0, 3, 5] = np.nan
    return found


@pytest.fixture
def prepare(tmp_path):
    """Run the command on arrays; give its exit code and its output in one line."""

    def run(arrays, *options):
        if arrays is not None:
            np.savez(tmp_path / "cal.npz", **arrays)
        given = ["prepare", task("digits").model, "--calibration", tmp_path / "cal.npz", "--ones", "2",
                 "--method", "nearest", "-o", tmp_path / "p.onnx", *options]  # fmt: skip
        done = CliRunner().invoke(group, [*map(str, given)])
        assert (tmp_path / "p.onnx").exists() == (done.exit_code == 0), done.output
        assert not (tmp_path / "p.onnx.journal").exists()
        return done.exit_code, done.output

    return run


@pytest.mark.parametrize(("arrays", "text"), [
    ({"a": digits(), "b": digits()}, "cal.npz: has no array for the model's input 'image'; it has a, b"),
    ({"image": digits().repeat(3, axis=1)},
     "digits_resnet.onnx: does not take the samples: these are image float32 (10, 3, 8, 8), it takes image"
     " float32 (N, 1, 8, 8)"),
    ({"image": digits()[:, 0]}, "these are image float32 (10, 8, 8), it takes image float32 (N, 1, 8, 8)"),
    ({"image": np.array(["a", "b"])}, "tensor 'image': is <U1; the model's input is float32"),
    ({"image": digits(0)}, "needs as many samples in every array, at least one: image 0"),
    ({"image": digits(), "labels": np.zeros(3, int)}, "at least one: image 10, labels 3"),
    ({"image": holed(6)}, "cal.npz: input 'image': calibration sample 6 holds a NaN at (0, 3, 5)"),
    (None, "cal.npz: does not exist"),
])  # fmt: skip
def test_data_that_do_not_fit(prepare, arrays, text):
    code, output = prepare(arrays)
    assert code == 1
    assert len(output.strip().splitlines()) == 1
    assert text in output


def test_samples_have_their_numbers_in_the_file(prepare):
    assert "calibration sample 6 holds" in prepare({"image": holed(6)}, "--samples", "5")[1]
    assert prepare({"image": holed(7)}, "--samples", "5")[0] == 0  # 0, 2, 4, 6 and 8 are taken


def test_a_folder_without_pictures(prepare, tmp_path):
    (tmp_path / "cal.npz").mkdir()
    code, output = prepare(None)
    assert code == 1
    assert "has no pictures" in output


@pytest.mark.parametrize(("feeds", "error", "text"), [
    ({"picture": digits()}, DumpError, "takes image; it was given picture"),
    ({"image": digits(), "more": digits()}, DumpError, "takes image; it was given image, more"),
    ({"image": digits().astype("f8")}, DumpError, r"image float64 \(10, 1, 8, 8\), it takes image float32"),
    ({"image": holed(4)}, TensorError, "input 'image': calibration sample 4 holds a NaN"),
])  # fmt: skip
def test_arrays_of_python(tmp_path, feeds, error, text):
    with pytest.raises(error, match=text) as caught:
        prepare_model(task("digits").model, [feeds], tmp_path / "p.onnx", NEAREST)
    assert caught.value.path == task("digits").model
    assert not list(tmp_path.iterdir())


def fixed(path, batch):
    """The sample network, for batches of one size."""
    model = onnx.load(task("digits").model)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    path.write_bytes(model.SerializeToString())
    return path


def test_a_model_of_a_fixed_batch_gets_samples_in_batches_of_it(tmp_path):
    x = digits(12)
    whole = prepare_model(task("digits").model, [{"image": x}], tmp_path / "p.onnx", NEAREST)
    given = [{"image": x[:8]}, {"image": x[8:]}]
    parts = prepare_model(fixed(tmp_path / "m.onnx", 3), given, tmp_path / "q.onnx", NEAREST)
    for one, other in zip(whole, parts, strict=True):
        assert one.output_error == pytest.approx(other.output_error, rel=0.05)
    with bx.open_dump(tmp_path / "p.onnx") as one, bx.open_dump(tmp_path / "q.onnx") as other:
        assert all(one[row.tensor].read().tobytes() == other[row.tensor].read().tobytes() for row in whole)
    prepare_model(fixed(tmp_path / "m.onnx", 5), given, tmp_path / "q.onnx", NEAREST)  # two are left out
    with pytest.raises(
        DumpError, match=r"these are image float32 \(12, 1, 8, 8\), it takes image float32 \(13"
    ):
        prepare_model(fixed(tmp_path / "m.onnx", 13), given, tmp_path / "q.onnx", NEAREST)
