"""Values to bits to pruned bits: the BitX kernels as a library.

Light to import: Numba, h5py and the dump readers load when they are first used.
"""

import lazy_loader as _lazy

from bitxcore import forking as _forking  # noqa: F401

_load, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Load a public name; ``__version__`` is that of the installed package."""
    if name != "__version__":
        return _load(name)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("bitx")
    except PackageNotFoundError:
        raise AttributeError("bitx is not installed, so it has no version") from None
