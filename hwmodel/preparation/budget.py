"""How many ones and rows weights may have, and by which methods they get there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bitxcore.errors import OptionError
from bitxcore.groups import Grouping


@dataclass(frozen=True)
class Budget:
    """A budget of ones and rows, the same for all tensors for which it is given.

    Parameters
    ----------
    ones : int, optional
        Most ones per weight: the most cycles of a group.
    rows : int, optional
        Most non-empty rows of a group.
    group : int
    grouping : str
    window : int, optional
    compensates : bool
        Whether later weights take over the error of earlier ones, by the second moments of their inputs.
    corrects_bias : bool
        Whether the mean error of a layer's outputs is corrected by what is added behind the layer.
    reconstructs : bool
        Whether a layer is fitted to its outputs in the original model, not to its weights.
    damping, sweeps
        Of the compensation, see `bitxcore.prepare`.

    Raises
    ------
    OptionError
        If there is neither a budget of ones nor of rows.
    """

    ones: int | None = None
    rows: int | None = None
    group: int = 8
    grouping: Grouping = "flat"
    window: int | None = None
    compensates: bool = True
    corrects_bias: bool = True
    reconstructs: bool = True
    damping: float = 0.01
    sweeps: int = 4

    def __post_init__(self) -> None:
        if self.ones is None and self.rows is None:
            raise OptionError("needs a budget: ones of a weight, rows of a group, or both")

    @property
    def options(self) -> dict[str, Any]:
        """Of `bitxcore.prepare`, but the Hessian."""
        names = ("ones", "rows", "group", "grouping", "window")
        return {name: getattr(self, name) for name in names}
