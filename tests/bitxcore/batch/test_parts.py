"""Parts of a batch, as bytes and in their folder."""

import subprocess
import sys

import numpy as np
import pytest

from bitxcore.batch.runs.parts import BatchFailure, BatchPart, PartWriter, from_bytes, is_whole, to_bytes
from bitxcore.batch.runs.spool import Spool
from bitxcore.errors import BitxError

KEY = "a" * 64


@pytest.fixture
def part():
    found = BatchPart(values=3, nbytes=12, written={"a.npz": "0"}, seconds={"read": 0.1})
    found.failures.append(BatchFailure("w\udc80", "holds a NaN"))
    writer = PartWriter(found)
    writer.write_table(
        "t",
        [{"a": 1, "b": 0.1, "c": None, "d": True, "e": "é\n"}, {"a": None, "b": float("nan"), "c": None,
                                                                 "d": False, "e": None}],
        units={"a": "1", "b": "1", "c": "1", "d": "", "e": ""},
        dtypes={"c": "f8"},
        attrs={"n": 3, "of": "x"},
    )  # fmt: skip
    arrays = {"masks": np.arange(6, dtype="u4").reshape(2, 3).T, "empty": np.zeros((0, 2), "i2")}
    writer.write_tensor_arrays("w", arrays, {"masks": "", "empty": "1"}, {"x": 1.5})
    return found


def test_bytes_hold_everything(part):
    again = from_bytes(to_bytes(part))
    (table,) = again.tables
    assert table.columns == {
        "a": [1, None], "b": [0.1, None], "c": [None, None], "d": [True, False], "e": ["é\n", None],
    }  # fmt: skip
    assert table.kinds == {"a": "i", "b": "f", "c": "f", "d": "b", "e": "O"}
    assert table.attrs == {"n": 3, "of": "x"}
    own = again.tensors["w"]
    np.testing.assert_array_equal(own.arrays["masks"], [[0, 3], [1, 4], [2, 5]])
    assert own.arrays["masks"].dtype == "u4"
    assert own.arrays["empty"].shape == (0, 2)
    assert (own.units, own.attrs) == ({"masks": "", "empty": "1"}, {"x": 1.5})
    assert again.failures == part.failures
    assert (again.values, again.nbytes, again.written, again.seconds) == (
        3,
        12,
        {"a.npz": "0"},
        {"read": 0.1},
    )


def test_any_changed_byte_is_noticed(part):
    data = to_bytes(part)
    assert is_whole(data)
    for at in (0, 15, 90, len(data) // 2, len(data) - 1):
        damaged = bytearray(data)
        damaged[at] ^= 1
        assert not is_whole(bytes(damaged))
    for cut in (0, 10, 80, len(data) - 1):
        assert not is_whole(data[:cut])
    with pytest.raises(BitxError, match="no part of a batch, or damaged"):
        from_bytes(data[:-1])


def test_a_damaged_part_is_dropped(tmp_path, part):
    with Spool(tmp_path / "run.h5") as spool:
        spool.write(KEY, to_bytes(part))
        assert spool.load(KEY).values == 3
        path = tmp_path / "run.h5.parts" / f"{KEY}.part"
        path.write_bytes(path.read_bytes()[:-3])
        assert spool.read(KEY) is None
        assert not path.exists()
        with pytest.raises(BitxError, match="was there and is not now"):
            spool.load(KEY)
    assert list(tmp_path.iterdir()) == []  # nothing is in there


def test_parts_stay_and_others_files_too(tmp_path, part):
    with Spool(tmp_path / "run.h5") as spool:
        spool.write(KEY, to_bytes(part))
    with Spool(tmp_path / "run.h5") as spool:
        assert len(spool) == 1
        (spool.folder / "mine.txt").write_text("x")
        spool.remove()
    assert [path.name for path in (tmp_path / "run.h5.parts").iterdir()] == ["mine.txt"]


def test_one_run_at_a_time(tmp_path):
    with Spool(tmp_path / "run.h5"), pytest.raises(BitxError, match="another run is at work") as error:
        Spool(tmp_path / "run.h5")
    assert str(error.value).startswith(f"{tmp_path / 'run.h5'}: ")
    with Spool(tmp_path / "run.h5"):
        pass


WAITING = """
import sys
from pathlib import Path
from bitxcore.batch.runs.spool import Spool

print("begun", flush=True)
with Spool(Path(sys.argv[1]), wait=True) as spool:
    print("locked", len(spool), flush=True)
"""


def test_one_that_waits_gets_a_folder_that_is_there(tmp_path, part):
    with Spool(tmp_path / "run.h5") as spool:
        spool.write(KEY, to_bytes(part))
        waiting = subprocess.Popen(
            [sys.executable, "-c", WAITING, str(tmp_path / "run.h5")], stdout=subprocess.PIPE, text=True
        )
        assert waiting.stdout.readline() == "begun\n"
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
        spool.remove()  # as a run does that has finished
    assert waiting.communicate(timeout=60)[0] == "locked 0\n"
    assert list(tmp_path.iterdir()) == []


def test_places_that_can_not_be_written(tmp_path):
    with pytest.raises(BitxError, match="gone is not an existing folder"):
        Spool(tmp_path / "gone" / "run.h5")
    (tmp_path / "run.h5.parts").write_text("x")
    with pytest.raises(BitxError, match=r"run.h5.parts: can't be written: File exists"):
        Spool(tmp_path / "run.h5")
