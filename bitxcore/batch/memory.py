"""How much memory the work on one tensor may take."""

from __future__ import annotations

from bitxcore.checks import checked_integer
from bitxcore.host import control_group_limits, memory_sizes

SHARE = 4
"""The default is this part of memory, the fourth."""
UNKNOWN_BYTES = 1 << 30
"""The default where the system does not tell how much memory there is."""


def memory_budget(memory_bytes: int | None = None) -> int:
    """Check a number of bytes, or return the default: a quarter of the memory that this process may use.

    Parameters
    ----------
    memory_bytes : int, optional

    Raises
    ------
    OptionError
        If it is no integer of at least 1.

    Examples
    --------
    >>> memory_budget(1 << 20)
    1048576
    """
    if memory_bytes is not None:
        return checked_integer(1 << 62, "memory_bytes", memory_bytes)
    known = [size for size in (memory_sizes()[0], control_group_limits()[1]) if size]
    return max(1, min(known) // SHARE) if known else UNKNOWN_BYTES
