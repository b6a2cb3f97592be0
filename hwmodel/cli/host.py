"""What the operating system tells of the machine, and of the share of it that this process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# In a process of its own: one that has started OpenMP's threads can't be forked any more.
_LAYER = """\
import numba
from numba.np.ufunc.parallel import _launch_threads
_launch_threads()
print(numba.threading_layer())
"""


def processor_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return the model's name that Linux gives; None where it gives none.

    Examples
    --------
    >>> processor_model(Path("no such file")) is None
    True
    """
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    names = (value.strip() for key, _, value in (line.partition(":") for line in lines)
             if key.strip().lower() in ("model name", "cpu model", "hardware"))  # fmt: skip
    return next(names, None)


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


def threading_layer() -> str | None:
    """Return the threading layer that Numba selects; the kernels here use threads of their own.

    Examples
    --------
    >>> threading_layer() in ("tbb", "omp", "workqueue", None)
    True
    """
    command = [sys.executable, "-c", _LAYER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
