"""Values to bits to pruned bits: the BitX kernels as a library.

Light to import: Numba, h5py and the dump readers load when they are first used.
"""

import lazy_loader as _lazy

from bitxcore import forking as _forking  # noqa: F401

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
