"""BitX beside its paper's gains; `hwmodel.studies.reproduction` has every other number of the paper."""

from __future__ import annotations

from collections.abc import Iterator

from hwmodel.studies.reproduction import reproduce
from hwmodel.studies.validation.record import Row, Standing, Study

PLACES = ("Figure 7", "Figure 8", "Figure 9")


def rows() -> Iterator[Row]:
    """Put our gains beside the figures, by every reading."""
    for line in reproduce(PLACES):
        if line.published is not None and line.ours is not None:
            yield Row(
                machine="bitx",
                what=f"{line.place}, {line.setting}: {line.quantity}",
                network=line.network,
                published=line.published,
                ours=line.ours,
                unit=line.unit,
                standing=Standing.PRINTED,
                remark=f"[{line.mark}] {line.why}",
            )


STUDY = Study(
    machine="bitx",
    title="BitX: gains of pruning",
    method=(
        "One PE of 16 CUs at BitX-mild and BitX-wild, a memory without limits, and normal weights on"
        " the tables of the networks. fixed16 has full scale 1.0 and the standard deviations that [the"
        " reproduction](reproduction.md) names."
    ),
    findings=(
        "[fits] Figure 7 shows work: the cycles of perfectly balanced lanes. The float32 bars of Figure"
        " 9 show the barrier: lanes of a group wait for each other. The paper does not say so.",
        "[chosen] Rows with this mark are readings that do not fit. They are listed because the wording"
        " of the paper suggests them.",
        "[fits] Figure 8 fits weights that leave the top bits of 16 unused. Drawn layers are all alike"
        " and trained layers differ, so work and barrier can't be told apart.",
    ),
    rows=rows,
)
