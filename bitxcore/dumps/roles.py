"""What tensors of checkpoints are by their names, where the container does not tell weights apart."""

from __future__ import annotations

import re
from collections.abc import Container

_OPTIMISER = re.compile(
    r"""(^|[./])(
        (optim(izer)?|opt)s?([_-]\w+)?(\.\w+)?[./].+  # below optimizer_state, optimizer.pt, ...
        | (max_)?exp_avg\w* | exp_inf | momentum_buffer | square_avg | grad_avg | acc_delta
        | state\.\d+\.(state[12]|absmax[12]?|qmap[12]?|sum|prev|step)
    )$""",
    re.VERBOSE | re.IGNORECASE,
)
_QUANTISATION = re.compile(
    r"""(^|[._/])(
        scales? | scale_inv | scaling_factors? | q?zeros | zero_?points? | g_idx
        | (nested_)?absmax | (nested_)?quant_map | SCB | bitsandbytes__\w+
    )$""",
    re.VERBOSE,
)
_PACKED_BESIDE = (".absmax", ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4")


def no_weights(name: str, names: Container[str] = ()) -> str | None:
    """Say what a tensor is that its name tells to be no weights; None if it may be some.

    Parameters
    ----------
    name : str
    names : container of str
        Of all tensors of the dump: codes that hold several values are known by what lies beside them.

    Examples
    --------
    >>> no_weights("optimizer.state.0.exp_avg"), no_weights("layers.0.weight_scale")
    ('state of an optimiser', 'scales or zero points of quantised weights')
    >>> no_weights("layers.0.weight") is None
    True
    """
    if _OPTIMISER.search(name):
        return "state of an optimiser"
    if _QUANTISATION.search(name):
        return "scales or zero points of quantised weights"
    if any(f"{name}{beside}" in names for beside in _PACKED_BESIDE):
        return "several codes in an element, as bitsandbytes packs them"
    return None
