"""Stored tensors that layers multiply by but that were not trained; they are left unchanged."""

from __future__ import annotations

import re

import numpy as np

from bitxcore.dumps.onnx_graph import Constant
from bitxcore.dumps.onnx_weights.values import numbers_of

_TRANSFORMS = {
    "dft", "fbank", "fft", "filterbank", "filterbanks", "forward_basis", "idft", "inverse_basis", "istft",
    "melscale", "stft",
}  # fmt: skip
"""Parts of names that bases of Fourier transforms and filter banks have."""

_LEAST_STEPS = 4


def why_fixed(constant: Constant) -> str:
    """Say why a tensor is not a trained weight, by its name or its numbers; empty if it may be one.

    Detectors sum a distribution over distances by a convolution with 0, 1, …, n - 1; speech models
    compute spectra by a convolution with sines and cosines.
    """
    words = re.split(r"[^0-9a-z_]+", constant.name.lower())
    if any(word in _TRANSFORMS or word.removesuffix("_buffer") in _TRANSFORMS for word in words):
        return "a fixed transform, by its name"
    steps = max(constant.shape, default=0)
    if steps >= _LEAST_STEPS and np.prod(constant.shape, dtype=object) == steps:
        numbers = numbers_of(constant)
        if numbers is not None and np.array_equal(numbers.reshape(-1), np.arange(steps)):
            return f"a fixed kernel, 0 to {steps - 1}"
    return ""
