"""Hold the tables of a store to the rules of `bitxcore.store.table_rules` and `bitxcore.store.count_rules`.

Tables are read block by block. What is kept of them is a few numbers for each key of a rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.store.count_rules import (
    CROSS_RULES,
    KNOWN_RULES,
    ROW_RULES,
    TOLERANCE,
    UNIQUE_RULES,
    AtMost,
    Block,
    CrossRule,
    Known,
    NumericColumn,
    RowRule,
    Rows,
    numbers,
)
from bitxcore.store.findings import Finding
from bitxcore.store.small_tables import SmallTables
from bitxcore.store.table_rules import INTEGER, REAL, RULES, Kind, TableRule, kind_of

Keys = tuple[Any, ...]


@dataclass
class Broken:
    """The rows that break a rule, counted; the first is told."""

    place: str
    rule: str
    message: str
    first: int | None = None
    count: int = 0
    expected: Any = None
    found: Any = None

    def add(
        self, rows: npt.NDArray[np.intp], expected: Callable[[int], Any], found: Callable[[int], Any]
    ) -> None:
        """Count rows; of the very first one, keep what was expected and found."""
        if not len(rows):
            return
        if self.first is None:
            first = int(rows[0])
            self.first, self.expected, self.found = first, expected(first), found(first)
        self.count += len(rows)

    def finding(self) -> Iterator[Finding]:
        """Yield what was found, if anything."""
        if self.first is not None:
            yield Finding(
                self.rule, self.place, self.message, self.first, self.count, self.expected, self.found
            )


@dataclass
class RunningSums:
    """What a rule adds up, by key."""

    rule: CrossRule
    total: dict[Keys, Any] = field(default_factory=dict)
    weight: dict[Keys, Any] = field(default_factory=dict)

    def add(self, block: Block, keys: list[Keys]) -> None:
        """Take a block of the source, with the key of every row."""
        rule = self.rule
        if isinstance(rule, Rows):
            has = [value is not None for value in block[rule.given].tolist()]
            for key, given in zip(keys, has, strict=True):
                self.total[key] = self.total.get(key, 0) + (given == rule.has)
            return
        column = numbers(block[rule.column])
        assert column is not None
        present = column.present
        if rule.unless is not None and rule.unless in block:
            present = present & np.array([value is None for value in block[rule.unless].tolist()], np.bool_)
        values, weights = np.where(present, column.values, 0).tolist(), None
        if rule.weight is not None:
            weight = numbers(block[rule.weight])
            assert weight is not None
            weights = np.where(weight.present & present, weight.values, 0).tolist()
        for i, key in enumerate(keys):
            by = 1 if weights is None else weights[i]
            self.total[key] = self.total.get(key, 0) + values[i] * by
            if weights is not None:
                self.weight[key] = self.weight.get(key, 0) + by

    def expected(self, keys: list[Keys]) -> NumericColumn:
        """Return what rows of the target with these keys must hold."""
        if getattr(self.rule, "weight", None) is None:
            return NumericColumn(np.array([self.total.get(key, 0) for key in keys]), np.ones(len(keys), bool))
        weights = [self.weight.get(key, 0) for key in keys]
        means = [
            self.total[key] / weight if weight else 0.0 for key, weight in zip(keys, weights, strict=True)
        ]
        return NumericColumn(np.array(means, float), np.ones(len(keys), bool))


def keys_of(block: Block, names: tuple[str, ...]) -> list[Keys]:
    """Return the key of every row; columns that are not there do not count."""
    return list(zip(*(block[name].tolist() for name in names if name in block), strict=True))


def check_tables(tables: SmallTables, names: tuple[str, ...]) -> list[Finding]:
    """Hold tables to all rules.

    Parameters
    ----------
    tables : SmallTables
    names : tuple of str
        Those that can be read; rules about others are left out.
    """
    columns = {name: tables.units(name) for name in names}
    firsts = {name: next(tables.blocks(name), {}) for name in names}
    found: list[Finding] = []
    sums = [RunningSums(rule) for rule in CROSS_RULES if _applies(rule, columns, firsts)]
    seen: dict[tuple[str, tuple[str, ...]], Counter[Keys]] = {}
    for known in KNOWN_RULES:
        if known.target in columns and set(known.keys) <= columns[known.target].keys():
            seen[known.target, known.keys] = Counter()
    for each in sums:
        seen[each.rule.target, each.rule.keys] = Counter()
    for name in names:
        found += _check_alone(tables, name, columns[name], [s for s in sums if s.rule.source == name], seen)
    for name in names:
        found += _check_beside(tables, name, columns[name], [s for s in sums if s.rule.target == name], seen)
    return found


def _applies(rule: CrossRule, columns: Mapping[str, Mapping[str, str]], firsts: Mapping[str, Block]) -> bool:
    """Whether all columns that a rule needs are there, and hold numbers."""
    numeric = [] if isinstance(rule, Rows) else [name for name in (rule.column, rule.weight) if name]
    needed = {*rule.keys, *numeric, *([rule.given] if isinstance(rule, Rows) else [])}
    if not needed <= columns.get(rule.source, {}).keys():
        return False
    first = firsts[rule.source]
    is_numeric = not first or all(numbers(first[name]) is not None for name in numeric)
    return is_numeric and {*rule.keys, rule.into} <= columns.get(rule.target, {}).keys()


def _check_alone(
    tables: SmallTables,
    name: str,
    units: dict[str, str],
    sums: list[RunningSums],
    seen: dict[tuple[str, tuple[str, ...]], Counter[Keys]],
) -> Iterator[Finding]:
    """Check what one table tells by itself, and add up what others must agree with."""
    place = f"/{name}"
    rule = RULES.get(name, TableRule())
    for column in rule.must:
        if column not in units:
            yield Finding("values", place, f"lacks the column {column!r}, which it must have")
    kinds = {column: _Values(f"{place}/{column}", kind_of(rule, column, units[column])) for column in units}
    rows_rules = [r for r in ROW_RULES if name in r.tables and r.column in units]
    broken = {r: Broken(f"{place}/{r.column}", "counts", f"must be {r.words}") for r in rows_rules}
    unique = next((r for r in UNIQUE_RULES if r.table == name and set(r.keys[-1:]) <= units.keys()), None)
    rows: set[Keys] = set()
    twice = Broken(place, "counts", f"must have {unique.words}" if unique else "")
    start = 0
    for block in tables.blocks(name):
        if name in RULES:
            for column, values in block.items():
                kinds[column].check(values, start)
        for each in rows_rules:
            _compare(broken[each], each, each.expected(block), block[each.column], start)
        if unique is not None:
            keys = keys_of(block, unique.keys)
            again = [i for i, key in enumerate(keys) if key in rows or rows.add(key)]  # type: ignore[func-returns-value]
            _told(twice, again, keys, start)
        keys_by = {names: keys_of(block, names) for names in {s.rule.keys for s in sums}}
        for total in sums:
            total.add(block, keys_by[total.rule.keys])
        for (table, names), counter in seen.items():
            if table == name:
                counter.update(keys_of(block, names))
        start += len(next(iter(block.values())))
    for values_of in kinds.values():
        yield from values_of.broken.finding()
    for one in [*broken.values(), twice]:
        yield from one.finding()


def _check_beside(
    tables: SmallTables,
    name: str,
    units: dict[str, str],
    sums: list[RunningSums],
    seen: dict[tuple[str, tuple[str, ...]], Counter[Keys]],
) -> Iterator[Finding]:
    """Check what a table tells against the others."""
    known = [r for r in KNOWN_RULES if r.table == name and set(r.keys) <= units.keys()]
    known = [r for r in known if (r.target, r.keys) in seen]
    if not known and not sums:
        return
    lost = {r: _lost(r) for r in known}
    broken = [Broken(f"/{name}/{s.rule.into}", "counts", f"must be {s.rule.words}") for s in sums]
    start = 0
    for block in tables.blocks(name):
        for rule in known:
            keys = keys_of(block, rule.keys)
            _told(
                lost[rule],
                [i for i, key in enumerate(keys) if not seen[rule.target, rule.keys][key]],
                keys,
                start,
            )
        keys_by = {names: keys_of(block, names) for names in {s.rule.keys for s in sums}}
        for each, one in zip(sums, broken, strict=True):
            keys, counter = keys_by[each.rule.keys], seen[name, each.rule.keys]
            values, present = each.expected(keys)
            present = present & np.array([counter[key] == 1 for key in keys], bool)
            where = numbers(block.get(getattr(each.rule, "where", None) or each.rule.into))
            if where is not None:
                _compare(
                    one,
                    each.rule,
                    NumericColumn(values, present & where.present),
                    block[each.rule.into],
                    start,
                )
        start += len(next(iter(block.values())))
    for one in [*lost.values(), *broken]:
        yield from one.finding()


def _lost(rule: Known) -> Broken:
    return Broken(f"/{rule.table}", "counts", f"must have {rule.words}")


def _told(broken: Broken, rows: list[int], keys: list[Keys], start: int) -> None:
    """Count rows by their keys."""
    broken.add(
        np.array(rows, int) + start, lambda _: None, lambda row: ", ".join(map(str, keys[row - start]))
    )


def _compare(
    broken: Broken,
    rule: RowRule | CrossRule,
    expected: NumericColumn | None,
    column: npt.NDArray[Any],
    start: int,
) -> None:
    found = numbers(column)
    if expected is None or found is None:
        return
    both = expected.present & found.present
    if isinstance(rule, AtMost):
        wrong = found.values > expected.values
    elif expected.values.dtype.kind in "iu" and found.values.dtype.kind in "iu":
        wrong = expected.values != found.values
    else:
        wrong = ~np.isclose(found.values.astype(float), expected.values.astype(float), rtol=TOLERANCE, atol=0)
    limit = "at most " if isinstance(rule, AtMost) else ""

    def wanted(row: int) -> Any:
        value = expected.values[row - start].item()
        return f"{limit}{value}" if limit else value

    broken.add(np.flatnonzero(wrong & both) + start, wanted, lambda row: found.values[row - start].item())


class _Values:
    """Values of one column, held to what they may be."""

    def __init__(self, place: str, kind: Kind | None) -> None:
        self._kind = kind
        self.broken = Broken(place, "values", "")

    def check(self, values: npt.NDArray[Any], start: int) -> None:
        """Take a block."""
        plain = values.tolist()
        rows = [row for row, value in enumerate(plain) if self._fault(value) is not None]
        if rows and self.broken.first is None:
            self.broken.message = f"must be {self._fault(plain[rows[0]])}"
        self.broken.add(np.array(rows, int) + start, lambda _: None, lambda row: _named(plain[row - start]))

    def _fault(self, value: Any) -> str | None:
        """Return the rule that a value breaks."""
        if value is None or (isinstance(value, float) and not np.isfinite(value)):
            return self._kind.words if self._kind is not None and self._kind.required else None
        bound = None if isinstance(value, bool | str) else INTEGER if isinstance(value, int) else REAL
        return next((each.words for each in (self._kind, bound) if each and not each.holds(value)), None)


def _named(value: Any) -> Any:
    return "a missing value" if value is None else value
