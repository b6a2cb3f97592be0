import h5py
import numpy as np
import pytest

from bitxcore.batch.selection import Selection
from bitxcore.dumps import open_dump
from bitxcore.errors import DumpError, TensorError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.h5"


def ignored(path):
    """Return what is no tensor of a file, whose others are read."""
    with open_dump(path) as dump:
        for tensor in dump.values():
            tensor.read()
        return dump.ignored


def test_names_links_and_what_is_ignored(write):
    with open_dump(write("hdf5")) as dump:
        assert list(dump) == ["a", "alias", "b", "empty", "g/big", "g/packed", "scalar"]
        assert dump.ignored == {"text": "text or variable-length data"}
        assert np.array_equal(dump["alias"].read(), dump["g/packed"].read())
        assert dump["g/big"].dtype.isnative
        assert dump["a"].is_weight is None


def test_closed(write):
    dump = open_dump(write("hdf5"))
    dump.close()
    with pytest.raises(DumpError, match="can't be read"):
        dump["a"].read()


def test_circles_end(path):
    with h5py.File(path, "w") as file:
        file["g/a"] = np.ones(2)
        file["g/up"] = file["/"]
        file["g/self"] = h5py.SoftLink("/g")
    with open_dump(path) as dump:
        assert list(dump) == ["g/a"]
    with h5py.File(path, "a") as file:
        file["x"] = h5py.SoftLink("/y")
        file["y"] = h5py.SoftLink("/x")
    circle = "is a soft link in a circle, or through more than 16 others"
    with open_dump(path) as dump:
        assert list(dump) == ["g/a"]
        assert dump.ignored == {"x": circle, "y": circle}


def test_dangling_links(path):
    with h5py.File(path, "w") as file:
        file["a"] = h5py.SoftLink("/nothing")
        file["b"] = np.ones(2)
    with open_dump(path) as dump:
        assert list(dump) == ["b"]
        assert dump.ignored == {"a": "is a soft link that leads nowhere"}


def test_soft_links_through_soft_links(path):
    with h5py.File(path, "w") as file:
        file["g/h/a"] = np.ones(2)
        file["g/here"] = h5py.SoftLink("h/./a")
        file["to"] = h5py.SoftLink("g//h")
        file["deep"] = h5py.SoftLink("to/a/")
        for number in range(17):
            file[f"s{number:02}"] = h5py.SoftLink("/deep" if number == 16 else f"/s{number + 1:02}")
    with open_dump(path) as dump:
        assert set(dump.ignored) == {"s00", "s01", "s02"}
        assert {"g/h/a", "g/here", "deep", "s03"} <= set(dump)
        assert all(tensor.read().sum() == 2 for tensor in dump.values())


@pytest.mark.parametrize("deep", ["", "g/"])
def test_external_links(path, tmp_path, deep):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = np.ones(2)
    with h5py.File(path, "w") as file:
        file[f"{deep}out"] = h5py.ExternalLink("secret.h5", "/")
        file["a"] = h5py.SoftLink(f"/{deep}out/a")
        virtual(file, "v", f"/{deep}out/a", (2,), (2,))
        file["good"] = np.ones(2)
    with open_dump(path) as dump:
        assert list(dump) == ["good"]
        assert dump.ignored == {
            f"{deep}out": "is a link to another file",
            "a": "is a link to another file",
            "v": f"is virtual, and its source '/{deep}out/a' is missing, or elsewhere",
        }


def test_external_raw_storage(path, tmp_path):
    (tmp_path / "raw").write_bytes(bytes(80))
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (10,), "f8", external=[(str(tmp_path / "raw"), 0, 80)])
        virtual(file, "v", "a", (10,), (10,))
    reasons = ignored(path)
    assert reasons["a"].startswith("its values are in another file")
    assert reasons["v"] == "is virtual, and its source 'a' has its values in another file"


def test_virtual_datasets(path, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = np.arange(4.0)
    for name, refused in (("secret.h5", True), (".", False)):
        with h5py.File(path, "w") as file:
            file["a"] = np.arange(4.0)
            layout = h5py.VirtualLayout((4,), "f8")
            layout[:] = h5py.VirtualSource(name, "a", (4,))
            file.create_virtual_dataset("v", layout)
        if refused:
            assert ignored(path) == {"v": "is virtual, with values in another file, 'secret.h5'"}
        else:
            with open_dump(path) as dump:
                assert dump["v"].read().tolist() == [0, 1, 2, 3]


def test_claims_without_bytes(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("small", (1000,), "f4", fillvalue=3)
    with open_dump(path) as dump:
        assert set(dump["small"].read()) == {3}
    with h5py.File(path, "a") as file:
        file.create_dataset("huge", (10**15,), "f4", chunks=(1024,))
        file.create_dataset("grid", (16384, 16384), "f4", chunks=(1024, 1024))
        file.create_dataset("endless", (2**62,), "f4", chunks=(1024,))
    with open_dump(path) as dump:
        assert list(dump) == ["small"]
        limit = "the limit of bitx is the larger of 64 MiB and 1032 times what is stored"
        assert dump.ignored == {
            "endless": "shape [4611686018427387904] of float32 is more than 2**63 bytes",
            "grid": f"has 1073741824 bytes, of which 0 are stored; {limit}",
            "huge": f"has 4000000000000000 bytes, of which 0 are stored; {limit}",
        }


def test_what_is_ignored_is_an_error_only_if_asked_for(path):
    with h5py.File(path, "w") as file:
        file["a"] = h5py.SoftLink("/nothing")
        file["b"] = file["c"] = np.ones((4, 8), "f4")
    with open_dump(path) as dump:
        chosen = Selection().choose(dump)
        assert [tensor.name for tensor in chosen.tensors] == ["b", "c"]
        assert chosen.left_out == {"a": "is a soft link that leads nowhere"}
        assert Selection(include=("*",), exclude=("a",)).choose(dump).tensors
        for name in ("a", "a*"):
            with pytest.raises(TensorError, match="tensor 'a': is a soft link that leads nowhere"):
                Selection(include=(name,)).choose(dump)


def test_empty_dataspaces_and_named_types(path):
    with h5py.File(path, "w") as file:
        file["none"] = h5py.Empty("f4")
        file["type"] = np.dtype("f4")
        file["flags"] = np.array([True, False])
    with open_dump(path) as dump:
        assert dump.ignored == {"none": "empty dataspace"}
        assert dump["flags"].dtype == bool


def test_chunks_of_another_rank(path):
    x = np.arange(60, dtype="i2").reshape(3, 4, 5)
    with h5py.File(path, "w") as file:
        file.create_dataset("b", data=x, chunks=(1, 4, 5))
    data = path.read_bytes()
    # Dataspace message: version 1, rank 3, flags 1 (maximum given); then dimension 3.
    space = b"\1\3\1" + bytes(5) + (3).to_bytes(8, "little")
    assert data.count(space) == 1
    path.write_bytes(data.replace(space, b"\1\1" + space[2:]))
    with pytest.raises(DumpError, match=r"tensor 'b': chunks \(1, 4, 5\) do not fit shape \(3,\)"):
        open_dump(path)


def test_blocks_follow_the_chunks(path):
    x = np.arange(1000).reshape(100, 10)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=x, chunks=(7, 10), compression="gzip")
    with open_dump(path) as dump:
        blocks = list(dump["x"].blocks(1000))
        assert {len(block) for block in blocks[:-1]} == {14}
        assert np.array_equal(np.concatenate(blocks), x)


def virtual(file, name, source, shape=(4,), declared=(4,), taken=slice(None)):
    """Make a virtual dataset of `source`, said to be of the shape `declared`."""
    layout = h5py.VirtualLayout(shape, "f8")
    layout[:] = h5py.VirtualSource(".", source, declared)[taken]
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("name", ["nothing", "g", "g/nothing", "text", "none", "soft"])
def test_virtual_datasets_of_missing_sources(path, name):
    with h5py.File(path, "w") as file:
        file.create_group("g")
        file["none"] = h5py.Empty("f8")
        file["text"] = np.dtype("f8")
        if name == "soft":
            file["soft"] = h5py.SoftLink("/v")
        virtual(file, "v", name)
    reasons = ignored(path)
    assert set(reasons) >= ({"v", "soft"} if name == "soft" else {"v"})
    assert all(reason.startswith("is virtual, and") for name, reason in reasons.items() if name != "none")


@pytest.mark.parametrize(
    ("declared", "taken", "fits"),
    [
        ((4,), slice(None), True),
        ((9,), slice(0, 4), True),
        ((9,), slice(2, 6), False),
        ((9,), slice(0, 8, 2), False),
        ((9,), slice(0, 5, 1), True),
        ((9,), slice(4, 8), False),
    ],
)
def test_virtual_datasets_of_sources_that_are_too_small(path, declared, taken, fits):
    count = len(range(*taken.indices(declared[0])))
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(5.0)
        virtual(file, "v", "a", (count,), declared, taken)
    if fits:
        with open_dump(path) as dump:
            assert dump["v"].read().tolist() == np.arange(declared[0])[taken].tolist()
    else:
        reason = "is virtual, and its source 'a' of shape (5,) is smaller than declared"
        assert ignored(path) == {"v": reason}


def test_virtual_datasets_of_patterns_and_of_any_length(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.arange(5.0), maxshape=(None,))
        layout = h5py.VirtualLayout((5,), "f8", maxshape=(None,))
        layout[: h5py.h5s.UNLIMITED] = h5py.VirtualSource(".", "a", (5,), maxshape=(None,))[
            : h5py.h5s.UNLIMITED
        ]
        file.create_virtual_dataset("v", layout)
    with open_dump(path) as dump:
        assert dump["v"].read().tolist() == [0, 1, 2, 3, 4]
    with h5py.File(path, "w") as file:
        endless = h5py.h5s.UNLIMITED
        space = h5py.h5s.create_simple((4,), (endless,))
        space.select_hyperslab((0,), (endless,), (4,), (4,))
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_virtual(space, b".", b"a%b", h5py.h5s.create_simple((4,)))
        h5py.h5d.create(file.id, b"v", h5py.h5t.NATIVE_DOUBLE, space, made)
    assert ignored(path) == {"v": "is virtual, and names its sources by a pattern, 'a%b'"}


@pytest.mark.parametrize("length", [1, 2, 3, 10, 15, 16, 17, 40])
@pytest.mark.parametrize("closed", [False, True])
def test_virtual_datasets_of_virtual_datasets(path, length, closed):
    with h5py.File(path, "w") as file:
        file["end"] = np.arange(4.0)
        for number in range(length):
            last = number == length - 1
            virtual(file, f"v{number}", ("v0" if closed else "end") if last else f"v{number + 1}")
    with open_dump(path) as dump:
        lost = length if closed else max(0, length - 16)
        assert set(dump.ignored) == {f"v{number}" for number in range(lost)}
        assert all(tensor.read().tolist() == [0, 1, 2, 3] for tensor in dump.values())
        assert len(dump) == 1 + length - lost
        reasons = (
            "is virtual, and made of itself",
            "is virtual, through more than 16 others, which bitx does not follow",
        )
        assert set(dump.ignored.values()) <= set(reasons)


def test_a_virtual_dataset_of_several_sources(path):
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((3, 4), "f8")
        for row in range(3):
            file[f"row{row}"] = np.full(4, row)
            layout[row] = h5py.VirtualSource(".", f"row{row}", (4,))
        file.create_virtual_dataset("v", layout)
    with open_dump(path) as dump:
        assert dump["v"].read()[:, 0].tolist() == [0, 1, 2]
    with h5py.File(path, "a") as file:
        del file["row1"]
    assert "row1' is missing" in ignored(path)["v"]


KERAS = {
    "conv/conv/kernel:0": ((3, 3, 4, 8), (8, 4, 3, 3)),
    "conv1/conv1/kernel:0": ((3, 4, 8), (8, 4, 3)),
    "conv3/conv3/kernel:0": ((2, 3, 5, 4, 8), (8, 4, 2, 3, 5)),
    "up/conv2d_transpose/kernel:0": ((3, 3, 8, 4), (8, 4, 3, 3)),
    "dw/dw/depthwise_kernel:0": ((3, 3, 4, 2), (8, 1, 3, 3)),
    "sep/sep/pointwise_kernel:0": ((1, 1, 4, 8), (8, 4, 1, 1)),
    "dense/dense/kernel:0": ((6, 10), (10, 6)),
    "lstm/lstm/lstm_cell/recurrent_kernel:0": ((5, 20), (20, 5)),
    "conv/conv/bias:0": ((8,), None),
    "bn/bn/moving_mean:0": ((8,), None),
    "emb/emb/embeddings:0": ((50, 6), None),
    "optimizer_weights/Adam/m/conv/kernel:0": ((3, 3, 4, 8), None),
}


@pytest.mark.parametrize("at", ["layer_names", "keras_version", "whole model"])
def test_keras_files_tell_weights_and_layouts(path, at):
    prefix = "model_weights/" if at == "whole model" else ""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["keras_version" if at == "whole model" else at] = np.array([b"2.9"])
        for name, (shape, _) in KERAS.items():
            file[name if name.startswith("optimizer") else prefix + name] = rng.normal(size=shape)
    with open_dump(path) as dump:
        for name, (_, turned) in KERAS.items():
            tensor = dump[name if name.startswith("optimizer") else prefix + name]
            assert tensor.is_weight is (turned is not None), name
            if turned:
                values = tensor.read()
                first = tensor.layout.turn(values)
                assert first.shape == turned, name
                assert np.array_equal(tensor.layout.restore(first), values)
        dense = dump[prefix + "dense/dense/kernel:0"]
        assert np.array_equal(dense.layout.turn(dense.read()), dense.read().T)
        conv = dump[prefix + "conv/conv/kernel:0"]
        assert np.array_equal(conv.layout.turn(conv.read()), conv.read().transpose(3, 2, 0, 1))
        # Output channel c * multiplier + k of a depthwise convolution has kernel [:, :, c, k].
        depthwise = dump[prefix + "dw/dw/depthwise_kernel:0"].read()
        turned = dump[prefix + "dw/dw/depthwise_kernel:0"].layout.turn(depthwise)
        assert all(
            np.array_equal(turned[2 * c + k, 0], depthwise[:, :, c, k]) for c in range(4) for k in range(2)
        )


def test_keras_3_files(path):
    shapes = {
        "layers/conv2d/vars/0": (3, 3, 4, 8),
        "layers/conv2d/vars/1": (8,),
        "layers/embedding/vars/0": (9, 4),
        "layers/lstm/cell/vars/1": (5, 20),
        "layers/depthwise_conv2d/vars/0": (3, 3, 4, 1),
        "optimizer/vars/3": (3, 3, 4, 8),
    }
    with h5py.File(path, "w") as file:
        for name, shape in shapes.items():
            file[name] = np.zeros(shape)
    with open_dump(path) as dump:
        weights = {
            name: tensor.layout.turn(tensor.read()).shape for name, tensor in dump.items() if tensor.is_weight
        }
    assert weights == {
        "layers/conv2d/vars/0": (8, 4, 3, 3),
        "layers/lstm/cell/vars/1": (20, 5),
        "layers/depthwise_conv2d/vars/0": (4, 1, 3, 3),
    }
    with h5py.File(path, "a") as file:
        file["x"] = np.ones((2, 2))
    with open_dump(path) as dump:
        assert dump["layers/conv2d/vars/0"].is_weight is None


def test_types_that_numpy_does_not_have_are_ignored(path):
    with h5py.File(path, "w") as file:
        file["a"] = np.ones(2)
        h5py.h5d.create(file.id, b"time", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((2,)))
    with open_dump(path) as dump:
        assert list(dump) == ["a"]
        assert dump.ignored == {"time": "No NumPy equivalent for TypeTimeID exists"}
