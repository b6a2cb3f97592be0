"""Running `bitx` in this process, and small dumps of every container."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner

from hwmodel.cli import group


class Bitx:
    """Runs the command line; what it prints is checked for the rules that hold everywhere."""

    def run(self, *args: object):
        sys.argv[:] = ["bitx", *map(str, args)]
        return CliRunner().invoke(group, [str(arg) for arg in args], prog_name="bitx")

    def __call__(self, *args: object, code: int = 0):
        result = self.run(*args)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    def json(self, *args: object):
        return json.loads(self(*args, "--json").stdout)

    def error(self, *args: object) -> str:
        """The one line of an error for bad input."""
        result = self(*args, code=1)
        assert result.stdout == ""
        assert result.stderr.startswith("bitx: error: ")
        assert result.stderr.endswith("\n")
        assert result.stderr.count("\n") == 1
        assert "Traceback" not in result.stderr
        return result.stderr.removeprefix("bitx: error: ").rstrip("\n")


@pytest.fixture
def bitx(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bitx"])
    monkeypatch.delenv("COLUMNS", raising=False)
    return Bitx()


@pytest.fixture(scope="session")
def sample():
    """Path of the sample network."""
    return Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx"


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2021)
    return {
        "conv": rng.normal(size=(8, 4, 3, 3)).astype("f4"),
        "fc": rng.normal(size=(10, 72)).astype("f4"),
        "bias": rng.normal(size=10).astype("f4"),
        "steps": np.array([3], "i8"),
    }


def write_npy(path: Path) -> Path:
    np.save(path.with_suffix(".npy"), weights()["conv"])
    return path.with_suffix(".npy")


def write_npz(path: Path) -> Path:
    np.savez(path.with_suffix(".npz"), **weights())
    return path.with_suffix(".npz")


def write_safetensors(path: Path) -> Path:
    safetensors.numpy.save_file(weights(), path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def write_h5(path: Path) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, value in weights().items():
            file[name] = value
    return path.with_suffix(".h5")


def write_onnx(path: Path, *, external: str | None = None, scale: float = 1.0) -> Path:
    onnx = pytest.importorskip("onnx")
    make, numpy = onnx.helper, onnx.numpy_helper
    values = weights()
    graph = make.make_graph(
        [
            make.make_node("Conv", ["x", "conv"], ["c"], name="conv1", pads=[1, 1, 1, 1]),
            make.make_node("Relu", ["c"], ["r"]),
            make.make_node("GlobalAveragePool", ["r"], ["g"]),
            make.make_node("Flatten", ["g"], ["f"]),
            make.make_node("MatMul", ["f", "fc"], ["y"], name="fc1"),
        ],
        "net",
        [make.make_tensor_value_info("x", 1, ["batch", 4, 6, 6])],
        [make.make_tensor_value_info("y", 1, ["batch", 10])],
        [
            numpy.from_array(values["conv"] * np.float32(scale), "conv"),
            numpy.from_array(np.ascontiguousarray(values["fc"][:, :8].T), "fc"),
        ],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    if external is not None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=external)
    path.with_suffix(".onnx").write_bytes(model.SerializeToString())
    return path.with_suffix(".onnx")


def write_pt(path: Path) -> Path:
    torch = pytest.importorskip("torch")
    torch.save({name: torch.tensor(value) for name, value in weights().items()}, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


WRITERS = {f.__name__.removeprefix("write_"): f for f in (
    write_npy, write_npz, write_safetensors, write_h5, write_onnx, write_pt
)}  # fmt: skip


@pytest.fixture(params=WRITERS)
def dump(request, tmp_path):
    """One dump of every container in turn."""
    (tmp_path / "in").mkdir()
    return WRITERS[request.param](tmp_path / "in" / "w")


@pytest.fixture
def write(tmp_path):
    """Write the named kind of dump."""
    (tmp_path / "made").mkdir()
    return lambda kind, **options: WRITERS[kind](tmp_path / "made" / "w", **options)


@pytest.fixture
def values():
    """The tensors of most dumps."""
    return weights()


@pytest.fixture
def out(tmp_path):
    """An empty folder for outputs."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"
