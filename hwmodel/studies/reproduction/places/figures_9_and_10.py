"""Figures 9 and 10: BitX beside Stripes and Pragmatic, by speed and by energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hwmodel.accelerators.registry import accelerator
from hwmodel.simulation.results import NetworkTotal
from hwmodel.simulation.run import simulate_network
from hwmodel.studies.published.printed_numbers import printed, printed_value
from hwmodel.studies.reproduction.line import Line, Mark
from hwmodel.studies.reproduction.places.figure_8 import instance
from hwmodel.studies.reproduction.simulations import (
    MILD_WILD,
    Gains,
    Simulations,
    distribution_of,
    drawn_label,
    fixed_label,
    table_of,
)

NETWORKS = ("SqueezeNet1_1", "ResNet50")
QUANTITY = {
    "Figure 9": "speed over Pragmatic 16b",
    "Figure 10": "energy efficiency over Pragmatic 16b",
}
BASIS = "aladdin"
"""Of the powers of Figure 10: a machine's default."""

SERIAL_ACTIVATIONS = "serial over activations"

WHY_FLOAT = (
    "Over the same lanes unpruned on the same float32 weights, by the barrier. This fits, although"
    " the bar of 1 is called Pragmatic 16b."
)
WHY_LABEL = (
    "The reading that the name of the bar suggests: over the unpruned lanes on 16-bit weights of Figure 8."
)
WHY_FIXED = "The 16-bit bars are those of Figure 8; by {}. Pragmatic is the same lanes unpruned."
WHY_STRIPES = (
    "Unpruned lanes by the barrier over lanes that take all 16 bits of each weight, on Figure 8's weights."
    " The paper's Stripes may have used fewer bits per layer: at 0.61 it would take about 12."
)
WHY_ACTIVATIONS = (
    "Over our Pragmatic. Like our Stripes it is serial over activations, as in its own paper. All"
    " machines have a peak of 4096 16-bit multiply-accumulates per cycle and no DRAM. fixed16 is"
    " scaled by the largest weight; activations are 16-bit stand-ins. The paper does not compare"
    " with such machines."
)
WHY_ENERGY = (
    "Figure 9, times power of the 16-bit PE over power of the PE; our powers are those of one PE, as"
    " for Table 7. Pragmatic and Stripes are assumed to need as much power as a 16-bit PE; the"
    " paper's bars give 36.4 and 35.8 mW."
)


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give every bar of both figures; then Stripes and Pragmatic as serial over activations."""
    for place in QUANTITY:
        yield from _bars(simulations, place)
    for network in NETWORKS:
        yield from _serial_activations(simulations, network)


def float_over_fixed_power(simulations: Simulations) -> float:
    """Power of one PE in fixed16 over its power in float32."""
    power = {c.quantity: c.ours for c in simulations.one_pe() if c.basis == BASIS}
    return power["Total: power, fixed16"] / power["Total: power, float32"]


def stripes_on_weights(simulations: Simulations, network: str) -> float:
    """Cycles of unpruned fixed16 lanes over those that take every bit of a weight."""
    total = simulations.total(simulations.fixed(network), MILD_WILD["wild"], "fixed16")
    assert total.on_chip_unpruned_cycles
    assert total.on_chip_every_bit_cycles
    return total.on_chip_unpruned_cycles / total.on_chip_every_bit_cycles


def _bars(simulations: Simulations, place: str) -> Iterator[Line]:
    for row in printed(place):
        name, is_float = instance(row.setting), row.setting.endswith("fp32")
        if row.setting.startswith("Pragmatic"):  # 1 by definition
            continue
        base = Line(
            place=place,
            network=row.network,
            setting=row.setting,
            quantity=QUANTITY[place],
            unit="x",
            published=row.value,
            ours=None,
            weights=fixed_label(row.network),
            why="",
            mark=Mark.FITS,
        )
        if name is None:
            base = replace(base, mark=Mark.CHOSEN)
            found = [(base.quantity, stripes_on_weights(simulations, row.network), WHY_STRIPES)]
        elif is_float:
            table = table_of(row.network)
            total = simulations.total(simulations.floats(table), MILD_WILD[name])
            base = replace(base, weights=drawn_label(table))
            found = [(f"{base.quantity}, barrier", Gains.of(total).barrier, WHY_FLOAT)]
        else:
            gains = Gains.of(simulations.total(simulations.fixed(row.network), MILD_WILD[name], "fixed16"))
            found = [(f"{base.quantity}, {r}", gain, WHY_FIXED.format(r)) for r, gain in gains.items()]
        for quantity, speed, why in found:
            if place == "Figure 10":
                power = float_over_fixed_power(simulations) if is_float else 1.0
                yield replace(base, quantity=quantity, ours=speed * power, why=WHY_ENERGY, mark=Mark.CHOSEN)
            else:
                yield replace(base, quantity=quantity, ours=speed, why=why)
        if name and is_float and place == "Figure 9":
            yield replace(
                base,
                quantity=f"{base.quantity}, barrier, over unpruned 16-bit lanes",
                ours=_over_fixed(simulations, row.network, total),
                weights=f"{base.weights}; over: {fixed_label(row.network)}",
                why=WHY_LABEL,
                mark=Mark.CHOSEN,
            )


def _over_fixed(simulations: Simulations, network: str, total: NetworkTotal) -> float:
    """Cycles of unpruned lanes on Figure 8's weights over those of a float32 machine."""
    unpruned = simulations.total(simulations.fixed(network), MILD_WILD["wild"], "fixed16")
    assert unpruned.on_chip_unpruned_cycles
    assert total.on_chip_cycles
    return unpruned.on_chip_unpruned_cycles / total.on_chip_cycles


def _serial_activations(simulations: Simulations, network: str) -> Iterator[Line]:
    """Give BitX and Stripes over Pragmatic, the machines as their own papers have them."""
    table = table_of(network)
    pragmatic = accelerator("pragmatic", dram=None)
    machines = {"Stripes, 16b": accelerator("stripes", dram=None)}
    for name, rows in MILD_WILD.items():
        for form, words in (("fixed16", "16b"), (None, "fp32")):
            machines[f"BitX-{name}, {words}"] = accelerator("bitx", dram=None, rows=rows, format=form)
    run = simulations.once(
        ("serial activations", table),
        lambda: simulate_network([pragmatic, *machines.values()], table, weights=distribution_of(table)),
    )
    below = run.total(pragmatic.label).on_chip_cycles
    assert below
    for setting, machine in machines.items():
        cycles = run.total(machine.label).on_chip_cycles
        assert cycles
        yield Line(
            place="Figure 9",
            network=network,
            setting=setting,
            quantity=f"{QUANTITY['Figure 9']}, {SERIAL_ACTIVATIONS}",
            unit="x",
            published=printed_value("Figure 9", "performance", setting, network),
            ours=below / cycles,
            weights=f"{drawn_label(table)}; stand-in activations: relu-normal, seed 0",
            why=WHY_ACTIVATIONS,
            mark=Mark.CHOSEN,
        )
