"""Finished points of a long run on disk, so that a run that is killed goes on where it was.

A journal is a text file. Each line is the CRC-32 of the rest of the line, a space and a JSON document: first
the run's definition, then a line per point. Lines are only appended. What a kill, or a power failure, left of
a last line fails its check; from the first such line on everything is dropped, and those points are done
again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

from bitxcore.errors import BitxError
from bitxcore.remote.remote_path import RemotePath, as_path

try:
    import fcntl
except ImportError:  # not on this system: two runs into one store are the user's to avoid
    fcntl = None  # type: ignore[assignment]

VERSION = 1
SUFFIX = ".journal"
"""What a journal's name has behind that of its store."""
_TOO_LARGE = 1 << 63
_DIGEST = re.compile("[0-9a-f]{64}")


class Journal:
    """The journal of one run, open for appending; a context manager.

    Parameters
    ----------
    path : pathlib.Path
        Made if it is not there.
    definition : mapping
        Everything that the results depend on, in JSON's types.
    columns : mapping of str to str, optional
        Unit of each column of a row, other than ``point``; ``""`` for text. Lines with others are refused.
    restart : bool
        Forget finished points of whatever run.
    of : str
        What kind of run it is, one word; a journal of another kind is refused.

    Attributes
    ----------
    rows : dict of int to dict
        By point: the rows that were there when it was opened.

    Raises
    ------
    BitxError
        If the file belongs to another run (the message says what differs), is none of ours, is in use
        by another process, or can't be written.
    """

    def __init__(
        self,
        path: Path,
        definition: Mapping[str, Any],
        *,
        columns: Mapping[str, str] | None = None,
        restart: bool = False,
        of: str = "sweep",
    ) -> None:
        self.path = path
        self._of = of
        self._key = f"bitx-{of}"
        self._columns = columns
        self.rows: dict[int, dict[str, Any]] = {}
        wanted = json.loads(json.dumps(definition))
        if path.exists() and not path.is_file():
            raise BitxError(f"is no journal of {_a(of)}; move it away", path=path)
        try:
            self._file = path.open("a+b")
            try:
                self._lock()
                end = self._read(wanted, restart)
                self._file.truncate(end)
                if end == 0:
                    self._write([{self._key: VERSION, "definition": wanted}])
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
            raise BitxError(f"another process is at work on this {self._of}", path=self.path) from None

    def _write(self, documents: Iterable[Mapping[str, Any]]) -> None:
        self._file.write(b"".join(map(_line, documents)))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, wanted: dict[str, Any], restart: bool) -> int:
        """Read `rows`; return where the last good line ends, 0 for a restart."""
        self._file.seek(0)
        magic = f'{{"{self._key}":'.encode()  # how the definition begins, behind its check
        if not _may_begin_a_journal(self._file.read(9 + len(magic)), magic):
            raise BitxError(f"is no journal of {_a(self._of)}; move it away", path=self.path)
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file, 1):
            text = _checked(line)
            if text is None:
                if end == 0 and line.endswith(b"\n"):
                    raise BitxError(f"is no journal of {_a(self._of)}; move it away", path=self.path)
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
                f"line {number} holds no point of this {self._of}; restart it, or choose another output",
                path=self.path,
            )

    def _check(self, found: Any, wanted: dict[str, Any]) -> None:
        if not isinstance(found, dict) or found.get(self._key) != VERSION:
            raise BitxError(f"is no journal of {_a(self._of)} that this release reads", path=self.path)
        kept = found.get("definition")
        if not isinstance(kept, dict):
            raise BitxError(
                f"is a journal of {_a(self._of)} without its definition; move it away", path=self.path
            )
        for key in {**kept, **wanted}:
            if kept.get(key) != wanted.get(key):
                differs = _told(key, kept.get(key), wanted.get(key))
                raise BitxError(
                    f"holds finished points of another {self._of}, {differs};"
                    f" give the {self._of} as it was, restart it, or choose another output",
                    path=self.path,
                )


@contextmanager
def journal_beside(
    store: str | os.PathLike[str] | None,
    definition: Mapping[str, Any],
    *,
    columns: Mapping[str, str] | None = None,
    restart: bool = False,
    inputs: Iterable[Path] = (),
    of: str = "sweep",
) -> Iterator[Journal | None]:
    """Open the journal of a run that will write a store; None without a store.

    Parameters
    ----------
    store : path, optional
    definition, columns, restart, of
        As of `Journal`.
    inputs : iterable of pathlib.Path
        Files that the store must not replace.

    Raises
    ------
    BitxError
        If the store can't be written there, or as of `Journal`.
    """
    check_journal_place(store, inputs)
    if store is None:
        yield None
        return
    path = Path(store)
    beside = path.with_name(path.name + SUFFIX)
    with Journal(beside, definition, columns=columns, restart=restart, of=of) as journal:
        yield journal


def local_place(output: str | os.PathLike[str]) -> Path:
    """Return the path of an output beside which there is a journal.

    Raises
    ------
    BitxError
        If it is the URL of an object.
    """
    path = as_path(output)
    if isinstance(path, RemotePath):
        raise BitxError(
            "can't be written: a run that can be continued writes on this machine only", path=path
        )
    return path


def check_journal_place(store: str | os.PathLike[str] | None, inputs: Iterable[Path] = ()) -> None:
    """Raise if a store can't be written there; see `journal_beside`."""
    if store is None:
        return
    from bitxcore.store.writer import check_name

    path = local_place(store)
    if not path.parent.is_dir():
        raise BitxError(f"can't be written: {path.parent} is not an existing folder", path=path)
    if path.exists() and not path.is_file():
        raise BitxError("can't be written: exists and is not a regular file", path=path)
    if path.exists() and any(path.samefile(file) for file in inputs):
        raise BitxError("is the input; choose another output", path=path)
    check_name(path)


def _line(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(text), text)


def _checked(line: bytes) -> bytes | None:
    """Return what a whole line says; None for anything else."""
    check, _, text = line.removesuffix(b"\n").partition(b" ")
    return text if line.endswith(b"\n") and check == b"%08x" % crc32(text) else None


def _parsed(text: bytes) -> Any:
    """Return the document of a line; None if it is not JSON."""
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


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _may_begin_a_journal(head: bytes, magic: bytes) -> bool:
    """Whether this is how a journal begins, which may have been cut off anywhere."""
    check, text = head[:9], head[9:]
    return not check.strip(b"0123456789abcdef ") and magic.startswith(text)


def _told(key: str, kept: Any, wanted: Any) -> str:
    """Say what differs; a check sum tells a reader nothing but that."""
    if all(isinstance(value, str) and _DIGEST.fullmatch(value) for value in (kept, wanted)):
        return f"of other {key}" if key.endswith("s") else f"of another {key}"
    return f"whose {key} is {_short(kept)}, not {_short(wanted)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
