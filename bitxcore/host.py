"""What the operating system tells of the memory and the processor time that this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def control_group_limits(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> tuple[float | None, int | None]:
    """Read what containers and batch systems allow this process.

    Parameters
    ----------
    membership, root : Path
        Where Linux says to which control groups a process belongs, and where these are.

    Returns
    -------
    cores : float or None
        Processor time per time; None: no limit.
    memory_bytes : int or None

    Examples
    --------
    >>> control_group_limits(Path("no such file"))
    (None, None)
    """
    try:
        lines = membership.read_text("utf-8").splitlines()
    except OSError:
        return None, None
    cores: list[float] = []
    sizes: list[int] = []
    for controllers, path in (line.split(":", 2)[1:] for line in lines if line.count(":") >= 2):
        group = Path(path.lstrip("/"))
        # A container sees its own group as the root, whatever the path says.
        folders = [root / controllers / g for g in (group, *group.parents)]
        for folder in folders:
            quota, _, period = (_word(folder / "cpu.max") or "").partition(" ")
            quota = quota or _word(folder / "cpu.cfs_quota_us") or ""
            period = period or _word(folder / "cpu.cfs_period_us") or ""
            if quota.isdigit() and period.isdigit() and int(quota) * int(period):
                cores.append(int(quota) / int(period))
            for name in ("memory.max", "memory.limit_in_bytes"):
                size = _word(folder / name) or ""
                if size.isdigit() and int(size) < 1 << 60:  # more means no limit
                    sizes.append(int(size))
    return min(cores, default=None), min(sizes, default=None)


def _word(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return None


def memory_sizes() -> tuple[int | None, int | None]:
    """Total and available bytes of the machine's memory; None where the system does not tell.

    Examples
    --------
    >>> total, available = memory_sizes()
    >>> total is None or total > 1 << 28
    True
    """
    found = {}
    for line in (_word(Path("/proc/meminfo")) or "").splitlines():
        name, _, value = line.partition(":")
        size = value.split()
        if size and size[0].isdigit():
            found[name] = int(size[0]) * 1024
    if "MemTotal" not in found and hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    return found.get("MemTotal"), found.get("MemAvailable")
