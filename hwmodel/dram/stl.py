"""Traces in DRAMSys's ``.stl`` form, one request per line: ``clock: (bytes) read|write address``.

Clocks are the initiator's; its frequency stands in the simulation's configuration (``clkMhz``), and in
a comment on top of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError
from bitxcore.files import atomic_file
from hwmodel.dram.controller import Chunk, checked_chunks
from hwmodel.dram.parts import DramPart


def write_stl(
    path: str | PathLike[str],
    part: DramPart,
    addresses: npt.ArrayLike | Iterator[Chunk],
    is_write: npt.ArrayLike | None = None,
    arrival_s: npt.ArrayLike | None = None,
    *,
    initiator_clock_hz: float = 1e9,
) -> int:
    """Export a trace for replay in DRAMSys; it is written request by request, and whole or not at all.

    Parameters
    ----------
    path : path-like
    part : DramPart
        Gives the bytes of a request and the addresses that exist.
    addresses, is_write, arrival_s
        As in `simulate_trace`.
    initiator_clock_hz : float
        Arrivals are rounded up to its clocks.

    Returns
    -------
    int
        Requests written.

    Raises
    ------
    TensorError
        If an address lies outside the memory, or arrivals fall.
    OptionError
        If the clock's frequency is out of range.
    BitxError
        If the file can't be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from hwmodel.dram import load_part
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "trace.stl")
    ...     requests = write_stl(path, load_part("DDR4-2400_x64_brc"), [0, 64], [False, True])
    ...     print(path.read_text(), end="")
    # DDR4-2400_x64_brc, clkMhz 1000
    0: (64) read 0x0
    0: (64) write 0x40
    """
    if not 0 < initiator_clock_hz < 1e15:
        raise OptionError(
            f"initiator_clock_hz must be from 0 to 1e15, got {initiator_clock_hz}", value=initiator_clock_hz
        )
    requests = 0
    with atomic_file(path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
        file.write(f"# {part.name}, clkMhz {initiator_clock_hz / 1e6:g}\n")
        for address, write, arrival in checked_chunks(part, addresses, is_write, arrival_s):
            clocks = np.ceil(arrival * initiator_clock_hz - 1e-6).astype(np.int64)
            for clock, wr, at in zip(clocks.tolist(), write.tolist(), address.tolist(), strict=True):
                file.write(f"{clock}: ({part.burst_bytes}) {'write' if wr else 'read'} {at:#x}\n")
            requests += len(address)
    return requests
