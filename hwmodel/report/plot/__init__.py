"""The figures of the report, on matplotlib axes: ``hw.plot``. Names are loaded when first used."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
