"""Work that goes on in a thread while its last result is used: reading, pruning and writing overlap."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def one_ahead(work: Iterator[T]) -> Generator[T, None, None]:
    """Yield what an iterator yields, which makes the next while the caller uses the last.

    It runs in one other thread, where its errors are caught and raised again here in their turn.

    Examples
    --------
    >>> list(one_ahead(square * square for square in range(4)))
    [0, 1, 4, 9]
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="bitx-ahead")
    context = copy_context()
    end = object()

    def following() -> Future[T | object]:
        return pool.submit(lambda: context.run(next, work, end))

    waiting: Future[T | object] | None = following()
    try:
        while waiting is not None:
            found = waiting.result()
            waiting = None
            if found is end:
                return
            waiting = following()
            yield found  # type: ignore[misc]
            del found  # so that its memory is free while the next is waited for
    finally:
        if waiting is not None:
            with suppress(BaseException):
                waiting.result()
        pool.shutdown()
        if isinstance(work, Generator):
            work.close()
