"""Kernels against a copy of the same bytes."""

import numpy as np
import pytest

import bitxcore as bx

from .measure import against, copier, reader, weights

FORMATS = ("float32", "bfloat16", "float16", "int16", "int8")
STANDARD = "group 8, 6 rows"
"""What `prune` does by default."""


@pytest.mark.parametrize("name", FORMATS)
def test_prune(benchmark, name):
    benchmark.group = f"prune, {STANDARD}"
    x = weights(name)
    out = np.zeros_like(x)
    of = {"case": name, "row": f"`prune` {name}, {STANDARD}", "values": x.size}
    against(benchmark, lambda: bx.prune(x, out=out), copier(x), **of)


@pytest.mark.parametrize("rows", [3, 5, 8])
@pytest.mark.parametrize("group", [4, 8, 16, 32, 64])
def test_prune_groups(benchmark, group, rows):
    benchmark.group = "prune float32, every fast group size"
    x = weights("float32")
    out = np.zeros_like(x)
    row = f"`prune` float32, group {group}, worst of 3, 5 and 8 rows"
    of = {"case": f"group {group}, {rows} rows", "row": row, "values": x.size}
    against(benchmark, lambda: bx.prune(x, rows=rows, group=group, out=out), copier(x), **of)


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
    {"grouping": "channel"}, {"rounding": "nearest"}, {"criterion": "threshold", "threshold": 0.1},
    {"criterion": "energy", "budget": 0.05}, {"group": 9}, {"format": "fixed16"},
], ids=lambda o: "-".join(map(str, o.values())))  # fmt: skip
def test_prune_other_ways(benchmark, options):
    benchmark.group = "prune float32, 6 rows, other options"
    x = weights("float32").reshape(256, -1, 1024 // 16)
    out = np.zeros_like(x)
    case = ", ".join(f"{key} {value}" for key, value in options.items())
    against(benchmark, lambda: bx.prune(x, out=out, **options), copier(x), case=case, values=x.size)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_prune_whole_kernels(benchmark, side):
    benchmark.group = "prune float32, 6 rows, whole kernels"
    x = weights("float32")
    channels = 4096 // side**2
    x = x[: 4096 * channels * side**2].reshape(4096, channels, side, side)
    out = np.zeros_like(x)
    case = f"{side}x{side}"
    of = {"case": case, "row": f"`prune` float32, whole kernels {case}", "values": x.size}
    options = {"grouping": "kernel", "group": None}
    against(benchmark, lambda: bx.prune(x, out=out, **options), copier(x), **of)


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
