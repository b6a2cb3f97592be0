"""What the operating system and Numba tell of the machine."""

from __future__ import annotations

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
