"""What a composition found: rows of BitX and of the sparse machines, with their units."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bitxcore.errors import OptionError
from bitxcore.showing import record_repr, table_repr
from hwmodel.evaluation import Estimate

PLAIN, SOFTWARE = "plain", "software-pruned"
"""Whose weights a row has; besides, the labels of prepared models."""

UNPRUNED = "unpruned"

READINGS = {"cycles": "gain", "on_chip_cycles": "on_chip_gain", "work_cycles": "work_gain"}
"""Readings of the time, and what the gain by each is called: DRAM included, without it, balanced lanes."""

COMPOSED_UNITS = {
    "weights": "",
    "instance": "",
    "rows": "1",
    "packed": "",
    "zeros": "1",
    "cycles": "cycles",
    "on_chip_cycles": "cycles",
    "work_cycles": "cycles",
    "gain": "1",
    "on_chip_gain": "1",
    "work_gain": "1",
    "product": "1",
    "on_chip_product": "1",
    "work_product": "1",
}
"""Units of the columns of BitX; scores have those of their metrics."""

MACHINE_UNITS = {
    "accelerator": "",
    "weights": "",
    "rows": "1",
    "zeros": "1",
    "layers": "1",
    "not_applicable": "1",
    "reason": "",
    "cycles": "cycles",
    "on_chip_cycles": "cycles",
    "common_layers": "1",
    "gain": "1",
    "on_chip_gain": "1",
}
"""Units of the columns of the other machines."""


@dataclass(frozen=True, kw_only=True)
class PreparedModel:
    """A model that was prepared for run-time pruning, as by ``bitx prepare``.

    Parameters
    ----------
    path : str or path-like
        ONNX; of the inputs of the plain model.
    rows : int
        Rows that run-time pruning keeps.
    label : str
        What its rows are called; neither of the plain nor of the software-pruned model.
    """

    path: str | os.PathLike[str]
    rows: int
    label: str = "prepared"

    def __post_init__(self) -> None:
        if self.label in (PLAIN, SOFTWARE):
            raise OptionError(f"a prepared model can't be called {self.label!r}", value=self.label)


@dataclass(frozen=True, kw_only=True)
class ComposedRow:
    """Weights on BitX.

    Attributes
    ----------
    weights : str
        ``"plain"``, ``"software-pruned"`` or the label of a prepared model.
    instance : str
        ``"unpruned"``, ``"mild"``, ``"wild"`` or ``"prepared"``.
    rows : int or None
        Rows that run-time pruning keeps; None where nothing is pruned at run time.
    packed : bool
        Whether zeros are left out when groups are gathered. Run-time pruning then keeps the rows of other
        groups, and scores are of these.
    zeros : float
        Share of the weights that are zero, those included that lose all their bits at run time.
    scores : mapping of str to Estimate
        By metric; differences are from the plain, unpruned model.
    cycles : int
        Of BitX for one sample, all causes together; in cycles, as are the next two.
    on_chip_cycles : int
        With a memory without limits.
    work_cycles : int
        If the lanes of each PE were perfectly balanced.
    gain, on_chip_gain, work_gain : float
        Cycles of the plain model, unpruned and with zeros in place, over these.
    product, on_chip_product, work_product : float or None
        The gain over the product of its two parts, `product_of_gains`: of software pruning alone, with zeros
        left out or in place as in this row, and of run-time pruning alone. Of rows with both only.
    """

    __repr__ = record_repr

    weights: str
    instance: str
    rows: int | None
    packed: bool
    zeros: float
    scores: Mapping[str, Estimate] = field(hash=False)
    cycles: int
    on_chip_cycles: int
    work_cycles: int
    gain: float
    on_chip_gain: float
    work_gain: float
    product: float | None = None
    on_chip_product: float | None = None
    work_product: float | None = None

    def columns(self) -> dict[str, Any]:
        """Return a value, or None, for each of `COMPOSED_UNITS`, and the value of each score."""
        row = {name: getattr(self, name) for name in COMPOSED_UNITS}
        return row | {name: found.value for name, found in self.scores.items()}


@dataclass(frozen=True, kw_only=True)
class MachineRow:
    """Weights on another machine.

    Attributes
    ----------
    accelerator : str
        Name, and the options of the variant.
    weights : str
        ``"plain"`` or ``"software-pruned"``.
    rows : int or None
        Rows that BitX would keep: the machine gets the values that its pruning leaves. None: as they are.
    zeros : float
        Share of the weights that are zero.
    layers, not_applicable : int
        Layers that it runs, and that it does not.
    reason : str or None
        Why it runs none.
    cycles, on_chip_cycles : int or None
        Of all layers that it runs, DRAM included and not; in cycles.
    common_layers : int
        Layers that it runs of these and of the plain weights: gains are on them.
    gain, on_chip_gain : float or None
        Cycles of the machine's own run on the plain weights, over these.
    """

    __repr__ = record_repr

    accelerator: str
    weights: str
    rows: int | None
    zeros: float
    layers: int
    not_applicable: int
    reason: str | None = None
    cycles: int | None = None
    on_chip_cycles: int | None = None
    common_layers: int = 0
    gain: float | None = None
    on_chip_gain: float | None = None

    def columns(self) -> dict[str, Any]:
        """Return a value, or None, for each of `MACHINE_UNITS`."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Composition:
    """A task's model and its software-pruned one, with and without run-time pruning.

    Attributes
    ----------
    task : str
        In words.
    metrics : tuple of str
    samples : int
        That were scored.
    activations : str
        Which activations the other machines met.
    macs : mapping of str to int
        Multiply-accumulates of one sample, of the plain and of the software-pruned network.
    bitx : tuple of ComposedRow
    machines : tuple of MachineRow
    """

    task: str
    metrics: tuple[str, ...]
    samples: int
    activations: str
    macs: Mapping[str, int] = field(hash=False)
    bitx: tuple[ComposedRow, ...]
    machines: tuple[MachineRow, ...]

    def __repr__(self) -> str:
        told = ("weights", "instance", "packed", self.metrics[0], "cycles", "gain", "product")
        rows = ({name: row.columns()[name] for name in told} for row in self.bitx)
        return table_repr(f"Composition: {self.task}", rows, "the other machines: .machines")

    def row(self, weights: str, instance: str, *, packed: bool = False) -> ComposedRow:
        """Return one row of BitX.

        Raises
        ------
        OptionError
            If there is none such.
        """
        for row in self.bitx:
            if (row.weights, row.instance, row.packed) == (weights, instance, packed):
                return row
        raise OptionError(
            f"no row of {weights} weights, {instance}, zeros {'left out' if packed else 'in place'}"
        )


def product_of_gains(together: float, software: float, run_time: float) -> float:
    """Compare the gain of both with the product of each alone: 1 where gains multiply.

    Examples
    --------
    >>> product_of_gains(12.0, 4.0, 2.0)
    1.5
    """
    return together / (software * run_time)
