"""What tells one machine, and what runs on it, from another as far as speed goes."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bitxcore.jit import threads

PACKAGES = ("bitx", "numpy", "numba", "llvmlite", "ml_dtypes", "numcodecs")
# What the kernels' machine code depends on; AVX of all sorts besides.
FEATURES = ("f16c", "fma", "bmi2", "gfni", "neon", "sve", "sve2")
HARDWARE = ("cpu", "architecture", "llvm_cpu", "features", "caches", "threads", "cores", "huge_pages")


def describe() -> dict[str, Any]:
    """Describe this machine.

    Returns
    -------
    dict
        The keys of `HARDWARE`, on which a share of the yardstick depends, then software: ``os``,
        ``python``, ``compiler``, ``packages``; and ``load``, processes that ran in the minute before.
    """
    import cpuinfo  # pytest-benchmark brings it
    import llvmlite.binding as llvm

    features = [name for name, there in llvm.get_host_cpu_features().items() if there]
    return {
        "cpu": cpuinfo.get_cpu_info().get("brand_raw", "unknown CPU"),
        "architecture": platform.machine(),
        "llvm_cpu": llvm.get_host_cpu_name(),
        "features": sorted(f for f in features if f.startswith("avx") or f in FEATURES),
        "caches": _caches(),
        "threads": threads(),
        "cores": os.cpu_count(),
        "huge_pages": _line(Path("/sys/kernel/mm/transparent_hugepage/enabled")),
        "os": platform.platform(),
        "python": platform.python_version(),
        "compiler": _compiler(),
        "packages": {name: _version(name) for name in PACKAGES},
        "load": round(os.getloadavg()[0], 2),
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys of two descriptions that differ, and both values; the load is not compared."""
    keys = [key for key in {**old, **new} if key != "load"]
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def _line(path: Path) -> str | None:
    return path.read_text().strip() if path.exists() else None


def _caches() -> dict[str, str]:
    """Sizes of the first core's caches, as Linux tells them."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_line(folder / name) for name in ("level", "type", "size"))
        if size and kind != "Instruction":
            found[f"L{level}"] = size
    return found


def _compiler() -> str | None:
    path = shutil.which("g++")
    if path is None:
        return None
    return subprocess.run([path, "--version"], capture_output=True, text=True).stdout.partition("\n")[0]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
