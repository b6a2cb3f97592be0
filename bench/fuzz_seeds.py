"""Whole files of every container, of which `fuzz` makes damaged ones."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

CORPUS = Path(__file__).parents[1] / "tests/bitxcore/data/damaged"
"""Files that once fell."""

SUFFIXES = {
    "hdf5": ".h5",
    "index": ".safetensors.index.json",
    "npy": ".npy",
    "npz": ".npz",
    "onnx": ".onnx",
    "safetensors": ".safetensors",
    "torch": ".pt",
}
OUTSIDE = "outside"
"""Name of a tensor that lies above the folder of an index, where no index leads."""


def _values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2021)
    return {
        "a": rng.normal(size=(8, 16)).astype("f4"),
        "b": rng.integers(-99, 99, (3, 4, 5)).astype("i2"),
        "empty": np.zeros((0, 3), "f2"),
        "scalar": np.array(1.5, "f8"),
        "flags": np.array([True, False]),
    }


def _hdf5(libver: str) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        for name, value in _values().items():
            file[name] = value
        deflate = {"compression": "gzip", "shuffle": True, "fletcher32": True}
        file.create_dataset("g/packed", data=_values()["b"], chunks=(1, 4, 5), **deflate)
        file.create_dataset("g/grows", data=_values()["a"], chunks=(3, 5), maxshape=(None, None))
        file.create_dataset("g/scaled", data=_values()["b"], chunks=(3, 4, 5), scaleoffset=0)
        file.create_dataset("g/lzf", data=_values()["a"], chunks=(8, 4), compression="lzf")
        file.create_dataset("big", data=_values()["a"].astype(">f4"))
        layout = h5py.VirtualLayout((2, 8, 16), "f4")
        layout[0] = layout[1] = h5py.VirtualSource(".", "a", (8, 16))
        file.create_virtual_dataset("v", layout)
        file["alias"] = h5py.SoftLink("/g/packed")
        file["text"] = "words"
        file["pairs"] = np.zeros(3, [("x", "f4"), ("y", "i2")])
        file.attrs["layer_names"] = np.array([b"a"])
    return buffer.getvalue()


def _npy(order: str) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(_values()["b"], order=order))  # type: ignore[call-overload]
    return buffer.getvalue()


def _npz(save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **_values(), f=np.asfortranarray(_values()["a"]))
    return buffer.getvalue()


def _torch(legacy: bool) -> bytes:
    import torch

    state = {name: torch.tensor(value) for name, value in _values().items()}
    state["half"] = torch.tensor([1.0, -2.0, 3.5], dtype=torch.bfloat16)
    state["view"] = state["a"].T[2:5]
    buffer = io.BytesIO()
    torch.save(
        {"model": state, "epoch": 3, "list": [torch.ones(2)]},
        buffer,
        _use_new_zipfile_serialization=not legacy,
    )
    return buffer.getvalue()


def _safetensors() -> bytes:
    import safetensors.numpy

    data: bytes = safetensors.numpy.save(_values(), metadata={"k": "v"})
    return data


def shard_names() -> dict[str, list[str]]:
    """Return the tensors of each shard of an index."""
    names = list(_values())
    return {"one.safetensors": names[:2], "two.safetensors": names[2:]}


def _index() -> bytes:
    placed = {name: shard for shard, names in shard_names().items() for name in names}
    return json.dumps({"metadata": {"total_size": 640}, "weight_map": placed}).encode()


def write_shards(folder: Path) -> None:
    """Write the shards of an index into a folder, and above it one that is none of them."""
    import safetensors.numpy

    for shard, names in shard_names().items():
        safetensors.numpy.save_file({name: _values()[name] for name in names}, folder / shard)
    safetensors.numpy.save_file({OUTSIDE: np.ones(3)}, folder.parent / f"{OUTSIDE}.safetensors")


def _onnx() -> bytes:
    from onnx import helper, numpy_helper

    node, value = helper.make_node, helper.make_tensor_value_info
    tensors = {name: numpy_helper.from_array(array, name) for name, array in _values().items()}
    body = helper.make_graph(
        [node("MatMul", ["x", "inner"], ["z"])],
        "body",
        [],
        [value("z", 1, [2, 4])],
        [numpy_helper.from_array(np.ones((8, 4), "f4"), "inner")],
    )
    graph = helper.make_graph(
        [
            node("Constant", [], ["floats"], value_floats=[1.0, 2.0]),
            node("Constant", [], ["axes"], value_ints=[0]),
            node("Unsqueeze", ["a", "axes"], ["a3"]),
            node("Transpose", ["a3"], ["at"], perm=[0, 2, 1]),
            node("MatMul", ["x", "at"], ["y"]),
            node("If", ["flags"], ["z"], name="if", then_branch=body, else_branch=body),
        ],
        "net",
        [value("x", 1, [2, 16])],
        [value("y", 1, [1, 2, 8])],
        [*tensors.values(), helper.make_tensor("halves", 10, [3], [0.5, 1.0, -2.0])],
    )
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


def seeds(kind: str) -> list[bytes]:
    """Return the files that mutants of a kind are made of: of their libraries, and what once fell."""
    made = {
        "hdf5": lambda: [_hdf5("earliest"), _hdf5("latest")],
        "index": lambda: [_index()],
        "npy": lambda: [_npy("C"), _npy("F")],
        "npz": lambda: [_npz(np.savez), _npz(np.savez_compressed)],
        "torch": lambda: [_torch(False), _torch(True)],
        "safetensors": lambda: [_safetensors()],
        "onnx": lambda: [_onnx()],
    }[kind]()
    fell = sorted(CORPUS.glob(f"*{SUFFIXES[kind]}"))
    # Mutants of a file on which libhdf5 loops would mostly take all of their time.
    return [*made, *(path.read_bytes() for path in fell if not path.name.startswith("loops"))]
