"""Hold the arrays of a store's tensors to the rules of `bitxcore.store.array_rules`, a tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import DumpError
from bitxcore.showing import brief
from bitxcore.store.array_rules import (
    ALL_OR_NONE,
    ALL_OR_NONE_WORDS,
    ARRAY_RULES,
    COUNTS_WORDS,
    DTYPE_KINDS,
    HISTOGRAMS,
    TENSOR_RULES,
    ArrayRule,
    Arrays,
    Facts,
    are_counts,
)
from bitxcore.store.count_rules import TOLERANCE
from bitxcore.store.findings import Finding
from bitxcore.store.reader import Store
from bitxcore.store.small_tables import SmallTables
from bitxcore.store.text import escape_name


def check_tensors(store: Store, names: tuple[str, ...]) -> Iterator[Finding]:
    """Hold the arrays of all tensors to the rules of arrays.

    Parameters
    ----------
    store : Store
    names : tuple of str
        Tensors whose arrays can be read.
    """
    for name in names:
        place = f"/tensors/{escape_name(name)}"
        yield from _check_arrays(store.tensors[name], store.tensor_attrs(name), place)


def _check_arrays(arrays: Arrays, attrs: Facts, place: str) -> Iterator[Finding]:
    broken = set()
    for name, (kinds, words) in DTYPE_KINDS.items():
        if name in arrays and arrays[name].dtype.kind not in kinds:
            broken.add(name)
            yield Finding("arrays", f"{place}/{name}", f"must hold {words}", found=str(arrays[name].dtype))
    for name in HISTOGRAMS:
        if name in arrays and not are_counts(arrays[name]):
            broken.add(name)
            yield Finding("arrays", f"{place}/{name}", f"must {COUNTS_WORDS}")
    for rule in ARRAY_RULES:
        needed = {rule.array, *rule.needs}
        if needed <= arrays.keys() and not needed & broken and set(rule.attrs) <= attrs.keys():
            found = _compared(rule, arrays, attrs, f"{place}/{rule.array}")
            if found is not None:
                broken.add(rule.array)
                yield found


def _compared(rule: ArrayRule, arrays: Arrays, attrs: Facts, place: str) -> Finding | None:
    try:
        expected, found = rule.expected(arrays, attrs), rule.found(arrays, attrs)
    except MemoryError:
        raise
    except Exception as error:  # a part or an attribute that makes no sense
        reason = " ".join(str(error).split()) or type(error).__name__
        return Finding("arrays", place, f"must {rule.words}, which can't be told: {reason}")
    if isinstance(expected, tuple) or expected.shape != found.shape:
        shapes = (expected, found) if isinstance(expected, tuple) else (expected.shape, found.shape)
        if shapes[0] == shapes[1]:
            return None
        return Finding("arrays", place, f"must {rule.words}", expected=list(shapes[0]), found=list(shapes[1]))
    wrong = np.flatnonzero(_bits(expected) != _bits(found))
    if not wrong.size:
        return None
    first = int(wrong[0])
    pair = (expected.reshape(-1)[first].item(), found.reshape(-1)[first].item())
    return Finding("arrays", place, f"must {rule.words}", first, int(wrong.size), *pair)


def _bits(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values as they are compared: -0 is not 0, and a NaN is itself."""
    return values.view(f"u{values.dtype.itemsize}") if values.dtype.kind == "f" else values


def check_rows(
    store: Store, tables: SmallTables, names: tuple[str, ...], tensors: tuple[str, ...]
) -> Iterator[Finding]:
    """Hold the rows of tables to the arrays of the tensors that they are about.

    Parameters
    ----------
    store : Store
    tables : SmallTables
        Of the store.
    names, tensors : tuple of str
        Tables and tensors that can be read.
    """
    try:
        parameters = store.provenance.parameters
    except DumpError:  # told elsewhere
        parameters = {}
    there, linked = set(tensors), _linked(store)
    for table in dict.fromkeys(rule.table for rule in TENSOR_RULES):
        if table not in names or "tensor" not in tables.units(table):
            continue
        start, without = 0, _Without()
        for block in tables.blocks(table):
            columns = {name: values.tolist() for name, values in block.items()}
            for i, name in enumerate(columns["tensor"]):
                row = {column: values[i] for column, values in columns.items()}
                known = _tensor_of(row, name, there)
                if known is not None:
                    yield from _check_row(table, start + i, parameters | row, store.tensors[known])
                # What is there but can't be read is told elsewhere.
                without.add(start + i, name, _tensor_of(row, name, linked) is not None)
            start += len(columns["tensor"])
        if table in ALL_OR_NONE and without.count and without.others:
            yield Finding(
                "arrays",
                f"/{table}/tensor",
                f"must {ALL_OR_NONE_WORDS}",
                without.first,
                without.count,
                found=f"none of {brief(without.name)}",
            )


def _linked(store: Store) -> set[str]:
    try:
        return set(store.tensors)
    except DumpError:  # told elsewhere
        return set()


@dataclass
class _Without:
    """Rows whose tensor has no arrays."""

    first: int = -1
    name: Any = None
    count: int = 0
    others: int = 0

    def add(self, index: int, name: Any, has_arrays: bool) -> None:
        if has_arrays:
            self.others += 1
            return
        if not self.count:
            self.first, self.name = index, name
        self.count += 1


def _tensor_of(row: dict[str, Any], name: Any, there: set[str]) -> str | None:
    """Return the tensor of a row: in a store of several dumps, arrays are under ``DUMP/TENSOR``."""
    return next((known for known in (f"{row.get('dump')}/{name}", name) if known in there), None)


def _check_row(table: str, index: int, row: dict[str, Any], arrays: Arrays) -> Iterator[Finding]:
    for rule in TENSOR_RULES:
        if rule.table != table or rule.array not in arrays or not are_counts(arrays[rule.array]):
            continue
        found = row.get(rule.column)
        if not isinstance(found, int | float) or found != found:
            continue
        try:
            expected = rule.expected(arrays[rule.array], row)
        except Exception:  # noqa: S112  # a format that there is not
            continue
        if expected is None or _agree(expected, found):
            continue
        words = rule.words.format(array=rule.array)
        place = f"/{table}/{rule.column}"
        yield Finding("arrays", place, f"must be {words} of the tensor", index, 1, expected, found)


def _agree(expected: float, found: float) -> bool:
    if isinstance(expected, int) and isinstance(found, int):
        return expected == found
    return bool(np.isclose(found, expected, rtol=TOLERANCE, atol=0))
