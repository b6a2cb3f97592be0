"""Many machines on one network; one that fails gets a reason and stops no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import hypot
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.policy import Policy
from bitxcore.progress import Progress
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.memo import shared
from hwmodel.networks.network import Network
from hwmodel.operands.sources import OperandSource
from hwmodel.simulation.results import LayerResult, NetworkTotal, kept_rows_mean, total_of
from hwmodel.simulation.walk import Visit, walk

_BLOCK_VALUES = 1 << 16


@dataclass(eq=False)
class Variant:
    """One machine and what became of it.

    Attributes
    ----------
    machine : Accelerator
    rows : list of LayerResult
        Layer by layer.
    reason : str or None
        Why it could not be simulated to the end.
    """

    machine: Accelerator
    rows: list[LayerResult] = field(default_factory=list)
    reason: str | None = None
    _norms: tuple[float, float] | None = None
    _unknown: bool = False

    @property
    def total(self) -> NetworkTotal | None:
        """Sum over the layers that the machine runs; None with a `reason`."""
        return None if self.reason is not None else total_of(self.machine.label, self.rows)

    @property
    def kept_rows_mean(self) -> float | None:
        """Mean over all groups of all layers; None where no rows are pruned."""
        return kept_rows_mean(self.rows)

    @property
    def relative_error(self) -> float | None:
        """Euclidean error of all weights, as one vector, over their norm.

        None if the machine does not say which weights it multiplies by. A tensor that several layers
        share counts once; layers that the machine does not run don't count.
        """
        if self.reason is not None or self._unknown or self._norms is None:
            return None
        error, norm = self._norms
        return error / norm if norm else 0.0

    def add_error(self, error: float, norm: float) -> None:
        """Count a tensor: the Euclidean norms of its error and of itself."""
        before = self._norms or (0.0, 0.0)
        self._norms = hypot(before[0], error), hypot(before[1], norm)


def simulate_variants(
    machines: Sequence[Accelerator],
    network: Network,
    source: OperandSource,
    *,
    policy: Policy | None = None,
    progress: Progress | None = None,
) -> list[Variant]:
    """Simulate every layer on every machine; each weight tensor is read once.

    Parameters
    ----------
    machines : sequence of Accelerator
        All different. Neighbours that prune alike share the pruning.
    network : Network
    source : OperandSource
    policy : Policy, optional
    progress : callable, optional
        As of `hwmodel.simulation.walk.walk`.

    Returns
    -------
    list of Variant
        In the order of `machines`.

    Raises
    ------
    BitxError
        If operands can't be read, or do not belong to the network. What a machine makes of them, bad or
        not, is its `Variant`.
    """
    variants = [Variant(machine) for machine in machines]
    counted: set[Any] = set()
    for visit in walk(machines, network, source, policy=policy, tolerant=True, progress=progress):
        for variant, row in zip(variants, visit.rows, strict=True):
            if isinstance(row, LayerResult):
                variant.rows.append(row)
            elif row is not None:
                variant.reason = str(row)
        entry = visit.entry
        key = entry.place if entry.weight is not None else entry.layer.name
        if key not in counted:
            counted.add(key)
            with shared(visit.memory):
                _add_errors(variants, visit, source)
    return variants


def _add_errors(variants: Sequence[Variant], visit: Visit, source: OperandSource) -> None:
    real: npt.NDArray[np.float64] | None = None
    if visit.operands.fixed.weights is not None:
        real = visit.entry.real_weights(source.weights)
    last: tuple[Any, Any, float, float] | None = None
    for variant, machine in zip(variants, visit.machines, strict=True):
        if variant.reason is not None or not variant.rows[-1].applicable:
            continue
        operands = visit.operands.of(machine)
        if operands.weights is None:
            continue
        pair = machine.weights_used(visit.entry.layer, operands)
        if pair is None:
            variant._unknown = True
            continue
        before, after = pair
        if last is None or last[0] is not before or last[1] is not after:
            last = (before, after, *_norms(before, after, real))
        variant.add_error(*last[2:])


def _norms(
    before: npt.NDArray[Any], after: npt.NDArray[Any], real: npt.NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """Euclidean norms of the difference and of `before`, in float64, a block in memory at a time.

    Where codes represent `real` weights, the norms are those of these.
    """
    errors, norms = [], []
    old, new = before.reshape(-1), after.reshape(-1)
    weights = None if real is None or real.size != old.size else real.reshape(-1)
    for start in range(0, old.size, _BLOCK_VALUES):
        part = slice(start, start + _BLOCK_VALUES)
        x, y = old[part].astype(np.float64), new[part].astype(np.float64)
        if weights is not None:
            scale = np.divide(weights[part], x, out=np.ones_like(x), where=x != 0)
            x, y = weights[part], y * scale
        errors.append(_norm(x - y))
        norms.append(_norm(x))
    return hypot(*errors), hypot(*norms)


def _norm(x: npt.NDArray[np.float64]) -> float:
    """Euclidean norm that neither overflows nor underflows on the way, the same on every run."""
    top = float(np.abs(x).max(initial=0.0))
    return top * float(np.sqrt(np.square(x / top).sum())) if top else 0.0
