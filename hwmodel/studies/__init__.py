"""Questions about machines: which is faster, where time goes, what options bring, what papers print."""

import lazy_loader  # type: ignore[import-untyped]

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["published", "reproduction", "validation"]
)
