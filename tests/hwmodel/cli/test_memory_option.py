"""--memory of bitx prune and bitx inspect."""

import click
import numpy as np
import pytest

from hwmodel.cli.values import ByteSize


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("512M", 512 << 20), ("2GiB", 2 << 30), ("1.5g", 3 << 29), ("64 MB", 64 << 20), ("10k", 10 << 10),
        ("1T", 1 << 40), ("256", 256 << 20),
    ],
)  # fmt: skip
def test_sizes(text, nbytes):
    assert ByteSize().convert(text, None, None) == nbytes


@pytest.mark.parametrize("text", ["", "0", "-1M", "1X", "M", "1e3M", "٣M", "0.0000001k", "9" * 19 + "T"])
def test_what_is_no_size(text):
    with pytest.raises(click.BadParameter, match="no amount of memory, such as 512M or 2GiB"):
        ByteSize().convert(text, None, None)


def test_the_file_and_the_table_are_the_same(bitx, tmp_path):
    x = np.random.default_rng(0).standard_normal((400, 64)).astype(np.float32)
    np.savez(tmp_path / "x.npz", w=x)
    found = [
        bitx.json("prune", tmp_path / "x.npz", "-o", tmp_path / f"{memory}.npz", "--memory", memory)
        for memory in ("1GiB", "20K")
    ]
    assert found[0]["tensors"] == found[1]["tensors"]
    assert (tmp_path / "1GiB.npz").read_bytes() == (tmp_path / "20K.npz").read_bytes()
    seen = [bitx.json("inspect", tmp_path / "x.npz", "--memory", memory) for memory in ("1GiB", "20K")]
    assert seen[0]["dumps"] == seen[1]["dumps"]


def test_a_note_names_what_takes_more(bitx, tmp_path):
    x = np.random.default_rng(0).standard_normal((400, 64)).astype(np.float32)
    np.savez(tmp_path / "x.npz", w=np.asfortranarray(x))
    for args in (["prune", tmp_path / "x.npz", "-o", tmp_path / "y.npz"], ["inspect", tmp_path / "x.npz"]):
        text = " ".join(bitx(*args, "--memory", "20K", "--notes").stdout.split())
        assert "more than --memory was needed for 1 tensor: it is read whole" in text
        assert "more than --memory" not in bitx(*args, "--notes").stdout
