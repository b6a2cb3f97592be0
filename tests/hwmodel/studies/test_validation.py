"""Papers' tables with ours beside them, held to what was found, so that a change is noticed."""

from pathlib import Path

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import OptionError
from hwmodel.studies.validation import MACHINES, STANDINGS, Row, Standing
from hwmodel.studies.validation import eie_paper as eie
from hwmodel.studies.validation import stripes_paper as stripes
from hwmodel.studies.validation import tetris_paper as tetris
from hwmodel.studies.validation.record import published_rows

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "validation.md"


@pytest.fixture(scope="module")
def script():
    """Names of the script that writes the page."""
    path = ROOT / "docs" / "recipes" / "validation.py"
    names = {"__name__": "validation", "__file__": str(path)}
    exec(compile(path.read_text("utf-8"), path, "exec"), names)
    return names


@pytest.mark.parametrize("name", ["stripes-precisions", "eie-layers", "scnn-speedups"])
def test_every_figure_has_a_standing(name):
    rows = published_rows(name)
    assert rows
    assert {Standing(row["standing"]) for row in rows} <= set(STANDINGS)


def test_every_convolution_has_its_precision():
    networks = {row["network"] for row in published_rows("stripes-precisions")}
    for network in networks:
        table, bits = stripes.precisions(network)
        names = {layer.name for layer, _ in stripes.convolutions(table, bits)}
        assert {name.partition("/")[0] for name in names} == {name.partition("/")[0] for name in bits}
        assert all(1 <= b <= 16 for b in bits.values())
    assert len(networks) == 6
    table, bits = stripes.precisions("GoogLeNet")
    assert len(bits) == 11
    by_name = {x.name: b for x, b in stripes.convolutions(table, bits)}
    assert by_name["inception_3a/5x5_reduce"] == by_name["inception_3a/1x1"] == 10
    assert by_name["conv2/3x3_reduce"] == by_name["conv2/3x3"] == 8


def test_stripes_beside_its_paper():
    rows = hw.validation.rows(["stripes"])
    by_macs, filled, simulated = ([row.ratio for row in rows[i::3]] for i in range(3))
    assert [row.network for row in rows[::3]] == ["AlexNet", "NiN", "GoogLeNet", "VGG_M", "VGG_S", "VGG_19"]
    assert by_macs == pytest.approx([0.979, 0.996, 1.032, 0.989, 0.972, 0.999], abs=0.001)
    assert filled == pytest.approx([0.869, 1.010, 0.999, 1.000, 1.001, 0.999], abs=0.001)
    assert simulated == pytest.approx([0.902, 0.953, 0.968, 0.977, 0.966, 0.996], abs=0.001)


def test_the_one_tower_alexnet_is_nearer():
    _, bits = stripes.precisions("AlexNet")
    layers = [e.layer for e in hw.load_network("alexnet").layers if isinstance(e.layer, hw.Conv)]
    assert stripes.ideal([*zip(layers, bits.values(), strict=True)]) == pytest.approx(2.368, abs=0.001)


def test_ideal_speeds_by_hand():
    layers = [(hw.Conv("a", 1, 1, (4, 4), 1), 8), (hw.Conv("b", 1, 2, (4, 4), 1), 4)]
    # 16 multiply-accumulates of 8 bits and 32 of 4 take 256; at 16 bits 768.
    assert stripes.ideal(layers) == 3
    assert stripes.mean_of_ratios(layers) == pytest.approx((2 + 2 * 4) / 3)
    assert [stripes.macs_with_empty_lanes(layer) for layer, _ in layers] == [16 * 16, 16 * 32]


def test_eie_beside_its_paper():
    rows = list(eie.rows(("AlexNet FC8", "VGG-16 FC8", "NeuralTalk We", "NeuralTalk LSTM")))
    assert [row.ratio for row in rows] == pytest.approx([0.82, 0.99, 0.93, 0.90], abs=0.03)


def test_what_eie_would_take_without_waiting_by_hand():
    # 64 outputs, one a PE: a column is one entry in each PE that has a weight.
    layer = hw.Linear("fc", in_features=3, out_features=64, positions=2)
    weights = np.ones((64, 3), np.int8)
    weights[:32, 0] = 0
    operands = hw.Operands(weights, np.array([[1, 1, 0], [0, 0, 1]], np.int8))
    times = eie.times(layer, operands)
    assert times.products == times.entries == pytest.approx((0.5 + 1 + 1) / 2 / 800)
    assert times.simulated >= times.products


def test_drawn_operands_have_the_densities():
    layer = hw.Linear("fc", in_features=1000, out_features=500, positions=8)
    operands = eie.drawn(layer, 0.09, 0.351)
    assert operands.weights.mean() == pytest.approx(0.09, abs=0.002)
    assert operands.activations.mean() == pytest.approx(0.351, abs=0.02)


def test_the_kneading_rule_alone_beside_the_papers_networks():
    found = [tetris.rule_alone(ks) for ks in tetris.STRIDES]
    assert found == pytest.approx([0.746, 0.694, 0.658, 0.636], abs=0.002)
    assert tetris.published("VGG-16", 16) == 0.7087


def test_rows_by_machine():
    assert {row.machine for row in hw.validation.rows(["stripes"])} == {"stripes"}
    assert hw.validation.rows([]) == ()
    with pytest.raises(OptionError, match="'tpu'; there are bitx, stripes, eie"):
        hw.validation.rows(["tpu"])
    row = Row(
        machine="eie", what="time", network="FC6", published=30, ours=33, unit="us", standing=Standing.MEMORY
    )
    assert row.ratio == pytest.approx(1.1)


def test_every_machine_says_how_and_what_differs(script):
    for machine in MACHINES:
        study = hw.validation.study(machine)
        assert study.machine == machine in hw.accelerator_names()
        assert study.method
        assert study.findings
        assert f"## {study.title}\n\n{script['wrapped'](study.method)}\n" in PAGE.read_text("utf-8")


def test_quick_parts_of_the_page_are_the_scripts(script):
    assert script["section"]("stripes", hw.validation.rows(["stripes"])) in PAGE.read_text("utf-8")
    printed = {0.7087: "0.709", 2.0: "2.00", 39: "39.0", 120.4: "120", 1234.5: "1234"}
    assert {value: script["number"](value) for value in printed} == printed


@pytest.mark.slow
def test_page_is_the_scripts(script):
    assert script["page"]() == PAGE.read_text("utf-8")
