"""What is said of a machine is what a simulation finds."""

from pathlib import Path

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import OptionError
from hwmodel.accelerators.cycle_attribution import CAUSES
from hwmodel.studies.explaining import EFFORT_S, KINDS

SAMPLE = Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx"
MACHINES = {
    "bitx": hw.accelerator("bitx"),
    "without DRAM": hw.accelerator("bitx", dram=None, lane_fifo_depth=2, weight_bytes_per_cycle=8),
    "dadiannao": hw.accelerator("dadiannao"),
    "pragmatic": hw.accelerator("pragmatic", dram=None),
}


@pytest.fixture(scope="module")
def network():
    return hw.load_network(SAMPLE, sizes={"N": 1})


@pytest.fixture(scope="module", params=MACHINES)
def case(request, network):
    machine = MACHINES[request.param]
    return machine, hw.simulate_network(machine, network), hw.explain(machine, network)


def test_every_gain_is_that_of_a_simulation_of_its_own(case, network):
    machine, run, found = case
    (before,) = run.totals
    assert len(found.trials) == len(list(machine.changes())) >= 4
    for trial in found.trials:
        assert trial.reason is None
        options = machine.options | dict(trial.change.options)
        (after,) = hw.simulate_network(hw.accelerator(machine.name, **options), network).totals
        assert trial.cycles == after.cycles
        assert trial.saved_cycles == before.cycles - after.cycles
        assert trial.gain == before.cycles / after.cycles
        assert trial.energy_j == after.energy_j
        assert trial.area_mm2 == after.area_mm2


def test_changes_come_in_the_order_of_what_they_save(case):
    _, _, found = case
    saved = [trial.saved_cycles for trial in found.trials]
    assert saved == sorted(saved, reverse=True)
    for kind in KINDS:
        best = found.best(kind)
        of_kind = [t.saved_cycles for t in found.trials if t.kind == kind]
        assert (best.saved_cycles if best else 0) == max([0, *of_kind])
    assert found.best().saved_cycles == max(saved) > 0


def test_equal_peak_means_equal_peak_and_no_more_error(case):
    machine, _, found = case
    for trial in found.trials:
        changed = hw.accelerator(machine.name, **(machine.options | dict(trial.change.options)))
        if trial.kind == "equal peak":
            assert changed.peak_macs_per_cycle == machine.peak_macs_per_cycle
        if machine.name == "bitx" and "rows" in trial.change.options:
            assert trial.kind == "accuracy"


def test_causes_share_out_all_cycles(case):
    _, run, found = case
    (total,) = run.totals
    assert found.cycles == total.cycles == sum(cause.cycles for cause in found.causes)
    assert sum(cause.share for cause in found.causes) == pytest.approx(1)
    assert [c.cycles for c in found.causes] == sorted((c.cycles for c in found.causes), reverse=True)
    for cause in found.causes:
        assert cause.cycles == getattr(total, cause.name) == sum(n for _, n in cause.layers)
        assert cause.description == CAUSES[cause.name]


def test_rooflines(case):
    machine, run, found = case
    assert [layer.layer for layer in found.layers] == [row.layer for row in run.layers]
    for row, layer in zip(run.layers, found.layers, strict=True):
        assert sum(layer.causes.values()) == row.cycles
        assert layer.causes[layer.bound_by] == max(layer.causes.values())
        assert layer.attained_macs_per_cycle == row.macs / row.cycles
        assert layer.peak_macs_per_cycle == machine.peak_macs_per_cycle
        assert layer.intensity_macs_per_byte == row.macs / row.dram_bytes
        if machine.dram is None:
            assert layer.memory_roof_macs_per_cycle is None
            assert layer.roof == "compute"
        else:
            # What the memory takes, the layer takes at least.
            assert layer.memory_roof_macs_per_cycle == pytest.approx(
                row.macs / (row.dram_seconds * row.clock_hz)
            )
            assert layer.attained_macs_per_cycle <= layer.memory_roof_macs_per_cycle * (1 + 1e-9)
        assert layer.roof_macs_per_cycle <= layer.peak_macs_per_cycle
        assert layer.layer in layer.words


def test_only_the_heaviest_layers_where_the_network_is_large(network):
    machine = MACHINES["bitx"]
    whole = hw.explain(machine, network)
    part = hw.explain(machine, network, effort_s=0)
    assert len(whole.tried_layers) == 13
    assert whole.tried_cycles == whole.cycles == part.cycles
    (name,) = part.tried_layers
    cycles = {layer.layer: layer.cycles for layer in whole.layers}
    assert cycles[name] == part.tried_cycles == max(cycles.values())
    assert EFFORT_S > 0


def test_widths_are_not_doubled():
    for name in ("dadiannao", "pragmatic", "stripes"):
        tried = [change.options for change in hw.accelerator(name, dram=None).changes()]
        assert {"columns": 2 * hw.accelerator(name).columns} in tried
        assert not any({"word_bits", "weight_buffer_bytes", "dram_channels"} & set(o) for o in tried)
    assert {"first_stage_bits": 4} in [c.options for c in hw.accelerator("pragmatic").changes()]


def test_what_is_not_possible_is_said(network):
    found = hw.explain(hw.accelerator("scnn", dram=None), network)
    (banks,) = [trial for trial in found.trials if trial.change.options == {"banks": 64}]
    assert "banks must be at most 32" in banks.reason
    assert banks.cycles is banks.saved_cycles is banks.gain is None
    assert found.trials[-1] is banks
    assert found.best() is not banks


def test_packing_zeros_that_costs_accuracy_is_told(tmp_path):
    rng = np.random.default_rng(5)
    weights = {}
    network = hw.load_network(SAMPLE, sizes={"N": 1})
    for entry in network.layers:
        values = rng.standard_normal(entry.layer.weight_shape).astype(np.float32)
        weights[entry.weight] = entry.layout.restore(np.where(rng.random(values.shape) < 0.25, 0, values))
    found = hw.explain(hw.accelerator("bitx", dram=None), network, dump=weights)
    packed = next(t for t in found.trials if "pack_zeros" in t.change.options)
    assert packed.saved_cycles > 0
    assert packed.kind == "accuracy"


def test_rows_must_be_the_machines_own():
    other = hw.simulate_network("dadiannao", "resnet18").layers
    with pytest.raises(OptionError, match="rows must be the results of 'dadiannao' on every layer"):
        hw.explain("dadiannao", "resnet20-cifar10", rows=other)
