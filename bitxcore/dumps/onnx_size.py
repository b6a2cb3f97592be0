"""How many nodes and tensors a graph has, before a parser makes an object of each."""

from __future__ import annotations

from collections.abc import Iterator

from bitxcore.errors import DumpError

SMALL = 3 << 20
"""Bytes of a file whose objects need no more memory than any file may take."""

_SPARE = 256 << 20
_OBJECT = 160  # bytes that protobuf takes for an empty message
_GRAPH = 7  # field of a model
_SKIPPED = {1: 8, 5: 4}  # bytes of values of these wire types


def check_objects(data: bytes) -> None:
    """Refuse a model that is made of empty objects: a few MB of them would take gigabytes.

    Parameters
    ----------
    data : bytes
        Of a model file; what is damaged is left to the parser.

    Raises
    ------
    DumpError
        If its graph has more nodes and tensors than fit in twice its size and 256 MiB.
    """
    if len(data) <= SMALL:
        return
    most = (2 * len(data) + _SPARE) // _OBJECT
    count = 0
    try:
        for field, start, end in _fields(data, 0, len(data)):
            if field != _GRAPH:
                continue
            for _ in _fields(data, start, end):
                count += 1
                if count > most:
                    raise DumpError(f"has more than {most} nodes and tensors in {len(data)} bytes")
    except (IndexError, KeyError):
        return


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, begin and end of the fields of a message that have a length."""
    while at < end:
        tag, at = _number(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _number(data, at)
        elif kind == 2:
            length, at = _number(data, at)
            yield tag >> 3, at, min(at + length, end)
            at += length
        else:
            at += _SKIPPED[kind]


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read a variable-length number; return it and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError
