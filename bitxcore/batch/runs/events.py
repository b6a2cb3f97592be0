"""What a batch tells while it runs: to a log of one JSON document per line, or to anybody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bitxcore.errors import BitxError

Tell = Callable[[str, dict[str, Any]], None]
"""Called with the name of an event, and facts about it in JSON's types.

``start`` (plan), ``begun``, ``reused``, ``done``, ``failed`` (units), ``died`` (a worker process), ``store``
(a store was written), ``end``.
"""


class JsonLog:
    """A file that gets a line per event, at once; lines that are there stay. A context manager.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    BitxError
        If the file can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("a", encoding="utf-8")
            if _ends_within_a_line(path):  # that of a run that was killed
                self._file.write("\n")
        except OSError as error:
            raise BitxError(f"can't be written: {error.strerror}", path=path) from error

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        """Write a line."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            self._file.write(json.dumps({"time": now, "event": event, **facts}) + "\n")
            self._file.flush()
        except OSError as error:
            raise BitxError(f"can't be written: {error.strerror}", path=self.path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as failed:
            if error is None:
                raise BitxError(f"can't be written: {failed.strerror}", path=self.path) from failed


def _ends_within_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return False
        file.seek(-1, 2)
        return file.read(1) != b"\n"
