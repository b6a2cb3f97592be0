"""Small files that could take minutes or gigabytes: time linear in the file's size, memory bounded.

Each case is made small here; the marked ones are of the size at which they once took a minute or a gigabyte.
"""

import io
import json
import struct
import subprocess
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest

from bitxcore.dumps import open_dump, save
from bitxcore.errors import DumpError

MIB = 1 << 20
BLOCK, FREE = 16 * MIB, 64 * MIB

SHAPES = [
    pytest.param(shape, marks=pytest.mark.slow)
    for shape in ((1 << 26, 2), (32, 1 << 22), (32, 3, 1 << 18, 4))
]

PATIENCE_S = 120  # what is quadratic takes far longer

CODE = """
import sys, time
from bitxcore.dumps import open_dump
from bitxcore.errors import DumpError
if sys.argv[2] == "onnx":
    import onnx
since = time.process_time()
try:
    with open_dump(sys.argv[1]) as dump:
        count = len(dump)
        for name in list(dump)[:: max(1, count // 100)]:
            for block in dump[name].blocks():
                pass
    print(count)
except DumpError as error:
    print(str(error).count(chr(10)), "refused")
# Unlike ru_maxrss, without what the process that started this one had.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(time.process_time() - since, int(peak) * 1024)
"""


def measured(path, kind=""):
    """Open a dump and read a hundred of its tensors; what that gave, its seconds and its peak bytes."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path), kind], capture_output=True, text=True, check=True
    )
    found, numbers = done.stdout.splitlines()
    seconds, peak = map(float, numbers.split())
    assert peak < 2 * path.stat().st_size + 256 * MIB
    return found, seconds


def safetensors_file(path, header, data=b""):
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def entries(count):
    part = '"dtype":"U8","shape":[0],"data_offsets":[0,0]'
    return ",".join(f'"{number:x}":{{{part}}}' for number in range(count))


@pytest.mark.parametrize("count", [20_000, pytest.param(200_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("suffix", [".safetensors", ".safetensors.index.json"])
def test_a_repeated_key(tmp_path, count, suffix):
    path = tmp_path / f"x{suffix}"
    if suffix == ".safetensors":
        last = f'"{count - 1:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
        header = "{" + entries(count) + "," + last + "}"
        safetensors_file(path, header.encode())
    else:
        keys = ",".join(f'"{number:x}":"a"' for number in range(count))
        path.write_text(f'{{"weight_map":{{{keys},"{count - 1:x}":"a"}}}}')
    since = time.process_time()
    with pytest.raises(DumpError, match=f"key '{count - 1:x}' is there twice"):
        open_dump(path)
    assert time.process_time() - since < PATIENCE_S


@pytest.mark.parametrize("count", [20_000, pytest.param(1_600_000, marks=pytest.mark.slow)])
def test_many_tensors_of_a_safetensors_header(tmp_path, count):
    path = safetensors_file(tmp_path / "x.safetensors", f"{{{entries(count)}}}".encode())
    found, seconds = measured(path)
    assert found == str(count)
    assert seconds < PATIENCE_S


def test_headers_in_pieces(tmp_path, monkeypatch):
    """Whatever the size of the pieces, entries are those of the parser of JSON."""
    from bitxcore.dumps import safetensors_header

    names = ["a", 'q"uo}te', "back\\slash", "ü\U0001f600", "\x01\n", "{", "x" * 300, ""]
    header = {
        name: {"dtype": "F32", "shape": [2, 1], "data_offsets": [8 * at, 8 * at + 8], "note": "{[}"}
        for at, name in enumerate(names)
    }
    header["__metadata__"] = {"k}": 'v"{'}
    data = np.arange(2 * len(names), dtype="f4").tobytes()
    for indent in (None, 1):
        for ascii_only in (True, False):
            text = json.dumps(header, indent=indent, ensure_ascii=ascii_only).encode() + b"  \n"
            path = safetensors_file(tmp_path / "x.safetensors", text, data)
            for size in (1, 7, 64, 1 << 20):
                monkeypatch.setattr(safetensors_header, "_BLOCK", size)
                dump = open_dump(path)
                assert list(dump) == names
                assert dump.metadata == {"k}": 'v"{'}
                assert [dump[name].read()[0, 0] for name in names] == list(range(0, 2 * len(names), 2))
    nested = text.replace(b'"{[}"', b'{"deep": [{}]}', 1)
    assert list(open_dump(safetensors_file(path, nested, data))) == names
    monkeypatch.setattr(safetensors_header, "_WHOLE_BYTES", 10)
    with pytest.raises(DumpError, match="the header has no plain entry at byte 1"):
        open_dump(path)


@pytest.mark.slow
@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("deflated", [False, True])
def test_many_members(tmp_path, count, deflated):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for number in range(count):
            buffer = io.BytesIO()
            np.save(buffer, np.full(number % 9, number, "f4"))
            archive.writestr(f"{number}.npy", buffer.getvalue())
    found, seconds = measured(path)
    assert found == str(count)
    assert seconds < PATIENCE_S


@pytest.mark.parametrize("shape", [(16384, 4096), *SHAPES])
def test_a_deflated_member_in_fortran_order(tmp_path, shape):
    """Blocks of 16 MiB are all that is in memory, whatever the shape."""
    path = tmp_path / "x.npz"
    dtype = np.dtype("f4")
    nbytes = int(np.prod(shape)) * dtype.itemsize
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("w.npy", "w", force_zip64=True) as file,
    ):
        header = {"descr": "<f4", "fortran_order": True, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(nbytes >> 20):
            file.write(bytes(MIB))
    found, seconds = measured(path)
    assert found == "1"
    assert seconds < PATIENCE_S


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("dtype", ["<f4", ">i2", "c16"])
@pytest.mark.parametrize("shape", [(7, 5), (5, 3, 4), (1, 9), (9, 1), (2, 3, 4, 5), (0, 3), (3, 0)])
def test_values_in_fortran_order(tmp_path, monkeypatch, deflated, dtype, shape):
    from bitxcore.dumps import npz_members

    values = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    (np.savez_compressed if deflated else np.savez)(tmp_path / "x.npz", w=np.asfortranarray(values))
    for block, free in ((BLOCK, FREE), (64, 0), (24, 0), (8, 0)):
        monkeypatch.setattr(npz_members, "BLOCK_BYTES", block)
        monkeypatch.setattr(npz_members, "FREE_BYTES", free)
        with open_dump(tmp_path / "x.npz") as dump:
            tensor = dump["w"]
            assert tensor.read().tobytes() == values.astype(values.dtype.newbyteorder("=")).tobytes()
            assert tensor.read().flags.c_contiguous
            for nbytes in (1, 50, 1 << 20):
                blocks = list(tensor.blocks(nbytes))
                found = np.concatenate(blocks) if blocks else np.empty(shape)
                assert np.array_equal(found, values)
                assert all(part.flags.c_contiguous for part in blocks)
            for start in range(shape[0]):
                assert np.array_equal(tensor.read_rows(start, start + 2), values[start : start + 2])


def test_a_fortran_member_that_no_disk_holds(tmp_path, monkeypatch):
    from bitxcore.dumps import npz_members

    np.savez_compressed(tmp_path / "x.npz", w=np.zeros((64, 1024), order="F"))
    monkeypatch.setattr(npz_members, "FREE_BYTES", 0)
    monkeypatch.setattr(npz_members.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 19}))
    with pytest.raises(DumpError, match="in Fortran order, 524288 bytes are to be unpacked") as caught:
        next(open_dump(tmp_path / "x.npz")["w"].blocks())
    assert str(caught.value).startswith(f"{tmp_path / 'x.npz'}: member 'w.npy': ")


@pytest.mark.slow
@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("chunked", [False, True])
def test_many_datasets(tmp_path, count, chunked):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for number in range(count):
            file.create_dataset(f"{number}", data=np.ones(2, "f4"), chunks=(2,) if chunked else None)
    found, seconds = measured(path)
    assert found == str(count)
    assert seconds < PATIENCE_S


@pytest.mark.parametrize("depth", [500, pytest.param(5_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("each", [False, True])
def test_nested_groups(tmp_path, depth, each):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        group = file
        for level in range(depth):
            group = group.create_group("g")
            if each or level == depth - 1:
                group["x"] = np.ones(2)
    since = time.monotonic()
    found, _ = measured(path)
    assert found == str(depth if each else 1)
    assert time.monotonic() - since < PATIENCE_S


def test_names_that_outgrow_their_file(tmp_path, monkeypatch):
    from bitxcore.dumps import trust

    monkeypatch.setattr(trust, "FREE_NAME_BYTES", 100)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("/".join("g" * 1000))
        group["x"] = np.ones(2)
        for number in range(4000):
            group[f"{number}"] = group["x"]
    with pytest.raises(DumpError, match="nests so deeply that its names have more than"):
        open_dump(tmp_path / "x.h5")


def nested_onnx(path, depth, length, constants):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    tensors = [onnx.numpy_helper.from_array(np.zeros(1, "f4"), str(number)) for number in range(constants)]
    graph = helper.make_graph([], "g", [], [], tensors)
    for level in range(depth):
        node = helper.make_node("If", ["c"], ["y"], name="n" * length + str(level), then_branch=graph)
        graph = helper.make_graph([node], "g", [], [])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_nested_onnx_graphs(tmp_path):
    found, seconds = measured(nested_onnx(tmp_path / "x.onnx", 20, 15_000, 2_500), "onnx")
    assert found == "0 refused"
    assert seconds < PATIENCE_S
    path = nested_onnx(tmp_path / "y.onnx", 20, 40, 2_500)
    found, seconds = measured(path, "onnx")
    assert found == "2500"
    assert seconds < PATIENCE_S


def test_many_attributes_below_a_long_name(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], a=1)] * 10_000, "g", [], [])
    node = helper.make_node("If", ["c"], ["y"], name="n" * 250_000, then_branch=inner)
    path = tmp_path / "x.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString())
    found, seconds = measured(path, "onnx")
    assert found == "0"
    assert seconds < PATIENCE_S


@pytest.mark.slow
def test_many_external_tensors_are_written_in_linear_time(tmp_path):
    onnx = pytest.importorskip("onnx")
    count = 5_000
    tensors = []
    for number in range(count):
        tensor = onnx.TensorProto(name=f"w{number}", data_type=1, dims=[1], data_location=1)
        for key, value in (("location", "w.bin"), ("offset", str(4 * number)), ("length", "4")):
            tensor.external_data.add(key=key, value=value)
        tensors.append(tensor)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    graph = onnx.helper.make_graph([], "g", [], [], tensors)
    (tmp_path / "in/x.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    (tmp_path / "in/w.bin").write_bytes(np.arange(count, dtype="f4").tobytes())
    with open_dump(tmp_path / "in/x.onnx") as dump:
        since = time.process_time()
        save(dump, tmp_path / "out/x.onnx", lambda tensor: tensor.read() + 1)
        assert time.process_time() - since < PATIENCE_S
    assert (tmp_path / "out/w.bin").read_bytes() == np.arange(1, count + 1, dtype="f4").tobytes()
