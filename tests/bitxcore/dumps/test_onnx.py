import re
import sys

import numpy as np
import pytest

from bitxcore.dumps import open_dump, save
from bitxcore.errors import BitxError, DumpError, MissingExtraError, TensorError

onnx = pytest.importorskip("onnx")
make = onnx.helper
from_array = onnx.numpy_helper.from_array
T = onnx.TensorProto


def model(nodes=(), initializers=(), **graph):
    inputs = [make.make_tensor_value_info("x", T.FLOAT, None)]
    outputs = [make.make_tensor_value_info("y", T.FLOAT, None)]
    built = make.make_graph(nodes, "net", inputs, outputs, initializers, **graph)
    return make.make_model(built, opset_imports=[make.make_opsetid("", 21)], ir_version=10)


def external(name, shape, location, offset=0, length=None, dtype=T.FLOAT):
    tensor = T(name=name, data_type=dtype, dims=shape, data_location=T.EXTERNAL)
    entries = {"location": location, "offset": str(offset)} | (
        {} if length is None else {"length": str(length)}
    )
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.fixture
def path(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in" / "m.onnx"


KINDS = [
    kind
    for name, kind in T.DataType.items()
    if name not in {"UNDEFINED", "STRING"} and not re.search("INT[24]$|FLOAT4|FLOAT6", name)
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [True, False])
def test_every_data_type(path, tmp_path, kind, raw):
    dtype = make.tensor_dtype_to_np_dtype(kind)
    x = np.array([[0, 1, 2], [1, 0.5, 4]]).astype(dtype)
    tensor = from_array(x, "t") if raw else make.make_tensor("t", kind, x.shape, x.ravel())
    assert tensor.data_type == kind
    assert tensor.HasField("raw_data") == raw
    onnx.save(model(initializers=[tensor]), path)
    dump = open_dump(path)
    assert dump["t"].dtype == dtype
    assert dump["t"].read().tobytes() == x.tobytes()
    assert dump["t"].read_rows(1, 2).tobytes() == x[1:].tobytes()
    save(dump, tmp_path / "m.onnx", lambda tensor: tensor.read()[::-1])
    (after,) = onnx.load(tmp_path / "m.onnx").graph.initializer
    assert onnx.numpy_helper.to_array(after).tobytes() == x[::-1].tobytes()


def test_what_is_no_tensor_is_ignored(path):
    text = make.make_tensor("text", T.STRING, [1], [b"x"])
    narrow = make.make_tensor("narrow", T.FLOAT4E2M1, [2], [1, 2])
    sparse = make.make_sparse_tensor(from_array(np.ones(1, "f4"), "sparse"), from_array(np.array([2])), [5])
    words = make.make_node("Constant", [], ["words"], value_strings=["a"])
    onnx.save(model([words], [text, narrow], sparse_initializer=[sparse]), path)
    dump = open_dump(path)
    assert list(dump) == []
    assert dump.ignored == {
        "text": "data type STRING",
        "narrow": "data type FLOAT4E2M1",
        "sparse": "sparse tensor",
        "words": "text",
    }


def branch(value):
    nodes = [
        make.make_node("Constant", [], ["c"], value=from_array(np.full(2, value, "f4"))),
        make.make_node("MatMul", ["outer", "z"], ["t"]),
        make.make_node("MatMul", ["t", "c"], ["o"]),
    ]
    return make.make_graph(nodes, "b", [], [make.make_tensor_value_info("o", T.FLOAT, None)])


def test_subgraphs_and_functions(path, tmp_path):
    node = make.make_node("If", ["x"], ["y"], name="if", then_branch=branch(1), else_branch=branch(2))
    built = model([node], [from_array(np.ones((3, 2), "f4"), "outer")])
    constant = make.make_node("Constant", [], ["k"], value_float=1.5)
    built.functions.append(
        make.make_function("my", "f", [], ["k"], [constant], [make.make_opsetid("", 21)]),
    )
    onnx.save(built, path)
    dump = open_dump(path)
    assert list(dump) == ["outer", "if.else_branch/c", "if.then_branch/c", "my.f/k"]
    assert dump["if.else_branch/c"].read().tolist() == [2, 2]
    assert (dump["outer"].is_weight, dump["outer"].layout.filter_axis) == (True, 0)
    assert dump["if.then_branch/c"].is_weight
    save(dump, tmp_path / "m.onnx", lambda tensor: tensor.read() * 10)
    after = open_dump(tmp_path / "m.onnx")
    assert after["if.then_branch/c"].read().tolist() == [10, 10]
    assert after["my.f/k"].read() == 15


def test_all_else_stays(write, tmp_path):
    path = write("onnx")
    save(open_dump(path), tmp_path / "m.onnx", lambda tensor: -tensor.read() if tensor.name == "a" else None)
    before, after = onnx.load(path), onnx.load(tmp_path / "m.onnx")
    before.graph.initializer[0].raw_data = after.graph.initializer[0].raw_data
    assert before == after


def test_onnx_runtime_runs_the_new_model(write, tmp_path, tensors):
    runtime = pytest.importorskip("onnxruntime")
    path = write("onnx")
    save(
        open_dump(path), tmp_path / "m.onnx", lambda tensor: tensor.read() * 2 if tensor.name == "a" else None
    )
    x = np.ones((2, 8), "f4")
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ tensors["a"] * 2, rtol=1e-5)


@pytest.fixture
def outside(path):
    """Model with two external data files, one of them in a folder."""
    (path.parent / "data").mkdir()
    a, b = np.arange(6, dtype="f4"), np.arange(4, dtype="i1")
    (path.parent / "w.bin").write_bytes(b"pad!" + a.tobytes() + b"end")
    (path.parent / "data" / "b.bin").write_bytes(b.tobytes())
    tensors = [
        external("a", [2, 3], "w.bin", 4, 24),
        external("b", [4], "data/b.bin", dtype=T.INT8),
        from_array(a, "c"),
    ]
    onnx.save(model(initializers=tensors), path)
    return path


def test_external_data(outside, tmp_path):
    dump = open_dump(outside)
    assert dump.files() == [outside, outside.parent / "w.bin", outside.parent / "data" / "b.bin"]
    assert dump["a"].read().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert dump["a"].read_rows(1, 2).tolist() == [[3, 4, 5]]
    out = tmp_path / "out"
    out.mkdir()
    for _ in range(2):  # a second run replaces the first
        save(dump, out / "p.onnx", lambda tensor: -tensor.read() if tensor.name != "b" else None)
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*")) == [
        "data",
        "data/b.bin",
        "p.onnx",
        "w.bin",
    ]
    content = (out / "w.bin").read_bytes()
    assert (content[:4], content[-3:]) == (b"pad!", b"end")
    after = onnx.load(out / "p.onnx")
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in after.graph.initializer}
    assert arrays["a"].tolist() == [[0, -1, -2], [-3, -4, -5]]
    assert arrays["b"].tolist() == [0, 1, 2, 3]
    assert arrays["c"].tolist() == [0, -1, -2, -3, -4, -5]


def test_external_data_never_replace_the_input_nor_another_model(outside, tmp_path):
    dump = open_dump(outside)
    files = {file: file.read_bytes() for file in dump.files()}
    save(dump, outside.parent / "new.onnx")
    with open_dump(outside.parent / "new.onnx") as new:
        assert {n: new[n].read().tolist() for n in new} == {n: dump[n].read().tolist() for n in dump}
        own = sorted(file.name for file in new.files())
    assert own == ["new.onnx", "new.onnx.0.data", "new.onnx.1.data"]
    (outside.parent / "third.onnx.0.data").write_bytes(b"")
    with pytest.raises(BitxError, match=r"third\.onnx\.0\.data: exists and may belong to another model"):
        save(dump, outside.parent / "third.onnx")
    (outside.parent / "third.onnx.0.data").unlink()
    assert {file: file.read_bytes() for file in dump.files()} == files
    with pytest.raises(BitxError, match=r"m\.onnx: is the input|w\.bin: is the input"):
        save(dump, outside)
    assert sorted(p.name for p in outside.parent.iterdir()) == ["data", "m.onnx", *own, "w.bin"]


def written(folder, name, locations):
    """Write a model whose tensors lie in files of other names and contents, and return those files."""
    folder.mkdir(exist_ok=True)
    tensors = []
    for number, location in enumerate(locations):
        file = folder / location
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(np.full(2, number + 5, "f4").tobytes())
        tensors.append(external(f"t{number}", [2], location))
    onnx.save(model(initializers=tensors), folder / name)
    return {file: file.read_bytes() for file in [folder / name, *(folder / at for at in locations)]}


@pytest.mark.parametrize("at", ["other.onnx", "data/other.onnx", "other.ONNX"])
@pytest.mark.parametrize("shared", [False, True])
def test_data_of_a_third_model_are_never_replaced(outside, tmp_path, at, shared):
    out = tmp_path / "out"
    deep = at.startswith("data")
    files = written(out, "p.onnx", ["w.bin", "data/b.bin"] if shared else ["own.bin"])
    if deep:
        files |= written(out / "data", "other.onnx", ["b.bin"])
    else:
        files |= written(out, at, ["w.bin"])
    with pytest.raises(BitxError, match=r"may belong to another model|belongs to other\.(onnx|ONNX), too"):
        save(open_dump(outside), out / "p.onnx")
    assert all(file.read_bytes() == content for file, content in files.items() if not (shared and deep))
    assert not list(out.glob(".bitx*"))


@pytest.mark.parametrize("content", [b"", b"w.bin", b"\x08\x07"])
def test_data_beside_an_output_that_is_no_model_are_never_replaced(outside, tmp_path, content):
    (tmp_path / "p.onnx").write_bytes(content)
    (tmp_path / "w.bin").write_bytes(b"precious")
    with pytest.raises(BitxError, match=r"w\.bin: exists and may belong to another model"):
        save(open_dump(outside), tmp_path / "p.onnx")
    assert (tmp_path / "w.bin").read_bytes() == b"precious"


def test_models_that_have_other_data_do_not_stand_in_the_way(outside, tmp_path):
    out = tmp_path / "out"
    kept = written(out, "other.onnx", ["other.bin", "data/other.bin"])
    for _ in range(2):
        save(open_dump(outside), out / "p.onnx")
    assert all(file.read_bytes() == content for file, content in kept.items())
    assert open_dump(out / "p.onnx")["a"].read().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_failure_leaves_no_folder(outside, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(TensorError):
        save(open_dump(outside), out / "p.onnx", lambda tensor: tensor.read()[:1])
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (external("a", [1], "../x"), "'../x' leaves the dump's folder"),
        (external("a", [1], "data/../../x"), "leaves the dump's folder"),
        (external("a", [1], "..\\x"), "leaves the dump's folder"),
        (external("a", [1], "/etc/hostname"), "leaves the dump's folder"),
        (external("a", [1], ""), "leaves the dump's folder"),
        (external("a", [1], "link"), "'link' is a link out of the dump's folder"),
        (external("a", [1], "up/x"), "'up/x' is a link out of the dump's folder"),
        (external("a", [1], "none"), "does not exist"),
        (external("a", [1], "."), "not a regular file"),
        (external("a", [1], "four", 1), "reach outside 'four' of 4 bytes"),
        (external("a", [1], "four", -1), "reach outside"),
        (external("a", [1], "four", 2**63), "reach outside"),
        (external("a", [2], "four"), "reach outside"),
        (external("a", [2**62, 2], "four"), "more than 2**63 bytes"),
        (external("a", [1], "four", 0, 3), "of 3 bytes, its shape needs 4"),
        (external("a", [1], "four", "x"), "can't be read"),
        (external("a", [1], "../x", dtype=T.INT4), "leaves the dump's folder"),
        (T(name="a", data_type=1, dims=[3], raw_data=bytes(4)), "needs 12 bytes, 4 are there"),
        (T(name="a", data_type=1, dims=[1], raw_data=bytes(3)), "not whole float32"),
        (T(name="a", data_type=1, dims=[3], float_data=[1]), "needs 12 bytes, 4 are there"),
        (T(name="a", data_type=1, dims=[-1], raw_data=bytes(4)), "integers from 0"),
        (T(name="a", data_type=1, dims=[10**12], raw_data=bytes(4)), "needs 4000000000000 bytes"),
        (T(name="a", data_type=1, dims=[1], float_data=[1], segment=T.Segment(begin=0, end=1)), "segments"),
    ],
)
def test_refused(path, tensor, reason):
    (path.parent / "four").write_bytes(bytes(4))
    (path.parent.parent / "x").write_bytes(bytes(4))
    (path.parent / "link").symlink_to(path.parent.parent / "x")
    (path.parent / "up").symlink_to(path.parent.parent)
    path.write_bytes(model(initializers=[tensor]).SerializeToString())
    with pytest.raises(DumpError, match=re.escape(reason)) as caught:
        open_dump(path)
    assert str(caught.value).startswith(str(path.parent))
    assert "\n" not in str(caught.value)


def test_duplicate_names(path):
    onnx.save(model(initializers=[from_array(np.ones(1), "a"), from_array(np.ones(2), "a")]), path)
    with pytest.raises(DumpError, match="two constants are named 'a'"):
        open_dump(path)


def test_tensors_that_share_their_bytes(path, tmp_path):
    (path.parent / "w").write_bytes(np.arange(4, dtype="f4").tobytes())
    onnx.save(model(initializers=[external(name, [2, 2], "w") for name in "ab"]), path)
    dump = open_dump(path)
    save(dump, tmp_path / "m.onnx", lambda tensor: -tensor.read())
    assert open_dump(tmp_path / "m.onnx")["b"].read().tolist() == [[0, -1], [-2, -3]]
    for one in "ab":
        (tmp_path / one).mkdir()
        with pytest.raises(TensorError, match="'a' and 'b' share their bytes, but have different new values"):
            save(dump, tmp_path / one / "m.onnx", lambda t, one=one: -t.read() if t.name == one else None)
        with pytest.raises(TensorError, match="share their bytes"):
            save(dump, tmp_path / one / "m.onnx", lambda t, one=one: t.read() - (t.name == one) - 1)
        assert list((tmp_path / one).iterdir()) == []
    onnx.save(model(initializers=[external("a", [4], "w"), external("b", [2], "w", 4)]), path)
    with pytest.raises(DumpError, match="tensors overlap at byte 4 of 'w'"):
        save(open_dump(path), tmp_path / "n.onnx")


def test_no_model(path):
    for content in (b"", b"\x08\x07", b"garbage"):
        path.write_bytes(content)
        with pytest.raises(DumpError):
            open_dump(path)
    with path.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(DumpError, match="more than protobuf's 2147483647"):
        open_dump(path)


def test_without_onnx(write, monkeypatch):
    path = write("onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bitx\[onnx\]'"):
        open_dump(path)


@pytest.mark.slow
def test_millions_of_empty_nodes_are_refused_before_they_are_parsed(path):
    from bitxcore.dumps.onnx_size import check_objects
    from bitxcore.errors import DumpError

    nodes = b"\x0a\x00" * 2_500_000
    length = bytes([len(nodes) & 127 | 128, len(nodes) >> 7 & 127 | 128, len(nodes) >> 14 & 127 | 128])
    data = b"\x08\x08\x3a" + length + bytes([len(nodes) >> 21]) + nodes
    with pytest.raises(DumpError, match="nodes and tensors in 5000"):
        check_objects(data)
    path.write_bytes(data)
    with pytest.raises(DumpError, match="nodes and tensors"):
        open_dump(path)
