"""Where the paper contradicts itself: what it says, and what its own numbers, or its own rules, give.

The second number is computed from the printed ones wherever it can be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from hwmodel.networks.loading import load_network
from hwmodel.studies.published.printed_numbers import printed, printed_value
from hwmodel.studies.reproduction.line import Line, Mark
from hwmodel.studies.reproduction.places.accuracy import losses
from hwmodel.studies.reproduction.places.tables_2_and_3 import increment
from hwmodel.studies.reproduction.simulations import Simulations, table_of

PLACE = "Contradictions"
FROM_PRINTED = "computed from printed numbers"

PERFORMANCE, SPEED = "performance", "speed-up"
SHARE = "DDR3 access: share of system energy"


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """One place where the paper disagrees with itself.

    Parameters
    ----------
    where : str
        Places in the paper.
    said, found : float or None
        What it says there, and what follows from its other numbers; None where it is a matter of words.
    what : str
        Quantity that both are of.
    why : str
        What contradicts what.
    network : str
    unit : str
    how : str
        Where `found` comes from.
    mark : Mark
        Of the explanation in `why`: the paper's own numbers or words show it, or it only fits them.
    """

    where: str
    said: float | None
    found: float | None
    what: str
    why: str
    network: str = ""
    unit: str = "x"
    how: str = FROM_PRINTED
    mark: Mark = Mark.PAPER


def lines(simulations: Simulations) -> Iterator[Line]:
    """Give every contradiction: said beside what follows."""
    for group in (_speeds, _groups, _averages, _accuracies, _sizes, _energies, _method):
        for found in group(simulations):
            yield Line(
                place=PLACE,
                network=found.network,
                setting=found.where,
                quantity=found.what,
                unit=found.unit,
                published=found.said,
                ours=found.found,
                weights=found.how,
                why=found.why,
                mark=found.mark,
            )


def _bar(place: str, machine: str, network: str) -> float:
    quantity = {"Figure 7": SPEED, "Figure 8": SPEED, "Figure 9": PERFORMANCE}[place]
    return printed_value(place, quantity, machine, network)


def _speeds(_: Simulations) -> Iterator[Contradiction]:
    for network in ("ResNet50", "SqueezeNet1_1"):
        figure_7 = _bar("Figure 7", "fp32, M=8, N=6", network) / _bar("Figure 7", "fp32, M=8, N=10", network)
        figure_9 = _bar("Figure 9", "BitX-wild, fp32", network) / _bar("Figure 9", "BitX-mild, fp32", network)
        yield Contradiction(
            where="Figure 7 against Figure 9",
            network=network,
            said=figure_7,
            found=figure_9,
            what="gain of N=6 over N=10 in float32",
            why="Two cycle rules: Figure 7 shows work (balanced lanes), Figure 9 the barrier of a group.",
            mark=Mark.FITS,
        )
    for network in ("ResNet50", "SqueezeNet1_1"):
        yield Contradiction(
            where="Figure 9",
            network=network,
            said=None,
            found=_bar("Figure 9", "BitX-wild, fp32", network) / _bar("Figure 9", "BitX-wild, 16b", network),
            what="speed of BitX-wild in float32 over BitX-wild in 16 bits",
            why="Both keep 6 rows of 8 weights and take nearly the same cycles. In the float32 bars,"
            " the bar of 1, called Pragmatic 16b, takes the cycles of unpruned 24-bit weights.",
            mark=Mark.FITS,
        )
    for words, machine, said in (("2.00x", "BitX-wild, 16b", 2.00), ("3.79x", "BitX-wild, fp32", 3.79)):
        yield Contradiction(
            where="Sec. 4.6 against Figure 9",
            network="SqueezeNet1_1",
            said=said,
            found=_bar("Figure 9", machine, "SqueezeNet1_1") / _bar("Figure 9", "Stripes", "SqueezeNet1_1"),
            what=f"{machine} over Stripes",
            why=f"The text gives {words} as over Pragmatic and Stripes; both numbers are over Pragmatic.",
        )
    slimming = printed_value("Table 6", SPEED, "fp32, YoloV3 + Slimming (baseline)")
    for name in ("mild", "wild"):
        yield Contradiction(
            where="Table 6",
            network="YoloV3",
            said=printed_value("Table 6", SPEED, f"fp32, YoloV3 + BitX-{name}"),
            found=printed_value("Table 6", SPEED, f"fp32, YoloV3 + Slimming + BitX-{name}") / slimming,
            what=f"gain of BitX-{name}: alone, and after slimming",
            why="The same pruning gains more on the slimmed network; the paper does not say why.",
        )


def _groups(simulations: Simulations) -> Iterator[Contradiction]:
    for rows in (10, 6):
        yield Contradiction(
            where=f"Table 3 against Sec. 3.4, N={rows}",
            network="ResNet50",
            said=printed_value("Table 3", "zero-bit count", f"fp32, N={rows}", "ResNet50"),
            found=simulations.kernel_ones(1, rows, 8).sparsity_increment,
            what="zero bits over those before: as printed, and in groups of 8",
            why="Accuracy and sparsity were measured on whole kernels, where a 1 x 1 kernel loses"
            " little. The machine groups 8 inputs of any layer and prunes 1 x 1 layers far more.",
            how="normal weights in groups of 8",
            mark=Mark.FITS,
        )


def _averages(_: Simulations) -> Iterator[Contradiction]:
    for place, rows in (("Table 2", 10), ("Table 3", 10), ("Table 3", 8)):
        lost = losses(place, f"N={rows}")
        for rule, found in (
            ("plain mean", fmean(lost)),
            ("mean with gains as no loss", fmean(max(x, 0.0) for x in lost)),
        ):
            yield Contradiction(
                where=f"{place}, N={rows}",
                said=printed_value(place, "average accuracy loss", f"fp32, N={rows}"),
                found=found,
                what=f"average accuracy loss: as printed, and {rule}",
                unit="percentage points",
                why="Averages are not all computed in the same way: these are not plain means, and"
                " fit if gains count as no loss.",
                mark=Mark.FITS,
            )
    zeros = [
        row.value
        for row in printed("Table 2")
        if row.quantity.startswith("zero-bit") and row.setting.endswith("N=4") and row.value is not None
    ]
    yield Contradiction(
        where="Table 2, N=4",
        said=printed_value("Table 2", "average zero-bit count", "fp32, N=4"),
        found=fmean(zeros),
        what="average of zero bits over those before",
        why="The printed average is a step too high.",
    )


def _accuracies(_: Simulations) -> Iterator[Contradiction]:
    slimmed = _map("Slimming (baseline)")
    plain = _map("fp32, YoloV3 (baseline)")
    for name, against, words in (("wild", slimmed, "slimmed"), ("mild", plain, "plain")):
        yield Contradiction(
            where="Table 6",
            network="YoloV3",
            said=printed_value("Table 6", "mAP change", f"fp32, YoloV3 + Slimming + BitX-{name}"),
            found=_map(f"Slimming + BitX-{name}") - against,
            what=f"mAP change of Slimming + BitX-{name}: as printed, and against {words} YoloV3",
            unit="percentage points",
            why="One column has two references: wild is printed against the plain network, mild"
            " against the slimmed one.",
        )
    limit = printed_value("Sec. 4.3", "average accuracy loss at other M")
    for rows in (6, 4):
        yield Contradiction(
            where=f"Sec. 4.3 against Table 4, N={rows}",
            said=limit,
            found=fmean(_losses_at_other_m(rows)),
            what="average accuracy loss at M other than 8",
            unit="percentage points",
            why="The text gives a smaller loss, which Table 4 has for N = 10 and 8 only. According"
            " to the text M hardly matters; at N = 4 it does.",
        )
    for network in ("SqueezeNet1_1", "DenseNet121", "ResNext101_32x8d"):
        yield Contradiction(
            where="Table 5 against Table 3",
            network=network,
            said=printed_value("Table 5", "top-1", "16-bit fixed point, baseline", network),
            found=printed_value("Table 3", "top-1", "fp32, original", network),
            what="original accuracy: in 16 bits, and in float32",
            unit="%",
            why="The gains of DenseNet121 in Table 5 are against a baseline below float32's.",
        )
    yield Contradiction(
        where="Sec. 4.1",
        said=None,
        found=None,
        what="N from 10 to 6 is safe; accuracy drops markedly at N = 4 and 6",
        unit="",
        why="The two statements are within two sentences.",
        how="",
    )


def _map(ending: str) -> float:
    """Find the one mAP whose setting ends like this."""
    (found,) = (r.value for r in printed("Table 6") if r.quantity == "mAP" and r.setting.endswith(ending))
    assert found is not None
    return found


def _losses_at_other_m(rows: int) -> list[float]:
    lost = losses("Table 4", f"N={rows}")
    settings = [r.setting for r in printed("Table 4") if r.setting.endswith(f"N={rows}")]
    return [loss for loss, setting in zip(lost, settings, strict=True) if "M=8," not in setting]


def _sizes(simulations: Simulations) -> Iterator[Contradiction]:
    for row in printed("Sec. 4"):
        if row.quantity == "parameter size":
            yield Contradiction(
                where="Sec. 4",
                network=row.network,
                said=row.value,
                found=load_network(table_of(row.network)).parameters * 4 / 2**20,
                what='parameters in "M", and MiB of our table in float32',
                unit="M",
                why="Megabytes, not millions of parameters; ours are the layers' weights. Two fit MiB,"
                " ResNext101_32x8d fits 10^6 bytes.",
                how=f"table {table_of(row.network)}",
            )
    network, table = "ResNext29_32x64d", table_of("ResNext29_32x64d", "CIFAR-10")
    yield Contradiction(
        where="Tables 2 and 3",
        network=network,
        said=printed_value("Table 2", "zero-bit count", "fp32, N=6", network),
        found=increment(simulations, table, 6),
        what="zero bits over those before, N=6: as printed, and of 32 groups of 4 channels",
        why="32 groups of 64 channels would be 1.2 G weights; the numbers fit 32 groups of 4.",
        how=f"normal weights, table {table}",
        mark=Mark.FITS,
    )
    for power, said in ((21, 1e-8), (30, 1e-11)):
        yield Contradiction(
            where="Sec. 2.2",
            said=said,
            found=2.0**-power,
            what=f"2^-{power}",
            unit="1",
            why="The text has the wrong orders of magnitude.",
        )


def _energies(_: Simulations) -> Iterator[Contradiction]:
    part = "Bit Extraction"
    for what in ("area", "power"):
        of = "TSMC 28 nm, 1 GHz, fp32"
        whole = printed_value("Table 7", f"Total: {what}", of)
        yield Contradiction(
            where="Table 7",
            said=printed_value("Table 7", f"{part}: share of {what}", of),
            found=100 * printed_value("Table 7", f"{part}: {what}", of) / whole,
            what=f"{part}'s share of {what}",
            unit="%",
            why="Printed shares do not follow from the printed parts.",
        )
    fixed = "TSMC 28 nm, 1 GHz, 16-bit fixed point"
    share = (
        100
        * printed_value("Table 7", "16 CUs: power", fixed)
        / printed_value("Table 7", "Total: power", fixed)
    )
    for name in ("mild", "wild"):
        yield Contradiction(
            where="Figure 11b against Table 7",
            network="SqueezeNet1_1",
            said=printed_value("Figure 11b", "CU x16", f"BitX-{name}, 16b"),
            found=share,
            what=f"CUs' share of PE energy in 16 bits, {name}",
            unit="%",
            why="One power of one PE can't give two shares; float32's share follows from Table 7.",
        )
    for words in ("fp32", "16b"):
        mild, wild = (_pe_over_dram(f"BitX-{name}, {words}") for name in ("mild", "wild"))
        network = "SqueezeNet1_1"
        faster = _bar("Figure 9", f"BitX-wild, {words}", network) / _bar(
            "Figure 9", f"BitX-mild, {words}", network
        )
        yield Contradiction(
            where="Figure 11a against Table 7 and Figure 9",
            network=network,
            said=wild / mild,
            found=1 / faster,
            what=f"PE over DDR3 energy, wild over mild, {words}",
            why="With one power and the same traffic, the energy of the PE falls with its time. In"
            " the figure it rises in float32 and falls fivefold in 16 bits.",
        )
    yield Contradiction(
        where="Sec. 4.6 against Figure 11a",
        network="SqueezeNet1_1",
        said=printed_value("Sec. 4.6", "DDR3 share"),
        found=printed_value("Figure 11a", SHARE, "BitX-mild, 16b"),
        what="DDR3's share of system energy in 16 bits, mild",
        unit="%",
        why="The text says 98 % of both variants.",
    )


def _pe_over_dram(setting: str) -> float:
    share = printed_value("Figure 11a", SHARE, setting)
    return (100 - share) / share


def _method(_: Simulations) -> Iterator[Contradiction]:
    yield Contradiction(
        where="Figure 2",
        said=6,
        found=7,
        what="rows that are pruned: caption, and drawing",
        unit="1",
        why="Three of ten rows are kept. Three bits differ between parts (a) and (b).",
        how="counted in the drawing",
    )
    yield Contradiction(
        where="Algorithm 1 against Figures 2 and 4",
        said=3,
        found=2,
        what="cycles of the example: by row, and by weight",
        unit="cycles",
        why="The last loop of the algorithm packs the ones of each row. The drawings and Sec. 3.4.3"
        " are serial over the ones of each weight; only this gives the two cycles of Figure 2.",
        how="counted in the drawing",
    )
    wrong_exponent = "e_i is an exponent of a weight; Eq. 4 needs the row's."
    for where, what, why in (
        ("Algorithm 1, line 8", "E_i = e_i - e_max for a row i", wrong_exponent),
        ("Eq. 2", "n and N both for the number of activations", "N elsewhere is the number of kept rows."),
        ("Sec. 3.4 against Figure 4", "pairs of a CU: M, and 8 lanes", "They agree only at M = 8."),
    ):
        yield Contradiction(where=where, said=None, found=None, what=what, unit="", why=why, how="")
