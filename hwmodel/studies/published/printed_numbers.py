"""Every number that the BitX paper prints (ICPP 2021), from ``data/published/bitx-icpp21.csv``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

from bitxcore.data import data_folder


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One number of the paper.

    Parameters
    ----------
    place : str
        Table, figure or section.
    network, dataset, setting, quantity : str
    value : float or None
        None where the paper prints a dash.
    unit, note : str
    """

    place: str
    network: str
    dataset: str
    setting: str
    quantity: str
    value: float | None
    unit: str
    note: str


@cache
def printed(place: str) -> tuple[Printed, ...]:
    """Read the numbers of one table, figure or section, in their order.

    Parameters
    ----------
    place : str
        For example ``"Table 7"``.

    Raises
    ------
    BitxError
        If the data are not installed.

    Examples
    --------
    >>> printed("Figure 7")[3].value
    4.745
    """
    with (data_folder("published") / "bitx-icpp21.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["table_or_figure"] == place]
    return tuple(
        Printed(
            place=place,
            network=row["network"],
            dataset=row["dataset"],
            setting=row["setting"],
            quantity=row["quantity"],
            value=float(row["value"]) if row["value"] else None,
            unit=row["unit"],
            note=row["note"],
        )
        for row in rows
    )


def printed_value(place: str, quantity: str, setting: str = "", network: str = "") -> float:
    """Look up one number, by the beginnings of what it is of.

    Raises
    ------
    KeyError
        If the paper prints none, or several.

    Examples
    --------
    >>> printed_value("Table 7", "E-alignment: area")
    0.017
    """
    value = printed_or_dash(place, quantity, setting, network)
    if value is None:
        raise KeyError(f"{place}: a dash stands for {quantity!r}, {setting!r}, {network!r}")
    return value


def printed_or_dash(place: str, quantity: str, setting: str = "", network: str = "") -> float | None:
    """Look up one number as `printed_value` does; None where the paper prints a dash."""
    found = [
        row.value
        for row in printed(place)
        if row.quantity.startswith(quantity)
        and row.setting.startswith(setting)
        and row.network.startswith(network)
    ]
    if len(found) != 1:
        raise KeyError(f"{place}: {len(found)} numbers of {quantity!r}, {setting!r}, {network!r}")
    return found[0]
