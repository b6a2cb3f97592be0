"""Words of figures: quantities, shares, and names that files hold, all computed from the data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bitxcore.showing import printable
from bitxcore.tables import Table

_LONGEST_NAME = 40
_MOST_NAMES = 3
_PREFIXES = (
    *((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")),
    *((1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p")),
)
_PREFIXED = frozenset({"J", "B", "W", "s", "B/s", "MAC/s", "bit"})


def named(name: object) -> str:
    r"""Write a name on one line, harmless, and at most some 40 characters long.

    Examples
    --------
    >>> named("conv\n1")
    'conv\\n1'
    """
    text = printable(str(name))
    half = _LONGEST_NAME // 2
    return text if len(text) <= _LONGEST_NAME else f"{text[:half]}…{text[1 - half :]}"


def listed(names: Sequence[object]) -> str:
    """Write names as a list of words: all of them, or the first and how many more.

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed(["a", "b", "c", "d", "e"])
    ('a, b and c', 'a, b, c and 2 more')
    """
    told = [named(name) for name in names[:_MOST_NAMES]]
    more = len(names) - len(told)
    told += [f"{more:,} more"] if more else []
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def quantity(value: float, unit: str) -> str:
    """Write a quantity with its unit, to three digits; whole numbers below a million are exact.

    Examples
    --------
    >>> quantity(6760, "cycles"), quantity(6.17e-5, "J"), quantity(0, "B"), quantity(71.229, "mm2")
    ('6,760 cycles', '61.7 µJ', '0 B', '71.2 mm²')
    >>> quantity(1, "cycles"), quantity(12_345_678, "cycles")
    ('1 cycle', '12.3 million cycles')
    """
    if unit in _PREFIXED and value:
        scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s * 0.9995), _PREFIXES[-1])
        return f"{_digits(value / scale)} {prefix}{unit}"
    words = "" if unit in ("", "1") else f" {'mm²' if unit == 'mm2' else unit}"
    if unit == "cycles" and value == 1:
        words = " cycle"
    for scale, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(value) >= scale:
            return f"{_digits(value / scale)} {name}{words}"
    return f"{value:,}{words}" if isinstance(value, int) else f"{_digits(value)}{words}"


def _digits(value: float) -> str:
    text = f"{value:#.3g}"
    return f"{float(text):,.0f}" if "e+" in text else text.removesuffix(".")


def share(part: float, whole: float) -> str:
    """Write a share as per cent: neither 0% nor 100% unless it is exactly that.

    Examples
    --------
    >>> share(1, 3), share(1, 1000), share(999, 1000), share(3, 3)
    ('33%', 'less than 1%', 'more than 99%', '100%')
    """
    ratio = part / whole if whole else 0.0
    if 0 < ratio < 0.005:
        return "less than 1%"
    if 0.995 <= ratio < 1:
        return "more than 99%"
    return f"{ratio:.0%}"


def times(ratio: float) -> str:
    """Write a ratio.

    Examples
    --------
    >>> times(1.4792), times(213.4), times(0.0123)
    ('1.48', '213', '0.0123')
    """
    return f"{ratio:,.0f}" if ratio >= 100 else _digits(ratio)


def count_of(number: int, noun: str) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> count_of(1, "layer"), count_of(1200, "layer")
    ('1 layer', '1,200 layers')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def greatest(values: Mapping[str, float]) -> list[str]:
    """List the keys of the greatest value: several of a tie, none of nothing.

    Examples
    --------
    >>> greatest({"a": 3, "b": 5, "c": 5}), greatest({})
    (['b', 'c'], [])
    """
    most = max(values.values(), default=None)
    return [name for name, value in values.items() if value == most]


def least(values: Mapping[str, float]) -> list[str]:
    """List the keys of the least value, as `greatest` does.

    Examples
    --------
    >>> least({"a": 3, "b": 5})
    ['a']
    """
    return greatest({name: -value for name, value in values.items()})


def table_of(name: str, rows: Sequence[Mapping[str, Any]], units: Mapping[str, str]) -> Table:
    """Make a table of rows; what a row lacks is None.

    Examples
    --------
    >>> table_of("t", [{"a": 1}, {}], {"a": "1"}).columns
    {'a': [1, None]}
    """
    return Table(name, {column: [row.get(column) for row in rows] for column in units}, dict(units))


def identifiers(prefix: str, names: Iterable[object]) -> list[str]:
    """Make identifiers of a figure's variants, fit for file names, each different from the others.

    Examples
    --------
    >>> identifiers("cycles", ["bitx", "bitx(rows=5)", "bitx(rows,5)"])
    ['cycles_bitx', 'cycles_bitx_rows_5', 'cycles_bitx_rows_5_2']
    """
    found: list[str] = []
    for name in names:
        words = "_".join(re.findall(r"[a-z0-9]+", str(name).lower()))[:60].strip("_")
        base = f"{prefix}_{words}" if words else prefix
        number, identifier = 1, base
        while identifier in found:
            number += 1
            identifier = f"{base}_{number}"
        found.append(identifier)
    return found
