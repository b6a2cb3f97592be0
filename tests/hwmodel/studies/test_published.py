"""Published averages: every figure has a source, a place in the comparison, and a reason why ours differs."""

import pytest

import hwmodel as hw
from hwmodel.studies.comparison import conditions, contenders, entries
from hwmodel.studies.published import MEASURES, averages, beside_averages


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
        ("bitx", {4.82, 14.76, 2.00, 3.79}),
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
    assert beside["bitx", 4.82].ours == total.speedup_over_all_rows
    assert beside["bitx", 2.00].ours == result.row("bitx").speedup_over_best_other
    assert beside["unpu", 345.6].ours == pytest.approx(345.6)
    assert beside["tetris", 1.43].ours is None  # not in this comparison
    assert beside["bitxpro", 8.27].ratio is None
