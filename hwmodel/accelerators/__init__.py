"""Accelerators: one file or folder per machine; shared parts are in `families` and `engines`.

Each is a frozen dataclass whose fields are its options. Names are loaded when first used.
"""

import lazy_loader  # type: ignore[import-untyped]

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
