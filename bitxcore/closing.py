"""What is open until it is closed, by a ``with`` block or by `close`."""

from __future__ import annotations

from typing import Self


class Closing:
    """Base of what a ``with`` block closes at its end.

    Examples
    --------
    >>> class Door(Closing):
    ...     def close(self):
    ...         print("closed")
    >>> with Door():
    ...     pass
    closed
    """

    def close(self) -> None:
        """Release what is held; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
