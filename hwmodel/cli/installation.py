"""What can keep an installation from working, or slow it down: facts and problems, without printing them.

`examine` looks at the machine, the settings, the folders, the packages, and runs a short test.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitxcore.host import control_group_limits, memory_sizes
from hwmodel.cli.host import processor_model, threading_layer

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GIB = 1 << 30

_FEATURES = {"x86": ("avx2", "fma", "f16c", "bmi2", "avx512f", "avx512bw"), "arm": ("neon", "sve", "sve2")}

_SLOWING = ("CPU_NAME", "CPU_FEATURES", "ENABLE_AVX", "OPT", "DEBUG", "BOUNDSCHECK")
"""Settings of Numba (``NUMBA_…``) with which kernels are slower."""


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be.

    Parameters
    ----------
    text : str
        One line: what is wrong, and what to do.
    is_broken : bool
        Whether something does not work; else it is missing, or slower than it could be.
    """

    text: str
    is_broken: bool = False


@dataclass(frozen=True)
class Examined:
    """What was found out about one part of the installation.

    Parameters
    ----------
    name : str
        E.g. ``"threads"``.
    facts : dict
        Of JSON's types; units are in the names: ``free_bytes``.
    problems : tuple of Problem
    """

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def examine(names: Iterable[str] | None = None) -> list[Examined]:
    """Look at the parts of the installation; what can't be looked at becomes a problem of its section.

    Parameters
    ----------
    names : iterable of str, optional
        Of `SECTIONS`; all of them by default.

    Returns
    -------
    list of Examined
        In the order of the names.

    Examples
    --------
    >>> cache, = examine(["cache"])
    >>> list(cache.facts)
    ['folder', 'is_writable', 'size_bytes', 'kernels', 'other_releases_bytes']
    """
    found = []
    for name in SECTIONS if names is None else names:
        try:
            facts, problems = SECTIONS[name]()
        except Exception as error:  # a part of an installation that is broken can raise anything
            facts, problems = {}, [Problem(f"{type(error).__name__}: {error}", is_broken=True)]
        found.append(Examined(name, facts, tuple(problems)))
    return found


Found = tuple[dict[str, Any], list[Problem]]


# -- machine -----------------------------------------------------------------------------------


def _look_at_versions() -> Found:
    """Versions of packages, and of the HDF5 and LLVM that they bring."""
    import h5py
    import llvmlite.binding as llvm

    from hwmodel.cli.versions import versions

    llvm_version = ".".join(map(str, llvm.llvm_version_info))
    return {**versions(), "hdf5": h5py.version.hdf5_version, "llvm": llvm_version}, []


def _look_at_processor() -> Found:
    """Model and instruction sets, as the compiler of the kernels sees them."""
    import llvmlite.binding as llvm

    there = llvm.get_host_cpu_features()
    machine = platform.machine()
    family = "arm" if machine.lower().startswith(("arm", "aarch")) else "x86"
    known = _FEATURES[family]
    facts = {
        "model": processor_model() or platform.processor() or "unknown",
        "architecture": machine,
        "llvm_name": llvm.get_host_cpu_name(),
        "features": [name for name in known if there.get(name)],
        "features_missing": [name for name in known if not there.get(name)],
    }
    return facts, []


def _look_at_threads() -> Found:
    """How many threads the kernels use, and how many cores there are for them."""
    from bitxcore.errors import BitxError
    from bitxcore.jit import threads

    problems = []
    cores = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    limit, _ = control_group_limits()
    used: int | None = None
    try:
        used = threads()
    except BitxError as error:
        problems.append(Problem(f"{error}; unset it, or set it to {affinity}", is_broken=True))
    useful = min(affinity, cores if limit is None else max(1, math.ceil(limit)))
    if used is not None and used > useful:
        problems.append(Problem(f"{used} threads have the time of {useful} cores: set BITX_THREADS={useful}"))
    facts = {
        "threads": used,
        "cores": cores,
        "cores_of_this_process": affinity,
        "cores_by_control_group": limit,
        "numba_threading_layer": threading_layer(),
    }
    return facts, problems


def _look_at_memory() -> Found:
    """Memory of the machine, and what is left of it."""
    total, available = memory_sizes()
    _, limit = control_group_limits()
    least = min((size for size in (available, limit) if size is not None), default=GIB)
    problems = []
    if least < GIB:
        advice = "large networks may not fit: end other programs, or simulate fewer machines at once"
        problems.append(Problem(f"less than 1 GiB of memory is available; {advice}"))
    facts = {"total_bytes": total, "available_bytes": available, "control_group_limit_bytes": limit}
    return facts, problems


def _look_at_settings() -> Found:
    """Environment variables that this project and Numba read."""
    found = {name: os.environ[name] for name in sorted(os.environ) if name.startswith(("BITX_", "NUMBA_"))}
    slowing = [f"NUMBA_{name}" for name in _SLOWING if f"NUMBA_{name}" in found]
    problems = [
        Problem(f"{name}={found[name]} can make the kernels slow: unset it, unless you need it")
        for name in slowing
    ]
    if found.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        problems.append(Problem("NUMBA_DISABLE_JIT keeps kernels from being compiled: unset it", True))
    return {"set": found}, problems


# -- folders -----------------------------------------------------------------------------------


def _look_at_cache() -> Found:
    """Where compiled kernels are kept."""
    from bitxcore.jit import cache_directory, cache_writable

    folder, writable = cache_directory(), cache_writable()
    problems = []
    if not writable:
        where = "no cache folder can be made" if folder is None else f"{folder} can't be written"
        advice = "set BITX_CACHE_DIR to a folder that can be written"
        problems.append(Problem(f"{where}, so new kernels are compiled by each process: {advice}"))
    files = [] if folder is None else _files(folder.parent)
    own = [file for file in files if folder in file.parents]
    facts = {
        "folder": None if folder is None else str(folder),
        "is_writable": writable,
        "size_bytes": _size(own),
        "kernels": len({file.parent for file in own}),
        "other_releases_bytes": _size(files) - _size(own),
    }
    return facts, problems


def _files(folder: Path) -> list[Path]:
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def _size(files: Iterable[Path]) -> int:
    total = 0
    for file in files:
        try:
            total += file.lstat().st_size
        except OSError:  # another process may just have removed it
            continue
    return total


def _look_at_temporary_folder() -> Found:
    """Where intermediate files are written."""
    try:
        folder = tempfile.gettempdir()
    except OSError:
        text = "no temporary folder can be written: set TMPDIR to one that can"
        return {"folder": None, "free_bytes": None}, [Problem(text, is_broken=True)]
    free = shutil.disk_usage(folder).free
    problems = []
    if free < GIB:
        problems.append(Problem(f"less than 1 GiB is free in {folder}: free some, or set TMPDIR to another"))
    return {"folder": folder, "free_bytes": free}, problems


# -- packages ----------------------------------------------------------------------------------


def _look_at_extras() -> Found:
    """Which extras are installed; their packages, with versions."""
    from importlib.metadata import PackageNotFoundError

    from hwmodel.cli.installed_extras import extra_names, required

    try:
        names = extra_names()
    except PackageNotFoundError:
        text = "bitx runs without being installed, so its extras are unknown: pip install --editable ."
        return {"known": False}, [Problem(text)]
    problems = []
    facts = {}
    for extra in ("", *names):
        install = f"pip install 'bitx[{extra}]'" if extra else "pip install --upgrade bitx"
        needed = required(extra=extra)
        for package in needed:
            if package.version is not None and not package.fits:
                unfit = f"{package.name} {package.version} is installed, {package.bounds} is needed"
                problems.append(Problem(f"{unfit}: {install}"))
        if extra:
            facts[extra] = {
                "is_installed": all(package.version is not None for package in needed),
                "packages": {package.name: package.version for package in needed},
                "install": install,
            }
    return facts, problems


def _look_at_plugins() -> Found:
    """Accelerators, readers and others that other packages add by entry points; each is loaded."""
    from importlib.metadata import entry_points

    from bitxcore.dumps import GROUP
    from hwmodel.accelerators.registry import ENTRY_POINT_GROUP

    known = {GROUP, ENTRY_POINT_GROUP, "bitx.metrics", "bitx.tasks", "bitx.software_pruning"}
    problems = []
    facts: dict[str, Any] = {}
    groups = sorted(group for group in entry_points().groups if group.startswith("bitx."))
    for point in chain.from_iterable(entry_points(group=group) for group in groups):
        package = "unknown" if point.dist is None else f"{point.dist.name} {point.dist.version}"
        error = ""
        try:
            if point.group not in known:
                raise ValueError(f"the group must be one of {', '.join(sorted(known))}")
            _load(point)
        except Exception as raised:  # the code of others
            error = f"{type(raised).__name__}: {raised}"
            what = f"{point.group} {point.name!r} of {package} can't be loaded ({error})"
            problems.append(Problem(f"{what}: update or uninstall that package", is_broken=True))
        facts[f"{point.group}:{point.name}"] = {
            "package": package, "value": point.value, "loads": not error, "error": error or None
        }  # fmt: skip
    return facts, problems


def _load(point: EntryPoint) -> None:
    from hwmodel.accelerators.base import Accelerator
    from hwmodel.accelerators.registry import ENTRY_POINT_GROUP

    found = point.load()
    if point.group == ENTRY_POINT_GROUP and not (isinstance(found, type) and issubclass(found, Accelerator)):
        raise TypeError(f"{point.value} is no subclass of hwmodel.Accelerator")


def _look_at_self_test() -> Found:
    """Run the tests of `hwmodel.cli.self_test`."""
    from hwmodel.cli.self_test import run_checks

    checks = run_checks()
    facts = {
        check.what: {"passed": not check.error, "duration_s": check.seconds, "error": check.error or None}
        for check in checks
    }
    return facts, [
        Problem(f"not so: {check.what} ({check.error}); {check.advice}", is_broken=True)
        for check in checks
        if check.error
    ]


SECTIONS: dict[str, Callable[[], Found]] = {
    "versions": _look_at_versions,
    "processor": _look_at_processor,
    "threads": _look_at_threads,
    "memory": _look_at_memory,
    "settings": _look_at_settings,
    "cache": _look_at_cache,
    "temporary_folder": _look_at_temporary_folder,
    "extras": _look_at_extras,
    "plugins": _look_at_plugins,
    "self_test": _look_at_self_test,
}
"""Parts of an installation, in the order in which they are shown."""
