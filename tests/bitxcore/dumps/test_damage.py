"""Damaged files of every container: a one-line error or a consistent dump, never anything else."""

import random
import tracemalloc

import pytest

from bitxcore.dumps import open_dump
from bitxcore.errors import BitxError

MIB = 1 << 20


def structure(dump):
    return {name: (tensor.shape, tensor.dtype) for name, tensor in dump.items()}


def read_all(path):
    """Structure of the dump after every tensor was read; None where there was an error."""
    try:
        with open_dump(path) as dump:
            for tensor in dump.values():
                value = tensor.read()
                assert (value.shape, value.dtype) == (tensor.shape, tensor.dtype)
                if tensor.shape:
                    tensor.read_rows(0, 1)
            return structure(dump)
    except BitxError as error:
        message = str(error)
    assert "\n" not in message
    assert message.startswith(str(path.parent))
    return None


def target(sample):
    """Return the file to damage: of shards, one with values."""
    return sample.parent / "two.safetensors" if sample.suffix == ".json" else sample


def test_truncated(sample):
    expected = read_all(sample)
    file = target(sample)
    data = file.read_bytes()
    lengths = {*range(0, len(data), max(1, len(data) // 120)), *range(len(data) - 30, len(data))}
    for length in lengths:
        file.write_bytes(data[:length])
        assert read_all(sample) in (None, expected)
        # No container but protobuf, HDF5 and torch's lists of records can end early and be whole.
        if sample.suffix in {".npy", ".npz", ".safetensors", ".json"}:
            assert read_all(sample) is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_flipped_bits(sample, seed):
    assert read_all(sample)
    file = target(sample)
    data = file.read_bytes()
    rng = random.Random(seed)
    tracemalloc.start()
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 8])):
            damaged[rng.randrange(rng.choice([len(data), min(len(data), 1500)]))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.3:
            at = rng.randrange(len(data) - 8)
            damaged[at : at + 8] = rng.choice(
                [b"\xff" * 8, b"\0" * 8, b"\0" * 7 + b"\x80", b"\0\0\0\0\0\1\0\0"]
            )
        file.write_bytes(damaged)
        read_all(sample)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300 * MIB


def test_damaged_index(write):
    path = write("shards")
    data = path.read_bytes()
    rng = random.Random(1)
    for _ in range(150):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        read_all(path)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert read_all(path) is None


def test_garbage(tmp_path):
    rng = random.Random(0)
    for suffix in (".npy", ".npz", ".safetensors", ".safetensors.index.json", ".h5", ".onnx", ".pt"):
        for size in (1, 7, 8, 9, 100, 5000):
            path = tmp_path / f"x{suffix}"
            path.write_bytes(rng.randbytes(size))
            assert read_all(path) in (None, {})
