import numpy as np
import pytest

from bitxcore.dumps import open_dump, save
from bitxcore.errors import BitxError, DumpError


@pytest.fixture
def folder(tmp_path, tensors):
    root = tmp_path / "dumps"
    (root / "layer1" / "deep").mkdir(parents=True)
    np.save(root / "layer1" / "conv.npy", tensors["a"])
    np.savez(root / "layer1" / "deep" / "s.npz", **tensors)
    np.savez(root / "layer1.npz", b=tensors["b"])
    (root / "notes.txt").write_text("x")
    (root / ".hidden.npy").write_bytes(b"")
    (root / ".git").mkdir()
    (root / ".git" / "x.npy").write_bytes(b"")
    return root


def test_names_are_paths(folder, tensors, same):
    with open_dump(folder) as dump:
        deep = [f"layer1/deep/s.npz/{name}" for name in tensors]
        assert list(dump) == ["layer1/conv", *deep, "layer1.npz/b"]
        assert dump["layer1/conv"].name == "layer1/conv"
        assert same(dump["layer1/conv"].read(), tensors["a"])
        assert same(dump["layer1.npz/b"].read_rows(1, 2), tensors["b"][1:2])
        assert [file.name for file in dump.files()] == ["conv.npy", "s.npz", "layer1.npz"]


def test_written_as_a_new_folder(folder, tmp_path):
    seen, names = [], []

    def negate(tensor):
        names.append(tensor.name)
        return -tensor.read()

    with open_dump(folder) as dump:
        save(dump, tmp_path / "out", negate, progress=lambda tensor: seen.append(tensor.name))
        assert seen == names == list(dump)
        with open_dump(tmp_path / "out") as out:
            assert list(out) == list(dump)
            assert all(np.array_equal(-dump[name].read(), out[name].read()) for name in dump)
        with pytest.raises(BitxError, match="new or empty"):
            save(dump, folder)


def test_shards_within(folder, tmp_path, write, tensors):
    write("shards").parent.rename(folder / "llm")
    with open_dump(folder) as dump:
        names = [name for name in dump if name.startswith("llm/model.safetensors.index.json/")]
        assert len(names) == len(tensors)
        assert len(dump) == 2 * len(tensors) + 2
        save(dump, tmp_path / "out")
    with open_dump(tmp_path / "out") as out:
        assert set(names) < set(out)


def test_what_has_no_writer_is_refused_at_once(folder, tmp_path, write):
    write("hdf5").rename(folder / "z.h5")
    calls = []
    with open_dump(folder) as dump, pytest.raises(DumpError, match="hdf5 dump can't be written back"):
        save(dump, tmp_path / "out", calls.append)
    assert calls == []
    assert not (tmp_path / "out").exists()


def test_links_inside_and_out(folder, tmp_path):
    (folder / "again.npy").symlink_to(folder / "layer1" / "conv.npy")
    (folder / "circle").symlink_to(folder)
    assert "again" in open_dump(folder)
    np.save(tmp_path / "secret.npy", np.ones(2))
    (folder / "out.npy").symlink_to(tmp_path / "secret.npy")
    with pytest.raises(DumpError, match=r"'out\.npy' is a link out of the dump's folder"):
        open_dump(folder)
    (folder / "out.npy").unlink()
    (folder / "up").symlink_to(tmp_path)
    with pytest.raises(DumpError, match="'up' is a link out"):
        open_dump(folder)


def test_empty_folders(tmp_path):
    with pytest.raises(DumpError, match="holds no dump"):
        open_dump(tmp_path)


def test_one_bad_file_is_named(folder):
    (folder / "bad.npy").write_bytes(b"x")
    with pytest.raises(DumpError, match=r"dumps/bad\.npy: "):
        open_dump(folder)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.npy", "a.NPY"], ["a.NPY", "a.npy"]),
        (["a.npy", "a.NPY", "a.Npy", "b.NPY"], ["a.NPY", "a.Npy", "a.npy", "b"]),
        (["s/a.npy", "s/a.NPY", "a.npy"], ["a", "s/a.NPY", "s/a.npy"]),
    ],
)
def test_names_that_differ_in_the_suffix_only(tmp_path, files, names):
    root = tmp_path / "in"
    for number, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with (root / name).open("wb") as file:
            np.save(file, np.full((2, 2), number))
    values = {file: number for number, file in enumerate(files)}
    with open_dump(root) as dump:
        assert list(dump) == names
        for out in ("one.npz", "one.safetensors", "out"):
            save(dump, tmp_path / out)
            with open_dump(tmp_path / out) as again:
                assert sorted(again) == sorted(names)
                found = {int(tensor.read()[0, 0]) for tensor in again.values()}
                assert found == set(values.values())
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")) == sorted(
        files
    )


def test_two_files_never_give_one_tensor(tmp_path):
    for name in ("a.npy", "a.NPY", "a.npy.npy"):
        with (tmp_path / name).open("wb") as file:
            np.save(file, np.ones(2))
    with pytest.raises(DumpError, match=r"tensor 'a\.npy': two files give tensors of this name"):
        open_dump(tmp_path)
