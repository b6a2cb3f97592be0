"""EIE's time for the nine layers of its paper, on operands drawn at the published densities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.eie import EIE
from hwmodel.accelerators.engines.interleaved_csc import count_entries
from hwmodel.accelerators.registry import accelerator
from hwmodel.networks.layers import Linear
from hwmodel.operands.distributions import Distribution
from hwmodel.operands.operands import Operands
from hwmodel.studies.validation.record import Row, Standing, Study, published_rows

SEED = 0
VECTORS = 8
"""Vectors that a layer is timed on: the number of activations that are not zero differs by some per cent."""


def drawn(layer: Linear, weights: float, activations: float) -> Operands:
    """Draw which operands are zero, value by value, at the given densities.

    Returns
    -------
    Operands
        Of int8: 1 where a value is not zero.
    """

    def nonzero(what: str, density: float, shape: tuple[int, ...]) -> npt.NDArray[np.int8]:
        values = Distribution("uniform", zeros=1 - density, seed=SEED).draw(what, layer.name, shape)
        return values.astype(np.bool_).astype(np.int8)

    return Operands(
        nonzero("weights", weights, layer.weight_shape),
        nonzero("activations", activations, (layer.positions, layer.in_features)),
    )


@dataclass(frozen=True)
class Times:
    """Time of one layer and one vector, in us: the mean over the vectors.

    Parameters
    ----------
    simulated : float
    entries : float
        If every PE worked on a stored entry in every cycle, entries of value zero included.
    products : float
        If every PE did a product of two values that are not zero in every cycle.
    """

    simulated: float
    entries: float
    products: float


def times(layer: Linear, operands: Operands) -> Times:
    """Time a layer, and what is left of that if its PEs never wait."""
    machine = accelerator("eie", dram=None)
    assert isinstance(machine, EIE)
    chip = machine.run(layer, operands)
    weights, activations = operands.integer_weights, operands.integer_activations
    products = np.count_nonzero(activations, axis=0) @ np.count_nonzero(weights, axis=0)
    us = 1e6 / machine.clock_hz / layer.positions
    at_once = machine.pes * machine.output_registers
    per_column = sum(
        count_entries(weights[first : first + at_once] != 0, machine.pes, machine.index_bits).sum(axis=1)
        for first in range(0, layer.out_features, at_once)
    )
    entries = np.count_nonzero(activations, axis=0) @ per_column
    return Times(chip.cycles * us, int(entries) / machine.pes * us, int(products) / machine.pes * us)


def rows(layers: tuple[str, ...] | None = None) -> Iterator[Row]:
    """Yield the time of every layer.

    Parameters
    ----------
    layers : tuple of str, optional
        Some of them, as ``"AlexNet FC6"``; all by default.
    """
    for figure in published_rows("eie-layers"):
        name = f"{figure['network']} {figure['layer']}"
        if layers is not None and name not in layers:
            continue
        inputs, outputs = int(figure["inputs"]), int(figure["outputs"])
        weights, activations = (float(figure[f"{what}_density_percent"]) for what in ("weight", "activation"))
        layer = Linear(name, in_features=inputs, out_features=outputs, positions=VECTORS)
        ours = times(layer, drawn(layer, weights / 100, activations / 100))
        yield Row(
            machine="eie",
            what=f"{inputs} × {outputs}, weights {weights:g} %, activations {activations:g} %: time",
            network=name,
            published=float(figure["actual_us"]),
            ours=ours.simulated,
            unit="us",
            standing=Standing(figure["standing"]),
            remark=f"entries {ours.entries:.1f}, products {ours.products:.1f}",
        )


STUDY = Study(
    machine="eie",
    title="EIE: nine layers",
    method=(
        'Time of one layer for one vector on 64 PEs at 800 MHz (`hw.accelerator("eie", dram=None)`,'
        " all options at their defaults), mean over 8 vectors. Sizes, densities and the published"
        " *actual* times are those of `data/published/eie-layers.csv`. Which weights and activations"
        ' are zero is drawn value by value at the published densities (`Distribution("uniform",'
        " zeros=1 - density, seed=0)`). The remark gives two lower bounds in us: the time if every PE"
        " worked on a stored entry in every cycle, and the time if every PE computed a product of two"
        " values that are not zero in every cycle."
    ),
    findings=(
        "Ours is 1 to 28 % below the published times, and 5 % above for AlexNet FC7. There the stored"
        " entries alone would take longer than the published time, so the real density is probably"
        " below the rounded 9 %.",
        "Zeros drawn value by value are spread evenly, and PEs wait little. The zeros of a pruned"
        " matrix are not spread evenly: some rows keep more weights than others, and the PEs wait for"
        " the one that holds them. This is the probable reason why ours is below. How uneven the real"
        " matrices are is not known.",
        "VGG-16 FC6 differs most. At 4 % density a run of zeros is often longer than the 15 that a"
        " count of 4 bits holds, and needs entries of value zero. These are most of the time that ours"
        " takes beyond the products. Their number depends on where the real zeros are.",
        "AlexNet FC8 and VGG-16 FC8 have the same size and nearly the same densities, and take nearly"
        " the same time here. The published times differ by 18 %. The difference for AlexNet FC8"
        " therefore comes from the real data, which the densities do not describe.",
        "The densities of weights are rounded to whole per cent. For a layer of 4 %, rounding alone"
        " changes the time by up to an eighth.",
    ),
    rows=rows,
)
"""The machine beside its paper."""
