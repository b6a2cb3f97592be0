"""Sample dumps, written by other libraries wherever there is one."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy


def values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2021)
    return {
        "a": rng.normal(size=(8, 16)).astype("f4"),
        "b": rng.integers(-99, 99, (3, 4, 5)).astype("i2"),
        "empty": np.zeros((0, 3), "f2"),
        "scalar": np.array(1.5, "f8"),
    }


def write_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", values()["a"])
    return folder / "a.npy"


def write_fortran(folder: Path) -> Path:
    np.save(folder / "a.npy", np.asfortranarray(values()["a"].astype(">f4")))
    return folder / "a.npy"


def write_npz(folder: Path) -> Path:
    np.savez(folder / "s.npz", **values())
    return folder / "s.npz"


def write_deflated(folder: Path) -> Path:
    np.savez_compressed(folder / "d.npz", **values())
    return folder / "d.npz"


def write_safetensors(folder: Path) -> Path:
    safetensors.numpy.save_file(values(), folder / "s.safetensors", metadata={"k": "v"})
    return folder / "s.safetensors"


def write_shards(folder: Path) -> Path:
    tensors = values()
    names = {
        "a": "one.safetensors",
        "b": "two.safetensors",
        "empty": "two.safetensors",
        "scalar": "two.safetensors",
    }
    for shard in set(names.values()):
        part = {name: tensors[name] for name in tensors if names[name] == shard}
        safetensors.numpy.save_file(part, folder / shard, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": names}))
    return index


def write_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "s.h5", "w") as file:
        for name, value in values().items():
            file[name] = value
        file.create_dataset(
            "g/packed", data=values()["b"], chunks=(1, 4, 5), compression="gzip", shuffle=True
        )
        file.create_dataset("g/big", data=values()["a"].astype(">f4"))
        file["alias"] = h5py.SoftLink("/g/packed")
        file["text"] = "words"
    return folder / "s.h5"


def write_onnx(folder: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    make, numpy = onnx.helper, onnx.numpy_helper
    tensors = values()
    graph = make.make_graph(
        [
            make.make_node("Constant", [], ["b"], value=numpy.from_array(tensors["b"])),
            make.make_node("Constant", [], ["floats"], value_floats=[1.0, 2.0]),
            make.make_node("Constant", [], ["int"], value_int=7),
            make.make_node("MatMul", ["x", "a"], ["y"]),
        ],
        "net",
        [make.make_tensor_value_info("x", 1, [2, 8])],
        [make.make_tensor_value_info("y", 1, [2, 16])],
        [
            numpy.from_array(tensors["a"], "a"),
            numpy.from_array(tensors["empty"], "empty"),
            numpy.from_array(tensors["scalar"], "scalar"),
            make.make_tensor("halves", onnx.TensorProto.FLOAT16, [3], [0.5, 1.0, -2.0]),
        ],
    )
    onnx.save(make.make_model(graph, producer_name="tests"), folder / "m.onnx")
    return folder / "m.onnx"


def write_torch(folder: Path, *, legacy: bool = False) -> Path:
    torch = pytest.importorskip("torch")
    state = {name: torch.tensor(value) for name, value in values().items()}
    state["half"] = torch.tensor([1.0, -2.0, 3.5], dtype=torch.bfloat16)
    checkpoint = {"model": state, "epoch": 3, "list": [torch.ones(2)]}
    torch.save(checkpoint, folder / "s.pt", _use_new_zipfile_serialization=not legacy)
    return folder / "s.pt"


def write_legacy_torch(folder: Path) -> Path:
    return write_torch(folder, legacy=True)


SAMPLES = {
    "npy": write_npy,
    "npy-fortran": write_fortran,
    "npz": write_npz,
    "npz-deflated": write_deflated,
    "safetensors": write_safetensors,
    "shards": write_shards,
    "hdf5": write_hdf5,
    "onnx": write_onnx,
    "torch": write_torch,
    "torch-legacy": write_legacy_torch,
}


@pytest.fixture(params=SAMPLES)
def sample(request, tmp_path):
    """Path of one sample dump of every container in turn."""
    folder = tmp_path / "sample"
    folder.mkdir()
    return SAMPLES[request.param](folder)


@pytest.fixture
def write(tmp_path):
    """Write the named sample dump into a new folder and return its path."""

    def writer(container: str) -> Path:
        folder = tmp_path / f"in-{container}"
        folder.mkdir()
        return SAMPLES[container](folder)

    return writer


@pytest.fixture
def tensors():
    """Return the values in every sample (only ``a`` in ``.npy``)."""
    return values()


def same(x: np.ndarray, y: np.ndarray) -> bool:
    """Bit for bit, with shape and dtype."""
    return x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()


@pytest.fixture(name="same")
def _same():
    return same


BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
