import os
import random
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

from bitxcore.dumps import open_dump, save
from bitxcore.errors import BitxError, DumpError, MissingExtraError

torch = pytest.importorskip("torch")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.pt"


@pytest.mark.parametrize("container", ["torch", "torch-legacy"])
def test_names_and_what_is_ignored(write, container):
    dump = open_dump(write(container))
    assert list(dump) == ["model.a", "model.b", "model.empty", "model.scalar", "model.half", "list.0"]
    assert dump.ignored == {"epoch": "not a tensor: int"}
    assert dump["model.half"].dtype == ml_dtypes.bfloat16
    assert dump["model.half"].read().tolist() == [1, -2, 3.5]
    assert dump["model.half"].read_rows(1, 2).tolist() == [-2]


def test_a_lone_tensor_and_odd_ones(path):
    torch.save(torch.arange(6).reshape(2, 3).T, path)
    assert open_dump(path)["x"].read().tolist() == [[0, 3], [1, 4], [2, 5]]
    state = OrderedDict(
        w=torch.nn.Parameter(torch.ones(2)),
        conj=torch.tensor([1 + 2j]).conj(),
        sparse=torch.eye(3).to_sparse(),
        f8=torch.ones(3).to(torch.float8_e5m2),
        same=None,
    )
    state["view"] = state["w"]
    state[3] = {"x": torch.zeros(0, 4)}
    torch.save(state, path)
    dump = open_dump(path)
    assert list(dump) == ["w", "conj", "f8", "view", "3.x"]
    assert dump["conj"].read().tolist() == [1 - 2j]
    assert dump["f8"].read().dtype == ml_dtypes.float8_e5m2
    assert list(dump.ignored) == ["sparse", "same"]


def test_two_entries_of_one_name(path):
    torch.save({"a.b": torch.ones(1), "a": {"b": torch.ones(1)}}, path)
    with pytest.raises(DumpError, match=r"tensor 'a\.b': two entries flatten to this name"):
        open_dump(path)


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch bomb-went-off",))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_never_runs(path, tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(2), "x": Bomb()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        DumpError, match=r"its pickle calls (posix|nt)\.system; only tensors are read"
    ) as caught:
        open_dump(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bomb-went-off").exists()


def test_whole_modules_are_refused(path):
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(DumpError, match=r"its pickle calls torch\.nn\.modules\.linear\.Linear"):
        open_dump(path)


def test_claims_without_bytes(path):
    torch.save({"w": torch.zeros(1).expand(1 << 40)}, path)
    with pytest.raises(DumpError, match="tensor 'w': claims 4398046511104 bytes"):
        open_dump(path)


def test_nesting_without_end(path):
    circle = {}
    circle["self"] = circle
    torch.save(circle, path)
    with pytest.raises(DumpError, match="nests more than 100 levels"):
        open_dump(path)


def test_many_names_for_one_tensor(path, monkeypatch):
    state = {"w": torch.ones(1)}
    for _ in range(40):
        state = {"a": state, "b": state}
    torch.save(state, path)
    monkeypatch.setattr("bitxcore.dumps.pytorch.MAX_OBJECTS", 10_000)
    with pytest.raises(DumpError, match="or 10000 objects"):
        open_dump(path)


def test_converts_for_torch(path, tmp_path):
    from safetensors import safe_open

    torch.save({"w": torch.ones(2, 3, dtype=torch.bfloat16)}, path)
    save(open_dump(path), tmp_path / "y.safetensors", lambda tensor: tensor.read() * 2)
    with safe_open(tmp_path / "y.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert torch.equal(file.get_tensor("w"), torch.full((2, 3), 2, dtype=torch.bfloat16))


def test_without_torch(path, monkeypatch):
    torch.save({"w": torch.ones(2)}, path)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bitx\[torch\]'"):
        open_dump(path)


def test_arrays_are_copies(path):
    torch.save({"w": torch.ones(2)}, path)
    dump = open_dump(path)
    dump["w"].read()[:] = 7
    assert np.array_equal(dump["w"].read(), [1, 1])


def checkpoint():
    generator = torch.Generator().manual_seed(1)
    weights = {"w": torch.randn(30, 40, generator=generator), "b": torch.ones(7, dtype=torch.bfloat16)}
    return {"model": weights, "list": [torch.arange(500)], "epoch": 3}


def contents(path):
    with open_dump(path) as dump:
        return {
            name: (tensor.shape, str(tensor.dtype), tensor.read().tobytes()) for name, tensor in dump.items()
        }


def test_flipped_bits_never_change_a_value(path, tmp_path):
    torch.save(checkpoint(), path)
    good, expected = path.read_bytes(), contents(path)
    draw, refused = random.Random(0), 0
    for _ in range(200):
        data = bytearray(good)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (tmp_path / "y.pt").write_bytes(data)
        try:
            assert contents(tmp_path / "y.pt") == expected  # a flip in padding
        except BitxError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("read", ["read", "read_rows", "blocks", "save"])
def test_values_are_checked_by_their_sum(path, tmp_path, read):
    torch.save(checkpoint(), path)
    one = np.arange(500, dtype="i8").tobytes()
    data = path.read_bytes()
    assert one in data
    path.write_bytes(data.replace(one, one[:-1] + b"\1"))
    with open_dump(path) as dump:
        assert "model.w" in dump
        calls = {
            "read": lambda: dump["list.0"].read(),
            "read_rows": lambda: dump["list.0"].read_rows(0, 1),
            "blocks": lambda: list(dump["list.0"].blocks(views=True)),
            "save": lambda: save(dump, tmp_path / "y.safetensors"),
        }
        with pytest.raises(DumpError, match=r"x\.pt: member 'x/data/\d': .*CRC-32"):
            calls[read]()
    assert not (tmp_path / "y.safetensors").exists()


def test_descriptions_are_checked_at_once(path):
    torch.save(checkpoint(), path)
    path.write_bytes(path.read_bytes().replace(b"epoch", b"epOch", 1))
    with pytest.raises(DumpError, match=r"member 'x/data\.pkl': .*CRC-32"):
        open_dump(path)


def test_files_without_sums(path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(checkpoint(), path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert contents(path)["list.0"][2] == np.arange(500).tobytes()


@pytest.mark.parametrize("twice", [False, True])
def test_archives_that_torch_would_misread(path, tmp_path, twice):
    torch.save(checkpoint(), path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "y.pt", "w") as new:
        for info in old.infolist():
            kind = zipfile.ZIP_STORED if twice else zipfile.ZIP_DEFLATED
            new.writestr(info.filename, old.read(info), kind)
        if twice:
            with pytest.warns(UserWarning, match="Duplicate name"):
                new.writestr("x/data/0", bytes(4800))
    with pytest.raises(DumpError, match="is there twice" if twice else "is compressed"):
        open_dump(tmp_path / "y.pt")


def test_a_file_that_changes(path):
    torch.save(checkpoint(), path)
    with open_dump(path) as dump:
        dump["list.0"].read()
        torch.save({"other": torch.ones(3)}, path)
        with pytest.raises(DumpError, match="has changed since it was opened"):
            dump["list.0"].read()


def test_meta_tensors_are_ignored(path):
    torch.save({"w": torch.ones(2), "m": torch.ones(3, device="meta")}, path)
    with open_dump(path) as dump:
        assert list(dump) == ["w"]
        assert dump.ignored == {"m": "meta tensor, without values"}
