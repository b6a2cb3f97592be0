"""Dumps far larger than memory: sparse files of 10 GB."""

import json
import tracemalloc

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from bitxcore.dumps import open_dump, save

MIB = 1 << 20
ROWS, COLUMNS = 2_500_000, 1000  # 10 GB of float32


def sparse_npy(folder):
    path = folder / "w.npy"
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (ROWS, COLUMNS)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + ROWS * COLUMNS * 4)
    return path


def sparse_safetensors(folder):
    path = folder / "w.safetensors"
    nbytes = ROWS * COLUMNS * 4
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [ROWS, COLUMNS], "data_offsets": [0, nbytes]}}
    ).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + nbytes)
    return path


def sparse_hdf5(folder):
    with h5py.File(folder / "w.h5", "w") as file:
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        created.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((ROWS, COLUMNS))
        h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, space, created)
    return folder / "w.h5"


def sparse_onnx(folder):
    onnx = pytest.importorskip("onnx")
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[ROWS, COLUMNS], data_location=1)
    tensor.external_data.add(key="location", value="w.bin")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor])), folder / "w.onnx")
    with (folder / "w.bin").open("wb") as file:
        file.truncate(ROWS * COLUMNS * 4)
    return folder / "w.onnx"


@pytest.mark.parametrize("make", [sparse_npy, sparse_safetensors, sparse_hdf5, sparse_onnx])
def test_headers_and_rows_only(make, tmp_path):
    path = make(tmp_path)
    with open_dump(path) as dump:  # imports
        dump["w"].read_rows(0, 1)
    tracemalloc.start()
    try:
        with open_dump(path) as dump:
            assert dump["w"].shape == (ROWS, COLUMNS)
            assert dump["w"].nbytes == 10**10
            assert not dump["w"].read_rows(ROWS - 10, ROWS).any()
            assert next(dump["w"].blocks()).nbytes <= 16 * MIB
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_writing_in_blocks_is_flat_in_memory(suffix, tmp_path):
    shape = (96, MIB)  # 96 MiB
    values = np.zeros(shape, np.uint8)
    path = tmp_path / f"w{suffix}"
    np.save(tmp_path / "w.npy", values)
    if suffix != ".npy":
        save(open_dump(tmp_path / "w.npy"), path)
    (tmp_path / "out").mkdir()
    tracemalloc.start()
    try:
        dump = open_dump(path)
        for replace in (None, lambda tensor: (block + 1 for block in tensor.blocks(4 * MIB))):
            save(dump, tmp_path / "out" / path.name, replace)
        if suffix != ".npy":
            save(dump, tmp_path / "out" / "other.npz")
            save(open_dump(tmp_path / "out" / "other.npz"), tmp_path / "out" / "other.safetensors")
        assert tracemalloc.get_traced_memory()[1] < 60 * MIB
    finally:
        tracemalloc.stop()
    assert open_dump(tmp_path / "out" / path.name)["w"].read_rows(95, 96).min() == 1


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_views_are_private_and_equal(tmp_path, suffix):
    x = np.arange(60, dtype=np.float32).reshape(12, 5)
    path = tmp_path / f"w{suffix}"
    if suffix == ".npy":
        np.save(path, x)
    elif suffix == ".npz":
        np.savez(path, w=x)
    else:
        save_file({"w": x}, path)
    before = path.read_bytes()
    with open_dump(path) as dump:
        (tensor,) = dump.values()
        np.testing.assert_array_equal(np.concatenate(list(tensor.blocks(40, views=True))), x)
        view = tensor.view_rows(2, 4)
        view[:] = -1
        np.testing.assert_array_equal(tensor.view_rows(2, 4), x[2:4])
    assert path.read_bytes() == before
