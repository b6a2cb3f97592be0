"""The header of a safetensors file: read entry by entry into a compact table.

A header of 100 MB can hold more than a million entries, which as objects of their own would take gigabytes.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn
from weakref import WeakValueDictionary

import ml_dtypes
import numpy as np

from bitxcore.dumps.span import SpanTensor
from bitxcore.dumps.trust import Place, Source, declared_bytes, parse_json, reading
from bitxcore.errors import DumpError

MAX_HEADER_BYTES = 100_000_000  # the reference implementation's
METADATA = "__metadata__"
DTYPES = {
    name: np.dtype(dtype)
    for name, dtype in {
        "BOOL": np.bool_,
        "U8": np.uint8,
        "I8": np.int8,
        "F8_E5M2": ml_dtypes.float8_e5m2,
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E8M0": ml_dtypes.float8_e8m0fnu,
        "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
        "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
        "I16": np.int16,
        "U16": np.uint16,
        "F16": np.float16,
        "BF16": ml_dtypes.bfloat16,
        "I32": np.int32,
        "U32": np.uint32,
        "F32": np.float32,
        "F64": np.float64,
        "I64": np.int64,
        "U64": np.uint64,
        "C64": np.complex64,
    }.items()
}
UNREAD_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}  # of the format, but not of NumPy

_CODES = [*DTYPES, *UNREAD_BITS]
_CODE_OF = {name: code for code, name in enumerate(_CODES)}
_STORED = [DTYPES.get(name, np.dtype(np.uint8)).newbyteorder("<") for name in _CODES]
_BLOCK = 1 << 20
_WHOLE_BYTES = 8 << 20  # a header this long is parsed whole if it has other than plain entries
_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_ENTRY = re.compile(
    rb"[ \t\r\n]*+(%b)[ \t\r\n]*+:[ \t\r\n]*+(null|\{(?:[^\"{}]++|%b)*+\})[ \t\r\n]*+([,}])" % (_TEXT, _TEXT),
    re.DOTALL,
)


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) != len(items):
        counts = Counter(key for key, _ in items)
        raise ValueError(f"key {next(key for key in found if counts[key] > 1)!r} is there twice")
    for key in found:
        key.encode()  # no lone surrogates
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_parser = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)


def _strict(text: str) -> Any:
    value = _parser.decode(text)
    if isinstance(value, str):
        value.encode()  # no lone surrogates
    return value


def _decode(text: bytes) -> Any:
    return parse_json(text.decode(), _strict)


def load_json(text: bytes, path: Path) -> dict[str, Any]:
    """Parse a JSON object strictly: UTF-8, no duplicate keys, no NaN."""
    with reading(path):
        value = _decode(text)
    if not isinstance(value, dict):
        raise DumpError("the header is not a JSON object", path=path)
    return value


class SpanTable:
    """Where the tensors of a file lie; a tensor is made when asked for.

    Parameters
    ----------
    source : Source
    base : int
        Offset of the values in the file.

    Attributes
    ----------
    names : dict of str to int
        In the order of the header.
    metadata : dict of str to str
    """

    def __init__(self, source: Source, base: int) -> None:
        self.source = source
        self.base = base
        self.names: dict[str, int] = {}
        self.metadata: dict[str, str] = {}
        self._codes = array("B")
        self._starts, self._nbytes = array("q"), array("q")
        self._shapes, self._shape_ends = array("q"), array("q")
        self._made: WeakValueDictionary[int, SpanTensor] = WeakValueDictionary()

    @classmethod
    def of(cls, source: Source) -> SpanTable:
        """Read the header of a file and check that its tensors fill it without hole or overlap."""
        path = source.path
        start = source.start(9)
        length = int.from_bytes(start[:8], "little")
        if len(start) < 8:
            raise DumpError(f"has {source.size} bytes, fewer than the 8 of a header's length", path=path)
        if length > source.size - 8:
            raise DumpError(f"the header claims {length} bytes, {source.size - 8} follow", path=path)
        if length > MAX_HEADER_BYTES:
            raise DumpError(f"the header claims {length} bytes, more than {MAX_HEADER_BYTES}", path=path)
        if not length or start[8:] != b"{":
            raise DumpError("the header does not begin with '{'", path=path)
        table = cls(source, 8 + length)
        seen_metadata = False
        for name, entry in _entries(source, length):
            if name in table.names or (name == METADATA and seen_metadata):
                raise DumpError(f"can't be read: key {name!r} is there twice", path=path)
            if name == METADATA:
                seen_metadata = True
                table._set_metadata(entry)
            else:
                with reading(Place(path, name)):
                    table._add(name, entry)
        table._check()
        return table

    def dtype_name(self, name: str) -> str:
        """Return the format's name of a tensor's dtype."""
        return _CODES[self._codes[self.names[name]]]

    def unread(self) -> Iterator[str]:
        """Yield the names of tensors whose dtype is not read."""
        if any(code >= len(DTYPES) for code in set(self._codes)):
            yield from (name for name, at in self.names.items() if self._codes[at] >= len(DTYPES))

    def __getitem__(self, name: str) -> SpanTensor:
        at = self.names[name]
        tensor = self._made.get(at)
        if tensor is None:
            shape = tuple(self._shapes[self._shape_ends[at - 1] if at else 0 : self._shape_ends[at]])
            stored = _STORED[self._codes[at]]
            tensor = self._made[at] = SpanTensor(
                self.source, self.base + self._starts[at], name, shape, stored
            )
        return tensor

    def _set_metadata(self, entry: Any) -> None:
        metadata = entry or {}
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise DumpError(f"{METADATA} is not a map from text to text", path=self.source.path)
        self.metadata = metadata

    def _add(self, name: str, entry: Any) -> None:
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
            raise DumpError("the entry lacks dtype, shape or data_offsets")
        code = _CODE_OF.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        if code is None:
            raise DumpError(f"dtype {str(entry['dtype'])[:50]!r} is not supported")
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not isinstance(shape, list):
            raise DumpError("the shape is not a list")
        if (
            not isinstance(offsets, list)
            or len(offsets) != 2
            or any(type(x) is not int or x < 0 for x in offsets)
        ):
            raise DumpError("data_offsets are not two integers from 0")
        nbytes = declared_bytes(shape, _STORED[code])
        if bits := UNREAD_BITS.get(_CODES[code]):
            nbytes = -(-nbytes * bits // 8)
            shape = [nbytes]
        if offsets[1] - offsets[0] != nbytes:
            raise DumpError(f"data_offsets {offsets} span another size than the {nbytes} bytes of its shape")
        end = self.base + offsets[1]
        if end > self.source.size:
            raise DumpError(f"ends at byte {end}, the file at {self.source.size}; is it truncated?")
        self.names[name] = len(self._codes)
        self._codes.append(code)
        self._starts.append(offsets[0])
        self._nbytes.append(nbytes)
        self._shapes.extend(shape)
        self._shape_ends.append(len(self._shapes))

    def _check(self) -> None:
        """Raise unless the tensors, in the order of their offsets, follow each other to the file's end."""
        starts = np.frombuffer(self._starts, np.int64) if self._starts else np.zeros(0, np.int64)
        nbytes = np.frombuffer(self._nbytes, np.int64) if self._nbytes else starts
        order = np.lexsort((nbytes, starts))
        ends = np.cumsum(nbytes[order])  # where there is no hole or overlap
        begins = ends - nbytes[order]
        path = self.source.path
        wrong = np.flatnonzero(starts[order] != begins)
        if wrong.size:
            start, begin = int(starts[order][wrong[0]]) + self.base, int(begins[wrong[0]]) + self.base
            fault = "overlaps the one before" if start < begin else "leaves a hole before it"
            name = list(self.names)[order[wrong[0]]]
            raise DumpError(f"begins at byte {start}, not {begin}: {fault}", path=path, tensor=name)
        end = self.base + (int(ends[-1]) if ends.size else 0)
        if end != self.source.size:
            raise DumpError(f"{self.source.size - end} bytes belong to no tensor", path=path)


def _entries(source: Source, length: int) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of the header's object, a block of it in memory at a time."""
    path = source.path
    with reading(path), source.stream(end=8 + length) as file:
        file.seek(9)
        left, step, done = length - 1, _BLOCK, 0
        text, at, more = b"", 0, True
        while more:
            match = _ENTRY.match(text, at)
            if match is not None:
                name = _decode(match[1])
                at, more, done = match.end(), match[3] == b",", done + 1
                yield name, _decode(match[2])
            elif left:
                step = _BLOCK if at else 2 * step  # an entry may be long
                text, at = text[at:] + file.read(min(step, left)), 0
                left -= min(step, left)
            elif length <= _WHOLE_BYTES:
                break
            else:
                raise DumpError(f"the header has no plain entry at byte {length - len(text) + at}")
        if not more and (text[at:] + file.read(left)).strip(b" \t\r\n"):
            raise DumpError("can't be read: something follows the header's object")
    if more:
        # Not plain: whatever is there is parsed, or told, by the parser of JSON.
        yield from islice(load_json(source.start(8 + length)[8:], path).items(), done, None)
