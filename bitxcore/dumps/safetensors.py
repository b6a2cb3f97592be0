"""Safetensors: a JSON header, then the values.

The header is parsed here, not by the package of that name, which can neither tell where the values
lie nor give bfloat16 and float8 to NumPy. The rules are those of its published format description
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

from bitxcore.dumps.base import Dump, Replace, TensorProgress
from bitxcore.dumps.span import SpanTensor
from bitxcore.dumps.trust import Place, Source, declared_bytes, reading
from bitxcore.dumps.writing import copy_bytes, write_blocks
from bitxcore.errors import DumpError
from bitxcore.files import atomic_file

MAX_HEADER_BYTES = 100_000_000  # the reference implementation's
METADATA = "__metadata__"

_DTYPES = {
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
_UNREAD_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}  # of the format, but not of NumPy
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def load_json(text: bytes, path: Path) -> dict[str, Any]:
    """Parse a JSON object strictly: UTF-8, no duplicate keys, no NaN."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            keys = [key for key, _ in items]
            raise ValueError(f"key {next(key for key in found if keys.count(key) > 1)!r} is there twice")
        for key in found:
            key.encode()  # no lone surrogates
        return found

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    with reading(path):
        value = json.loads(text.decode(), object_pairs_hook=pairs, parse_constant=constant)
    if not isinstance(value, dict):
        raise DumpError("the header is not a JSON object", path=path)
    return value


def _header(source: Source) -> bytes:
    start = source.start(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8:
        raise DumpError(f"has {source.size} bytes, fewer than the 8 of a header's length", path=source.path)
    if length > source.size - 8:
        raise DumpError(f"the header claims {length} bytes, {source.size - 8} follow", path=source.path)
    if length > MAX_HEADER_BYTES:
        raise DumpError(f"the header claims {length} bytes, more than {MAX_HEADER_BYTES}", path=source.path)
    return source.start(8 + length)


def open_safetensors(path: Path) -> SafetensorsDump:
    """Open one ``.safetensors`` file; tensors come in the order of its header.

    Tensors of several values a byte (F4, F6) are ignored.
    """
    source = Source.of(path)
    raw = _header(source)
    if raw[8:9] != b"{":
        raise DumpError("the header does not begin with '{'", path=path)
    entries = load_json(raw[8:], path)
    metadata = entries.pop(METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise DumpError(f"{METADATA} is not a map from text to text", path=path)
    spans: dict[str, SpanTensor] = {}
    ignored: dict[str, str] = {}
    for name, entry in entries.items():
        with reading(Place(path, name)):
            spans[name] = _tensor(source, len(raw), name, entry)
            if entry["dtype"] in _UNREAD_BITS:
                ignored[name] = f"dtype {entry['dtype']}"
    end = len(raw)
    for tensor in sorted(spans.values(), key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.offset != end:
            fault = "overlaps the one before" if tensor.offset < end else "leaves a hole before it"
            raise DumpError(
                f"begins at byte {tensor.offset}, not {end}: {fault}", path=path, tensor=tensor.name
            )
        end += tensor.nbytes
    if end != source.size:
        raise DumpError(f"{source.size - end} bytes belong to no tensor", path=path)
    return SafetensorsDump(path, spans, raw, metadata, ignored)


def _tensor(source: Source, base: int, name: str, entry: Any) -> SpanTensor:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise DumpError("the entry lacks dtype, shape or data_offsets")
    name_of_dtype = entry["dtype"] if isinstance(entry["dtype"], str) else ""
    bits = _UNREAD_BITS.get(name_of_dtype)
    dtype = np.dtype(np.uint8) if bits else _DTYPES.get(name_of_dtype)
    if dtype is None:
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
    nbytes = declared_bytes(shape, dtype)
    if bits:
        nbytes = -(-nbytes * bits // 8)
        shape = [nbytes]
    if offsets[1] - offsets[0] != nbytes:
        raise DumpError(f"data_offsets {offsets} span another size than the {nbytes} bytes of its shape")
    return SpanTensor(source, base + offsets[0], name, tuple(shape), dtype.newbyteorder("<"))


class SafetensorsDump(Dump):
    """One ``.safetensors`` file.

    Attributes
    ----------
    metadata : dict of str to str
        The header's ``__metadata__``.
    """

    def __init__(
        self,
        path: Path,
        spans: dict[str, SpanTensor],
        header: bytes,
        metadata: dict[str, str],
        ignored: dict[str, str],
    ) -> None:
        super().__init__(path, "safetensors", {name: x for name, x in spans.items() if name not in ignored})
        self.metadata = metadata
        self.ignored = ignored
        self._spans = spans
        self._header = header

    def rewrite(self, out: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Write the file again under the same header, byte for byte."""
        with (
            atomic_file(out, inputs=self.files()) as temporary,
            self.path.open("rb") as source,
            temporary.open("wb") as target,
        ):
            target.write(self._header)
            for tensor in self._spans.values():
                new = None if tensor.name in self.ignored else replace(tensor)
                target.seek(tensor.offset)
                if new is None:
                    tensor.source.check()
                    source.seek(tensor.offset)
                    copy_bytes(tensor.place, source, target, tensor.nbytes)
                else:
                    write_blocks(target, tensor, new, tensor.stored)
                if progress and tensor.name not in self.ignored:
                    progress(tensor)


def write_safetensors(dump: Dump, out: Path, replace: Replace, progress: TensorProgress | None) -> None:
    """Write the tensors of a dump, one at a time, into a new ``.safetensors`` file at `out`.

    Values are laid out by falling element size, so that every tensor is aligned to its own. Metadata
    are those of a sharded dump; a torch dump gets ``{"format": "pt"}``, which loaders for it expect.

    Raises
    ------
    DumpError
        If a dtype or a name is not one of the format's, or the header is too long for its readers.
    """
    tensors = list(dump.values())
    for tensor in tensors:
        if tensor.name == METADATA:
            raise DumpError(".safetensors keeps that name for itself", path=out, tensor=tensor.name)
        if any("\ud800" <= letter <= "\udfff" for letter in tensor.name):
            raise DumpError(
                ".safetensors can't hold this name; it is not Unicode text", path=out, tensor=tensor.name
            )
        if tensor.dtype not in _NAMES:
            raise DumpError(f".safetensors can't hold {tensor.dtype}", path=out, tensor=tensor.name)
    metadata = {"format": "pt"} if dump.container == "torch" else getattr(dump, "metadata", {})
    offsets: dict[str, int] = {}
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize):
        offsets[tensor.name] = end
        end += tensor.nbytes
    entries: dict[str, Any] = {METADATA: metadata} if metadata else {}
    for tensor in tensors:
        begin = offsets[tensor.name]
        entries[tensor.name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, begin + tensor.nbytes],
        }
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER_BYTES:
        raise DumpError(f"needs a header of {len(header)} bytes, more than {MAX_HEADER_BYTES}", path=out)
    with out.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for tensor in tensors:
            new = replace(tensor)
            file.seek(8 + len(header) + offsets[tensor.name])
            stored = tensor.dtype.newbyteorder("<")
            write_blocks(file, tensor, tensor.blocks() if new is None else new, stored)
            if progress:
                progress(tensor)
