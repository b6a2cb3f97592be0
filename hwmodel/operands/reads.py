"""Which operands a machine looks at: what must be read, traced or drawn before it can count cycles."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reads:
    """Operands whose *values* decide a machine's cycles.

    Parameters
    ----------
    weights : bool
    activations : bool
    second : bool
        Whether it looks at the second operand of a product of activations as it looks at weights.
    float_activations : bool
        Whether it takes float activations unchanged, even where a precision is given. Fixed-point machines
        get them quantised to that precision.

    Examples
    --------
    >>> import hwmodel as hw
    >>> hw.accelerator("dadiannao").reads
    Reads(weights=False, activations=False, second=False, float_activations=False)
    >>> hw.accelerator("bitx", serial="activations").reads.activations
    True
    """

    weights: bool = True
    activations: bool = False
    second: bool = False
    float_activations: bool = False
