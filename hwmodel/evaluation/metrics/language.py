"""How well a model predicts text."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bitxcore.errors import TensorError
from hwmodel.evaluation.metrics.metric_base import Array, Ratio


class BitsPerCharacter(Ratio):
    """Bits per character that the model needs to encode the text; two to that power is the perplexity."""

    name: ClassVar[str] = "bits_per_character"
    unit: ClassVar[str] = "bit"
    higher_is_better: ClassVar[bool] = False

    def records(self, outputs: Array, targets: Array) -> Array:
        """Sum -log2 of the chances of the characters that come, from logits ``(samples, places, codes)``.

        Targets are codes ``(samples, places)``; those below 0 do not count.

        Raises
        ------
        TensorError
            If shapes do not fit, or a target is not a code of the model.
        """
        if outputs.ndim != 3 or targets.shape != outputs.shape[:2]:
            raise TensorError(
                f"needs logits (samples, places, codes) and codes (samples, places); the output has"
                f" {outputs.shape}, the labels have {targets.shape}"
            )
        if targets.size and targets.max() >= outputs.shape[2]:
            raise TensorError(f"label {targets.max()} is no code: the model has {outputs.shape[2]}")
        sums = []
        for logits, codes in zip(outputs, targets, strict=True):  # one sample in float64 at a time
            wide = logits.astype(np.float64)
            wide -= wide.max(axis=-1, keepdims=True)
            counted = np.flatnonzero(codes >= 0)
            chosen = wide[counted, codes[counted]]
            bits = (np.log(np.exp(wide[counted]).sum(axis=-1)) - chosen) / np.log(2)
            sums.append((bits.sum(), counted.size))
        return np.array(sums, np.float64)
