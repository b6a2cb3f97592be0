"""Compiled loops. They neither check nor allocate; `bitxcore.pruning` and its siblings do."""

from bitxcore.jit import load_numba

load_numba()
