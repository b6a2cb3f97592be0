"""Cycle engines that the accelerators share: how a layer is laid out, what a step costs, who waits.

`grid` and `terms` are NumPy; the others import Numba, so accelerators import them when they run.
"""
