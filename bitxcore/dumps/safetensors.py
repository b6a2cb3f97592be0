"""Safetensors: a JSON header, then the values.

The header is parsed here, not by the package of that name, which can neither tell where the values
lie nor give bfloat16 and float8 to NumPy. The rules are those of its published format description
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bitxcore.dumps.base import Dump, Replace, TensorProgress
from bitxcore.dumps.safetensors_header import DTYPES, MAX_HEADER_BYTES, METADATA, SpanTable
from bitxcore.dumps.span import SpanTensor
from bitxcore.dumps.trust import Source
from bitxcore.dumps.writing import copy_bytes, write_blocks
from bitxcore.errors import DumpError
from bitxcore.files import atomic_file

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def open_safetensors(path: Path) -> SafetensorsDump:
    """Open one ``.safetensors`` file; tensors come in the order of its header.

    Tensors of several values per byte (F4, F6) are ignored.
    """
    return SafetensorsDump(SpanTable.of(Source.of(path)))


class SafetensorsDump(Dump):
    """One ``.safetensors`` file.

    Attributes
    ----------
    metadata : dict of str to str
        The header's ``__metadata__``.
    """

    def __init__(self, table: SpanTable) -> None:
        super().__init__(table.source.path, "safetensors", {})
        self.metadata = table.metadata
        self.ignored = {name: f"dtype {table.dtype_name(name)}" for name in table.unread()}
        self._table = table

    def __getitem__(self, name: str) -> SpanTensor:
        if name in self.ignored:
            raise KeyError(name)
        return self._table[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._table.names if name not in self.ignored)

    def __len__(self) -> int:
        return len(self._table.names) - len(self.ignored)

    def rewrite(self, out: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Write the file again under the same header, byte for byte."""
        self._table.source.check()
        with (
            atomic_file(out, inputs=self.files()) as temporary,
            self._table.source.stream() as source,
            temporary.open("wb") as target,
        ):
            copy_bytes(self.path, source, target, self._table.base)
            for tensor in map(self._table.__getitem__, self._table.names):
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
