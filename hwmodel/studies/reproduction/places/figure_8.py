"""Figure 8: gains of pruning in 16-bit fixed point."""

from __future__ import annotations

from collections.abc import Iterator

from hwmodel.studies.published.printed_numbers import printed
from hwmodel.studies.reproduction.line import Line, Mark
from hwmodel.studies.reproduction.places.figure_7 import READINGS
from hwmodel.studies.reproduction.simulations import MILD_WILD, Gains, Simulations, fixed_label

WHY = {
    "unit": (
        "Sign-magnitude weights at full scale 1.0 leave top bits unused. Standard deviations of"
        " 1/34, 1/60 and 1/160, equal in all layers, fit and were not tuned further. Trained layers"
        " differ, so work and barrier can't be told apart here."
    ),
    "power-of-two": (
        "The same weights, scaled as usual: the largest weight of each tensor fills the 16 bits."
        " This does not fit."
    ),
}


def instance(setting: str) -> str | None:
    """Read the name of the instance in a setting; None for a baseline."""
    return next((name for name in MILD_WILD if f"BitX-{name}" in setting), None)


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give both readings beside the figure, and work at the usual scale."""
    for row in printed("Figure 8"):
        name = instance(row.setting)
        if name is None:
            continue
        for scale, why in WHY.items():
            run = simulations.fixed(row.network, scale)
            for reading, ours in Gains.of(simulations.total(run, MILD_WILD[name], "fixed16")).items():
                if scale == "power-of-two" and reading == "barrier":
                    continue
                yield Line(
                    place=row.place,
                    network=row.network,
                    setting=f"fixed16, BitX-{name}",
                    quantity=f"gain over unpruned, {READINGS[reading][0]}"
                    + (", usual scale" if scale == "power-of-two" else ""),
                    unit="x",
                    published=row.value,
                    ours=ours,
                    weights=fixed_label(row.network, scale),
                    why=why,
                    mark=Mark.FITS if scale == "unit" else Mark.CHOSEN,
                )
