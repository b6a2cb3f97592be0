"""Table 1: sparsity of bits and of weights of 13 networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bitxcore.bits import essential_bits
from hwmodel.accelerators.bitx.machine import BitX
from hwmodel.networks.loading import load_network
from hwmodel.studies.published.printed_numbers import printed
from hwmodel.studies.reproduction.line import Line, Mark
from hwmodel.studies.reproduction.simulations import (
    ONLY_OURS,
    Simulations,
    distribution_of,
    drawn_label,
    table_of,
)

SMALL = 1e-5
"""Magnitude below which the paper takes a weight for a zero."""

DRAWN = 1 << 16
"""Weights of a layer that are drawn, at most."""

BITS, WEIGHTS = "bit sparsity", "weight sparsity"
WHY_BITS = (
    "The share of zeros in 24 bits, the hidden one included. Trained weights are not exactly normal."
    " All normal weights give the same number, whatever their standard deviation."
)
WHY_WEIGHTS = (
    "Not computed: weight sparsity depends on the scale of the trained weights, which"
    " drawn weights do not have."
)
WHY_REAL = f"Weights of layers, without biases and normalisation; {ONLY_OURS}."


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give the bit sparsity of drawn weights beside the table, and both sparsities of trained ones."""
    for row in printed("Table 1"):
        assert row.value is not None
        is_bits, table = row.quantity.startswith(BITS), table_of(row.network)
        yield Line(
            place=row.place,
            network=row.network,
            setting="fp32, original",
            quantity=BITS if is_bits else WEIGHTS,
            unit="%",
            published=row.value,
            ours=simulations.once(("bits", table), lambda t=table: _drawn(t)) if is_bits else None,  # type: ignore[misc]
            weights=f"{drawn_label(table)}, at most {DRAWN} weights of a layer" if is_bits else "none",
            why=WHY_BITS if is_bits else WHY_WEIGHTS,
            mark=Mark.FITS if is_bits else Mark.CHOSEN,
        )
    yield from _real(simulations)


def _drawn(table: str) -> float:
    """Zero bits of drawn weights, in per cent of all bits."""
    ones = count = 0
    for layer in load_network(table):
        if layer.has_weights:
            drawn = distribution_of(table).draw("weights", layer.name, (min(layer.parameters, DRAWN),))
            ones += int(essential_bits(drawn).sum(dtype=np.int64))
            count += drawn.size
    return 100 * (1 - ones / (24 * count))


def _real(simulations: Simulations) -> Iterator[Line]:
    reader = BitX()
    for name, load in simulations.real_workloads().items():
        ones = count = nonzero = small = 0
        with load.open([reader]) as source:
            for entry in load.network.layers:
                weights: npt.NDArray[np.floating] | None = source.layer(entry, [reader]).of(reader).weights
                if weights is None:
                    continue
                ones += int(essential_bits(weights).sum(dtype=np.int64))
                count += weights.size
                nonzero += int(np.count_nonzero(weights))
                small += int(np.count_nonzero(np.abs(weights) < SMALL))
        for quantity, value in ((BITS, 1 - ones / (24 * nonzero)), (WEIGHTS, small / count)):
            yield Line(
                place="Table 1",
                network=name,
                setting="fp32, original",
                quantity=quantity,
                unit="%",
                published=None,
                ours=100 * value,
                weights="trained",
                why=WHY_REAL,
                mark=Mark.FITS if quantity == BITS else Mark.PAPER,
            )
