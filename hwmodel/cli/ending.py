"""How the process of the command line begins and ends: its streams, and signals that end it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread, Timer, current_thread, main_thread
from typing import NoReturn

SIGNALS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
"""What ends a run as if it were cancelled, and what is said then; where the system has it."""

_WORKERS = "bitxcore.processes"
_once = Lock()
_advice: list[str] = []
"""How what is being done goes on after its end, for as long as it is being done."""


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Say this as well, if a signal ends the block."""
    _advice.append(advice)
    try:
        yield
    finally:
        _advice.remove(advice)


def open_streams() -> None:
    """Let standard streams that the caller has closed lead nowhere.

    The next file that is opened would get the number of such a stream, and what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def close_streams() -> None:
    """Write what is left; what can't be written is dropped, not tried again when the interpreter ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def end(status: int, message: str) -> NoReturn:
    """Remove what is half-written and end the process at once, from whatever thread.

    No exception unwinds the main thread: it could surface inside a function that HDF5 calls, and be lost or
    crash the process. Nor is standard output flushed, which the main thread may be waiting for.
    """
    try:
        _once.acquire()  # and never released: who comes second has nothing to do
        if files := sys.modules.get("bitxcore.files"):
            files.remove_unfinished()
        end_of_progress = "\x1b[?25h\n" if sys.stderr.isatty() else ""
        with suppress(OSError):
            os.write(2, f"{end_of_progress}bitx: {message}\n".encode())
        if workers := sys.modules.get(_WORKERS):
            workers.end_workers()
    finally:
        os._exit(status)


@contextmanager
def ending_by_signals() -> Iterator[None]:
    """End the process as `end` does when a signal of `SIGNALS` comes, unless it is ignored.

    A thread of its own waits for them: the main thread, which alone runs Python's handlers, may be at work in
    compiled code for long.
    """
    if current_thread() is not main_thread():
        yield
        return
    before = {}
    words = {}
    for name, word in SIGNALS.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            before[number] = signal.signal(number, _wait_for_the_end)
            words[int(number)] = word
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    outer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    Thread(target=_follow, args=(reader, words), daemon=True).start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(outer)
        os.close(writer)


def _wait_for_the_end(*_: object) -> None:
    """Keep the main thread, which may write files, out of the way of the end; but let it start processes."""
    workers = sys.modules.get(_WORKERS)
    if workers is None or workers.ending.is_set() or not workers.starting.locked():
        time.sleep(10)
    else:
        workers.deferred.set()


def _follow(reader: int, words: dict[int, str]) -> None:
    while came := os.read(reader, 1):
        if came[0] in words:
            end(128 + came[0], "; ".join([words[came[0]], *_advice]))
    os.close(reader)


@contextmanager
def ending_after(seconds: float | None, what: str) -> Iterator[None]:
    """End the process as `end` does, with status 1, if the block takes longer.

    Parameters
    ----------
    seconds : float or None
        None: no limit.
    what : str
        Begins the message.
    """
    if seconds is None:
        yield
        return
    message = f"error: {what} took longer than {seconds:g} s, and was stopped"
    timer = Timer(seconds, end, (1, message))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
