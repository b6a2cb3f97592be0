"""The versions that a bug report needs, found without importing what they are of."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "h5py", "ml_dtypes")
"""Distributions whose version can change a result or its speed."""


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution; None if it is not there.

    Examples
    --------
    >>> version_of("no-such-distribution") is None
    True
    """
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Collect the versions of ``bitx``, of Python, of `PACKAGES`, and of the platform.

    Examples
    --------
    >>> list(versions())
    ['bitx', 'python', 'numpy', 'numba', 'llvmlite', 'scipy', 'h5py', 'ml_dtypes', 'platform']
    """
    packages = {name: version_of(name) or "not installed" for name in ("bitx", *PACKAGES)}
    return {
        "bitx": packages.pop("bitx"),
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        **packages,
        "platform": platform.platform(),
    }


def version_lines() -> list[str]:
    """Lines of ``bitx --version``; the first is for scripts and keeps its form.

    Examples
    --------
    >>> version_lines()[0].startswith("bitx, version ")
    True
    """
    found = versions()
    return [f"bitx, version {found.pop('bitx')}", *(f"{name} {value}" for name, value in found.items())]
