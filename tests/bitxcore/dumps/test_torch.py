import os
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

from bitxcore.dumps import open_dump, save
from bitxcore.errors import DumpError, MissingExtraError

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
    monkeypatch.setattr("bitxcore.dumps.torch.MAX_OBJECTS", 10_000)
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
