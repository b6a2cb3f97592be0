"""Figures, and the HTML page of a run. Reads stores and results, never runs a simulator."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
