"""Table 7: area and power of one PE."""

from __future__ import annotations

from collections.abc import Iterator

from hwmodel.studies.reproduction.line import Line, Mark
from hwmodel.studies.reproduction.simulations import Simulations, drawn_label, table_of

WHY = (
    "Our inventory of the paper's parts, in the component costs of each basis; nothing is fitted. Compare"
    " totals, because the published split is implausible: 0.003 mm2 for 16 CUs of 8 shifters and a"
    " tree. Power is that of BitX-wild on SqueezeNet1_1; the paper names no workload."
)


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give area and power of every part and of all, in every cost basis."""
    for found in simulations.one_pe():
        yield Line(
            place="Table 7",
            network="",
            setting=f"one PE at 1 GHz, costs by {found.basis}",
            quantity=found.quantity,
            unit=found.unit,
            published=found.published,
            ours=found.ours,
            weights=drawn_label(table_of("SqueezeNet1_1")),
            why=WHY,
            mark=Mark.CHOSEN,
        )
