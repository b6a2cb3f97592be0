"""Compile ahead of use, so that the first real call need not wait."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

import numpy as np

from bitxcore.bits import decompose, essential_bits
from bitxcore.engine import FAST_GROUPS
from bitxcore.errors import BitxError
from bitxcore.formats import FLOATS, number_format
from bitxcore.jit import cache_writable, threads
from bitxcore.packed import pack, unpack
from bitxcore.pruning import prune
from bitxcore.quantization import quantize
from bitxcore.summary import statistics

WARM_FORMATS = (*FLOATS, "int8", "int16")  # the other integers use the same kernels


USUAL_GROUPS = (8, 16)
"""Sizes for which all criteria and roundings are made ready; for the others only ``topn``."""

TASKS = 5
"""After about so many a process gives way to another: what is compiled takes over 100 MB each time."""


def warm(name: str, group: int) -> str:
    """Compile, or load from the cache, the kernels of one format and group size.

    Those of other criteria and of nearest values are among them for `USUAL_GROUPS`.
    """
    fmt = number_format(name)
    x = np.zeros((2, 2 * group), fmt.dtype)
    cut: dict[str, Any] = {"group": group, "format": fmt}
    decompose(x, fmt)
    essential_bits(x, fmt)
    statistics(x, **cut)
    unpack(pack(prune(x, rows=1, **cut)))
    prune(np.zeros((2, group + 1), fmt.dtype), **cut)
    for channels in (group, group + 1):
        prune(np.zeros((2, channels, 9), fmt.dtype), grouping="channel", **cut)
    if fmt.is_float:
        for bits in (8, 16):
            quantize(x, bits).dequantize(fmt.dtype)
    # Not finite, or outside the format: such groups have kernels of their own.
    x[0, 0] = np.nan if fmt.is_float else np.iinfo(fmt.dtype).min
    prune(x, nonfinite="keep", **cut)
    if group in USUAL_GROUPS:
        x[0, 0] = 0
        prune(x, rounding="nearest", **cut)
        prune(x, rows=None, criterion="threshold", threshold=0.5, **cut)
        prune(x, criterion="energy", budget=0.5, **cut)
        prune(x, criterion="calibrated", norms=np.ones(2 * group), **cut)
    return f"{name}, group {group}"


def in_processes(compile_one: Callable[..., str], tasks: Sequence[tuple[Any, ...]]) -> Iterator[str]:
    """Call ``compile_one(*task)`` for all tasks, in as many processes as the kernels have threads.

    Yields
    ------
    str
        What each call returns, as it is done.
    """
    count, spawn = threads(), get_context("spawn")
    # Not by max_tasks_per_child, with which a pool may wait for ever: python/cpython#115634.
    for first in range(0, len(tasks), TASKS * count):
        # Compiling makes millions of objects that live on: looking for garbage is a third of the time.
        with ProcessPoolExecutor(count, spawn, gc.disable) as pool:
            waiting = [pool.submit(compile_one, *task) for task in tasks[first : first + TASKS * count]]
            for done in as_completed(waiting):
                yield done.result()


def warmup(formats: Sequence[str] = WARM_FORMATS, groups: Sequence[int] = FAST_GROUPS) -> Iterator[str]:
    """Compile all kernels into the cache, in as many processes as the kernels have threads.

    Yields
    ------
    str
        What was made ready, e.g. ``"float32, group 16"``.

    Raises
    ------
    BitxError
        If there is no place where compiled kernels can be kept.
    """
    if not cache_writable():
        raise BitxError("no place to keep compiled kernels can be written: set BITX_CACHE_DIR to a folder")
    yield from in_processes(warm, [(name, group) for name in formats for group in groups])
