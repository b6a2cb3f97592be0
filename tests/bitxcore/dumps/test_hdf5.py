import h5py
import numpy as np
import pytest

from bitxcore.dumps import open_dump
from bitxcore.errors import DumpError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.h5"


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
    with pytest.raises(DumpError, match="x"):
        open_dump(path)


def test_dangling_links(path):
    with h5py.File(path, "w") as file:
        file["a"] = h5py.SoftLink("/nothing")
    with pytest.raises(DumpError, match="soft link 'a' leads nowhere"):
        open_dump(path)


@pytest.mark.parametrize("deep", ["", "g/"])
def test_external_links(path, tmp_path, deep):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = np.ones(2)
    with h5py.File(path, "w") as file:
        file[f"{deep}out"] = h5py.ExternalLink("secret.h5", "/")
        file["a"] = h5py.SoftLink(f"/{deep}out/a")
    with pytest.raises(DumpError, match=f"link '{deep}out' leads to another file"):
        open_dump(path)


def test_external_raw_storage(path, tmp_path):
    (tmp_path / "raw").write_bytes(bytes(80))
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (10,), "f8", external=[(str(tmp_path / "raw"), 0, 80)])
    with pytest.raises(DumpError, match="tensor 'a': its values are in another file"):
        open_dump(path)


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
            with pytest.raises(DumpError, match=r"tensor 'v': is virtual, .* 'secret\.h5'"):
                open_dump(path)
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
    with pytest.raises(
        DumpError, match="tensor 'huge': claims 4000000000000000 bytes, of which only 0 are stored"
    ):
        open_dump(path)


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
    with pytest.raises(DumpError, match=r"tensor '(v|soft)': is virtual, and") as caught:
        open_dump(path)
    assert "\n" not in str(caught.value)


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
        with pytest.raises(DumpError, match=r"its source 'a' of shape \(5,\) is smaller than declared"):
            open_dump(path)


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
    with pytest.raises(DumpError, match=r"names its sources by a pattern, 'a%b'"):
        open_dump(path)


@pytest.mark.parametrize("length", [1, 2, 3, 10, 15, 16, 17, 40])
@pytest.mark.parametrize("closed", [False, True])
def test_virtual_datasets_of_virtual_datasets(path, length, closed):
    with h5py.File(path, "w") as file:
        file["end"] = np.arange(4.0)
        for number in range(length):
            last = number == length - 1
            virtual(file, f"v{number}", ("v0" if closed else "end") if last else f"v{number + 1}")
    if not closed and length <= 16:
        with open_dump(path) as dump:
            assert dump["v0"].read().tolist() == [0, 1, 2, 3]
    else:
        with pytest.raises(
            DumpError, match=r"is virtual, (and made of itself|through more than 16 datasets)"
        ):
            open_dump(path)


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
    with pytest.raises(DumpError, match=r"its source '/?row1' is missing"):
        open_dump(path)


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
