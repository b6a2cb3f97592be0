"""Stripes over DaDianNao, with the precisions of its paper for the convolutions of six networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import fsum

from hwmodel.accelerators.registry import accelerator
from hwmodel.networks.layers import Conv
from hwmodel.networks.loading import load_network
from hwmodel.operands.operands import Operands
from hwmodel.simulation.simulate import simulate
from hwmodel.studies.validation.record import Row, Standing, Study, published_rows

WORD_BITS = 16
LANES = 16
"""Input channels that DaDianNao and Stripes multiply at a time."""


def precisions(network: str) -> tuple[str, dict[str, int]]:
    """Read a network's table, and the bits of its layers by name.

    One precision of GoogLeNet holds for all convolutions of a module, whose names begin with its name.
    """
    found = [r for r in published_rows("stripes-precisions") if r["network"] == network and r["layer"]]
    return found[0]["table"], {r["layer"]: int(r["value"]) for r in found}


def convolutions(table: str, bits: dict[str, int]) -> list[tuple[Conv, int]]:
    """Pair every convolution of a network with its precision.

    Raises
    ------
    KeyError
        If a convolution has none.
    """
    layers = [entry.layer for entry in load_network(table).layers if isinstance(entry.layer, Conv)]
    return [(x, bits[x.name] if x.name in bits else bits[x.name.partition("/")[0]]) for x in layers]


def ideal(layers: Sequence[tuple[Conv, int]], weights: Sequence[float] | None = None) -> float:
    """Speed over 16 bits if a layer's time is its multiply-accumulates times its bits.

    Parameters
    ----------
    layers : sequence of (Conv, int)
    weights : sequence of float, optional
        Time of each layer at 1 bit; its multiply-accumulates by default.
    """
    times = [float(layer.macs) for layer, _ in layers] if weights is None else weights
    serial = fsum(time * bits for time, (_, bits) in zip(times, layers, strict=True))
    return WORD_BITS * fsum(times) / serial


def mean_of_ratios(layers: Sequence[tuple[Conv, int]]) -> float:
    """Mean of 16 / bits, weighted by multiply-accumulates."""
    return fsum(x.macs * WORD_BITS / bits for x, bits in layers) / fsum(x.macs for x, _ in layers)


def macs_with_empty_lanes(layer: Conv) -> float:
    """Multiply-accumulates if the channels of a group were filled up to whole lanes."""
    channels = layer.in_channels // layer.conv_groups
    return layer.macs / channels * (-(-channels // LANES) * LANES)


def simulated(layers: Sequence[tuple[Conv, int]]) -> float:
    """Cycles of DaDianNao over those of Stripes, on the chip."""
    stripes, dadiannao = (accelerator(name, dram=None) for name in ("stripes", "dadiannao"))
    serial = [simulate(stripes, layer, Operands(activation_bits=bits)).cycles for layer, bits in layers]
    dense = [simulate(dadiannao, layer).cycles for layer, _ in layers]
    return fsum(c or 0 for c in dense) / fsum(c or 0 for c in serial)


def rows() -> Iterator[Row]:
    """Yield three readings of every network's speed."""
    for figure in (r for r in published_rows("stripes-precisions") if not r["layer"]):
        layers = convolutions(*precisions(figure["network"]))
        filled = [macs_with_empty_lanes(layer) for layer, _ in layers]
        other_mean = f"mean of 16 / bits: {mean_of_ratios(layers):.2f}"
        readings = (
            ("ideal: by multiply-accumulates", ideal(layers), other_mean),
            ("ideal: empty lanes counted [fits]", ideal(layers, filled), ""),
            ("simulated, beside the ideal", simulated(layers), ""),
        )
        for what, ours, remark in readings:
            yield Row(
                machine="stripes",
                what=what,
                network=figure["network"],
                published=float(figure["value"]),
                ours=ours,
                unit="x",
                standing=Standing(figure["standing"]),
                remark=remark,
            )


STUDY = Study(
    machine="stripes",
    title="Stripes: speed over DaDianNao by precision",
    method=(
        "All convolutions of a network together, each at the published precision of its activations"
        " (`data/published/stripes-precisions.csv`: AlexNet 9-8-5-5-7, and so on). The speed of 16-bit"
        " DaDianNao is 1. The published figure is the paper's *ideal* speed. Ours is computed in two"
        ' ways, and also simulated with `hw.accelerator("stripes", dram=None)` over'
        ' `hw.accelerator("dadiannao", dram=None)`. No values are drawn, because neither machine'
        " looks at them. The first way takes a layer's time as its multiply-accumulates × bits. The"
        " second also counts the lanes that the first layer leaves empty: its 3 channels take 16 lanes."
        " AlexNet is the network of 2012 with grouped convolutions (`alexnet-grouped`): papers of these"
        " years took their networks from Caffe's collection, whose AlexNet is this one. That this paper"
        " did so is quoted from memory too. The eleven precisions of GoogLeNet are those of conv1, of"
        " conv2 with its reduction, and of the nine modules."
    ),
    findings=(
        "By multiply-accumulates, NiN and VGG_19 agree within 1 %. VGG_M is 1 % below, AlexNet 2 %"
        " below, VGG_S 3 % below and GoogLeNet 3 % above.",
        "With empty lanes counted, GoogLeNet, VGG_M, VGG_S and VGG_19 agree within 0.2 %, so the paper"
        " probably weighted these layers by DaDianNao's time. NiN is then 1 % above, and AlexNet 13 %"
        " below: its printed figure is too high for a first layer of 9 bits with such a weight. Either"
        " the paper weighted AlexNet in another way, or the remembered precisions are not those of the"
        " figure.",
        "The one-tower AlexNet of 2014 (`alexnet`) would give 2.37, nearer to the published 2.38. It is"
        " not the network of the paper, so it is not in the table.",
        "Simulated speeds are up to 8 % below the ideal ones by multiply-accumulates. DaDianNao works"
        " on one window at a time and Stripes on 16, and the last set of a layer is not full: 7 × 7"
        " windows fill 49 of 64 places. AlexNet loses most, because its first layer, of 9 bits, leaves"
        " more lanes and filters empty than the others. Both machines fold the stride of the first"
        " layer into its channels, as the public simulator does.",
    ),
    rows=rows,
)
"""The machine beside its paper."""
