"""Cycle-level models of the BitX accelerator and of the accelerators it is compared with.

Layers and operands go in, cycles come out; `bitxcore` does the arithmetic on bits. Names are
loaded when first used, so that importing this package costs nothing.
"""

import lazy_loader  # type: ignore[import-untyped]

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Load a public name; ``__version__`` is that of the installed package, bitxcore's too."""
    if name != "__version__":
        return _load(name)
    import bitxcore

    return bitxcore.__version__
