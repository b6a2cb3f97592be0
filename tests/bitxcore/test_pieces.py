"""Tensors that go through in pieces: the same files, rows and statistics as whole ones."""

import io
import zipfile
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import bitxcore as bx
from bitxcore.batch import inspect_dump, memory_budget, prune_dump
from bitxcore.batch.euclidean import Comparison, block_values
from bitxcore.batch.pieces import Cutting
from bitxcore.errors import DumpError, OptionError, TensorError
from bitxcore.groups import GROUPINGS, LAYOUTS, Layout
from bitxcore.pruned import PARTS

PLENTY = 1 << 40
DTYPES = (np.float32, np.float16, np.float64, np.int8, np.int16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)
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
        np.savez(folder / "from.npz", w=x.view(np.uint8) if x.dtype.kind == "V" else x)
        with bx.open_dump(folder / "from.npz") as dump:
            from bitxcore.dumps import convert

            convert(dump, path)
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
    container=st.sampled_from([".npy", ".npz", ".deflated.npz"]),
    seed=st.integers(0, 1000),
)
def test_pieces_give_what_the_whole_gives(
    tmp_path_factory, shape, dtype, grouping, group, criterion, layout, memory, fixed, container, seed
):
    form = np.dtype(dtype)
    assume(form.type.__module__ == "numpy")  # as .npy has it; others below
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
