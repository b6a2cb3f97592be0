"""What is pruned how: one point of the grid that a model is evaluated on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bitxcore.batch import Selection, check_policy
from bitxcore.dumps import Dump, Tensor
from bitxcore.errors import OptionError
from bitxcore.formats import FLOATS, number_format
from bitxcore.groups import Grouping
from bitxcore.policy import Policy

COLUMNS = {
    "rows": "1",
    "group": "1",
    "grouping": "",
    "window": "1",
    "format": "",
    "criterion": "",
    "rounding": "",
    "activation_rows": "1",
    "policy": "",
}
"""Units of a setting's columns."""


PRODUCTS = "products"
"""The criterion by which the rows of each output position are those of the products, as in Bitlet's RTL."""

CALIBRATED = "calibrated"
"""The criterion by which rows count for what their weights meet: it needs norms of a calibration run."""

CRITERIA = ("topn", "msb", CALIBRATED, PRODUCTS)
"""Those that need no more than the number of rows, and norms."""

ACTIVATION_GROUP = 8
"""Activations of a group where weights are grouped by whole kernels, which activations have none of."""


@dataclass(frozen=True)
class Setting:
    """How weights and activations are pruned.

    Parameters
    ----------
    rows : int or None
        Rows that a group of weights keeps. None: weights are not pruned, only rounded if a format is given.
    group : int or None
        Weights of a group; None with ``grouping="kernel"``: whole kernels.
    grouping : str
    window : int, optional
    format : str, optional
        Numbers of the weights: a float format, to which they are rounded first, or ``"fixed<N>"``; None: the
        model's own.
    criterion, rounding : str
        As of `bitxcore.prune`; ``"calibrated"`` takes the norms of the evaluation. Or ``"products"``: at run
        time, separately for each output position, by the weights times the powers of two of their
        activations. Every multiply-accumulate of the model then takes the pruning of one weight, about 0.1
        s per 10 million.
    activation_rows : int or None
        Rows that a group of activations keeps. Activations are pruned at run time before each layer with
        pruned weights. None: activations are not pruned. Groups are `group` consecutive input channels at
        one position, whatever the grouping of the weights. An activation therefore loses the same bits in
        every window. They have the format of the model, or `format`. Products of two activations, as in
        attention, are not pruned.
    policy : Policy, optional
        How each tensor is pruned. It replaces all options of weights except the format.

    Examples
    --------
    >>> Setting(rows=6).label
    'rows 6, group 8'
    """

    rows: int | None = None
    group: int | None = 8
    grouping: Grouping = "flat"
    window: int | None = None
    format: str | None = None
    criterion: str = "topn"
    rounding: str = "truncate"
    activation_rows: int | None = None
    policy: Policy | None = None

    @staticmethod
    def of(row: Mapping[str, Any]) -> Setting:
        """Make a setting of `columns`."""
        policy = None
        if row["policy"] is not None:
            parts = json.loads(row["policy"])
            policy = Policy(parts["tensors"], parts["default"], parts["origin"])
        return Setting(**{name: row[name] for name in COLUMNS if name != "policy"}, policy=policy)

    @property
    def is_unpruned(self) -> bool:
        """Whether weights and activations stay as they are."""
        return not self.prunes and self.format is None and self.activation_rows is None

    @property
    def prunes(self) -> bool:
        """Whether rows of weights are pruned, at most."""
        return self.rows is not None or self.policy is not None

    @property
    def takes_norms(self) -> bool:
        """Whether rows of weights are chosen by norms."""
        return self.criterion == CALIBRATED and self.rows is not None

    @property
    def aligns_products(self) -> bool:
        """Whether rows of weights are chosen at run time, by products."""
        return self.criterion == PRODUCTS and self.rows is not None

    @property
    def stored(self) -> Setting:
        """What is done to the stored weights, before the model runs."""
        return Setting(format=self.format) if self.aligns_products else replace(self, activation_rows=None)

    @property
    def label(self) -> str:
        """What differs from the defaults, in words."""
        if self.is_unpruned:
            return "unpruned"
        form = "" if self.format is None else f", format {self.format}"
        activations = "" if self.activation_rows is None else f", activation rows {self.activation_rows}"
        if self.policy is not None:
            name = f" {Path(self.policy.path).name}" if self.policy.path else ""
            return f"rows by policy{name}{form}{activations}"
        if self.rows is None:
            return f"all rows, {self.way}" if activations else f"all rows{form}"
        return f"rows {self.rows}, {self.way}"

    @property
    def way(self) -> str:
        """How rows are pruned, whatever their number; what differs from the defaults, in words."""
        shown: dict[str, Any] = {}
        usual = Setting()
        for field in fields(self)[1:-1]:
            value = getattr(self, field.name)
            if field.name == "group" or value != getattr(usual, field.name):
                shown[field.name] = "whole kernels" if value is None else value
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())

    def columns(self) -> dict[str, Any]:
        """Return a table's columns; a policy as the text of its file."""
        found = {name: getattr(self, name) for name in COLUMNS}
        return found | {"policy": None if self.policy is None else self.policy.text()}

    @property
    def machine(self) -> dict[str, Any]:
        """Options of BitX that prune alike.

        One that keeps every row has the machine's default for them: its unpruned cycles do not depend on
        that. A float format is not among the options: it is that of the weights that the machine is given.

        Raises
        ------
        OptionError
            If no machine prunes so.
        """
        if self.activation_rows is not None:
            return self._activations_machine
        if self.aligns_products:
            raise OptionError(
                "by products each output position has rows of its own; a PE of BitX extracts those of a group"
                " once for 16 positions"
            )
        if self.rows is None:
            return {} if self.format is None or self.format in FLOATS else {"format": self.format}
        options = {name: value for name, value in self.columns().items() if value is not None}
        if self.criterion == CALIBRATED:  # the machine finds the same rows in weights that have no others
            options["criterion"] = "topn"
        if self.group is None:
            raise OptionError("no machine takes whole kernels as groups")
        if self.format in FLOATS:
            del options["format"]
        return options

    @property
    def _activations_machine(self) -> dict[str, Any]:
        if self.prunes:
            raise OptionError("BitX prunes weights or activations at run time, not both")
        options = replace(self.activations, grouping="channel").machine
        # Groups of which zeros were left out would be others.
        return options | {"serial": "activations", "pack_zeros": False}

    @property
    def activations(self) -> Setting:
        """How activations are pruned, said as of weights."""
        return replace(
            self,
            rows=self.activation_rows,
            group=self.group or ACTIVATION_GROUP,
            criterion="topn" if self.criterion in (CALIBRATED, PRODUCTS) else self.criterion,
            activation_rows=None,
            policy=None,
        )

    def chosen(self, dump: Dump, selection: Selection) -> tuple[Tensor, ...]:
        """Tensors that are pruned, those that `bitx prune` takes.

        Raises
        ------
        OptionError, TensorError
            If the policy prunes what the model lacks, or what can't be pruned.
        """
        found = selection.choose(dump, self.format if self.format not in FLOATS else None)
        if self.policy is not None:
            check_policy(self.policy, dump, found)
        return found.tensors


def settled(setting: Setting, dump: Dump, selection: Selection) -> Setting:
    """Write a setting in one way only: what has no effect, or says what holds anyway, is left out.

    Parameters
    ----------
    setting : Setting
    dump : Dump
        The model: a format that all its weights have anyway is its own.
    selection : Selection
    """
    dtypes = {tensor.dtype.newbyteorder("=") for tensor in selection.choose(dump).tensors}
    names = [form.name for form in FLOATS.values() if {form.dtype} == dtypes]
    own = number_format(names[0]) if names else None
    if own is not None and setting.format == own.name:
        setting = replace(setting, format=None)
    if setting.rows is None and setting.activation_rows is None:
        return Setting(format=setting.format, policy=setting.policy)
    if setting.rows is None:
        setting = replace(
            setting.activations,
            rows=None,
            grouping="flat",
            activation_rows=setting.activation_rows,
            policy=setting.policy,
        )
    used = own if setting.format is None else number_format(setting.format)
    if used is not None and setting.window == used.default_window:
        setting = replace(setting, window=None)
    return setting
