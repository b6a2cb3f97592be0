import io
import pickle
import re

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bitxcore.dumps import open_dump, save
from bitxcore.errors import DumpError

DTYPES = st.one_of(
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="?"),
    hnp.boolean_dtypes(),
    hnp.datetime64_dtypes(endianness="<"),
    hnp.byte_string_dtypes(min_len=1),
    hnp.unicode_string_dtypes(min_len=1),
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@given(st.data(), st.sampled_from("CF"))
def test_round_trip(tmp_path_factory, data, order):
    x = data.draw(hnp.arrays(data.draw(DTYPES), data.draw(SHAPES)))
    folder = tmp_path_factory.mktemp("npy")
    np.save(folder / "x.npy", np.asarray(x, order=order))
    tensor = open_dump(folder / "x.npy")["x"]
    native = x.astype(x.dtype.newbyteorder("="))
    assert tensor.dtype == native.dtype
    assert tensor.dtype.isnative
    assert tensor.read().shape == x.shape
    assert tensor.read().tobytes() == native.tobytes()
    out = folder / "y.npy"
    save(open_dump(folder / "x.npy"), out, lambda t: t.read()[::-1] if t.shape else t.read())
    assert np.load(out).tobytes() == (x[::-1] if x.shape else x).tobytes()
    assert np.load(out).dtype == x.dtype


def header(descr="'<f4'", shape="(2,)", fortran="False", version=1, extra=""):
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}{extra}}}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text


@pytest.mark.parametrize("version", [1, 2, 3])
def test_versions(tmp_path, version):
    (tmp_path / "x.npy").write_bytes(header(version=version) + bytes(8))
    assert open_dump(tmp_path / "x.npy")["x"].read().tolist() == [0, 0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (header() + bytes(7), "ends at byte"),
        (header() + bytes(9), "1 bytes follow the array"),
        (header(shape="(10**9,)") + bytes(8), "can't be read"),
        (header(shape="(1000000000000,)") + bytes(8), "ends at byte"),
        (header(shape="(9223372036854775807, 9223372036854775807)"), "more than 2**63 bytes"),
        (header(shape="(9223372036854775807, 0, 9223372036854775807)"), "more than 2**63 bytes"),
        (header(shape="(-1,)"), "integers from 0"),
        (header(shape="(True,)") + bytes(4), "integers from 0"),
        (header(shape="(" + "1," * 65 + ")") + bytes(4), "65 dimensions"),
        (header(shape="(1e3,)"), "can't be read"),
        (header(descr="'|O'") + bytes(16), "holds Python objects"),
        (header(descr="[('a', '|O')]") + bytes(16), "holds Python objects"),
        (header(descr="'<U0'", shape="(1000000000000,)"), "has no size"),
        (header(descr="'<f3'") + bytes(8), "can't be read"),
        (header(descr="[" * 2000 + "]" * 2000), "can't be read"),
        (header(extra=", 'x': 1"), "can't be read"),
        (header(version=2)[:8] + b"\xff\xff\xff\xff" + bytes(50), "can't be read"),
        (header(version=9) + bytes(8), "version (9, 0) is not known"),
        (b"\x93NUMPX" + header()[6:], "can't be read"),
    ],
)
def test_refused(tmp_path, content, reason):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(DumpError, match=re.escape(reason)) as caught:
        open_dump(tmp_path / "x.npy")
    assert str(caught.value).startswith(f"{tmp_path / 'x.npy'}: ")
    assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle ran",))


def test_pickles_never_run(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        pickle.dump(Bomb(), file)
    with pytest.raises(DumpError, match="tensor 'x': holds Python objects"):
        open_dump(tmp_path / "x.npy")
    (tmp_path / "y.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DumpError, match="can't be read"):
        open_dump(tmp_path / "y.npy")


def test_bfloat16_is_listed_as_raw_bytes(tmp_path):
    x = np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3)
    np.save(tmp_path / "x.npy", x)
    dump = open_dump(tmp_path / "x.npy")
    assert dump["x"].dtype == np.dtype("V2")
    assert np.array_equal(dump["x"].read().view(ml_dtypes.bfloat16), x)
    save(dump, tmp_path / "y.npy", lambda tensor: -tensor.read().view(ml_dtypes.bfloat16))
    assert np.array_equal(np.load(tmp_path / "y.npy").view(ml_dtypes.bfloat16), -x)


def test_structured_arrays_are_listed(tmp_path):
    x = np.array([(1, 2.0)], dtype=[("a", ">i4"), ("é", "<f8")])
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, x, version=(3, 0))
    (tmp_path / "x.npy").write_bytes(buffer.getvalue())
    assert open_dump(tmp_path / "x.npy")["x"].shape == (1,)
