"""The one place with Numba options, the cache's place and the threading policy.

Settings, read from the environment:

``BITX_THREADS``
    Threads of the kernels (default: the cores this process may use).
``BITX_CACHE_DIR``
    Where compiled kernels are kept (default: ``bitx`` in the user's cache directory). Kernels
    of one release share a folder that is named after a hash of their source and of the
    versions of Numba and NumPy, so an upgraded kernel is never served from an old cache. A kernel
    of another package has the hash of its file in the name of its own folder; it may call
    kernels of that file and of `bitxcore.kernels`.
"""

from __future__ import annotations

import gc
import hashlib
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bitxcore.errors import OptionError

T = TypeVar("T")
CHUNK_BYTES = 1 << 23  # what one task of a thread reads: shorter ones wait for the GIL too often


@cache
def cache_directory() -> Path | None:
    """Folder of the compiled kernels of this release, or None if none can be written."""
    import llvmlite
    import numba
    import numpy as np

    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {np.__version__}".encode())
    for source in sorted([*Path(__file__).parent.glob("kernels/*.py"), Path(__file__)]):
        digest.update(source.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(os.environ.get("BITX_CACHE_DIR") or Path(home) / "bitx")
    folder = root / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}-{threading.get_ident()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return None
    return folder


@cache
def load_numba() -> None:
    """Import Numba and fill its registries without looking for garbage: a tenth of the time of a start."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        from numba.core.registry import cpu_target

        cpu_target.typing_context.refresh()
        cpu_target.target_context.refresh()
    finally:
        if collecting:
            gc.enable()


@cache
def _stamp(path: str) -> str:
    """Digest of the file that defines a kernel, which need not be one of this package's."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def kernel(function: Callable[..., Any] | None = None, *, variant: object = None) -> Any:
    """Compile `function` on first use: no GIL, cached on disk where that is possible.

    Parameters
    ----------
    function : callable
    variant : object, optional
        What tells apart kernels made from one function by a factory. Each has a folder of its own in the
        cache, so processes that compile different variants do not overwrite each other's index.
    """
    if function is None:
        return lambda f: kernel(f, variant=variant)
    import numba
    import numba.core.config

    config: Any = numba.core.config  # its settings are made at run time
    folder = cache_directory()
    kept = config.CACHE_DIR
    if folder is not None:
        name = f"{function.__qualname__} {variant} {_stamp(function.__code__.co_filename)}"
        config.CACHE_DIR = str(folder / re.sub(r"[^\w]+", "-", name).strip("-"))
    try:
        return numba.njit(function, nogil=True, error_model="numpy", cache=folder is not None)
    finally:
        config.CACHE_DIR = kept


def threads() -> int:
    """Return the number of threads the kernels use."""
    setting = os.environ.get("BITX_THREADS", "").strip()
    if not setting:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not setting.isdigit() or int(setting) < 1:
        raise OptionError(f"BITX_THREADS must be a positive integer, got {setting!r}", value=setting)
    return int(setting)


@cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="bitx")


def share(count: int, step: int, unit: int = 1) -> int:
    """Units of one call of `parallel`, a multiple of `unit`: at most `step`, at most a thread's equal share.

    Less than half a step is not worth waking another thread, and stays whole.
    """
    if 2 * count < step:
        return step
    return max(unit, min(step, -(-count // (threads() * unit)) * unit))


def parallel(task: Callable[[int, int], T], count: int, step: int) -> list[T]:
    """Call ``task(start, stop)`` over ``range(count)`` in steps, on all threads.

    The results come in order and do not depend on the number of threads.

    Parameters
    ----------
    task : callable
        Must release the GIL to gain anything.
    count : int
        Number of units (groups, vectors).
    step : int
        Units of one call, from `share`; `CHUNK_BYTES` is the most it should read.
    """
    starts = range(0, count, step)
    results: dict[int, T] = {}
    waiting = iter(starts)  # shared: taking the next is atomic

    def work() -> None:
        for start in waiting:
            results[start] = task(start, min(start + step, count))

    # The caller works too: waking a thread for every chunk would cost as much as a chunk.
    workers = min(threads(), len(starts))
    others = [_pool(workers, os.getpid()).submit(work) for _ in range(workers - 1)]
    try:
        work()
    finally:
        for _ in waiting:  # after an error nobody starts another chunk
            pass
        wait(others)
    for other in others:
        other.result()
    return [results[start] for start in starts]
