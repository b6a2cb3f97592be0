"""Published averages: every figure has a source, a place in the comparison, and a reason why ours differs."""

from math import fsum
from pathlib import Path

import pytest

import hwmodel as hw
from hwmodel.accelerators.bitx.hardware import PE_PARTS
from hwmodel.studies.comparison import conditions, contenders, entries
from hwmodel.studies.published import MEASURES, averages, beside_averages

SAMPLE = Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx"


def test_every_figure_has_its_place():
    names = {c.name for c in contenders(entries(), conditions())}
    for f in averages():
        assert f.accelerator in names or (f.accelerator == "bitxpro" and not f.measure)
        assert not f.measure or f.measure in MEASURES
        assert f.published > 0
        assert f.source
        assert f.why
        if f.low is not None:
            assert f.low <= f.published <= f.high


@pytest.mark.parametrize(
    ("accelerator", "figures"),
    [
        ("stripes", {1.92}),
        ("tetris", {1.43, 2.02}),
        ("aec_kneading", {6.96}),
        ("bitx", {4.82, 14.76, 3.79}),
        ("bitx(format=fixed16)", {2.00}),
        ("bitxpro", {8.27, 10.81, 6.01, 8.20, 0.068, 0.07482, 0.04044}),
        ("bitlet", {1.5, 0.570, 0.432, 0.365}),
        ("unpu", {345.6, 7372, 3.08, 50.6}),
    ],
)
def test_the_figures_are_there(accelerator, figures):
    assert {f.published for f in averages() if f.accelerator == accelerator} == figures


def test_ours_stand_beside_them():
    network = hw.load_network("resnet20-cifar10")
    result = hw.compare(
        network, accelerators=["dadiannao", "stripes", "bitx"], weights="normal", options={"dram": None}
    )
    beside = {(b.figure.accelerator, b.figure.published): b for b in beside_averages(result)}
    stripes = beside["stripes", 1.92]
    assert stripes.ours == result.row("stripes").speedup_on_chip == result.row("stripes").speedup
    assert stripes.ratio == stripes.ours / 1.92
    total = result.run.total(result.row("bitx").label)
    assert beside["bitx", 4.82].ours == total.work_speedup
    assert beside["bitx", 3.79].ours == total.on_chip_speedup_over_unpruned
    assert beside["bitx", 14.76].ours is None
    fixed = result.run.total(result.row("bitx(format=fixed16)").label)
    assert beside["bitx(format=fixed16)", 2.00].ours == fixed.on_chip_speedup_over_unpruned
    assert beside["unpu", 345.6].ours == pytest.approx(345.6)
    assert beside["tetris", 1.43].ours is None  # not in this comparison
    assert beside["bitxpro", 8.27].ratio is None


def test_one_pe_stands_beside_table_7():
    network = hw.load_network(SAMPLE, sizes={"N": 1})
    found = {f.quantity: f for f in hw.published.one_pe(network, bases=("neurosim",))}
    published = {"area": 0.039, "power, float32": 0.06862, "power, fixed16": 0.03641}
    for what, value in published.items():
        total = found[f"Total: {what}"]
        assert total.published == pytest.approx(value)
        assert total.ratio == pytest.approx(total.ours / value)
        parts = [f.ours for name, f in found.items() if name.endswith(what) and f is not total]
        assert total.ours == pytest.approx(fsum(parts))
    machine = hw.accelerator("bitx", processing_elements=1, cost_basis="neurosim")
    areas = machine.area_parts_mm2
    assert found["Total: area"].ours == pytest.approx(fsum(areas[part] for part in PE_PARTS))
    assert found["16 CUs: area"].ours == areas["compute_units"]
    # Power-gated in fixed point, and a dash in the table.
    gated = found["E-alignment: power, fixed16"]
    assert (gated.ours, gated.published, gated.ratio) == (0, None, None)
    assert found["Total: power, fixed16"].ours < found["Total: power, float32"].ours


def test_one_pe_is_asked_for_by_basis():
    network = hw.load_network(SAMPLE, sizes={"N": 1})
    found = hw.published.one_pe(network)
    assert list(dict.fromkeys(f.basis for f in found)) == ["aladdin", "neurosim", "horowitz"]
    assert len(found) == 3 * 3 * 5
