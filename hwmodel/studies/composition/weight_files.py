"""Files of a model's weights as run-time pruning leaves them, zeros in place or left out of groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import bitxcore as bx
from bitxcore.batch import Selection
from bitxcore.batch.selection import channel_first
from bitxcore.dumps import Tensor, open_dump, save
from hwmodel.accelerators.bitx.counts import leave_out_zeros
from hwmodel.evaluation.pruned_models import write_pruned
from hwmodel.evaluation.settings import Setting


def pruned_at_run_time(model: Path, out: Path, rows: int | None, *, packed: bool) -> Path:
    """Write what BitX computes with; return the model itself where nothing is pruned.

    Parameters
    ----------
    model, out : pathlib.Path
        ONNX; `out` is replaced.
    rows : int or None
        Kept of a group of 8.
    packed : bool
        Whether a group is of 8 weights of a filter that are not zero, as BitX gathers them with
        ``pack_zeros=True``, or of 8 neighbours.
    """
    if rows is None:
        return model
    with open_dump(model) as dump:
        if not packed:
            write_pruned(dump, out, Setting(rows=rows), Selection())
            return out
        chosen = {tensor.name for tensor in Selection().choose(dump).tensors}

        def replaced(tensor: Tensor) -> npt.NDArray[Any] | None:
            if tensor.name not in chosen:
                return None
            layout = channel_first(tensor)
            return layout.restore(_without_zeros(layout.turn(tensor.read()), rows)).astype(tensor.dtype)

        save(dump, out, replaced)
    return out


def _without_zeros(x: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """Prune groups of the values that are not zero; ``(filters, ...)``."""
    gathered, counts = leave_out_zeros(x, "flat")
    pruned = bx.prune(gathered, rows=rows).values
    out = np.zeros_like(x)
    # Both sides go filter by filter, and within a filter in the order of its weights.
    out[x != 0] = pruned[np.arange(pruned.shape[1]) < counts[:, None]]
    return out


def share_of_zeros(model: Path) -> float:
    """Return the share of a model's weights that are zero, of all that are pruned."""
    zeros = weights = 0
    with open_dump(model) as dump:
        for tensor in Selection().choose(dump).tensors:
            values = tensor.read()
            zeros += values.size - int(np.count_nonzero(values))
            weights += values.size
    return zeros / weights if weights else 0.0
