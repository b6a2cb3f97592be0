"""Work that several machines do alike on the same array, done once.

Machines that differ in their lanes alone prune the same weights to the same bits. Within a block of
`shared`, `once` remembers the last few results; elsewhere it only calls.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

REMEMBERED = 8
"""Results kept: what the unpruned reading and the pruned one need, with and without zeros."""

Memory = OrderedDict[Any, Any]

_memory: ContextVar[Memory | None] = ContextVar("bitx_shared_work", default=None)


@contextmanager
def shared(memory: Memory | None = None) -> Iterator[Memory]:
    """Remember results of `once` until the block ends; arrays must not be written to within it.

    Parameters
    ----------
    memory : Memory, optional
        What an earlier block yielded, to go on with.
    """
    remembered = Memory() if memory is None else memory
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
    key = (function, id(values), tuple(options.items()))
    if key in memory:
        memory.move_to_end(key)
    else:
        # The array is kept too: its id must not be given to another one.
        memory[key] = values, function(values, **options)
        if len(memory) > REMEMBERED:
            memory.popitem(last=False)
    found: T = memory[key][1]
    return found
