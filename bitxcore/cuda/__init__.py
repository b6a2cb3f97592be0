"""Prune arrays that live on a CUDA device.

`bitxcore.prune` comes here by itself; Numba and the device are loaded then.
"""

from bitxcore.cuda.device_pruning import DevicePruned

__all__ = ["DevicePruned"]
