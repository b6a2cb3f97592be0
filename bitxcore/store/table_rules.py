"""Rules of the tables whose names have a fixed meaning: their columns, and what the values may be.

``bitx verify`` names every place that breaks one; a report refuses the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LARGEST_COUNT = 2**53
"""Larger integers are not exact in the page's script."""

LARGEST_KEPT = 4096
"""No group has more rows, and no weight more ones: figures have as many columns."""

LARGEST_NUMBER = 1e300
"""A sum of larger numbers may overflow."""

COUNTED_UNITS = frozenset({"cycles", "B"})
"""Of columns whose values are amounts, whatever their names."""


@dataclass(frozen=True)
class Kind:
    """What the values of a column may be.

    Parameters
    ----------
    words : str
        The rule, after "must be".
    holds : function of object
        Whether a value that is there keeps it.
    required : bool
        Whether a value must be there in every row.
    """

    words: str
    holds: Callable[[Any], bool]
    required: bool = False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def _is_whole(value: Any, most: int) -> bool:
    return _is_number(value) and 0 <= value <= most and value == int(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_COUNT_WORDS = "a whole number from 0 to 2**53"
NAME = Kind("text", _is_text, required=True)
TEXT = Kind("text", _is_text)
NUMBER = Kind("a number of at most 1e300", _is_number)
AMOUNT = Kind("a number from 0 to 1e300", lambda value: _is_number(value) and value >= 0)
COUNT = Kind(_COUNT_WORDS, lambda value: _is_whole(value, LARGEST_COUNT))
GIVEN_COUNT = Kind(_COUNT_WORDS, COUNT.holds, required=True)
KEPT = Kind(
    f"a whole number from 0 to {LARGEST_KEPT}", lambda value: _is_whole(value, LARGEST_KEPT), required=True
)
FLAG = Kind("true or false", lambda value: isinstance(value, bool), required=True)
INTEGER = Kind("at most 2**53 in magnitude", lambda value: abs(value) <= LARGEST_COUNT)
REAL = Kind("at most 1e300 in magnitude", lambda value: abs(value) <= LARGEST_NUMBER)


@dataclass(frozen=True)
class TableRule:
    """Columns of a table.

    Parameters
    ----------
    must : mapping of str to Kind
        Columns that the layout of stores asks for: without one, the store breaks a rule.
    needs : mapping of str to Kind
        Without one of these, a report does not show the table.
    uses : mapping of str to Kind
        Without one of these, a report leaves out some figures or sentences.
    may : mapping of str to Kind
        Others with a rule.
    """

    must: Mapping[str, Kind] = field(default_factory=dict)
    needs: Mapping[str, Kind] = field(default_factory=dict)
    uses: Mapping[str, Kind] = field(default_factory=dict)
    may: Mapping[str, Kind] = field(default_factory=dict)


_LAYER = {"layer": NAME, "accelerator": NAME}
_BITS = {
    "bit_sparsity": NUMBER,
    "value_sparsity": NUMBER,
    "essential_bits_per_nonzero": NUMBER,
    "nonempty_rows_mean": NUMBER,
    "nonempty_rows_max": COUNT,
    "groups": COUNT,
    "ones_largest_mean": NUMBER,
    "pruned_ones_largest_mean": NUMBER,
}
_MACHINE = {"macs": COUNT, "seconds": AMOUNT, "energy_j": AMOUNT, "area_mm2": AMOUNT, "bound_by": TEXT}

RULES: dict[str, TableRule] = {
    "statistics": TableRule({"tensor": NAME}, uses={"values": COUNT}, may=_BITS),
    "pruning": TableRule(
        {"tensor": NAME},
        uses={"values": COUNT, "groups": COUNT},
        may={"kept_rows_mean": NUMBER, "relative_error": NUMBER, "norm": NUMBER, "packed_bits": COUNT},
    ),
    "errors": TableRule(
        {"tensor": NAME, "rows": GIVEN_COUNT, "relative_error": NUMBER, "values_used": GIVEN_COUNT}
    ),
    "simulation": TableRule(
        _LAYER,
        uses={"cycles": COUNT, "macs": COUNT, "seconds": AMOUNT, "dram_bytes": COUNT}
        | {"peak_macs_per_cycle": AMOUNT},
        may=_MACHINE | {"reason": TEXT},
    ),
    "networks": TableRule(
        {"network": TEXT, "accelerator": NAME},
        uses={"cycles": COUNT},
        may=_MACHINE | {"layers": COUNT, "not_applicable": COUNT, "dram_peak_bytes_per_s": AMOUNT},
    ),
    "comparison": TableRule(
        needs={"accelerator": NAME, "label": NAME},
        uses={"cycles": COUNT, "speedup": AMOUNT},
        may={"reason": TEXT, "best_other": TEXT, "layers": COUNT, "not_applicable": COUNT}
        | {"common_layers": COUNT, "best_other_layers": COUNT}
        | dict.fromkeys(("speedup_mean", "speedup_on_chip", "speedup_over_best_other"), AMOUNT)
        | dict.fromkeys(("energy_j", "energy_ratio", "area_mm2", "speedup_per_area"), AMOUNT),
    ),
    "kept_rows": TableRule(_LAYER | {"kept_rows": KEPT, "groups": COUNT}),
    "kept_ones": TableRule(_LAYER | {"kept_ones": KEPT, "weights": COUNT}),
    "sweep": TableRule(
        {"point": GIVEN_COUNT, "reason": TEXT, "on_front": FLAG}, uses={"cycles": COUNT}, may=_MACHINE
    ),
    "evaluation": TableRule(
        {"rows": COUNT, "samples": COUNT, "reason": TEXT, "on_front": FLAG},
        may={"policy": TEXT, "cycles": COUNT, "speedup_over_unpruned": AMOUNT},
    ),
    "reproduction": TableRule(
        {"place": NAME, "quantity": TEXT, "published": NUMBER, "ours": NUMBER}, may={"ratio": NUMBER}
    ),
    "energy": TableRule(_LAYER | {"part": NAME, "energy_j": AMOUNT}),
    "area": TableRule({"accelerator": NAME, "part": NAME, "area_mm2": AMOUNT}),
}
"""By table. Tables of other names may hold anything."""


def kind_of(rule: TableRule, column: str, units: str) -> Kind | None:
    """Return what the values of a column may be, where that is declared.

    Parameters
    ----------
    rule : TableRule
    column : str
    units : str

    Examples
    --------
    >>> kind_of(RULES["pruning"], "tensor", "").words, kind_of(RULES["pruning"], "waits", "cycles").words
    ('text', 'a number from 0 to 1e300')
    """
    for declared in (rule.must, rule.needs, rule.uses, rule.may):
        if column in declared:
            return declared[column]
    return AMOUNT if units in COUNTED_UNITS else None
