"""HDF5 files are opened by a process of their own, one for each; this is the side that asks.

The processes are forked by a server that is started by the first request and ends with this process.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Lock, RLock
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from bitxcore.dumps.hdf5_serving import receive, send
from bitxcore.dumps.trust import FREE_BYTES, NameBudget, Source
from bitxcore.errors import DumpError

MIB = 1 << 20
MAX_PROCESSES = 8  # that are kept for further requests
SECONDS = 20.0  # of processor time, for a request of few bytes
BYTES_PER_SECOND = 1e6  # what a slow machine does of the rest
MEMORY = 256 * MIB

_START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from bitxcore.dumps.hdf5_serving import serve; serve(int(sys.argv[1]))"
)
_THREADS = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class _Server:
    """The process that forks the others."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-c", _START, str(theirs.fileno()), *_search_path()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | _THREADS,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C on a terminal is ours
            )

    def fork(self, channel: socket.socket, values: int) -> None:
        socket.send_fds(self._socket, [b"f"], [channel.fileno(), values])

    def close(self) -> None:
        """End the server; children end when their own channel is closed."""
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)

    def leave(self) -> None:
        """Give up a server of the process that this one was forked from."""
        self._socket.close()
        self._process.returncode = 0


_server: _Server | None = None
_lock = RLock()
_all: WeakSet[Session] = WeakSet()
_sessions: list[Session] = []  # with a process, the one that was used last at the end


def _search_path() -> list[str]:
    return [os.path.abspath(path) for path in sys.path]


@atexit.register
def _end() -> None:
    global _server
    with _lock:
        server, _server = _server, None
        sessions = tuple(_sessions)
    for session in sessions:
        session.let_go(wait=False)
    if server is not None:
        server.close()


def _after_fork() -> None:
    """Forget, in a fork of this process, what is its parent's; others' locks may be held for ever."""
    global _server, _lock
    _lock = RLock()
    _sessions.clear()
    for session in tuple(_all):
        session.start_anew()
    if _server is not None:
        _server.leave()
        _server = None


os.register_at_fork(after_in_child=_after_fork)


def _fork(channel: socket.socket, values: int) -> None:
    global _server
    with _lock:
        for last in (False, True):
            if _server is None:
                _server = _Server()
            try:
                _server.fork(channel, values)
            except OSError:  # it was ended from outside
                if last:
                    raise
                _server.close()
                _server = None
            else:
                return


class Session:
    """Requests about one file; errors name no place.

    A process is started by the first request, kept for those that follow, and started anew if others
    needed its place or this process was forked.

    Parameters
    ----------
    source : Source
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = Lock()
        self._channel: socket.socket | None = None
        self._values: Any = None
        self._closed = False
        _all.add(self)

    def list(self) -> Iterator[dict[str, Any]]:
        """Yield messages: ``records`` of datasets, and at last ``attributes`` of the file.

        Raises
        ------
        DumpError
            For what the process could not read, and if it ended, met a limit or told no sense.
        """
        with self._lock:
            size = self._source.size
            self._ask({"do": "list", "names": NameBudget.of(size).most}, MEMORY + 2 * size, size)
            while True:
                message = self._answer()
                yield message
                if "attributes" in message:
                    return

    def try_all(self) -> None:
        """Read all that is in the file itself, attributes as well, and pass nothing on.

        Raises
        ------
        DumpError
            As `list`.
        """
        with self._lock:
            size = self._source.size
            self._ask({"do": "try"}, MEMORY + 2 * size, 10 * size)
            self._answer()

    def read(self, name: str, rows: tuple[int, int] | None, out: npt.NDArray[Any], unpacked: int) -> None:
        """Read values into `out`.

        Parameters
        ----------
        name : str
        rows : (int, int) or None
            ``[start:stop]`` of axis 0; None for all.
        out : numpy.ndarray
            C order, of their shape and dtype.
        unpacked : int
            Bytes of a chunk, which is unpacked as a whole.

        Raises
        ------
        DumpError
            As `list`.
        """
        if not out.nbytes:
            return
        with self._lock:
            need = out.nbytes + min(unpacked, max(FREE_BYTES, 2 * self._source.size + out.nbytes))
            memory = MEMORY + 2 * self._source.size + 3 * need
            self._ask({"do": "read", "name": name, "rows": rows}, memory, need)
            answer = self._answer()
            target = out.reshape(-1).view(np.uint8).data
            if answer.get("nbytes") != out.nbytes:
                raise DumpError(f"gives {answer.get('nbytes')} bytes, declared {out.nbytes}")
            done = 0
            while done < out.nbytes:
                some = os.preadv(self._values.fileno(), [target[done:]], done)
                if not some:
                    raise DumpError("gives fewer bytes than declared")
                done += some
            self._values.truncate(0)

    def check_open(self) -> None:
        """Raise after `close`."""
        if self._closed:
            raise DumpError("can't be read: it is closed")

    def close(self) -> None:
        """End the process; later requests are errors."""
        self._closed = True
        self.let_go()

    def let_go(self, wait: bool = True) -> None:
        """End the process unless it is at work, or when it is done."""
        if self._lock.acquire(blocking=wait):
            try:
                self._drop()
            finally:
                self._lock.release()

    def start_anew(self) -> None:
        """Forget the process, in a fork of the one that started it."""
        self._lock = Lock()
        self._drop()

    def _drop(self) -> None:
        with _lock:
            if self in _sessions:
                _sessions.remove(self)
        if self._channel is not None:
            self._channel.close()
            self._values.close()
            self._channel = None

    def _connect(self) -> socket.socket:
        if self._channel is not None:
            with _lock:
                _sessions.remove(self)
                _sessions.append(self)
            return self._channel
        ours, theirs = socket.socketpair()
        with theirs:
            values = _temporary()
            try:
                _fork(theirs, values.fileno())
            except OSError as error:
                ours.close()
                values.close()
                raise DumpError(f"no process can be started to read HDF5: {error}") from error
        self._channel, self._values = ours, values
        with _lock:
            _sessions.append(self)
            surplus = _sessions[:-MAX_PROCESSES]
        for session in surplus:
            session.let_go(wait=False)
        return ours

    def _ask(self, request: dict[str, Any], memory: int, nbytes: int) -> None:
        self.check_open()
        self._source.check()
        channel = self._connect()
        seconds = SECONDS + nbytes / BYTES_PER_SECOND
        self._memory, self._seconds, self._since = memory, seconds, time.monotonic()
        channel.settimeout(11 * seconds + 60)
        path = os.path.abspath(self._source.path)
        with suppress(OSError):  # told by the answer that does not come
            send(channel, {**request, "path": path, "memory": memory, "seconds": seconds})

    def _answer(self) -> dict[str, Any]:
        assert self._channel is not None
        try:
            message = receive(self._channel)
        except TimeoutError:
            message = None
        except ValueError as error:
            self._drop()
            raise DumpError("can't be read: what the HDF5 library gives makes no sense") from error
        if message is None:
            self._drop()
            if time.monotonic() - self._since >= self._seconds:
                raise DumpError(f"can't be read: the HDF5 library took more than {self._seconds:.0f} s")
            raise DumpError("can't be read: it makes the HDF5 library crash")
        if message.get("error") == "memory":
            raise DumpError(f"can't be read: needs more than {self._memory // MIB} MiB of memory")
        if "error" in message:
            raise DumpError(str(message["error"]), tensor=message.get("tensor"))
        return message


def _temporary() -> Any:
    """Open a file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("bitx-values"), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
