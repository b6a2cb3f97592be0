"""Files of text that are read whole: regular ones of a sane size, or an error at once."""

import os
from pathlib import Path

import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import DumpError
from hwmodel.dram.part_json import read_json

READERS = {
    "policy.json": bx.load_policy,
    "network.json": hw.load_network,
    "precisions.json": hw.read_precisions,
    "precisions.csv": hw.read_precisions,
    "part.json": lambda path: read_json(Path(path)),
}


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_regular_file(tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path)  # reading it would wait for ever
    with pytest.raises(DumpError, match=f"{name}: is not a regular file"):
        READERS[name](path)
    path.unlink()
    path.mkdir()
    with pytest.raises(DumpError, match=f"{name}: is not a regular file"):
        READERS[name](path)
    path.rmdir()
    with pytest.raises(DumpError, match=f"{name}: does not exist"):
        READERS[name](path)


@pytest.mark.parametrize("name", READERS)
def test_what_is_far_too_long(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)
    with pytest.raises(DumpError, match=rf"{name}: a.* has at most \d+ bytes, got {1 << 40}"):
        READERS[name](path)


@pytest.mark.parametrize("name", READERS)
def test_deep_nesting(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(DumpError, match=name):
        READERS[name](path)
