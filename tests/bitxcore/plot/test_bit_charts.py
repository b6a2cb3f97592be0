"""What the figures of bits show is what the definition says of the sample network's weights."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import bitxcore as bx
from bitxcore import reference
from bitxcore.batch import row_errors
from bitxcore.errors import OptionError
from bitxcore.formats import number_format
from bitxcore.groups import grid
from bitxcore.plot.bit_matrices import _members, group_matrices

FLOAT32 = number_format("float32")
SAMPLE = Path(__file__).parents[3] / "data/samples/digits_resnet.onnx"
WINDOW, GROUP, ROWS = 32, 8, 6


@pytest.fixture(scope="module")
def weights():
    with bx.open_dump(SAMPLE) as dump:
        tensor = dump["stage1.block1.conv2.weight"]
        return np.ascontiguousarray(tensor.layout.turn(tensor.read()))[:4]


@pytest.fixture(scope="module")
def groups(weights):
    """Codes of all groups, as lists of integers."""
    return weights.reshape(-1, GROUP).view(np.uint32).tolist()


def column(chart, name):
    return list(chart.data.columns[name])


@pytest.mark.parametrize("which", [[0], [5, 17, 70]])
def test_bit_matrix_is_the_definitions(weights, groups, which):
    chart = bx.plot.bit_matrix_chart(weights, which, shown=WINDOW)
    found = {(r["group"], r["weight"], i % WINDOW): r for i, r in enumerate(chart.data.rows())}
    assert len(found) == len(which) * GROUP * WINDOW
    for index in which:
        aligned = reference.align(groups[index], FLOAT32, WINDOW)
        _, mask, emax = reference.prune_group(groups[index], FLOAT32, WINDOW, rows=ROWS)
        for member, bits in enumerate(aligned.aligned):
            for row in range(WINDOW):
                cell = found[index, member, row]
                one, kept = bits >> (WINDOW - 1 - row) & 1, bool(mask >> (WINDOW - 1 - row) & 1)
                assert (cell["bit"], cell["kept"]) == (one, kept)
                assert cell["state"].startswith(str(one))
                if len(which) == 1:
                    assert cell["row"] == f"2^{emax - FLOAT32.bias - row}"


def test_bit_matrix_of_pruned_weights_has_kept_ones_only(weights):
    chart = bx.plot.bit_matrix_chart(bx.prune(weights), 3)
    assert "1, pruned" not in column(chart, "state")
    assert sum(column(chart, "bit")) == sum(
        r["bit"] for r in bx.plot.bit_matrix_chart(weights, 3).data.rows() if r["kept"]
    )
    with pytest.raises(OptionError, match="takes no options of prune, got rows"):
        bx.plot.bit_matrix_chart(bx.prune(weights), rows=2)
    with pytest.raises(OptionError, match=r"group must be from 0 to \d+, got -1"):
        bx.plot.bit_matrix_chart(weights, -1)
    with pytest.raises(OptionError, match="at least one group"):
        bx.plot.bit_matrix_chart(weights, [])


@pytest.mark.parametrize("grouping", ["flat", "channel", "kernel"])
def test_members_of_groups_are_those_that_are_pruned_together(weights, grouping):
    size = 5
    pruned = bx.prune(weights, group=size, grouping=grouping)
    cut = grid(weights.shape, size, grouping)
    seen = [m for group in range(cut.groups) for m in _members(cut, group).tolist()]
    assert sorted(seen) == list(range(cut.reduction))
    for matrix in group_matrices(weights, [0, cut.groups + 1], {"prune_group": size, "grouping": grouping}):
        which, group = divmod(matrix.group, cut.groups)
        codes = matrix.values.view(np.uint32).tolist()
        _, mask, _ = reference.prune_group(codes, FLOAT32, WINDOW, rows=ROWS)
        assert mask == int(pruned.row_masks[which, group])


@pytest.mark.parametrize("form", ["fixed8", "int8", "float16"])
def test_bit_matrices_of_other_formats(form):
    numbers = np.random.default_rng(1).integers(-90, 90, (2, 16))
    x = numbers.astype({"fixed8": np.float32, "float16": np.float16}.get(form, np.int8))
    (matrix,) = group_matrices(x, [1], {"format": form, "rows": 3})
    fmt = number_format("int8" if form == "fixed8" else form)
    codes = matrix.values.view(f"u{matrix.values.itemsize}").tolist()
    window = len(matrix.kept)
    aligned = reference.align(codes, fmt, window)
    bits = [[a >> (window - 1 - row) & 1 for row in range(window)] for a in aligned.aligned]
    assert matrix.bits.astype(int).tolist() == bits


def test_ones_per_row_and_rows_per_group(weights, groups):
    statistics = bx.statistics(weights)
    aligned = [reference.align(codes, FLOAT32, WINDOW) for codes in groups]
    ones = [reference.row_ones(group) for group in aligned]
    totals = [sum(rows) for rows in zip(*ones, strict=True)]
    chart = bx.plot.ones_per_row_chart(statistics)
    assert column(chart, "ones") == totals
    assert column(chart, "share") == [n / weights.size for n in totals]
    filled = [sum(n > 0 for n in rows) for rows in ones]
    chart = bx.plot.nonempty_rows_chart(statistics)
    assert column(chart, "groups") == [filled.count(n) for n in range(max(filled) + 1)]
    assert f"{sum(filled) / len(filled):.1f} non-empty rows on average" in chart.see


def test_kept_rows_and_ones(weights, groups):
    pruned = bx.prune(weights, rows=16, criterion="energy", budget=0.05)
    kept = [
        reference.prune_group(codes, FLOAT32, WINDOW, criterion="energy", rows=16, budget=0.05)
        for codes in groups
    ]
    rows = [mask.bit_count() for _, mask, _ in kept]
    chart = bx.plot.kept_rows_chart(pruned)
    assert column(chart, "groups") == [rows.count(n) for n in range(max(rows) + 1)]
    ones = [reference.decode(code, FLOAT32).significand.bit_count() for codes, _, _ in kept for code in codes]
    chart = bx.plot.kept_ones_chart(pruned)
    assert column(chart, "weights") == [ones.count(n) for n in range(max(ones) + 1)]


def test_ones_before_and_after(weights, groups):
    found = bx.weight_ones(weights, rows=ROWS)
    before = [reference.decode(code, FLOAT32).significand.bit_count() for codes in groups for code in codes]
    assert found.before_histogram == tuple(before.count(n) for n in range(25))
    assert sum(found.after_histogram) == weights.size
    assert found.after.mean == pytest.approx(
        sum(n * c for n, c in enumerate(found.after_histogram)) / weights.size
    )
    chart = bx.plot.kept_ones_chart(found)
    rows = [r for r in chart.data.rows() if r["pruning"] == "before"]
    assert [r["weights"] for r in rows] == [before.count(n) for n in range(len(rows))]


@pytest.mark.parametrize("rows", [1, ROWS])
def test_errors_are_the_definitions(weights, groups, rows):
    squares = differences = Fraction(0)
    for codes in groups:
        after, _, _ = reference.prune_group(codes, FLOAT32, WINDOW, rows=rows)
        for old, new in zip(
            *(np.array(c, np.uint32).view(np.float32).tolist() for c in (codes, after)), strict=True
        ):
            squares += Fraction(old) ** 2
            differences += (Fraction(old) - Fraction(new)) ** 2
    (found,) = row_errors(weights, [rows])
    assert found.relative_error == pytest.approx(math.sqrt(differences / squares), rel=1e-12)
    assert found.values_used == weights.size
    chart = bx.plot.error_by_rows_chart(weights, [rows, 9])
    assert column(chart, "relative_error")[0] == found.relative_error
    assert column(chart, "is_default") == [rows == 6, False]


def test_errors_of_large_tensors_are_of_a_sample():
    x = np.random.default_rng(0).standard_normal((64, 128), np.float32)
    (part,) = row_errors(x, [4], most_values=1024)
    assert part.values_used == 1024
    assert part.relative_error == row_errors(x[::8], [4])[0].relative_error
    assert row_errors(x.reshape(-1), [4], most_values=100)[0].values_used == 96
    assert row_errors(x, [4], most_values=1)[0].values_used == 128


def test_errors_of_other_numbers():
    zeros = np.zeros((2, 8), np.float32)
    chart = bx.plot.error_by_rows_chart(zeros, [1, 2])
    assert column(chart, "relative_error") == [0.0, 0.0]
    assert chart.rows(chart.marks[0]) == []  # no place on a logarithmic axis
    assert bx.plot.error_by_rows(zeros).get_yscale() == "log"
    broken = np.ones((1, 16), np.float32) * 1.7
    broken[0, 3] = np.nan
    (found,) = row_errors(broken, [1], nonfinite="keep")
    assert 0 < found.relative_error < 1
    x = np.random.default_rng(0).standard_normal((4, 16), np.float32)
    (fixed,) = row_errors(x, [7], format="fixed8")
    codes = bx.quantize(x, 8)
    rounded = np.linalg.norm(x - codes.codes * codes.scale) / np.linalg.norm(x)
    assert fixed.relative_error == pytest.approx(rounded, rel=1e-6)  # all rows are kept: of the rounding
    with pytest.raises(OptionError, match="at least one number of rows"):
        bx.plot.error_by_rows_chart(x, [])
