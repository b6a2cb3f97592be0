"""Forks during first calls of other threads: a child must not wait for locks of threads that it has not."""

from __future__ import annotations

# The first two hold locks of their own during a fork: they must be there before it begins.
import concurrent.futures.thread  # noqa: F401
import logging  # noqa: F401
import os
import sys
import threading
from contextlib import suppress
from importlib import _bootstrap, import_module
from typing import Any

starting = threading.RLock()
"""Held while Numba is loaded or a kernel is declared."""

_PACKAGES = ("bitxcore", "h5py", "hwmodel", "llvmlite", "ml_dtypes", "numba", "numpy", "scipy")
"""What first calls import."""

_held: list[Any] = []
"""Locks of the thread that forks, from before the fork until after it."""


def _imported_by_others(known: set[str]) -> list[str]:
    """Modules of a first call that some thread imports at this moment, without those of `known`."""
    begun = [
        name
        for name, module in list(sys.modules.items())
        if getattr(getattr(module, "__spec__", None), "_initializing", False)
    ]
    return [n for n in begun + _locked() if n.partition(".")[0] in _PACKAGES and n not in known]


def _locked() -> list[str]:
    """Names whose import another thread has begun, also of modules that are looked for still.

    Only Python itself knows; where it does not tell, nothing is found.
    """
    locks = getattr(_bootstrap, "_module_locks", {})
    found = []
    for name, reference in list(locks.items()):
        owner = getattr(reference(), "owner", None)
        if isinstance(owner, int) and owner != threading.get_ident():
            found.append(name)
    return found


def _compiler_lock() -> Any:
    """Numba's lock of its compiler; before Numba is loaded, a lock that nobody else has."""
    module = sys.modules.get("numba.core.compiler_lock")
    return getattr(module, "global_compiler_lock", None) or threading.RLock()


def _before_fork() -> None:
    """Let first calls of other threads come to an end: a child would wait for ever for what they hold."""
    own: set[str] = set()
    while True:
        # To import a module waits for the thread that does so. If it is this one, that returns at once.
        for name in _imported_by_others(own):
            with suppress(Exception):
                import_module(name)
            own.update({name}.intersection(_imported_by_others(own)))
        locks = [starting, _compiler_lock()]
        for lock in locks:
            lock.acquire()
        if not _imported_by_others(own):
            _held.extend(locks)
            return
        for lock in locks:
            lock.release()


def _after_fork() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
