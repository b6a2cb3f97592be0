"""What the processes that open HDF5 files run: a server that forks one child for each file.

libhdf5 crashes, loops and allocates without bound on damaged files. A child does so alone: it has limits on
memory and processor time, and tells what it finds as plain data (JSON; values through a temporary file).
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

LENGTH = struct.Struct("<Q")
BATCH = 500  # datasets in one message
INDEX_BYTES = 1 << 20


def serve(descriptor: int) -> None:
    """Fork a child for each pair (channel, file for values) that arrives, until the other end is closed.

    Parameters
    ----------
    descriptor : int
        Of a connected Unix socket. The process has one thread, so that a fork of it is whole.
    """
    import bitxcore.dumps.hdf5_listing  # noqa: F401  # once, not in each child

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are not waited for
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.freeze()
    server = socket.socket(fileno=descriptor)
    while True:
        message, descriptors, _, _ = socket.recv_fds(server, 1, 2)
        if not message:
            return
        if os.fork() == 0:
            status = 1
            try:
                server.close()
                answer_all(socket.socket(fileno=descriptors[0]), descriptors[1])
                status = 0
            finally:
                os._exit(status)
        for number in descriptors:
            os.close(number)


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send one message."""
    text = json.dumps(message).encode()
    channel.sendall(LENGTH.pack(len(text)) + text)


def receive(channel: socket.socket) -> dict[str, Any] | None:
    """Return one message, or None if the other end is gone."""
    start = _exactly(channel, LENGTH.size)
    text = None if start is None else _exactly(channel, LENGTH.unpack(start)[0])
    return json.loads(text) if text is not None else None


def _exactly(channel: socket.socket, nbytes: int) -> bytes | None:
    found = bytearray()
    while len(found) < nbytes:
        try:
            part = channel.recv(min(nbytes - len(found), 1 << 20))
        except ConnectionError:
            part = b""
        if not part:
            return None
        found += part
    return bytes(found)


def answer_all(channel: socket.socket, values: int) -> None:
    """Answer requests about one file until the other end is closed.

    Parameters
    ----------
    channel : socket.socket
    values : int
        Descriptor of the file that values are written to.
    """
    from bitxcore.dumps.trust import one_line
    from bitxcore.errors import BitxError

    base = _address_space()
    file = None
    while (request := receive(channel)) is not None:
        try:
            _limit(base, request["memory"], request["seconds"])
            if file is None:
                file = _open(request["path"])
            if request["do"] == "list":
                _list(channel, file, request["names"])
            elif request["do"] == "try":
                _try(channel, file)
            else:
                nbytes = _read(file, request, values)
                send(channel, {"nbytes": nbytes})
        except MemoryError:
            send(channel, {"error": "memory"})
        except BitxError as error:
            send(channel, {"error": error.message, "tensor": error.tensor})
        except (Exception, SystemError) as error:
            send(channel, {"error": f"can't be read: {one_line(error)}"})
        finally:
            _limit(base, None, 0)


def _open(path: str) -> Any:
    import h5py

    # No lock: it would outlive the reader's close for a moment. Files that change are noticed by their time.
    file = h5py.File(path, "r", locking=False)
    # By default libhdf5 keeps 32 MiB of indexes, which in memory are ten times as much.
    config = file.id.get_mdc_config()
    config.set_initial_size, config.initial_size, config.max_size = True, INDEX_BYTES, 2 * INDEX_BYTES
    config.min_size = INDEX_BYTES
    file.id.set_mdc_config(config)
    return file


def _list(channel: socket.socket, file: Any, names: int) -> None:
    from bitxcore.dumps.hdf5_listing import listing

    attributes, records = listing(file, names)
    for start in range(0, len(records), BATCH):
        send(channel, {"records": records[start : start + BATCH]})
    send(channel, {"attributes": attributes})


def _try(channel: socket.socket, file: Any) -> None:
    from bitxcore.dumps.hdf5_listing import read_everything

    read_everything(file)
    send(channel, {})


def _read(file: Any, request: dict[str, Any], values: int) -> int:
    """Write the values that are asked for, C order and native, to the file; return their bytes."""
    import numpy as np

    from bitxcore.dumps.hdf5_listing import stored_name

    dataset = file[stored_name(request["name"])]
    rows = request["rows"]
    found = dataset[()] if rows is None else dataset[slice(*rows)]
    data = np.ascontiguousarray(found, found.dtype.newbyteorder("="))
    written = 0
    raw = data.reshape(-1).view(np.uint8).data
    while written < data.nbytes:
        written += os.pwrite(values, raw[written:], written)
    return written


def _address_space() -> int:
    """Bytes of address space that are in use; 0 where the system does not tell."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return 0


def _limit(base: int, memory: int | None, seconds: float) -> None:
    """Set the limits of what follows; a process that meets one of time is ended, wherever it is."""
    if base:
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        wanted = resource.RLIM_INFINITY if memory is None else base + memory
        if most != resource.RLIM_INFINITY:
            wanted = most if wanted == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    # A wait that takes no processor time is the disk's; without end it is none.
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
