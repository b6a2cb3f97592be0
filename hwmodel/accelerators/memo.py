"""Work that several machines do alike on the same array, done once.

Machines that differ in their lanes alone prune the same weights to the same bits. Within a block of
`shared`, `once` remembers the last few results; elsewhere it only calls. Threads that want the same result
wait for the one that works on it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

REMEMBERED = 8
"""Results kept: what the unpruned reading and the pruned one need, with and without zeros."""


@dataclass(eq=False)
class _Work:
    """One call: the array, which is kept because its id must not be given to another one; then its result."""

    values: Any
    result: Any = None
    done: bool = False
    lock: Lock = field(default_factory=Lock)


@dataclass(eq=False)
class SharedWork:
    """What a block of `shared` remembers."""

    work: OrderedDict[Any, _Work] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def of(self, key: Any, values: Any) -> _Work:
        """Return the call that is known by `key`, or begin to remember it in the place of the oldest."""
        with self.lock:
            if key not in self.work:
                self.work[key] = _Work(values)
                if len(self.work) > REMEMBERED:
                    self.work.popitem(last=False)
            self.work.move_to_end(key)
            return self.work[key]


_memory: ContextVar[SharedWork | None] = ContextVar("bitx_shared_work", default=None)


@contextmanager
def shared(memory: SharedWork | None = None) -> Iterator[SharedWork]:
    """Remember results of `once` until the block ends; arrays must not be written to within it.

    Parameters
    ----------
    memory : SharedWork, optional
        What an earlier block yielded, to go on with.
    """
    remembered = SharedWork() if memory is None else memory
    token = _memory.set(remembered)
    try:
        yield remembered
    finally:
        _memory.reset(token)


def once(function: Callable[..., T], values: Any, **options: Any) -> T:
    """Call ``function(values, **options)``, or return what the same call returned before.

    Parameters
    ----------
    function : callable
        Its result depends on the arguments alone.
    values : ndarray
        The same object counts as the same values.
    **options
        Hashable.
    """
    memory = _memory.get()
    if memory is None:
        return function(values, **options)
    call = memory.of((function, id(values), tuple(options.items())), values)
    with call.lock:
        if not call.done:
            call.result, call.done = function(values, **options), True
    found: T = call.result
    return found
