"""Hold the groups and datasets of a store to its layout and to their checksums: the MUST of docs/store.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bitxcore.errors import BitxError, DumpError
from bitxcore.store import columns as col
from bitxcore.store import elements, provenance
from bitxcore.store.checksum import checksum_of_blocks, row_blocks
from bitxcore.store.elements import reading
from bitxcore.store.findings import Finding
from bitxcore.store.text import MISSING, escape_name, unescape_name

_FILTERS = frozenset({1, 2})  # deflate and shuffle
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ESCAPES = re.compile("\x10(?![0-9a-f]{4})")


@dataclass
class LayoutCheck:
    """What was found of a store's groups and datasets.

    Parameters
    ----------
    file : h5py.File
    path : pathlib.Path
    """

    file: Any
    path: Path
    findings: list[Finding] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    tensors: list[str] = field(default_factory=list)
    arrays: int = 0
    checksums: int = 0

    def check(self) -> None:
        """Look at everything."""
        self._check_root()
        for name in self._members(self.file):
            with self._telling(f"/{name}"):
                element = elements.child(self.file, name, self.path)
                if name == "provenance":
                    self._check_provenance(element)
                elif name == "tensors":
                    self._check_tensors(element)
                elif element.attrs.get(elements.TYPE) == "table":
                    self._check_table(element, name)
                elif not {elements.TYPE, elements.TYPE_VERSION} <= element.attrs.keys():
                    self._tell(f"/{name}", "must have an encoding-type and an encoding-version")
        for name in ("provenance", "tensors"):
            if name not in self.file:
                self._tell(f"/{name}", "must be there")

    def _tell(self, place: str, message: str, rule: str = "layout", **also: Any) -> None:
        self.findings.append(Finding(rule, place, message, **also))

    @contextmanager
    def _telling(self, place: str) -> Iterator[None]:
        """Make a finding of whatever is raised."""
        try:
            with reading(self.path, place):
                yield
        except BitxError as error:
            part = error.part or ""
            self._tell(part if part.startswith(place) else place, error.message)

    def _members(self, group: Any) -> list[str]:
        with self._telling(group.name):
            return list(group)
        return []

    def _check_root(self) -> None:
        with self._telling(""):
            for name in ("creator", "creator-version", "created"):
                if not isinstance(self.file.attrs.get(name), str):
                    self._tell("/", f"the attribute {name!r} is missing")
            created = self.file.attrs.get("created")
            if isinstance(created, str):
                self._check_time("/", created)

    def _check_time(self, place: str, created: str) -> None:
        try:
            aware = datetime.fromisoformat(created).utcoffset() is not None
        except ValueError:
            aware = False
        if not aware:
            self._tell(place, "the attribute 'created' must be a time with its offset", found=created)

    def _check_provenance(self, group: Any) -> None:
        self._check_columns(elements.child(group, "inputs", self.path))
        for name in ("command-line", "parameters", "versions"):
            if not isinstance(group.attrs.get(name), str):
                raise DumpError(f"the attribute {name!r} is missing")
            try:
                json.loads(group.attrs[name])
            except ValueError as error:
                raise DumpError(f"the attribute {name!r} must be JSON: {error}") from error
        self._check_time(group.name, str(group.attrs.get("created")))
        found = provenance.read(self.file, self.path)
        place = f"{group.name}/inputs"
        for row, (_, digest, size) in enumerate(map(astuple, found.inputs)):
            if not _SHA256.fullmatch(digest or ""):
                self._tell(f"{place}/sha256", "must be 64 hexadecimal digits", index=row, found=digest)
            if size < 0:
                self._tell(f"{place}/size_bytes", "must not be negative", index=row, found=size)

    def _check_table(self, table: Any, name: str) -> None:
        before = len(self.findings)
        elements.check_identifier("table", name)
        self._check_columns(table)
        if len(self.findings) == before:
            self.tables.append(name)

    def _check_columns(self, table: Any) -> None:
        for name, dataset in elements.table_columns(table, self.path).items():
            with self._telling(dataset.name):
                elements.check_identifier("column", name)
                self._check_dataset(dataset, is_column=True)

    def _check_tensors(self, group: Any) -> None:
        elements.check_stamp(group, "tensors", self.path)
        for link in self._members(group):
            before = len(self.findings)
            with self._telling(f"/tensors/{link}"):
                name = _unescaped(link)
                tensor = elements.child(group, link, self.path)
                elements.check_stamp(tensor, "tensor", self.path)
                elements.read_attributes(tensor)
                for key in self._members(tensor):
                    with self._telling(f"/tensors/{link}/{key}"):
                        elements.check_identifier("array", key)
                        array = elements.child(tensor, key, self.path)
                        elements.check_stamp(array, "array", self.path)
                        self._check_dataset(array, is_column=False)
                if len(self.findings) == before:
                    self.tensors.append(name)

    def _check_dataset(self, dataset: Any, *, is_column: bool) -> None:
        if not isinstance(dataset, h5py.Dataset):
            raise DumpError("must be a dataset")
        self.arrays += 1
        is_text = elements.check_dataset(dataset, self.path)
        elements.read_units(dataset, self.path)
        filters = dataset.id.get_create_plist()
        for i in range(filters.get_nfilters()):
            number = filters.get_filter(i)[0]
            if number not in _FILTERS:
                self._tell(dataset.name, "must have no filter but deflate and shuffle", found=number)
        fill = dataset.attrs.get(elements.FILL)
        marks = self._check_fill(dataset, fill, is_text=is_text, is_column=is_column)
        self._check_values(dataset, fill, is_text=is_text, marks=marks)

    def _check_fill(self, dataset: Any, fill: Any, *, is_text: bool, is_column: bool) -> bool:
        """Check what represents missing values; return whether values must be looked at for it."""
        if fill is None:
            return False
        dtype = col.STRING if is_text else dataset.dtype
        if not is_column or dtype.kind in "fb":
            self._tell(dataset.name, f"must not have the attribute {elements.FILL!r}")
            return False
        wanted = col.missing_value(dtype)
        same_type = isinstance(fill, str) if is_text else getattr(fill, "dtype", None) == dtype
        if not same_type or fill != wanted:
            shown = wanted if is_text else wanted.item()
            message = f"the attribute {elements.FILL!r} must be {shown!r} of the column's type"
            self._tell(dataset.name, message, found=repr(fill))
            return False
        return True

    def _check_values(self, dataset: Any, fill: Any, *, is_text: bool, marks: bool) -> None:
        """Read all values once: for the checksum, for what stands for missing ones, and for escapes."""
        missing = 0

        def blocks() -> Iterator[Any]:
            nonlocal missing
            start = 0
            for rows in self._blocks(dataset):
                block = elements.read_dataset(dataset, self.path, rows)
                if is_text:
                    self._check_text(dataset.name, block, start, has_fill=fill is not None)
                if marks:
                    missing += int(np.count_nonzero(block == fill))
                start += len(block) if block.ndim else 1
                yield block

        units = dataset.attrs[elements.UNITS]
        dtype = col.STRING if is_text else dataset.dtype
        text = checksum_of_blocks(blocks(), dtype, dataset.shape, units, has_missing=fill is not None)
        if marks and not missing:
            self._tell(dataset.name, f"has the attribute {elements.FILL!r}, but no value is missing")
        self._check_checksum(dataset, text)

    def _blocks(self, dataset: Any) -> Iterator[slice | None]:
        if not dataset.shape:
            yield None
            return
        yield from row_blocks(dataset.shape, dataset.nbytes, (dataset.chunks or (1,))[0])

    def _check_text(self, place: str, block: Any, start: int, *, has_fill: bool) -> None:
        wrong = [
            i
            for i, text in enumerate(block)
            if (text == MISSING and not has_fill) or (text != MISSING and _ESCAPES.search(text))
        ]
        if wrong:
            message = f"must hold U+0010 only before four digits, or alone with {elements.FILL!r}"
            found = block[wrong[0]]
            self._tell(place, message, index=start + wrong[0], count=len(wrong), found=found)

    def _check_checksum(self, dataset: Any, computed: str) -> None:
        stored = dataset.attrs.get(elements.CHECKSUM)
        if stored is None:
            if dataset.attrs[elements.TYPE_VERSION] != elements.UNCHANGED:
                message = f"the attribute {elements.CHECKSUM!r} is missing"
                self._tell(dataset.name, message, rule="checksum")
        elif stored != computed:
            message = "the checksum of the values must be the one that was stored"
            found = stored if isinstance(stored, str) else repr(stored)
            self._tell(dataset.name, message, rule="checksum", expected=found, found=computed)
        else:
            self.checksums += 1


def _unescaped(link: str) -> str:
    try:
        name = unescape_name(link)
    except UnicodeDecodeError as error:
        raise DumpError("the name of a tensor must be escaped UTF-8") from error
    if escape_name(name) != link:
        raise DumpError(f"the name of this tensor must be written as {escape_name(name)!r}")
    return name
