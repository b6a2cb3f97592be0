"""Finished points of a sweep on disk, so that a sweep that is killed goes on where it was.

A journal is a text file. Each line is the CRC-32 of the rest of the line, a space and a JSON document: first
the sweep's definition, then a line a point. Lines are only appended. What a kill, or a power failure, left of
a last line fails its check; from the first such line on everything is dropped, and those points are done
again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from bitxcore.errors import BitxError

try:
    import fcntl
except ImportError:  # not on this system: two sweeps into one store are the user's to avoid
    fcntl = None  # type: ignore[assignment]

VERSION = 1
_TOO_LARGE = 1 << 63
MAGIC = b'{"bitx-sweep":'
"""How the definition begins, behind its check."""


class Journal:
    """The journal of one sweep, open for appending; a context manager.

    Parameters
    ----------
    path : pathlib.Path
        Made if it is not there.
    definition : mapping
        Everything that the results depend on, in JSON's types.
    columns : mapping of str to str, optional
        Unit of each column of a row, other than ``point``; ``""`` for text. Lines with others are refused.
    restart : bool
        Forget finished points of whatever sweep.

    Attributes
    ----------
    rows : dict of int to dict
        By point: the rows that were there when it was opened.

    Raises
    ------
    BitxError
        If the file belongs to another sweep (the message says what differs), is none of ours, is in use
        by another process, or can't be written.
    """

    def __init__(
        self,
        path: Path,
        definition: Mapping[str, Any],
        *,
        columns: Mapping[str, str] | None = None,
        restart: bool = False,
    ) -> None:
        self.path = path
        self._columns = columns
        self.rows: dict[int, dict[str, Any]] = {}
        wanted = json.loads(json.dumps(definition))
        if path.exists() and not path.is_file():
            raise BitxError("is no journal of a sweep; move it away", path=path)
        try:
            self._file = path.open("a+b")
            try:
                self._lock()
                end = self._read(wanted, restart)
                self._file.truncate(end)
                if end == 0:
                    self._write([{"bitx-sweep": VERSION, "definition": wanted}])
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise BitxError(f"can't be written: {error.strerror}", path=path) from error

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows; each has an integer ``point``. They are on disk when this returns."""
        try:
            self._write(rows)
        except OSError as error:
            raise BitxError(f"can't be written: {error.strerror}", path=self.path) from error

    def remove(self) -> None:
        """Delete the file: its rows are elsewhere."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BitxError("another process is at work on this sweep", path=self.path) from None

    def _write(self, documents: Iterable[Mapping[str, Any]]) -> None:
        self._file.write(b"".join(map(_line, documents)))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, wanted: dict[str, Any], restart: bool) -> int:
        """Read `rows`; return where the last good line ends, 0 for a restart."""
        self._file.seek(0)
        if not _may_begin_a_journal(self._file.read(9 + len(MAGIC))):
            raise BitxError("is no journal of a sweep; move it away", path=self.path)
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file, 1):
            text = _checked(line)
            if text is None:
                if end == 0 and line.endswith(b"\n"):
                    raise BitxError("is no journal of a sweep; move it away", path=self.path)
                break
            if restart:
                break
            document = _parsed(text)
            if end == 0:
                self._check(document, wanted)
            else:
                self._check_row(number, document)
                self.rows[document["point"]] = document
            end += len(line)
        return end

    def _check_row(self, number: int, row: Any) -> None:
        """Refuse what no run of this release has written, whatever its check says."""
        columns = self._columns
        if not (
            isinstance(row, dict)
            and type(row.get("point")) is int
            and row["point"] >= 0
            and (columns is None or row.keys() == {"point", *columns})
            and (columns is None or all(_fits(row[name], unit) for name, unit in columns.items()))
        ):
            raise BitxError(
                f"line {number} holds no point of this sweep; restart it, or choose another output",
                path=self.path,
            )

    def _check(self, found: Any, wanted: dict[str, Any]) -> None:
        if not isinstance(found, dict) or found.get("bitx-sweep") != VERSION:
            raise BitxError("is no journal of a sweep that this release reads", path=self.path)
        kept = found.get("definition")
        if not isinstance(kept, dict):
            raise BitxError("is a journal of a sweep without its definition; move it away", path=self.path)
        for key in {**kept, **wanted}:
            if kept.get(key) != wanted.get(key):
                raise BitxError(
                    f"holds finished points of another sweep, whose {key} is"
                    f" {_short(kept.get(key))}, not {_short(wanted.get(key))}; give the sweep as it was,"
                    " restart it, or choose another output",
                    path=self.path,
                )


def _line(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(text), text)


def _checked(line: bytes) -> bytes | None:
    """Return what a whole line says; None for anything else."""
    check, _, text = line.removesuffix(b"\n").partition(b" ")
    return text if line.endswith(b"\n") and check == b"%08x" % crc32(text) else None


def _parsed(text: bytes) -> Any:
    """Return the document of a line; None if it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _fits(value: Any, unit: str) -> bool:
    """Whether a column of this unit, "" for text, can hold a value."""
    if value is None:
        return True
    if unit == "":
        return isinstance(value, str)
    return type(value) is float or (type(value) is int and abs(value) < _TOO_LARGE)


def _may_begin_a_journal(head: bytes) -> bool:
    """Whether this is how a journal begins, which may have been cut off anywhere."""
    check, text = head[:9], head[9:]
    return not check.strip(b"0123456789abcdef ") and MAGIC.startswith(text)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
