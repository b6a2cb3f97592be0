"""Figure 11: where the energy of SqueezeNet goes."""

from __future__ import annotations

from collections.abc import Iterator
from math import fsum

from hwmodel.accelerators.bitx.machine import BitX
from hwmodel.networks.loading import load_network
from hwmodel.simulation.results import NetworkResult, NetworkTotal
from hwmodel.simulation.run import simulate_network
from hwmodel.studies.published.one_pe import TABLE_7, pe_power_w
from hwmodel.studies.published.printed_numbers import printed
from hwmodel.studies.reproduction.line import Line, Mark
from hwmodel.studies.reproduction.simulations import (
    MILD_WILD,
    ONE_OVER_STD,
    Simulations,
    distribution_of,
    drawn_label,
    fixed_label,
    fixed_weights,
    machine,
    table_of,
)

NETWORK = "SqueezeNet1_1"
DRAM = "DDR3-1600_x64_brc"
FORMATS = {"fp32": None, "16b": "fixed16"}
DRAM_PART, BUFFERS = "DDR3 access", "buffers, activations' FIFO and alignment"
PARTS = {"CU x16": "16 CUs", "Bit Extraction": "Bit Extraction"}
"""Parts by the figure's names where Table 7 has others; the figure does not label Bit Extraction."""

WHY_SYSTEM = (
    "One PE at 1 GHz, Table 7's clock (the paper took its traffic from an FPGA at 200 MHz), one"
    " channel of DDR3-1600. Buffers and tiling are ours; the paper does not describe them. Shares"
    " are of PE and DDR3 alone, as in the figure."
)
WHY_PE = (
    "Components and events are ours, costs are by aladdin, leakage and clock are included. The"
    " 16-bit shares of the figure do not follow from the powers of Table 7."
)
WHY_BUFFERS = "Ours only: their share of system energy, if everything on the chip is included."


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give the shares of system energy and of PE energy, mild and wild, in both formats."""
    shares = {
        f"BitX-{name}, {words}": simulations.once(
            ("energy", rows, form),
            lambda r=rows, f=form: _shares(_machine(r, f), _run(simulations, f)),  # type: ignore[misc]
        )
        for name, rows in MILD_WILD.items()
        for words, form in FORMATS.items()
    }
    for place, kind in (("Figure 11a", "system"), ("Figure 11b", "PE")):
        published = {(row.setting, row.quantity.partition(":")[0]): row.value for row in printed(place)}
        for setting, found in shares.items():
            for part, ours in found[kind].items():
                yield Line(
                    place=place,
                    network=NETWORK,
                    setting=setting,
                    quantity=f"{part}: share of {kind} energy",
                    unit="%",
                    published=published.get((setting, part)),
                    ours=ours,
                    weights=fixed_label(NETWORK)
                    if setting.endswith("16b")
                    else drawn_label(table_of(NETWORK)),
                    why=WHY_BUFFERS if part == BUFFERS else WHY_SYSTEM if kind == "system" else WHY_PE,
                    mark=Mark.CHOSEN,
                )


def _machine(rows: int, form: str | None) -> BitX:
    return machine(rows, form, dram=DRAM, dram_channels=1)


def _run(simulations: Simulations, form: str | None) -> NetworkResult:
    """Simulate mild and wild in one format."""
    table = table_of(NETWORK)

    def make() -> NetworkResult:
        machines, network = [_machine(rows, form) for rows in MILD_WILD.values()], load_network(table)
        if form is None:
            return simulate_network(machines, network, weights=distribution_of(table))
        dump = fixed_weights(network, 1 / ONE_OVER_STD[NETWORK], "unit")
        return simulate_network(machines, network, dump=dump)

    return simulations.once(("with DDR3", form), make)


def _shares(bitx: BitX, run: NetworkResult) -> dict[str, dict[str, float]]:
    """Shares of system and of PE energy by part, in per cent."""
    total: NetworkTotal = run.total(bitx.label)
    energy, seconds = total.energy_parts_j, total.seconds
    assert energy is not None
    assert seconds
    power = pe_power_w(bitx, energy, seconds)
    names = {own: name for name, own in PARTS.items()}
    parts = {
        names.get(name, name): seconds * fsum(power[part] for part in own)
        for name, own in TABLE_7.items()
        if name != "Total"
    }
    pe, dram, everything = fsum(parts.values()), energy["dram"], fsum(energy.values())
    system = {DRAM_PART: dram} | parts
    shares = {part: 100 * joules / (pe + dram) for part, joules in system.items()}
    shares[BUFFERS] = 100 * (everything - pe - dram) / everything
    return {"system": shares, "PE": {part: 100 * joules / pe for part, joules in parts.items()}}
