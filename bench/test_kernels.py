"""Kernels against a copy of the same bytes."""

import numpy as np
import pytest

import bitxcore as bx

from .measure import against, copier, reader, weights

FORMATS = ("float32", "bfloat16", "float16", "int16", "int8")


@pytest.mark.parametrize("name", FORMATS)
def test_prune(benchmark, name):
    benchmark.group = "prune, group 16, 5 rows"
    x = weights(name)
    out = np.zeros_like(x)
    against(benchmark, lambda: bx.prune(x, rows=5, out=out), copier(x), x.size)


@pytest.mark.parametrize("name", FORMATS)
def test_statistics(benchmark, name):
    benchmark.group = "statistics (of a read)"
    x = weights(name)
    against(benchmark, lambda: bx.statistics(x), reader(x), x.size)


@pytest.mark.parametrize("name", FORMATS)
def test_decompose(benchmark, name):
    benchmark.group = "decompose"
    x = weights(name)
    against(benchmark, lambda: bx.decompose(x), copier(x), x.size)


@pytest.mark.parametrize("name", FORMATS)
def test_essential_bits(benchmark, name):
    benchmark.group = "essential_bits"
    x = weights(name)
    against(benchmark, lambda: bx.essential_bits(x), copier(x), x.size)


@pytest.mark.parametrize("group", [4, 8, 32, 64])
def test_prune_other_groups(benchmark, group):
    benchmark.group = "prune, 5 rows, other group sizes"
    x = weights("float32")
    out = np.zeros_like(x)
    against(benchmark, lambda: bx.prune(x, rows=5, group=group, out=out), copier(x), x.size)


@pytest.mark.parametrize("options", [
    {"grouping": "channel"}, {"rounding": "nearest"}, {"criterion": "threshold", "threshold": 0.1},
    {"criterion": "energy", "budget": 0.05}, {"group": 9}, {"format": "fixed16"},
], ids=lambda o: "-".join(map(str, o.values())))  # fmt: skip
def test_prune_other_ways(benchmark, options):
    benchmark.group = "prune float32, 5 rows, other options"
    x = weights("float32").reshape(256, -1, 1024 // 16)
    out = np.zeros_like(x)
    against(benchmark, lambda: bx.prune(x, rows=5, out=out, **options), copier(x), x.size)


@pytest.mark.parametrize("direction", ["pack", "unpack"])
def test_packed_form(benchmark, direction):
    benchmark.group = "packed form, float32"
    x = weights("float32")
    p = bx.prune(x, rows=5)
    k = bx.pack(p)
    call = (lambda: bx.pack(p)) if direction == "pack" else (lambda: bx.unpack(k))
    against(benchmark, call, copier(x), x.size)
