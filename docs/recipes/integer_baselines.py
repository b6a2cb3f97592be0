"""What weights prepared for BitX are measured against: integers of few bits, by rounding and by GPTQ.

A group of weights of one filter has a scale, its largest magnitude over the largest code. Rounding to nearest
is the usual post-training quantisation; GPTQ (Frantar et al., ICLR 2023) makes up for a weight's error by the
weights that follow. The second moments are those of `bitx prepare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch import Selection
from bitxcore.batch.selection import channel_first
from bitxcore.dumps import open_dump, save
from bitxcore.errors import TensorError
from bitxcore.second_order import damped_factors
from hwmodel.evaluation.runners import StagedRunner
from hwmodel.evaluation.runners.layer_nodes import LayerNode
from hwmodel.preparation.layer_moments import LayerMoments
from hwmodel.preparation.offsets import Offsets
from hwmodel.preparation.samples import in_model_batches

Array = npt.NDArray[Any]
SCALE_BITS = 16
"""Of a scale in memory: a float16, or a bfloat16."""
DAMPING = 0.01


@dataclass(frozen=True)
class Integers:
    """Symmetric integers of few bits.

    Parameters
    ----------
    bits : int
    group : int or None
        Consecutive weights that share a scale; None: a whole filter.
    gptq : bool
    reconstructs : bool
        Besides: layers fitted to their outputs as they were, mean errors put into biases.
    """

    bits: int
    group: int | None
    gptq: bool = False
    reconstructs: bool = False

    def bits_of(self, weights: int, filters: int) -> float:
        """Bits of a filter matrix in memory, scales included."""
        reduction = weights // filters
        groups = 1 if self.group is None else -(-reduction // self.group)
        return float(weights * self.bits + filters * groups * SCALE_BITS)

    def fitted(self, filters: Array, hessian: Array | None) -> Array:
        """Bring filters ``(filters, ...)`` to integers times scales."""
        left = filters.reshape(len(filters), -1).astype(np.float64)
        reduction = left.shape[1]
        found = np.empty_like(left)
        step = self.group or reduction
        most = float((1 << (self.bits - 1)) - 1)
        factors = None
        if hessian is not None:
            _, factors = damped_factors(hessian, len(left), np.arange(reduction), DAMPING)
        for start in range(0, reduction, step):
            scale = np.abs(left[:, start : start + step]).max(axis=1) / most
            scale[scale == 0] = 1
            if factors is None:
                part = left[:, start : start + step]
                found[:, start : start + step] = np.rint(part / scale[:, None]) * scale[:, None]
                continue
            for at in range(start, min(start + step, reduction)):
                code = np.clip(np.rint(left[:, at] / scale), -most, most)
                found[:, at] = code * scale
                self._compensate(left, found[:, at], factors, at)
        return found.reshape(filters.shape).astype(filters.dtype)

    @staticmethod
    def _compensate(left: Array, fitted: Array, factors: Array, at: int) -> None:
        shared = len(left) // len(factors)
        for part, factor in enumerate(factors):
            own = slice(part * shared, (part + 1) * shared)
            error = (left[own, at] - fitted[own]) / factor[at, at]
            left[own, at + 1 :] -= error[:, None] * factor[at, at + 1 :]


def write_integers(model: Path, batches: Sequence[dict[str, Array]], out: Path, way: Integers) -> float:
    """Write a model of quantised weights; give its bits per weight in memory."""
    with open_dump(model) as dump:
        tensors = {t.name: t for t in Selection().choose(dump).tensors}
        bits = {n: way.bits_of(t.size, channel_first(t).turn(t.read()).shape[0]) for n, t in tensors.items()}
        done: dict[str, Array] = {}
        if way.gptq:
            runner = StagedRunner(model, tensors=set(tensors))
            beside = StagedRunner(model, tensors=set(tensors)) if way.reconstructs else None
            offsets = Offsets(runner.proto)

            def see(layer: LayerNode, activations: list[Array], originals: list[Array]) -> dict[str, Array]:
                (name, *others) = layer.tensors
                if others or name in done:
                    return {}
                layout = channel_first(tensors[name])
                filters = layout.turn(tensors[name].read())
                offset = offsets.of(layer, filters.shape) if way.reconstructs else None
                moments = LayerMoments(layer, filters, centred=offset is not None)
                try:
                    for at, x in enumerate(activations):
                        moments.add(x, originals[at] if originals else None)
                except TensorError:
                    return {}
                wanted = moments.targets(DAMPING) if way.reconstructs else filters
                after = way.fitted(wanted, moments.second).astype(filters.dtype)
                changed = {name: layout.restore(after)}
                if offset is not None:
                    changed[offset.tensor] = offset.shifted(moments.missing_means(after))
                done.update(changed)
                return changed

            runner.together(in_model_batches(batches, runner.inputs), see, beside)
        for name, tensor in tensors.items():
            if name not in done:
                layout = channel_first(tensor)
                done[name] = layout.restore(way.fitted(layout.turn(tensor.read()), None))
        save(dump, out, lambda tensor: done.get(tensor.name))
        return sum(bits.values()) / sum(t.size for t in tensors.values())
