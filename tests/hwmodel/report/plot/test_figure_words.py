"""Sentences of figures: ties, zeros, single values."""

from __future__ import annotations

import pytest

from hwmodel.report.figure_stacks import layers_sentence, stack_of
from hwmodel.report.figure_words import identifiers, listed, named, quantity, share


def sentence(*found: tuple[str, str, float | None], without: tuple[str, ...] = ()) -> str:
    stack = stack_of(found, bar="layer")
    return layers_sentence(stack, "cycles", "cycles", "cause", without)


def test_one_layer() -> None:
    assert sentence(("a", "fill", 3)) == (
        "The largest cause is fill, with 100% of 3 cycles. There is one layer: a."
    )


def test_ties() -> None:
    assert sentence(("a", "fill", 2), ("b", "compute", 2), ("c", "fill", 0)) == (
        "The largest causes are fill and compute, each with 50% of 4 cycles."
        " 2 layers have the most, with 50% each: a and b."
    )


def test_zeros() -> None:
    assert sentence(("a", "fill", 0), ("b", "fill", 0)) == "All layers have 0 cycles."


def test_missing_values_are_not_zeros() -> None:
    found = (("a", "fill", 1), ("b", "fill", None))
    assert list(stack_of(found, bar="layer").values) == ["a"]
    assert sentence(*found, without=("b",)).endswith("It does not run 1 layer, which have no numbers.")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "J", "0 J"),
        (0.0, "J", "0.00 J"),
        (999.9, "B", "1.00 kB"),
        (999, "B", "999 B"),
        (1e-13, "J", "0.100 pJ"),
        (-2e3, "B", "-2.00 kB"),
        (1_000_000, "cycles", "1.00 million cycles"),
        (71.2294, "mm2", "71.2 mm²"),
        (12345.6, "1", "12,300"),
    ],
)
def test_quantities(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_shares_are_not_rounded_to_all_or_nothing() -> None:
    assert [share(*pair) for pair in ((0, 5), (1, 10**6), (10**6 - 1, 10**6), (5, 5), (0, 0), (3, 2))] == [
        "0%",
        "less than 1%",
        "more than 99%",
        "100%",
        "0%",
        "150%",
    ]


def test_names() -> None:
    assert named("a\x1b[2J\n") == "a\\x1b[2J\\n"
    assert len(named("x" * 500)) == 40
    assert listed(["a"]) == "a"
    assert identifiers("f", ["<a>", "a", "é", ""]) == ["f_a", "f_a_2", "f", "f_2"]
