"""What is said of work with stores that takes its time."""

from __future__ import annotations

from collections.abc import Callable

listeners: list[Callable[[str], object]] = []
"""Called with each notice; the command line prints them."""


def notify(text: str) -> None:
    """Tell all listeners."""
    for listener in listeners:
        listener(text)
