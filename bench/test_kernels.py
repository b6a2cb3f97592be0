"""Kernels against a copy of the same bytes."""

import numpy as np
import pytest

import bitxcore as bx
from bitxcore.pruned import PARTS

from .measure import against, copier, reader, weights

FORMATS = ("float32", "float64", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "int16", "int8")
STANDARD = "group 8, 6 rows"
"""What `prune` does by default."""


def pruned_again(x, **options):
    """Call that prunes into the arrays of an earlier result: fresh memory would cost more than the work."""
    result = bx.prune(x, **options)
    return lambda: bx.prune(x, out=result, **options)


@pytest.mark.parametrize("name", FORMATS)
def test_prune(benchmark, name):
    benchmark.group = "prune, " + STANDARD
    x = weights(name)
    of = {"case": name, "row": f"`prune` {name}, {STANDARD}", "values": x.size}
    against(benchmark, pruned_again(x), copier(x), **of)


@pytest.mark.parametrize("rows", [3, 5, 8])
@pytest.mark.parametrize("group", [4, 8, 16, 32, 64])
def test_prune_groups(benchmark, group, rows):
    benchmark.group = "prune float32, every fast group size"
    x = weights("float32")
    row = f"`prune` float32, group {group}, worst of 3, 5 and 8 rows"
    of = {"case": f"group {group}, {rows} rows", "row": row, "values": x.size}
    against(benchmark, pruned_again(x, rows=rows, group=group), copier(x), **of)


@pytest.mark.parametrize("parts", [("values",), ("row_masks", "kept_rows"), PARTS], ids="-".join)
def test_prune_to_new_arrays(benchmark, parts):
    benchmark.group = "prune float32, parts in new arrays"
    x = weights("float32")
    of = {"case": ", ".join(parts), "values": x.size}
    against(benchmark, lambda: bx.prune(x, parts=parts), copier(x), **of)


def test_prune_in_place(benchmark):
    benchmark.group = "prune float32, other targets and sources"
    x = weights("float32")
    work = x.copy()
    of = {"case": "in place", "row": "`prune` float32, in place (`out=x`)", "values": x.size}
    # What is pruned already would be another input.
    restore = lambda: np.copyto(work, x)  # noqa: E731
    against(benchmark, lambda: bx.prune(work, out=work), copier(x), before=restore, **of)


@pytest.mark.parametrize("mebibytes", [1, 16])
def test_prune_dump(benchmark, mebibytes, tmp_path):
    """From a memory-mapped dump in the page cache, a block at a time, to one array that stays."""
    benchmark.group = "prune float32, other targets and sources"
    x = weights("float32").reshape(-1, 4096)
    np.save(tmp_path / "dump.npy", x)
    out = np.zeros_like(x)
    with bx.open_dump(tmp_path / "dump.npy") as dump:

        def stream():
            start = 0
            for block in dump["dump"].blocks(mebibytes << 20, views=True):
                stop = start + len(block)
                bx.prune(block, out=out[start:stop])
                start = stop

        case = f"`.npy` dump, blocks of {mebibytes} MiB"
        of = {"case": case, "row": f"`prune` float32, {case}", "values": x.size}
        against(benchmark, stream, copier(x), **of)
    assert out.tobytes() == bx.prune(x.reshape(-1)).values.tobytes()


@pytest.mark.parametrize("options", [
    {"rounding": "nearest"}, {"criterion": "threshold", "threshold": 0.1},
    {"criterion": "energy", "budget": 0.05}, {"format": "fixed16"},
    {"group": 7}, {"group": 9}, {"group": 17}, {"group": 25}, {"group": 49},
], ids=lambda o: "-".join(map(str, o.values())))  # fmt: skip
def test_prune_other_ways(benchmark, options):
    benchmark.group = "prune float32, 6 rows, other options"
    x = weights("float32")
    case = ", ".join(f"{key} {value}" for key, value in options.items())
    of = {"case": case, "row": f"`prune` float32, {case}", "values": x.size}
    against(benchmark, pruned_again(x, **options), copier(x), **of)


OPTIONS = {
    "nearest": {"rounding": "nearest"},
    "threshold 0.1": {"criterion": "threshold", "threshold": 0.1},
    "energy 0.05": {"criterion": "energy", "budget": 0.05},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("name", "group"), [("float32", 32), ("float32", 64), *((name, 8) for name in FORMATS[1:])]
)
def test_prune_any_way(benchmark, name, group, option):
    benchmark.group = "prune, 6 rows, options of all formats"
    x = weights(name)
    of = {"case": f"{name}, group {group}, {option}", "values": x.size}
    against(benchmark, pruned_again(x, group=group, **OPTIONS[option]), copier(x), **of)


@pytest.mark.parametrize("grouping", ["kernel", "channel"])
@pytest.mark.parametrize("side", [1, 3, 5, 7, 8])
def test_prune_kernels(benchmark, side, grouping):
    benchmark.group = "prune float32, 6 rows, 4-D weights"
    x = weights("float32")
    channels = 4096 // side**2 // 8 * 8
    x = x[: 4096 * channels * side**2].reshape(4096, channels, side, side)
    case = f"{'whole kernels' if grouping == 'kernel' else 'channels of kernels'} {side}x{side}"
    of = {"case": case, "row": f"`prune` float32, {case}", "values": x.size}
    options = {"grouping": grouping, "group": None if grouping == "kernel" else 8}
    against(benchmark, pruned_again(x, **options), copier(x), **of)


@pytest.mark.parametrize("name", FORMATS)
def test_statistics(benchmark, name):
    benchmark.group = "statistics (of a read)"
    x = weights(name)
    row = f"`statistics` {name} (of a read)" if name == "float32" else ""
    against(benchmark, lambda: bx.statistics(x), reader(x), case=name, row=row, values=x.size)


@pytest.mark.parametrize("direction", ["pack", "pack again", "unpack", "unpack to a new array"])
def test_packed_form(benchmark, direction):
    benchmark.group = "packed form"
    x = weights("float32")
    p = bx.prune(x)
    k = bx.pack(p)
    old = np.zeros_like(x)
    call = {
        "pack": lambda: bx.pack(p),
        "pack again": lambda: bx.pack(p, k),
        "unpack": lambda: bx.unpack(k, old),
        "unpack to a new array": lambda: bx.unpack(k),
    }[direction]
    name, _, rest = direction.partition(" ")
    row = f"`{name}` float32, 6 rows{rest and ', ' + rest}"
    against(benchmark, call, copier(x), case=f"{direction}, float32", row=row, values=x.size)


@pytest.mark.parametrize("name", FORMATS)
def test_decompose(benchmark, name):
    benchmark.group = "decompose"
    x = weights(name)
    against(benchmark, lambda: bx.decompose(x), copier(x), case=name, values=x.size)


@pytest.mark.parametrize("name", FORMATS)
def test_essential_bits(benchmark, name):
    benchmark.group = "essential_bits"
    x = weights(name)
    against(benchmark, lambda: bx.essential_bits(x), copier(x), case=name, values=x.size)


@pytest.mark.parametrize("name", ["prune", "statistics", "pack", "unpack", "decompose", "essential_bits"])
def test_small(benchmark, name):
    """Of 4,096 values: nearly all of it is Python's."""
    benchmark.group = "1,000 calls on 4,096 values"
    x = weights("float32")[:4096]
    p = bx.prune(x)
    k = bx.pack(p)
    argument = {"pack": p, "unpack": k}.get(name, x)
    call = getattr(bx, name)

    def many():
        for _ in range(1000):
            call(argument)

    against(benchmark, many, copier(x), case=name, row=f"`{name}`, 1,000 calls on 4,096 values")


def test_prune_many(benchmark):
    """The yardstick is one array of as many values, also pruned to a new one."""
    benchmark.group = "prune 1,000 tensors of 16,384 values"
    x = weights("float32")[: 1000 * 16384]
    tensors = np.split(x, 1000)
    of = {"row": "`prune_many`, 1,000 tensors of 16,384 values (of one array)", "values": x.size}
    against(benchmark, lambda: bx.prune_many(tensors), lambda: bx.prune(x), case="prune_many", **of)


def test_weight_ones(benchmark):
    benchmark.group = "ones of weights"
    x = weights("float32").reshape(4096, -1)
    of = {"case": "weight_ones", "row": "`weight_ones` float32, before and after pruning", "values": x.size}
    against(benchmark, lambda: bx.weight_ones(x), copier(x), **of)
