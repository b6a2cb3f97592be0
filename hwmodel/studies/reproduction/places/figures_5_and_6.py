"""Figures 5 and 6: gains layer by layer, of SqueezeNet1_1 and ResNet50."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hwmodel.studies.published.printed_numbers import printed, printed_value
from hwmodel.studies.reproduction.line import Line
from hwmodel.studies.reproduction.places.figure_7 import READINGS
from hwmodel.studies.reproduction.simulations import Gains, Simulations, drawn_label, machine, table_of

PLACE = "Figures 5 and 6"
ROWS = (10, 6, 4)
WHY = (
    "The figures have no labels; their ranges were estimated by eye. Here all layers are drawn from"
    " one distribution and differ only where the last group of a filter is short. Trained layers"
    " differ more. Convolutions only."
)


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give every layer, and the lowest and the highest beside the ranges of the figures."""
    for network in dict.fromkeys(row.network for row in printed(PLACE)):
        table = table_of(network)
        run = simulations.floats(table)
        for rows in ROWS:
            convs = [row for row in run.of(machine(rows).label) if row.operation == "conv"]
            for reading, (words, mark) in READINGS.items():
                line = Line(
                    place=PLACE,
                    network=network,
                    setting=f"fp32, N={rows}",
                    quantity="",
                    unit="x",
                    published=None,
                    ours=None,
                    weights=drawn_label(table),
                    why=WHY,
                    mark=mark,
                )
                gains = {row.layer: dict(Gains.of(row).items())[reading] for row in convs}
                for end, ours in (("lowest", min(gains.values())), ("highest", max(gains.values()))):
                    published = printed_value(PLACE, f"{end} layer", line.setting, network)
                    yield replace(line, quantity=f"{end} layer, {words}", published=published, ours=ours)
                for layer, gain in gains.items():
                    yield replace(line, quantity=f"layer {layer}, {words}", ours=gain, detail=True)
