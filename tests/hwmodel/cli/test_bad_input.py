"""Bad input through every command: one line, exit status 1, nothing under the final name."""

import os
import random
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy


def commands(path, out):
    """Every command that reads dumps, with an output beside it."""
    size = ["--size", "batch=1"] if path.suffix == ".onnx" else []
    target = out / ("p.onnx" if path.suffix == ".onnx" else "p.safetensors")
    return {
        "inspect": ["inspect", path, "-o", out / "i.h5"],
        "prune": ["prune", path, "-o", target, "--store", out / "p.h5"],
        "simulate": ["simulate", path, *size, "-o", out / "s.h5"],
    }


def refused(bitx, path, out, *parts, only=("inspect", "prune", "simulate")):
    """Every command refuses `path`, with `parts` in its message, and writes nothing."""
    for name in only:
        message = bitx.error(*commands(path, out)[name])
        assert message.startswith(str(path)), message
        for part in parts:
            assert part in message
        assert list(out.iterdir()) == []


def test_missing(bitx, tmp_path, out):
    for name in ("x.npy", "x.onnx", "x.safetensors"):
        refused(bitx, tmp_path / name, out, "does not exist")
    refused(bitx, tmp_path / "x.txt", out, only=("inspect", "prune", "simulate"))


def test_truncated(bitx, dump, out):
    data = dump.read_bytes()
    dump.write_bytes(data[: len(data) * 2 // 3])
    refused(bitx, dump, out)
    dump.write_bytes(b"")
    refused(bitx, dump, out)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_flipped_bits(bitx, dump, out, seed):
    """Damage gives an error or, where nothing tells it from other weights, a whole result."""
    data = dump.read_bytes()
    rng = random.Random(seed)
    for _ in range(12):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            damaged[rng.randrange(rng.choice([len(data), min(len(data), 600)]))] ^= 1 << rng.randrange(8)
        dump.write_bytes(damaged)
        for command in commands(dump, out).values():
            result = bitx.run(*command)
            assert result.exit_code in (0, 1), (result.output, result.exception)
            written = sorted(path.suffix for path in out.iterdir())
            if result.exit_code:
                assert result.stdout == ""
                assert result.stderr.startswith("bitx: error: ")
                assert result.stderr.count("\n") == 1
                assert written == []
            else:
                assert len(written) == (2 if command[0] == "prune" else 1)
            for path in out.iterdir():
                path.unlink()


def test_a_flipped_bit_is_found(bitx, write, out):
    """Where the container has checksums, damage to values is an error too."""
    path = write("npz")
    data = bytearray(path.read_bytes())
    at = data.index(np.load(path)["conv"].tobytes()[:16])
    data[at + 100] ^= 1
    path.write_bytes(data)
    refused(bitx, path, out, "member 'conv.npy': checksum (CRC-32) does not match")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite(bitx, tmp_path, out, values, value):
    values["fc"][3, 5] = value
    path = tmp_path / "w.npz"
    np.savez(path, **values)
    refused(bitx, path, out, "tensor 'fc'", "flat index 221", str(value))


def test_nonfinite_is_found_where_it_is_stored(bitx, write, out):
    onnx = pytest.importorskip("onnx")
    path = write("onnx")
    model = onnx.load(path)
    fc = onnx.numpy_helper.to_array(model.graph.initializer[1]).copy()
    fc[2, 3] = np.nan  # K x N: turned for pruning, so index 23 is not where it is worked on
    model.graph.initializer[1].raw_data = fc.tobytes()
    onnx.save(model, path)
    refused(bitx, path, out, "tensor 'fc': value nan at flat index 23", only=("inspect", "prune"))
    refused(bitx, path, out, "tensor 'fc'", "value nan", only=("simulate",))


def test_nonfinite_can_be_kept(bitx, tmp_path, out, values):
    values["fc"][3, 5] = np.nan
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file(values, path)
    total = bitx.json("inspect", path, "--nonfinite", "keep")["dumps"][0]["totals"]
    assert total["nonfinite_groups"] == 1
    result = bitx("prune", path, "-o", out / "p.safetensors", "--nonfinite", "keep", "--store", out / "p.h5")
    assert "1 group holds a NaN or Inf" in result.stdout
    pruned = safetensors.numpy.load_file(out / "p.safetensors")
    assert np.array_equal(pruned["fc"][3, :8], values["fc"][3, :8], equal_nan=True)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (np.zeros((0, 4), "f4"), "empty"),
        (np.array(1.5, "f4"), "0-d"),
        (np.zeros((4, 4), "i8"), "dtype int64 has no number format"),
        (np.zeros((4, 4), "c8"), "dtype complex64 has no number format"),
        (np.zeros((4, 4), "U3"), "has no number format"),
        (np.zeros((4, 4), "?"), "dtype bool has no number format"),
        (np.zeros((4, 4), [("a", "f4")]), "has no number format"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_tensors_of_the_wrong_kind(bitx, tmp_path, out, value, part, suffix):
    path = tmp_path / f"w{suffix}"
    np.save(path, value) if suffix == ".npy" else np.savez(path, w=value)
    refused(bitx, path, out, part, "tensor 'w'", only=("inspect", "prune"))
    refused(bitx, path, out, only=("simulate",))


def test_wrong_dtype_for_a_format(bitx, write, out):
    path = write("npy")
    assert "format int8 is stored as int8, but the array is float32" in bitx.error(
        "inspect", path, "--format", "int8"
    )
    np.save(path, np.zeros((4, 4), "i2"))
    message = bitx.error("prune", path, "-o", out / "p.npy", "--format", "fixed16")
    assert "fixed16 is made from floats, but the array is int16" in message


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch bomb-went-off",))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt"])
def test_pickles_never_run(bitx, tmp_path, out, suffix, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"w{suffix}"
    bomb = np.array([[Bomb()]], object)
    if suffix == ".npy":
        np.save(path, bomb, allow_pickle=True)
    elif suffix == ".npz":
        np.savez(path, w=bomb)
    else:
        torch = pytest.importorskip("torch")
        torch.save({"w": Bomb()}, path)
    refused(bitx, path, out)
    if suffix == ".npz":  # what is beside it can be used
        np.savez(path, w=bomb, fine=np.ones((2, 2)))
        for arguments in commands(path, out).values():
            assert "fine" in bitx(*arguments).stdout
        assert "Python objects" in bitx.error("inspect", path, "--include", "w")
    assert not (tmp_path / "bomb-went-off").exists()


@pytest.mark.parametrize("claim", [2**63, 2**63 - 1, 2**64 - 1, 10**6])
def test_safetensors_header_length(bitx, tmp_path, out, claim):
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", claim) + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
    refused(bitx, path, out)


def test_safetensors_shape(bitx, tmp_path, out):
    path = tmp_path / "w.safetensors"
    header = b'{"w":{"dtype":"F32","shape":[4611686018427387904,2],"data_offsets":[0,4]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    refused(bitx, path, out)


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/passwd", "a/../../secret.bin"])
def test_onnx_external_paths_stay_inside(bitx, write, tmp_path, out, place):
    (tmp_path / "secret.bin").write_bytes(bytes(4 * 288))
    refused(bitx, write("onnx", external=place), out, "leaves the dump's folder")


def test_onnx_external_file_missing(bitx, write, out):
    path = write("onnx", external="gone.bin")
    for command in commands(path, out).values():
        assert "gone.bin" in bitx.error(*command)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("place", ["missing/x", "file/x", "/proc/x"])
def test_places_that_cant_be_written(bitx, write, out, place):
    path = write("safetensors")
    (out / "file").write_text("kept")
    target = out / place
    for command in (
        ["inspect", path, "-o", f"{target}.h5"],
        ["prune", path, "-o", f"{target}.npz"],
        ["prune", path, "-o", out / "fine.npz", "--store", f"{target}.h5"],
        ["simulate", path, "-o", f"{target}.h5"],
    ):
        assert "can't be written" in bitx.error(*command)
        assert [p.name for p in out.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(bitx, write, out):
    out.chmod(0o555)
    for command in commands(write("npz"), out).values():
        assert "can't be written: Permission denied" in bitx.error(*command)


def test_outputs_are_never_inputs(bitx, write, out):
    path = write("safetensors")
    data = path.read_bytes()
    assert "is the input" in bitx.error("prune", path, "-o", path)
    assert "is the input" in bitx.error("prune", path, "-o", out / "x.npz", "--store", path)
    assert "is the input" in bitx.error("inspect", path, "-o", path)
    assert "is the input" in bitx.error("simulate", path, "-o", path)
    assert path.read_bytes() == data
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("command", [["inspect"], ["simulate"], ["sweep", "--vary", "rows=3"]])
def test_a_store_has_the_name_of_one(bitx, write, out, command):
    message = bitx.error(*command, write("safetensors"), "-o", out / "run.npz")
    assert message.endswith("run.npz: a store is an HDF5 file, its name must end in .h5 or .hdf5")
    assert list(out.iterdir()) == []


def test_an_older_output_survives_a_failure(bitx, tmp_path, out, values):
    values["fc"][0, 0] = np.inf
    np.savez(tmp_path / "w.npz", **values)
    for name in ("p.npz", "p.h5"):
        (out / name).write_text("old")
    bitx.error("prune", tmp_path / "w.npz", "-o", out / "p.npz", "--store", out / "p.h5")
    assert {p.name: p.read_text() for p in out.iterdir()} == {"p.npz": "old", "p.h5": "old"}


def test_output_of_unknown_kind(bitx, write, out):
    assert "can be written as .npz or .safetensors" in bitx.error("prune", write("h5"), "-o", out / "p.txt")
    path = write("safetensors")
    safetensors.numpy.save_file({"w": np.ones((4, 4), ml_dtypes.bfloat16)}, path)
    assert ".npz can't hold bfloat16" in bitx.error("prune", path, "-o", out / "p.npz")
    assert list(out.iterdir()) == []


def test_names_cant_control_the_terminal(bitx, tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file({"a\x1b[31m\n": np.ones((4, 4), "f4"), "b": np.ones((2, 2), "f4")}, path)
    text = bitx("inspect", path).stdout
    assert "\x1b" not in text
    assert r"a\x1b[31m\n" in text
    path = tmp_path / "v.safetensors"
    safetensors.numpy.save_file({"a\x1b[31m\n": np.full((4, 4), np.nan, "f4")}, path)
    assert "\x1b" not in bitx.error("inspect", path)


def test_a_format_does_not_convert(bitx, tmp_path):
    x = np.ones((8, 64), "f4")
    np.savez(tmp_path / "two.npz", a=x, b=x, c=x[0])
    np.save(tmp_path / "one.npy", x)
    tail = "a format tells how stored numbers are read; only fixed<N> converts: cast the values first"
    assert bitx.error("inspect", tmp_path / "two.npz", "--format", "bfloat16") == (
        f"{tmp_path}/two.npz: format bfloat16 is stored as bfloat16, but 2 tensors are float32; {tail}"
    )
    assert bitx.error("inspect", tmp_path / "one.npy", "--format", "int8") == (
        f"{tmp_path}/one.npy: tensor 'one': format int8 is stored as int8, but the array is float32; {tail}"
    )
    assert "but 1 tensor is float32;" in bitx.error(
        "inspect", tmp_path / "two.npz", "--format", "bfloat16", "--exclude", "b"
    )
    assert "(3 x excluded)" in bitx.error(
        "inspect", tmp_path / "two.npz", "--format", "int8", "--exclude", "*"
    )


def test_kinds_that_a_dump_can_be_written_as(bitx, sample, out, write):
    assert bitx.error("prune", sample, "-o", out / "x.npy") == (
        f"{out}/x.npy: an onnx dump can be written as .npz or .safetensors, or as .onnx like itself"
    )
    assert bitx.error("prune", write("h5"), "-o", out / "x.h5").endswith(".npz or .safetensors")


def test_digits_are_those_of_ascii(bitx, sample):
    """As of BITX_THREADS; Python's int reads those of all scripts."""
    error = bitx.error("simulate", sample, "--size", "N=1", "-a", "bitx:rows=\uff16")
    assert "rows must be an integer of at least 1, got '\uff16'" in error
    for option in (("--rows", "\uff16"), ("--size", "N=\uff16")):
        assert "\uff16" in bitx("simulate", sample, *option, code=2).stderr
