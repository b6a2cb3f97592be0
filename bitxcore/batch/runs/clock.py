"""Time of the stages of a unit: reading, computing, writing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from time import perf_counter
from typing import Any

from bitxcore.dumps import Tensor

STAGES = ("read", "compute", "write")
"""In the order in which they are told."""


class Clock:
    """Adds up seconds by stage; a stage within another one is not counted twice.

    Examples
    --------
    >>> clock = Clock()
    >>> with clock.stage("compute"), clock.stage("read"):
    ...     pass
    >>> sorted(clock.seconds)
    ['compute', 'read']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block as a stage; the one around it is interrupted."""
        self._switch()
        self._running.append(name)
        try:
            yield
        finally:
            self._switch()
            self._running.pop()

    def _switch(self) -> None:
        now = perf_counter()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def time_reading(self, tensors: Iterable[Tensor]) -> None:
        """Count all reading of these tensors."""
        for tensor in tensors:
            for name in ("read", "read_rows", "view_rows"):
                setattr(tensor, name, self._timed(getattr(tensor, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            with self.stage("read"):
                return function(*args, **options)

        return timed
