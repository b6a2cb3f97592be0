"""Calls side by side: what one does in Python goes on behind the kernels of another."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

from bitxcore.jit import parallel

T = TypeVar("T")


def side_by_side(call: Callable[[int], T], count: int, lanes: int) -> list[T]:
    """Call ``call(index)`` for every index below `count`, at most `lanes` and `BITX_THREADS` at a time.

    Calls see the caller's context variables. They begin in order, so that of several errors the one is raised
    that would end a loop.

    Parameters
    ----------
    call : callable
    count, lanes : int

    Returns
    -------
    list
        Results, in order.

    Examples
    --------
    >>> side_by_side(lambda index: index**2, 4, 2)
    [0, 1, 4, 9]
    """
    results: dict[int, T] = {}
    errors: dict[int, Exception] = {}
    waiting = iter(range(count))  # shared: taking the next is atomic
    context = copy_context()

    def lane(start: int, stop: int) -> None:
        try:
            for index in waiting:
                try:
                    # A context is entered by one thread at a time.
                    results[index] = context.copy().run(call, index)
                except Exception as error:
                    errors[index] = error
                    break
        finally:
            for _ in waiting:  # after an error nothing else begins
                pass

    parallel(lane, min(lanes, count), 1)
    if errors:
        raise errors[min(errors)]
    return [results[index] for index in range(count)]
