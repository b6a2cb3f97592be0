"""Reading a memory's figures from JSON, each error with the file's path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bitxcore.dumps.trust import read_small
from bitxcore.errors import DumpError
from hwmodel.dram.part_records import AddressBits

MAX_FILE_BYTES = 1 << 20


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file of reasonable size."""
    try:
        table = json.loads(read_small(path, "a DRAM part", MAX_FILE_BYTES))
    except DumpError:
        raise
    except (ValueError, RecursionError) as error:
        raise DumpError(f"is no readable JSON: {error}", path=path) from error
    return mapping(path, "the file", table)


def mapping(path: Path, name: str, value: Any) -> dict[str, Any]:
    """Return a value that must be a JSON object."""
    if not isinstance(value, dict):
        raise DumpError(f"{name} must be a JSON object, got {type(value).__name__}", path=path, value=value)
    return value


def number(path: Path, name: str, value: Any) -> float:
    """Return a value that must be a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DumpError(f"{name} must be a number, got {value!r}", path=path, value=value)
    return value


def record(path: Path, kind: Any, name: str, table: Any) -> Any:
    """Make a named tuple of a JSON object that has its fields and no other."""
    values = mapping(path, name, table)
    missing = [f for f in kind._fields if f not in values and f not in kind._field_defaults]
    unknown = [key for key in values if key not in kind._fields]
    if missing or unknown:
        raise DumpError(
            f"{name} lacks {missing or 'nothing'} and has unknown {unknown or 'nothing'}", path=path
        )
    if kind is AddressBits:
        for key, bits in values.items():
            if not isinstance(bits, list) or not all(type(bit) is int and bit >= 0 for bit in bits):
                raise DumpError(
                    f"{name}.{key} must be a list of bit numbers, got {bits!r}", path=path, value=bits
                )
        return kind(**{key: tuple(bits) for key, bits in values.items()})
    return kind(**{key: number(path, f"{name}.{key}", value) for key, value in values.items()})
