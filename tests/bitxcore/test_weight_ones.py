"""Ones of each weight against the definition, and the sparsity increments that the paper prints."""

import csv
import sys
from collections import defaultdict
from math import prod

import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore import reference
from bitxcore.data import data_folder
from bitxcore.formats import number_format

from .oracle import ALL_NAMES, codes_of, members, sample


@pytest.mark.parametrize("name", ALL_NAMES)
@pytest.mark.parametrize("grouping", ["flat", "channel", "kernel"])
def test_ones_equal_the_definition(name, grouping):
    rng = np.random.default_rng([7, ALL_NAMES.index(name)])
    fmt, x = number_format(name), sample(name, (4, 9, 3, 3), rng, zeros=0.2)
    group = None if grouping == "kernel" else 8
    found = bx.weight_ones(x, rows=3, group=group, grouping=grouping, format=name)
    codes = codes_of(x, fmt)
    sums, largest, groups = [0, 0], [0, 0], 0
    for _, _, at in members(x.shape, group, grouping):
        before = [int(c) for c in codes[at]]
        after, _, _ = reference.prune_group(before, fmt, fmt.default_window, rows=3)
        for i, group_codes in enumerate((before, after)):
            ones = [reference.decode(c, fmt).significand.bit_count() for c in group_codes]
            sums[i] += sum(ones)
            largest[i] += max(ones)
        groups += 1
    assert (found.weights, found.groups) == (x.size, groups)
    assert (found.before.mean, found.after.mean) == (sums[0] / x.size, sums[1] / x.size)
    assert (found.before.largest, found.after.largest) == (largest[0] / groups, largest[1] / groups)
    s = bx.statistics(x, rows=3, group=group, grouping=grouping, format=name)
    assert s.ones == found
    assert s.essential_bits == sums[0]


def test_blocks_of_filters_are_one_tensor(monkeypatch):
    x = np.random.default_rng(0).standard_normal((40, 16, 3, 3)).astype(np.float32)
    whole = bx.weight_ones(x, rows=4), bx.weight_ones(x, rows=4, format="fixed8")
    monkeypatch.setattr(sys.modules["bitxcore.weight_ones"], "BLOCK", 1000)
    assert (bx.weight_ones(x, rows=4), bx.weight_ones(x, rows=4, format="fixed8")) == whole


def test_a_bad_value_has_its_index_in_the_tensor(monkeypatch):
    x = np.ones((3, 16), np.float32)
    x[2, 5] = np.nan
    monkeypatch.setattr(sys.modules["bitxcore.weight_ones"], "BLOCK", 16)
    for count in (bx.weight_ones, bx.statistics):
        with pytest.raises(
            bx.TensorError, match="value nan at flat index 37: float32 must be finite"
        ) as caught:
            count(x, rows=3)
        assert caught.value.index == 37
    with pytest.raises(bx.TensorError, match="flat index 37"):
        bx.statistics(x, rows=3, nonfinite="keep")


def test_whole_kernels_need_kernels():
    x = np.ones((2, 3, 3, 3), np.float32)
    assert bx.prune(x, rows=1, group=None, grouping="kernel").group == 9
    assert bx.prune(x[:, :, 0, 0], rows=1, group=None, grouping="kernel").group == 1
    assert bx.prune(x, rows=1, group=4, grouping="kernel").kept_rows.shape == (2, 9)
    with pytest.raises(bx.OptionError, match="group=None stands for whole kernels"):
        bx.prune(x, rows=1, group=None)
    with pytest.raises(bx.TensorError, match="kernels of 121 weights are more than a group of 64"):
        bx.statistics(np.ones((2, 3, 11, 11), np.float32), group=None, grouping="kernel")
    with pytest.raises(bx.TensorError, match="kernels of 4225 weights are more than a group of 4096"):
        bx.prune(np.ones((2, 3, 65, 65), np.float32), rows=1, group=None, grouping="kernel")


# -- the paper ---------------------------------------------------------------------------------

TABLES = {"Table 2": ("-cifar10", 0.04), "Table 3": ("", 0.02)}
NETWORKS = {
    "DenseNet": "densenet", "ResNet": "resnet", "ResNext101_32x8d": "resnext101-32x8d",
    "ResNext50_32x4d": "resnext50-32x4d", "ResNext29_2x64d": "resnext29-2x64d",
    "ResNext29_4x64d": "resnext29-4x64d", "ResNext29_8x64d": "resnext29-8x64d",
    "ResNext29_32x64d": "resnext29-32x4d", "SqueezeNet1_1": "squeezenet1_1",
}  # fmt: skip
"""Our tables by how the names that the paper prints begin."""


def table_name(printed):
    """Our table of a network that the paper names."""
    key = max((k for k in NETWORKS if printed.casefold().startswith(k.casefold())), key=len)
    return NETWORKS[key] + printed[len(key) :]


def published():
    """Published factors: (table, network, rows) to zero bits after pruning over those before."""
    with (data_folder("published") / "bitx-icpp21.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows = row["setting"].partition("N=")[2]
            if row["table_or_figure"] in TABLES and rows and row["quantity"].startswith("zero-bit count"):
                yield row["table_or_figure"], row["network"], int(rows), float(row["value"])


@pytest.fixture(scope="module")
def gaussian():
    """Ones of a Gaussian weight, by weights of its kernel and rows kept: mean before and after."""
    rng, found = np.random.default_rng(1), {}

    def means(kernel, rows):
        if (kernel, rows) not in found:
            x = rng.standard_normal((400, 360_000 // (400 * kernel), kernel), np.float32)
            ones = bx.weight_ones(x, rows=rows, group=None, grouping="kernel")
            found[kernel, rows] = np.array([ones.before.mean, ones.after.mean])
        return found[kernel, rows]

    return means


@pytest.mark.parametrize("table", TABLES)
def test_sparsity_increments_of_the_paper_come_of_whole_kernels(table, gaussian):
    """Tables 2 and 3 fit groups of one kernel each, on Gaussian weights, with nothing fitted."""
    suffix, within = TABLES[table]
    figures = [(name, rows, value) for t, name, rows, value in published() if t == table]
    assert len(figures) >= 44
    for name, rows, value in figures:
        weights = defaultdict(int)
        for layer in hw.load_network(table_name(name) + suffix):
            kernel = prod(layer.weight_shape[2:]) if layer.has_weights else 0
            weights[min(kernel, 9)] += layer.parameters  # the few large kernels count as 3 x 3
        total = sum(weights.values())
        before, after = sum(n * gaussian(k, rows) for k, n in weights.items() if n) / total
        assert (24 - after) / (24 - before) == pytest.approx(value, abs=within), (name, rows)
