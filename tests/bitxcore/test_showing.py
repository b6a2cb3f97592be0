"""What people see of names and results."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import bitxcore as bx
from bitxcore.showing import MOST_LINES, brief, printable, record_repr, table_repr

EVIL = "a\x1b[31m\x1b]0;t\x07\r\n\t\u202e\u2066\u200b\x9b\x00\ud800[bold]b"


def test_printable_leaves_nothing_to_obey():
    shown = printable(EVIL)
    assert shown.isprintable()
    assert shown == r"a\x1b[31m\x1b]0;t\x07\r\n\t\u202e\u2066\u200b\x9b\x00\ud800[bold]b"
    assert printable("größe × 3, 重み") == "größe × 3, 重み"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((3, 4), np.int8), "<int8 (3, 4)>"),
        (np.float32(1.5), repr(np.float32(1.5))),
        ((1,), "(1,)"),
        ([], "[]"),
        ({"a": np.zeros(2)}, "{'a': <float64 (2,)>}"),
        (tuple(range(7)), "(0, 1, 2, 3, 4, 5, … 7 in all)"),
        ([[[1, 2, 3]]], "[[[… 3]]]"),
        (EVIL, repr(EVIL)),
    ],
)
def test_brief(value, text):
    assert brief(value) == text


def test_brief_is_short():
    for value in ("x" * 10_000, [["y" * 50] * 9] * 9, dict.fromkeys(map(str, range(10**5)), "z" * 99)):
        assert len(brief(value)) <= 160


@dataclass(repr=False)
class Many:
    """A record of long fields."""

    a: Any
    b: Any = None
    c: Any = field(default=1, repr=False)
    __repr__ = record_repr


def test_records_are_told_in_one_line_or_few():
    assert repr(Many(1)) == "Many(a=1)"
    assert repr(Many(1, 2)) == "Many(a=1, b=2)"
    lines = repr(Many("x" * 100, ["y" * 99] * 99)).splitlines()
    assert lines[0] == "Many("
    assert len(lines) == 4
    assert all(len(line) <= 160 for line in lines)
    assert repr(Many(Many(EVIL, "x" * 300))).isprintable()


def test_tables_say_what_they_leave_out():
    rows = [{"name": f"layer{i}", "cycles": 1000 * i, "none": None} for i in range(100)]
    lines = table_repr("Run: net", rows, "the end").splitlines()
    assert len(lines) == MOST_LINES
    assert lines[1].split() == ["name", "cycles"]
    assert lines[3].split() == ["layer1", "1,000"]
    assert lines[-2:] == ["    … 84 more", "the end"]
    assert table_repr("Run: net", []) == "Run: net"
    assert table_repr(EVIL, [{EVIL: EVIL}]).replace("\n", "").isprintable()


def test_results_of_the_library_are_short():
    x = np.random.default_rng(0).normal(size=(64, 64, 3, 3)).astype("f4")
    pruned = bx.prune(x)
    for result in (pruned, bx.statistics(x, rows=6), bx.weight_ones(x, rows=6), bx.pack(pruned)):
        text = repr(result)
        assert text.startswith(f"{type(result).__name__}(")
        assert len(text.splitlines()) <= MOST_LINES
    assert "kept_rows_mean=6.0" in repr(pruned)
    assert "bit_sparsity=0.48" in repr(bx.statistics(x))
