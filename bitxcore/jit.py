"""The one place with Numba options, the cache's place and the threading policy.

Settings, read from the environment:

``BITX_THREADS``
    Threads of the kernels (default: the cores this process may use).
``BITX_CACHE_DIR``
    Where compiled kernels are kept (default: ``bitx`` in the user's cache directory). Kernels
    of one release share a folder that is named after a hash of their source and of the
    versions of Numba and NumPy, so an upgraded kernel is never served from an old cache. Damaged files
    are compiled anew; a folder that can't be written is read; where there is none, nothing is kept. A
    kernel of another package has the hash of its file in the name of its own folder; it may call
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
from bitxcore.forking import starting

T = TypeVar("T")
CHUNK_BYTES = 1 << 23  # what one task of a thread reads: shorter ones wait for the GIL too often
MOST_THREADS = 1024


@cache
def cache_directory() -> Path | None:
    """Folder of the compiled kernels of this release, or None if there is none and none can be made.

    It need not be writable: see `cache_writable`.
    """
    import llvmlite
    import numba
    import numpy as np

    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {np.__version__}".encode())
    here = Path(__file__)
    for source in sorted([*here.parent.glob("kernels/*.py"), here, here.with_name("kernel_cache.py")]):
        digest.update(source.read_bytes())
    try:
        folder = _cache_root() / digest.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the latter: nobody knows the home directory
        return None
    return folder if os.access(folder, os.R_OK | os.X_OK) else None


def _cache_root() -> Path:
    """Folder of the caches of all releases."""
    if chosen := os.environ.get("BITX_CACHE_DIR"):
        return Path(chosen).absolute()
    # A relative path there is to be ignored, says the XDG base directory specification.
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (caches if caches.is_absolute() else Path.home() / ".cache") / "bitx"


def cache_writable() -> bool:
    """Whether compiled kernels can be kept for the next run."""
    folder = cache_directory()
    if folder is None:
        return False
    probe = folder / f".probe-{os.getpid()}-{threading.get_ident()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


# -- first calls -------------------------------------------------------------------------------


@cache
def load_numba() -> None:
    """Import Numba and fill its registries without looking for garbage: a tenth of the time of a start."""
    with starting:
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
def _stamp(path: str) -> str | None:
    """Digest of the file that defines a kernel, which need not be one of this package's; None: no file."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError:  # typed at a prompt
        return None


def kernel(
    function: Callable[..., Any] | None = None, *, variant: object = None, allocates: bool = True
) -> Any:
    """Compile `function` on first use: no GIL, cached on disk where that is possible.

    Parameters
    ----------
    function : callable
    variant : object, optional
        Key that distinguishes kernels made from one function by a factory. Each has a folder of its own in
        the cache, so processes that compile different variants do not overwrite each other's index.
    allocates : bool
        False leaves out the counting of references to arrays, which a kernel that makes none does not need,
        nor one that is called by such a kernel: it compiles and runs faster.
    """
    if function is None:
        return lambda f: kernel(f, variant=variant, allocates=allocates)
    with starting:
        import numba

        from bitxcore.kernel_cache import KernelCache

        compiled: Any = numba.njit(function, nogil=True, error_model="numpy", _nrt=allocates)
        folder, stamp = cache_directory(), _stamp(function.__code__.co_filename)
        if folder is not None and stamp is not None:
            signed = str(variant).replace("-", "minus")  # two variants may differ by a sign alone
            name = re.sub(r"[^\w]+", "-", f"{function.__qualname__} {signed} {stamp}").strip("-")
            compiled._cache = KernelCache(function, folder / name)
        return compiled


class _Writable:
    """What NumPy takes for the same memory as that of an array that may only be read."""

    def __init__(self, x: Any) -> None:
        self.kept = x
        facts = x.__array_interface__
        self.__array_interface__ = facts | {"data": (facts["data"][0], False)}


def writable(x: Any) -> Any:
    """View an array that kernels only read as one that may be written.

    To Numba these are two types, and each kernel would be compiled twice.
    """
    if x.flags.writeable:
        return x
    import numpy as np

    return np.asarray(_Writable(x))


# -- threads -----------------------------------------------------------------------------------


def threads() -> int:
    """Return the number of threads the kernels use."""
    setting = os.environ.get("BITX_THREADS", "").strip()
    if not setting:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not (setting.isascii() and setting.isdigit() and setting.strip("0")):
        raise OptionError(f"BITX_THREADS must be a positive integer, got {setting!r}", value=setting)
    if len(setting.lstrip("0")) > len(str(MOST_THREADS)) or int(setting) > MOST_THREADS:
        raise OptionError(f"BITX_THREADS must be at most {MOST_THREADS}, got {setting}", value=setting)
    return int(setting)


_kept_pool: tuple[tuple[int, int], ThreadPoolExecutor] | None = None


def _pool() -> ThreadPoolExecutor:
    """Threads besides the caller's, of this process and the present setting.

    They end when the setting has changed and no call uses them any longer.
    """
    global _kept_pool
    size = threads(), os.getpid()
    pool = _kept_pool
    if pool is None or pool[0] != size:
        pool = size, ThreadPoolExecutor(max(1, size[0] - 1), thread_name_prefix="bitx")
        _kept_pool = pool
    return pool[1]


def share(count: int, step: int, unit: int = 1) -> int:
    """Units of one call of `parallel`, a multiple of `unit`: at most `step`, at most a thread's equal share.

    Less than an eighth of a step (1 MiB) is not worth waking another thread, and stays whole.
    """
    if 8 * count < step:
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
    if count <= step:
        return [task(0, count)] if count else []
    starts = range(0, count, step)
    results: dict[int, T] = {}
    waiting = iter(starts)  # shared: taking the next is atomic

    def work() -> None:
        for start in waiting:
            results[start] = task(start, min(start + step, count))

    # The caller works too: waking a thread for every chunk would cost as much as a chunk.
    workers = min(threads(), len(starts))
    pool = _pool() if workers > 1 else None
    others = [pool.submit(work) for _ in range(workers - 1)] if pool else []
    try:
        work()
    finally:
        for _ in waiting:  # after an error nobody starts another chunk
            pass
        # Who has not begun has nothing left to do, and may wait for a thread that waits for this one.
        others = [other for other in others if not other.cancel()]
        wait(others)
    for other in others:
        other.result()
    return [results[start] for start in starts]
