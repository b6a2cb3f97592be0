"""Accuracies of Tables 2 to 6: left open, one line a table."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from hwmodel.studies.published.printed_numbers import printed, printed_value
from hwmodel.studies.reproduction.line import Line, Mark
from hwmodel.studies.reproduction.simulations import Simulations

LEFT_OPEN = "left open: accuracy"
WHY = (
    "Left open: it needs the trained networks and their data sets. The published value stands for the table."
)


def losses(place: str, kept: str) -> list[float]:
    """Compute the losses of a table's networks against their originals, in percentage points.

    Parameters
    ----------
    place : str
    kept : str
        What the setting has in it, such as ``"N=6"``.
    """
    rows = [r for r in printed(place) if r.quantity in ("top-1 accuracy", "mAP") and r.value is not None]
    original = {r.network: r.value or 0.0 for r in rows if "original" in r.setting or "baseline" in r.setting}
    return [original[r.network] - (r.value or 0.0) for r in rows if r.setting.endswith(kept)]


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give a value of each table, and how many accuracies it has."""
    del simulations
    average, wild = "average accuracy loss", "BitX-wild"
    printed_loss, own = f"{average}, as printed", f"{average}, of its numbers"
    fall = -printed_value("Table 6", "mAP change", f"fp32, YoloV3 + {wild}")
    found = {
        "Table 2": ("fp32, N=6", printed_loss, printed_value("Table 2", average, "fp32, N=6")),
        "Table 3": ("fp32, N=6", printed_loss, printed_value("Table 3", average, "fp32, N=6")),
        "Table 4": ("fp32, N=6, all M", own, fmean(losses("Table 4", "N=6"))),
        "Table 5": (f"fixed16, {wild}", own, fmean(losses("Table 5", wild))),
        "Table 6": (f"YoloV3 + {wild}", "mAP loss", fall),
    }
    for place, (setting, quantity, value) in found.items():
        count = sum(row.quantity in ("top-1 accuracy", "mAP") for row in printed(place))
        yield Line(
            place=place,
            network=f"all ({count} accuracies)",
            setting=setting,
            quantity=f"{LEFT_OPEN} ({quantity})",
            unit="percentage points",
            published=value,
            ours=None,
            weights="none",
            why=WHY,
            mark=Mark.PAPER,
        )
