"""Table 6: speed-ups of YOLOv3, alone and after channel slimming."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hwmodel.networks.loading import load_network
from hwmodel.studies.published.printed_numbers import printed
from hwmodel.studies.reproduction.line import Line, Mark
from hwmodel.studies.reproduction.places.figure_7 import READINGS
from hwmodel.studies.reproduction.places.figure_8 import instance
from hwmodel.studies.reproduction.simulations import MILD_WILD, Simulations, drawn_label

PLAIN, SLIMMED = "yolov3", "yolov3-slimmed"
UNPRUNED = "YoloV3 (baseline)"
"""Ending of the setting that is 1 by definition."""

SPEED = "speed-up over unpruned YoloV3"
WHY_PRUNED = "By {}: work fits Figure 7 and this table. Trained weights are not exactly normal."
WHY_SLIMMING = (
    "This number is an input and not a result. The paper does not say which channels are left; the"
    " widths of our table were chosen to give the printed ratio of multiply-accumulates."
)
WHY_CYCLES = "The same tables, unpruned, by {}: padded groups and small layers shrink differently."
WHY_BOTH = (
    "By {}; slimming times pruning. The printed gains of pruning grow with slimming, from 2.75 to"
    " 3.07 and from 4.98 to 6.28. With drawn weights they do not, because slimming also changes the"
    " trained weights."
)


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give the speed-ups; accuracies are left open."""
    for row in printed("Table 6"):
        if not row.quantity.startswith("speed-up") or row.setting.endswith(UNPRUNED):
            continue
        name, slimmed = instance(row.setting), "Slimming" in row.setting
        base = Line(
            place=row.place,
            network=row.network,
            setting=row.setting,
            quantity=SPEED,
            unit="x",
            published=row.value,
            ours=None,
            weights=drawn_label(SLIMMED if slimmed else PLAIN)
            + (f", over: {drawn_label(PLAIN)}" if slimmed else ""),
            why="",
            mark=Mark.FITS,
        )
        if name is None:
            ours = load_network(PLAIN).macs / load_network(SLIMMED).macs
            yield replace(
                base,
                quantity=f"{SPEED}, multiply-accumulates",
                ours=ours,
                weights=f"tables {PLAIN} and {SLIMMED}",
                why=WHY_SLIMMING,
                mark=Mark.CHOSEN,
            )
        for reading, (words, mark) in READINGS.items():
            why = WHY_CYCLES if name is None else WHY_BOTH if slimmed else WHY_PRUNED
            yield replace(
                base,
                quantity=f"{SPEED}, {words}",
                ours=_speed(simulations, SLIMMED if slimmed else PLAIN, name, reading),
                why=why.format(reading),
                # Work fits the plain network only.
                mark=Mark.CHOSEN if name is None or (slimmed and reading == "work") else mark,
            )


def _speed(simulations: Simulations, table: str, name: str | None, reading: str) -> float:
    """Cycles of plain YOLOv3 unpruned over those of a table, pruned or not."""
    before, after = ("unpruned_work_cycles", "work_cycles") if reading == "work" else (
        "on_chip_unpruned_cycles", "on_chip_cycles"
    )  # fmt: skip
    rows, every = MILD_WILD[name or "wild"], tuple(MILD_WILD.values())
    plain, own = (simulations.total(simulations.floats(t, every), rows) for t in (PLAIN, table))
    cycles: int = getattr(own, after if name else before)
    unpruned: int = getattr(plain, before)
    return unpruned / cycles
