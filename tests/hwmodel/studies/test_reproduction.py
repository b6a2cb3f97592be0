"""The BitX paper reproduced: what has to fit fits, what is published is no input, contradictions are held."""

import csv
import re
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.data import data_folder
from bitxcore.errors import MissingExtraError, OptionError
from bitxcore.store import Store
from hwmodel.evaluation import Estimate, Setting, evaluate, task
from hwmodel.studies.composition import ComposedRow, Composition
from hwmodel.studies.published import printed, printed_numbers
from hwmodel.studies.reproduction import COLUMNS, PLACES, Line, Mark, page, reproduce
from hwmodel.studies.reproduction.places import accuracy, composed, figure_7, figures_9_and_10, table_6
from hwmodel.studies.reproduction.reproduction import SECTIONS, places_called
from hwmodel.studies.reproduction.simulations import (
    ONE_OVER_STD,
    REAL,
    Gains,
    Simulations,
    distribution_of,
    fixed_weights,
    machine,
    table_of,
)
from hwmodel.studies.reproduction.written import OWN, headings, sheets

ROOT = Path(__file__).parents[3]
INCREMENT = "zero bits over those before"


@pytest.fixture(scope="module")
def simulations():
    """Simulations that the quick tests share."""
    return Simulations()


@pytest.fixture(scope="module")
def tables():
    """Lines of Tables 2 and 3."""
    return reproduce(["Table 2", "Table 3"], accuracy=False)


def by_key(lines):
    """What a line is of, to what ours is."""
    found = {(x.place, x.network, x.setting, x.quantity, x.weights): x.ours for x in lines}
    assert len(found) == len(lines)
    return found


def test_every_table_and_figure_has_lines():
    with (data_folder("published") / "bitx-icpp21.csv").open(encoding="utf-8", newline="") as file:
        places = {row["table_or_figure"] for row in csv.DictReader(file)}
    places = {p for p in places if p.startswith(("Table", "Figure"))} - {"Figure 3", "Figure 4"}
    assert set(PLACES) == places | {"Contradictions"}
    assert PLACES[:2] == ("Table 1", "Table 2")


def test_tables_of_every_network_are_there():
    for place in ("Table 1", "Table 2", "Table 3", "Figure 7", "Figure 8"):
        for row in printed(place):
            if row.network != "(average)":
                assert table_of(row.network, row.dataset) in hw.network_names()


@pytest.mark.parametrize(("place", "within", "count"), [("Table 2", 0.04, 56), ("Table 3", 0.02, 52)])
def test_sparsity_increments(tables, place, within, count):
    lines = [x for x in tables if x.place == place and x.quantity == INCREMENT]
    assert len(lines) == count
    for line in lines:
        assert line.ours == pytest.approx(line.published, abs=within), line
        assert line.mark is Mark.FITS
    flat = {x.setting: x.ours for x in tables if x.place == place and x.network == "any"}
    assert list(flat.values()) == pytest.approx([1.667, 1.753, 1.838, 1.922], abs=0.002)
    mean = np.mean([x.ours for x in lines if x.setting == "fp32, N=6" and x.network != "(average)"])
    average = next(x for x in lines if (x.network, x.setting) == ("(average)", "fp32, N=6"))
    assert average.ours == pytest.approx(mean)


def test_increments_are_those_of_the_weights_themselves():
    """Kernel sizes weighted by layers, against all weights of a small network drawn and pruned."""
    zeros = [0.0, 0.0]
    for layer in hw.load_network("squeezenet1_1"):
        weights = distribution_of("squeezenet1_1").draw("weights", layer.name, layer.weight_shape)
        ones = bx.weight_ones(weights, rows=6, group=None, grouping="kernel")
        for at, mean in enumerate((ones.before.mean, ones.after.mean)):
            zeros[at] += weights.size * (24 - mean)
    (line,) = (
        x for x in reproduce(["Table 3"], accuracy=False)
        if (x.network, x.setting) == ("SqueezeNet1_1", "fp32, N=6")
    )  # fmt: skip
    assert line.ours == pytest.approx(zeros[1] / zeros[0], abs=0.002)


def test_gains_in_float32(simulations):
    run = simulations.floats("squeezenet1_1")
    published = {row.setting: row.value for row in printed("Figure 7") if row.network == "SqueezeNet1_1"}
    for rows in (10, 8, 6, 4):
        gains = Gains.of(simulations.total(run, rows))
        assert gains.work == pytest.approx(published[f"fp32, M=8, N={rows}"], rel=0.05)
    for name, rows in (("mild", 10), ("wild", 6)):
        bar = printed_numbers.printed_value("Figure 9", "performance", f"BitX-{name}, fp32", "SqueezeNet1_1")
        assert Gains.of(simulations.total(run, rows)).barrier == pytest.approx(bar, rel=0.04)
    assert simulations.floats("squeezenet1_1") is run
    assert machine(6).processing_elements == 1
    assert machine(6).dram is None


def test_gains_in_fixed_point(simulations):
    """By hand: 1.12 and 2.0 by work at a standard deviation of 1/34."""
    run = simulations.fixed("SqueezeNet1_1")
    mild, wild = (Gains.of(simulations.total(run, rows, "fixed16")) for rows in (10, 6))
    assert (mild.work, wild.work) == pytest.approx((1.12, 2.0), abs=0.015)
    usual = simulations.fixed("SqueezeNet1_1", "power-of-two")
    assert Gains.of(simulations.total(usual, 10, "fixed16")).work > 1.24  # does not fit
    stripes = figures_9_and_10.stripes_on_weights(simulations, "SqueezeNet1_1")
    assert stripes == pytest.approx(0.456, abs=0.005)


def test_fixed_weights_are_the_drawn_ones():
    network = hw.load_network("squeezenet1_1")
    name = network.layers[3].weight
    drawn = hw.synthetic_weights(network, distribution_of("squeezenet1_1"))[name]
    codes = fixed_weights(network, 1 / 34, "unit")[name]
    assert codes.dtype == np.int16
    np.testing.assert_array_equal(codes, np.rint(drawn * np.float32(1 / 34) * 32768))
    assert codes.std() / 32768 == pytest.approx(1 / 34, rel=0.05)
    assert set(ONE_OVER_STD) == {row.network for row in printed("Figure 8")}


def test_contradictions_hold():
    lines = reproduce(["Contradictions"])
    found = {}
    for x in lines:
        found.setdefault(x.setting, []).append((x.network, x.published, x.ours))

    def of(place, network=""):
        return [(said, gives) for name, said, gives in found[place] if network in ("", name)]

    assert of("Figure 7 against Figure 9", "ResNet50") == [pytest.approx((1.797, 1.621), abs=0.001)]
    assert of("Figure 7 against Figure 9", "SqueezeNet1_1") == [pytest.approx((1.792, 1.621), abs=0.001)]
    assert of("Figure 9", "ResNet50") == [(None, pytest.approx(2.242, abs=0.001))]
    over_stripes = of("Sec. 4.6 against Figure 9")
    assert over_stripes == [pytest.approx((2.00, 3.28), abs=0.005), pytest.approx((3.79, 6.21), abs=0.005)]
    assert of("Table 2, N=10") == [
        pytest.approx((0.090, 0.0877), abs=1e-4), pytest.approx((0.090, 0.0908), abs=1e-4)
    ]  # fmt: skip
    assert of("Table 3, N=10") == [
        pytest.approx((0.131, 0.1250), abs=1e-4), pytest.approx((0.131, 0.1317), abs=1e-4)
    ]  # fmt: skip
    assert of("Table 3, N=8") == [
        pytest.approx((0.242, 0.2317), abs=1e-4), pytest.approx((0.242, 0.2417), abs=1e-4)
    ]  # fmt: skip
    assert of("Table 2, N=4") == [pytest.approx((1.80, 1.7946), abs=1e-4)]
    mild, wild, *changes = of("Table 6")
    assert (mild, wild) == (pytest.approx((2.75, 3.072), abs=0.001), pytest.approx((4.98, 6.281), abs=0.001))
    assert changes == [pytest.approx((-1.64, -1.51), abs=1e-6), pytest.approx((0.07, -0.06), abs=1e-6)]
    at_other_m = [gives for rows in (6, 4) for _, gives in of(f"Sec. 4.3 against Table 4, N={rows}")]
    assert at_other_m == pytest.approx([1.56, 20.7], abs=0.05)
    assert of("Table 7") == [pytest.approx((20.10, 20.51), abs=0.01), pytest.approx((0.05, 0.058), abs=0.001)]
    shares = of("Figure 11b against Table 7")
    assert shares == [pytest.approx((89.361, 98.35), abs=0.01), pytest.approx((62.698, 98.35), abs=0.01)]
    energies = of("Figure 11a against Table 7 and Figure 9")
    assert energies == [pytest.approx((1.394, 0.617), abs=0.001), pytest.approx((0.186, 0.562), abs=0.001)]
    assert of("Sec. 4.6 against Figure 11a") == [pytest.approx((98, 93.267))]
    assert of("Sec. 4") == [
        pytest.approx((76.35, 75.5), abs=0.05), pytest.approx((356.71, 337.9), abs=0.1),
        pytest.approx((4.71, 4.70), abs=0.01),
    ]  # fmt: skip
    assert of("Tables 2 and 3") == [pytest.approx((1.56, 1.56), abs=0.01)]
    assert all(x.why for x in lines)
    # Matters of words, and what two bars imply.
    assert sum(x.published is None for x in lines) == 4 + 2
    assert {x.mark for x in lines} == {Mark.PAPER, Mark.FITS}


def test_places_by_other_names():
    assert places_called("figure 11") == ("Figure 11a", "Figure 11b")
    assert places_called("Figure 6") == places_called("figures 5 and 6") == ("Figures 5 and 6",)
    with pytest.raises(OptionError, match="no lines of 'Figure 4'; there are Table 1"):
        places_called("Figure 4")


def test_losses_of_the_paper():
    found = [fmean(accuracy.losses("Table 5", f"BitX-{name}")) for name in ("mild", "wild")]
    assert found == pytest.approx([-0.26, -0.01])
    assert fmean(accuracy.losses("Table 4", "M=8, N=6")) == pytest.approx(0.485)


@pytest.mark.slow
def test_accuracies_beside_the_tables():
    """The small network alone, on a fifth of its samples: its lines are what an evaluation gives."""
    found = [x for x in reproduce(["Table 2"], quick=True) if x.network == "ours: digits"]
    lost = {(x.setting, x.quantity): x for x in found}
    point = evaluate(task("digits"), [Setting(rows=4)], quick=True, resamples=2).points[1]
    quantity = "loss of top1, groups of 8; published: average accuracy loss"
    line = lost["fp32, N=4", quantity]
    assert line.ours == -100 * point.scores["top1"].difference
    assert (line.published, line.ratio, line.unit) == (2.979, None, "percentage points")
    held = [x.ours for x in found if x.unit == "rows"]
    assert all(rows in (10, 8, 6, 4) for rows in held)
    assert len(found) == 2 * (4 + 1)


def test_a_network_that_is_not_installed_has_a_line(monkeypatch):
    def missing(name):
        raise MissingExtraError("scikit-learn", "evaluation")

    monkeypatch.setattr(accuracy, "task", missing)
    found = list(accuracy.lines(Simulations(places=["Table 6"])))
    assert [(x.ours, x.published) for x in found] == [(None, None)]
    assert "pip install" in found[0].why


def test_our_detector_beside_table_6(monkeypatch):
    """Changes of the score are against what the paper's are; speed-ups are of cycles of both files."""
    scores = {
        ("plain", "unpruned"): 0.9, ("plain", "mild"): 0.91, ("plain", "wild"): 0.88,
        ("software-pruned", "unpruned"): 0.89, ("software-pruned", "mild"): 0.895,
        ("software-pruned", "wild"): 0.85,
    }  # fmt: skip
    found = Composition(
        task="", metrics=("map50",), samples=100, activations="", macs={}, machines=(),
        bitx=tuple(
            ComposedRow(
                weights=weights, instance=instance, rows=None, packed=False, zeros=0.0,
                scores={"map50": Estimate(value, 0, 1, value - 0.9, value - 0.92, value - 0.88, 1.0)},
                cycles=1, on_chip_cycles=1, work_cycles=1, gain=1.0, on_chip_gain=1.0, work_gain=1.0,
            )
            for (weights, instance), value in scores.items()
        ),
    )  # fmt: skip
    monkeypatch.setattr(composed, "compose", lambda *_, **__: found)
    lines = list(composed.lines(Simulations(quick=True)))
    assert {(x.mark, x.alike, x.network, x.ratio) for x in lines} == {
        (Mark.CHOSEN, False, "ours: detector", None)
    }
    changes = [x for x in lines if x.quantity.startswith("mAP change")]
    assert [x.published for x in changes] == [0.06, -0.31, -0.13, 0.07, -1.64]
    assert [x.ours for x in changes] == pytest.approx([1, -2, -1, 0.5, -5])
    assert ["against the slimmed" in x.quantity for x in changes] == [False, False, False, True, False]
    assert "95 % interval -1.00 to 3.00" in changes[0].weights
    speeds = {(x.published, x.quantity.rpartition(", ")[2]): x.ours for x in lines if x not in changes}
    assert {published for published, _ in speeds} == {2.75, 4.98, 2.35, 7.22, 14.76}
    runs = [
        hw.simulate_network(machine(6), hw.load_network(data_folder("samples") / name, sizes={"N": 1}))
        for name in (composed.PLAIN, composed.SLIMMED)
    ]
    plain, slimmed = (run.totals[0] for run in runs)
    assert speeds[14.76, "barrier"] == plain.on_chip_unpruned_cycles / slimmed.on_chip_cycles
    assert speeds[2.35, "work"] == plain.unpruned_work_cycles / slimmed.unpruned_work_cycles
    assert speeds[2.35, "multiply-accumulates"] == plain.macs / slimmed.macs
    assert len(speeds) == 2 * 5 + 1


def test_a_detector_that_can_not_be_scored_has_a_line(monkeypatch):
    def missing(*_, **__):
        raise MissingExtraError("scikit-learn", "evaluation")

    monkeypatch.setattr(composed, "compose", missing)
    (line,) = composed.lines(Simulations())
    assert (line.ours, line.published, line.place) == (None, None, "Table 6")
    assert "pip install" in line.why


def doubled(folder, monkeypatch):
    """Double every number that is published, in a copy."""
    with (data_folder("published") / "bitx-icpp21.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "bitx-icpp21.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(r | {"value": str(2 * float(r["value"])) if r["value"] else ""} for r in rows)
    monkeypatch.setattr(printed_numbers, "data_folder", lambda _: folder)
    printed_numbers.printed.cache_clear()


@pytest.fixture
def other_paper(tmp_path, monkeypatch):
    """Let the paper print twice of everything."""
    doubled(tmp_path, monkeypatch)
    yield
    printed_numbers.printed.cache_clear()


def test_published_numbers_are_no_inputs(tables, other_paper):
    again = reproduce(["Table 2", "Table 3"], accuracy=False)
    assert by_key(again) == by_key(tables)
    published = [(a.published, b.published) for a, b in zip(tables, again, strict=True)]
    assert all(b is None if a is None else b == 2 * a for a, b in published)


def test_a_store_has_the_lines(tables, tmp_path):
    steps = []
    found = reproduce(
        ["Table 3"],
        progress=lambda *step: steps.append(step),
        store=tmp_path / "r.h5",
        parameters={"a": 1},
        accuracy=False,
    )
    assert found == tuple(x for x in tables if x.place == "Table 3")
    assert steps == [(0, 1, "tables 2 and 3"), (1, 1, "")]
    with Store.open(tmp_path / "r.h5") as store:
        table = store.table("reproduction")
        assert list(table) == list(COLUMNS)
        assert list(table["network"]) == [x.network for x in found]
    for name in ("ours", "published"):
        values = [getattr(x, name) for x in found]
        np.testing.assert_array_equal(table[name], [np.nan if v is None else v for v in values])


def test_a_place_that_is_none_is_refused(tmp_path):
    with pytest.raises(OptionError, match="no lines of 'Table 9'; there are Table 1, Table 2"):
        reproduce(["Table 9"], store=tmp_path / "r.h5")
    assert not list(tmp_path.iterdir())


def line(**changed):
    values = {
        "place": "Table 3", "network": "net", "setting": "N=6", "quantity": "q", "unit": "x",
        "published": 2.0, "ours": 1.0, "weights": "w", "why": "because", "mark": Mark.FITS,
    }  # fmt: skip
    return Line(**(values | changed))


def test_ratios():
    assert line().ratio == 0.5
    assert line(published=None).ratio is line(ours=None).ratio is line(published=0.0).ratio is None
    assert line().columns()["mark"] == "fits"


def test_sheets_number_the_reasons_and_leave_details_out():
    sheet, other = sheets(
        [line(), line(why="other"), line(detail=True), line(mark=Mark.CHOSEN), line(), line(place="Table 7")]
    )
    assert [row[-1] for row in sheet.rows] == ["1", "2", "3", "1"]
    assert sheet.notes == ("[fits] because", "[fits] other", "[chosen] because")
    assert (sheet.details, other.place, len(other.rows)) == (1, "Table 7", 1)
    assert headings("Contradictions")[4:6] == ("says", "gives")


def test_readings_say_where_they_come_from():
    assert {name: mark for name, (_, mark) in figure_7.READINGS.items()} == {
        "work": Mark.FITS,
        "barrier": Mark.PAPER,
    }
    assert table_6.SPEED.startswith("speed-up")
    assert {place for section in SECTIONS for place in section.places} == set(PLACES)


# -- all of it -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything():
    """All lines."""
    return reproduce(accuracy=False)


@pytest.mark.slow
def test_all_of_it(everything):
    keys = by_key(everything)
    assert len(keys) > 800

    def of(place, reading, network=""):
        return [
            x for x in everything
            if x.place == place and x.published and x.quantity.endswith(reading)
            and network in ("", x.network)
        ]  # fmt: skip

    for x in of("Figure 7", ", work"):
        assert x.ratio == pytest.approx(1, abs=0.05), x
    bars = [x for x in of("Figure 9", ", barrier") if x.setting.endswith("fp32")]
    assert len(bars) == len(of("Figure 7", ", work")) / 3 == 4
    for x in bars:
        assert x.ratio == pytest.approx(1, abs=0.04), x
    by_hand = {
        ("SqueezeNet1_1", "work"): (1.12, 2.0),
        ("DenseNet121", "work"): (1.04, 1.84),
        ("ResNet50", "work"): (1.04, 1.84),
        ("ResNext101_32x8d", "work"): (1.00, 1.56),
        ("DenseNet121", "barrier"): (1.03, 1.66),
        ("ResNet50", "barrier"): (1.03, 1.66),
        ("ResNext101_32x8d", "barrier"): (1.00, 1.45),
    }
    for (network, reading), gains in by_hand.items():
        assert [x.ours for x in of("Figure 8", f", {reading}", network)] == pytest.approx(gains, abs=0.015)
    for x in everything:
        if x.place == "Figure 8" and x.quantity.endswith("usual scale"):
            assert x.ratio > 1.2  # does not fit
    layers = [x for x in everything if x.detail]
    assert len(layers) == (26 + 53) * 3 * 2
    for place in ("Figure 11a", "Figure 11b"):
        for setting in {x.setting for x in everything if x.place == place}:
            parts = [
                x.ours for x in everything
                if (x.place, x.setting) == (place, setting) and not x.quantity.startswith("buffers")
            ]  # fmt: skip
            assert sum(parts) == pytest.approx(100)


@pytest.mark.slow
def test_published_numbers_are_inputs_nowhere(everything, other_paper):
    ours = {key: value for key, value in by_key(everything).items() if key[0] != "Contradictions"}
    again = by_key(reproduce([place for place in PLACES if place != "Contradictions"], accuracy=False))
    assert again == ours


@pytest.mark.slow
@pytest.mark.models
def test_the_page_is_of_such_a_run(everything):
    """Texts are equal; numbers may differ a little, as NumPy's generators change."""
    found = {x.network for x in everything} & set(REAL)
    assert found == set(REAL)
    written = (ROOT / "docs/reproduction.md").read_text("utf-8")
    # Our networks' accuracies take half an hour; their lines are tested each by itself.
    assert len(re.findall(f"^## Table [2-6]{OWN}$", written, re.MULTILINE)) == 5
    written = re.sub(f"^## Table [2-6]{OWN}\n.*?(?=^## )", "", written, flags=re.MULTILINE | re.DOTALL)
    written, said = re.subn("^Our networks lose .*?\n\n", "", written, flags=re.MULTILINE | re.DOTALL)
    assert said == 1
    number = re.compile(r"(?<=\| )-?[\d.e+-]+(?= \|)")
    ours = page(everything)
    assert number.sub("", ours) == number.sub("", written)
    for a, b in zip(number.findall(ours), number.findall(written), strict=True):
        assert float(a) == pytest.approx(float(b), rel=0.02, abs=0.02)
