"""Tensors that go through in pieces: the same files, rows and statistics as whole ones."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import bitxcore as bx
from bitxcore.batch import inspect_dump, memory_budget, prune_dump
from bitxcore.batch.ahead import one_ahead
from bitxcore.batch.euclidean import ErrorSums
from bitxcore.batch.pieces import Cutting
from bitxcore.dumps import convert
from bitxcore.errors import DumpError, OptionError, TensorError
from bitxcore.groups import GROUPINGS, LAYOUTS, Layout

PLENTY = 1 << 40
DTYPES = (np.float32, np.float16, np.float64, np.int8, np.int16)
shapes = st.one_of(
    st.tuples(st.integers(1, 300)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4)),
)


def values_of(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "i":
        return rng.integers(-100, 100, shape).astype(dtype)
    x = rng.standard_normal(shape) * np.exp2(rng.integers(-6, 3, shape))
    return np.where(rng.random(shape) < 0.2, 0, x).astype(dtype)


def saved(folder, x, container):
    path = folder / f"x{container}"
    if container == ".npy":
        np.save(path, x)
    elif container == ".npz":
        np.savez(path, w=x)
    elif container == ".deflated.npz":
        np.savez_compressed(path, w=x)
    else:
        np.save(folder / "from.npy", np.zeros(x.shape, x.dtype))
        with bx.open_dump(folder / "from.npy") as dump:
            convert(dump, path, lambda _: x)
    return path


def pruned(path, name, memory, **options):
    """Prune a dump; return rows and the new file."""
    out = path.with_name(f"{name}{''.join(path.suffixes)}")
    with bx.open_dump(path) as dump:
        rows = prune_dump(dump, out, tuple(dump.values()), memory_bytes=memory, **options)
    return [replace(row, note="") for row in rows], out.read_bytes()


@settings(deadline=None, max_examples=60)
@given(
    shape=shapes,
    dtype=st.sampled_from(DTYPES),
    grouping=st.sampled_from(GROUPINGS),
    group=st.sampled_from([1, 3, 4, 8, 16, 100]),
    criterion=st.sampled_from(["topn", "msb", "threshold", "energy", "calibrated"]),
    layout=st.sampled_from([None, *LAYOUTS]),
    memory=st.integers(1, 60_000),
    fixed=st.booleans(),
    container=st.sampled_from([".npy", ".npz", ".deflated.npz", ".safetensors"]),
    seed=st.integers(0, 1000),
)
def test_pieces_give_what_the_whole_gives(
    tmp_path_factory, shape, dtype, grouping, group, criterion, layout, memory, fixed, container, seed
):
    form = np.dtype(dtype)
    assume(group <= 64 or (criterion in ("topn", "msb") and grouping != "kernel"))
    x = values_of(shape, dtype, seed)
    folder = tmp_path_factory.mktemp("pieces")
    path = saved(folder, x, container)
    options = {"rows": 3, "group": group, "grouping": grouping, "criterion": criterion}
    options |= {"threshold": {"threshold": 0.2}, "energy": {"budget": 0.1}}.get(criterion, {})
    if layout and len(shape) > 1:
        options["layout"] = layout
    if fixed and form.kind == "f":
        options["format"] = "fixed8"
    if criterion == "calibrated":
        with bx.open_dump(path) as dump:
            (tensor,) = dump.values()
        turned = LAYOUTS[options.get("layout", "oihw")].turn(x) if len(shape) > 1 else x[None]
        options["norms"] = {tensor.name: np.random.default_rng(seed).random(turned.shape[1:])}
    whole = pruned(path, "whole", PLENTY, **options)
    assert pruned(path, "pieces", memory, **options) == whole


@settings(deadline=None, max_examples=40)
@given(
    shape=shapes,
    dtype=st.sampled_from([np.float32, np.float16, np.int8]),
    grouping=st.sampled_from(GROUPINGS),
    group=st.sampled_from([1, 4, 8, 5]),
    layout=st.sampled_from([None, *LAYOUTS]),
    memory=st.integers(1, 40_000),
    rows=st.sampled_from([None, 2]),
    fixed=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_statistics_add_up(
    tmp_path_factory, shape, dtype, grouping, group, layout, memory, rows, fixed, seed
):
    x = values_of(shape, dtype, seed)
    path = saved(tmp_path_factory.mktemp("pieces"), x, ".npy")
    options = {"group": group, "grouping": grouping, "errors": True}
    options |= {"rows": rows} if rows else {}
    options |= {"format": "fixed8"} if fixed and np.dtype(dtype).kind == "f" else {}
    if layout and len(shape) > 1:
        options["layout"] = layout
    found = []
    for size in (PLENTY, memory):
        with bx.open_dump(path) as dump:
            found += inspect_dump(dump, tuple(dump.values()), memory_bytes=size, **options)
    whole, pieces = found
    assert pieces.columns() == whole.columns()
    assert pieces.errors == whole.errors
    assert pieces.statistics.ones == whole.statistics.ones
    for name in ("row_ones", "nonempty_rows_histogram"):
        assert np.array_equal(getattr(pieces.statistics, name), getattr(whole.statistics, name))


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
@pytest.mark.parametrize("form", [None, "fixed8"])
def test_narrow_floats(tmp_path, dtype, form):
    x = values_of((30, 6, 3, 3), np.float32, 1).astype(dtype)
    path = tmp_path / "x.safetensors"
    np.save(tmp_path / "from.npy", x.view(f"V{x.itemsize}"))
    tensor = {"w": x}
    import safetensors.numpy

    safetensors.numpy.save_file({"w": x.view(f"u{x.itemsize}")}, path)
    text = path.read_bytes().replace(b'"U16"', b'"BF16"').replace(b'"U8"', b'"F8_E4M3"')
    header = text[8 : text.index(b"}}") + 2]
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + tensor["w"].tobytes())
    whole = pruned(path, "whole", PLENTY, rows=2, format=form)
    assert pruned(path, "pieces", 5000, rows=2, format=form) == whole


@pytest.mark.parametrize("layout", [None, "ohwi", "hwio"])
@pytest.mark.parametrize("at", [0, 777, 2159])
@pytest.mark.parametrize("form", [None, "fixed8"])
def test_errors_name_the_place_in_the_whole_tensor(tmp_path, layout, at, form):
    x = values_of((20, 12, 3, 3), np.float32, 2)
    x.reshape(-1)[at] = np.nan
    path = saved(tmp_path, x, ".npy")
    told = []
    for memory in (PLENTY, 3000):
        for work in (
            lambda dump, m: prune_dump(dump, tmp_path / "y.npy", memory_bytes=m, layout=layout, format=form),
            lambda dump, m: list(inspect_dump(dump, memory_bytes=m, layout=layout, format=form)),
        ):
            with bx.open_dump(path) as dump, pytest.raises(TensorError) as caught:
                work(dump, memory)
            told.append((str(caught.value), caught.value.index, caught.value.tensor, caught.value.path))
    assert set(told) == {
        (f"{path}: tensor 'x': value nan at flat index {at}: float32 must be finite", at, "x", path)
    }
    assert not (tmp_path / "y.npy").exists()


def test_an_integer_outside_its_format(tmp_path):
    x = values_of((50, 40), np.int8, 3)
    x[31, 7] = -128
    path = saved(tmp_path, x, ".npy")
    with bx.open_dump(path) as dump, pytest.raises(TensorError) as caught:
        prune_dump(dump, tmp_path / "y.npy", memory_bytes=500)
    assert (caught.value.index, caught.value.value) == (31 * 40 + 7, -128)


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("layout", [None, "ohwi", "hwio"])
@pytest.mark.parametrize("memory", [200, 3000])
@pytest.mark.parametrize("shape", [(333,), (30, 37), (6, 10, 3, 3)])
def test_parts_are_those_of_the_whole(tmp_path, grouping, layout, memory, shape):
    path = saved(tmp_path, values_of(shape, np.float32, 4), ".npy")
    options = {"rows": 3, "group": 4, "grouping": grouping, "statistics": True}
    options |= {"layout": layout} if layout else {}
    found = []

    def each(row, result):
        found.append((row, result))

    for size in (PLENTY, memory):
        pruned(path, "out", size, each=each, **options)
    (row, whole), (row_again, pieces) = found
    assert replace(row_again, note="") == row
    for name in ("row_masks", "exponents", "kept_rows"):
        assert np.array_equal(getattr(pieces, name), getattr(whole, name)), name
    assert pieces.statistics.essential_bits == whole.statistics.essential_bits
    assert pieces.statistics.groups == whole.statistics.groups
    assert pieces.cut == whole.cut


def test_groups_with_nan_are_kept(tmp_path):
    x = values_of((64, 40), np.float32, 5)
    x[3, 3], x[40, 0], x[63, 39] = np.nan, np.inf, -np.inf
    path = saved(tmp_path, x, ".npy")
    whole = pruned(path, "whole", PLENTY, nonfinite="keep")
    assert pruned(path, "pieces", 4000, nonfinite="keep") == whole
    assert whole[0][0].nonfinite_groups == 3


def test_a_policy_in_pieces(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=values_of((40, 40), np.float32, 6), b=values_of((40, 40), np.float32, 7))
    for form in (None, "fixed8"):
        policy = {"policy": bx.Policy({"a": {"rows": 3}, "b": {"rows": None}}), "format": form}
        assert pruned(path, "pieces", 2000, **policy) == pruned(path, "whole", PLENTY, **policy)


def test_notes_say_what_takes_more(tmp_path):
    x = values_of((40, 30), np.float32, 8)
    np.save(tmp_path / "f.npy", np.asfortranarray(x))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "h.npy", values_of((3, 3, 20, 20), np.float32, 9))
    for name, layout, expected in (
        ("f", None, "it is read whole: its values are in Fortran order"),
        ("x", None, ""),
        ("h", "hwio", "groups of its layout do not lie together, and it is worked on whole"),
    ):
        with bx.open_dump(tmp_path / f"{name}.npy") as dump:
            (row,) = prune_dump(dump, tmp_path / "y.npy", memory_bytes=2000, layout=layout)
            (seen,) = inspect_dump(dump, memory_bytes=2000, layout=layout)
        assert row.note == seen.note == expected
    with bx.open_dump(tmp_path / "h.npy") as dump:
        (row,) = prune_dump(dump, tmp_path / "y.npy", memory_bytes=PLENTY, layout="hwio")
    assert row.note == ""


def test_damage_is_found_at_the_end(tmp_path):
    path = saved(tmp_path, values_of((300, 100), np.float32, 10), ".npz")
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 1
    path.write_bytes(text)
    with bx.open_dump(path) as dump, pytest.raises(DumpError, match="checksum"):
        prune_dump(dump, tmp_path / "y.npz", memory_bytes=3000)
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


def test_no_piece_is_larger_than_need_be():
    for shape, layout, group, grouping, most, largest in (
        ((1000, 10), Layout(), 8, "flat", 105, 100),
        ((2, 1000), Layout(), 8, "flat", 105, 104),
        ((2, 50, 3, 3), Layout(), 8, "channel", 100, 72),
        ((2, 50, 3, 3), Layout(), None, "kernel", 100, 99),
        ((2, 5, 30, 30), Layout(), 8, "kernel", 100, 96),
        ((1000, 10), LAYOUTS["hwio"], 8, "flat", 105, 80),
        ((3, 3, 8, 8), LAYOUTS["hwio"], 8, "channel", 200, 192),
        ((64, 10, 2, 2), Layout(filter_axis=1), 8, "flat", 100, 80),
        ((100,), Layout(), 8, "flat", 20, 16),
    ):
        pieces = Cutting.of(shape, layout, group, grouping, most).pieces
        assert max(piece.stop - piece.start for piece in pieces) == largest
        assert [piece.start for piece in pieces[1:]] == [piece.stop for piece in pieces[:-1]]
        assert (pieces[0].start, pieces[-1].stop) == (0, np.prod(shape))


@given(st.lists(st.integers(1, 70_000), min_size=1, max_size=5), st.booleans())
@settings(max_examples=20)
def test_norms_do_not_depend_on_pieces(sizes, rows):
    total = sum(sizes)
    rng = np.random.default_rng(total)
    old = rng.standard_normal(total).astype(np.float32)
    new = np.where(rng.random(total) < 0.5, old, np.float32(0))
    shape = (total, 1) if rows else (1, total)
    whole, pieces = ErrorSums(shape), ErrorSums(shape)
    whole.add(old, new, True)
    for first, last in zip(np.cumsum([0, *sizes]), np.cumsum(sizes), strict=False):
        pieces.add(old[first:last], new[first:last], bool(first % 2))
    assert pieces.norms() == whole.norms()
    assert pieces.norms()[0] == pytest.approx(np.linalg.norm(old.astype(np.float64)))
    for name in ("changed", "zeros_before", "zeros_after"):
        assert getattr(pieces, name) == getattr(whole, name)


def test_one_ahead_passes_errors_on_and_ends_what_it_runs():
    ended = []

    def work():
        try:
            yield 1
            yield 2
            raise ValueError("three")
        finally:
            ended.append(True)

    seen = []
    with pytest.raises(ValueError, match="three"):
        seen.extend(one_ahead(work()))
    running = one_ahead(work())
    assert next(running) == 1
    running.close()
    assert ended == [True, True]


def test_the_budget():
    assert memory_budget(5) == 5
    assert memory_budget() >= 1 << 26
    for wrong in (0, -1, 1.5, "1G", True):
        with pytest.raises(OptionError, match="memory_bytes"):
            memory_budget(wrong)
