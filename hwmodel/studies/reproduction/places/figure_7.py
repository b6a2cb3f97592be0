"""Figure 7: gains of pruning in float32."""

from __future__ import annotations

from collections.abc import Iterator

from hwmodel.studies.published.printed_numbers import printed
from hwmodel.studies.reproduction.line import Line, Mark
from hwmodel.studies.reproduction.simulations import (
    MILD_WILD,
    ONLY_OURS,
    Gains,
    Simulations,
    drawn_label,
    table_of,
)

READINGS = {
    "work": ("work", Mark.FITS),
    "barrier": ("barrier", Mark.PAPER),
}
"""Readings of a gain: their names, and where they come from."""

WHY = {
    "work": (
        "Ones before over ones after, in groups of 8, as if lanes were perfectly balanced. This fits"
        " the figure. Trained weights are not exactly normal."
    ),
    "barrier": (
        "Lanes of a group wait for its weight with most ones, as in Figures 2 and 4; the gain is"
        " over the same lanes unpruned. This fits Figure 9 but not this figure."
    ),
}


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give both readings beside the figure, and those of trained weights."""
    for row in printed("Figure 7"):
        kept = row.setting.partition("N=")[2]
        if not kept:  # the original, 1 by definition
            continue
        table = table_of(row.network)
        total = simulations.total(simulations.floats(table), int(kept))
        for reading, ours in Gains.of(total).items():
            yield _line(row.network, int(kept), reading, row.value, ours, drawn_label(table), WHY[reading])
    for network, run in simulations.real().items():
        for rows in MILD_WILD.values():
            for reading, ours in Gains.of(simulations.total(run, rows)).items():
                why = f"{reading.capitalize()}, on {ONLY_OURS}."
                yield _line(network, rows, reading, None, ours, "trained", why)


def _line(
    network: str, rows: int, reading: str, published: float | None, ours: float, weights: str, why: str
) -> Line:
    words, mark = READINGS[reading]
    return Line(
        place="Figure 7",
        network=network,
        setting=f"fp32, N={rows}",
        quantity=f"gain over unpruned, {words}",
        unit="x",
        published=published,
        ours=ours,
        weights=weights,
        why=why,
        mark=mark,
    )
