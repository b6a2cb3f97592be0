"""Comparisons: equal conditions, pairs of layers, and the arithmetic of the table."""

import subprocess
import sys
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import OptionError
from bitxcore.store import Store
from hwmodel.accelerators import ChipEnergy, accelerator_class
from hwmodel.simulation.columns import units_of
from hwmodel.studies.comparison import (
    BASELINE,
    COMPARISON_COLUMNS,
    PEAK_MACS_PER_CYCLE,
    Contender,
    conditions,
    contenders,
    entries,
    split,
    summarise,
)

SAMPLE = Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx"


@dataclass(frozen=True, kw_only=True)
class Counted(hw.Accelerator):
    """Takes what it was told, times the layer's inputs; no layer of a kind in `refused`."""

    cycles_per_input: int = 1
    refused: str = ""
    area: float = 2.0

    name: ClassVar[str] = BASELINE
    title: ClassVar[str] = "made up"
    source: ClassVar[str] = "this test"

    @property
    def reads(self):
        return hw.Reads(weights=False)

    @property
    def peak_macs_per_cycle(self):
        return 4096.0

    @property
    def area_parts_mm2(self):
        return {"all": self.area}

    def not_applicable(self, layer):
        return "not this kind" if layer.operation == self.refused else None

    def run(self, layer, operands):
        cycles = self.cycles_per_input * layer.channels
        energy = ChipEnergy({"all": cycles * self.area}, {})
        return self.on_chip(compute_cycles=cycles, utilisation=1.0, energy=energy)


@dataclass(frozen=True, kw_only=True)
class Rival(Counted):
    name: ClassVar[str] = "rival"


@dataclass(frozen=True, kw_only=True)
class Third(Counted):
    name: ClassVar[str] = "third"


NETWORK = hw.Network(
    "made-up",
    tuple(
        hw.NetworkLayer(layer)
        for layer in (
            hw.Linear("a", in_features=100, out_features=10),
            hw.Linear("b", in_features=400, out_features=10),
            hw.MatMul("c", rows=3, inner=50, columns=4),
        )
    ),
    "this test",
)


NOTHING = hw.Workload(network=hw.Network("none", (), source="a test"))


def compared(*machines):
    playing = [Contender(m.label, m) for m in machines]
    run = hw.simulate_network(list(machines), NETWORK)
    return summarise(run, playing, {}, conditions(dram=None))


def test_pairs_are_compared_on_the_layers_that_both_run():
    base = Counted(dram=None, cycles_per_input=6)
    whole = Rival(dram=None, cycles_per_input=3, area=4.0)
    part = Third(dram=None, cycles_per_input=2, refused="matmul", area=1.0)
    result = compared(base, whole, part)
    dense, rival, third = result.rows
    assert (dense.layers, dense.not_applicable, dense.cycles) == (3, 0, 6 * 550)
    assert dense.speedup is dense.common_layers is dense.energy_ratio is None
    assert (rival.common_layers, rival.speedup, rival.speedup_mean) == (3, 2.0, pytest.approx(2.0))
    assert (third.layers, third.not_applicable, third.common_layers) == (2, 1, 2)
    assert third.speedup == 3.0  # the baseline's 6 * 500 over 2 * 500: its 50 of the product are left out
    assert third.cycles == 1000
    # Energy is cycles times area here, so the ratio is speed times area over area; the buffers hardly count.
    assert third.energy_ratio == pytest.approx(3 * 2 / 1)
    assert rival.energy_ratio == pytest.approx(2 * 2 / 4)
    assert third.speedup_per_area == pytest.approx(3 * 2 / 1)
    assert rival.speedup_per_area == pytest.approx(2 * 2 / 4)
    # The fastest other of each, on common layers.
    assert (dense.best_other, dense.best_other_layers) == (part.label, 2)
    assert dense.speedup_over_best_other == pytest.approx(1 / 3)
    assert (third.best_other, third.speedup_over_best_other) == (whole.label, 1.5)
    assert result.row(whole.label) is rival
    with pytest.raises(OptionError, match=r"'nobody' is not in this comparison; it has dadiannao"):
        result.row("nobody")


def test_means_over_layers_are_geometric():
    @dataclass(frozen=True, kw_only=True)
    class Uneven(Counted):
        name: ClassVar[str] = "uneven"

        def run(self, layer, operands):
            return self.on_chip(compute_cycles=25 if layer.name == "a" else 400, utilisation=1.0)

    result = compared(Counted(dram=None), Uneven(dram=None, refused="matmul"))
    row = result.rows[1]
    assert row.speedup == pytest.approx(500 / 425)
    assert row.speedup_mean == pytest.approx(sqrt(4 * 1))


def test_a_variant_is_no_other_design_and_small_parts_are_no_rival():
    base = Counted(dram=None, cycles_per_input=4)
    fast, faster = Rival(dram=None, cycles_per_input=2), Rival(dram=None, cycles_per_input=1)
    little = Third(dram=None, cycles_per_input=1, refused="linear")
    rows = compared(base, fast, faster, little).rows
    assert rows[1].best_other == base.label
    assert rows[0].best_other == faster.label  # never `little`, which runs a tenth
    assert rows[3].best_other == faster.label
    assert rows[3].best_other_layers == 1


def test_no_common_layer_has_no_number():
    rows = compared(Counted(dram=None, refused="matmul"), Rival(dram=None, refused="linear")).rows
    assert [r.common_layers for r in rows] == [None, None]
    assert rows[1].speedup is rows[1].best_other is rows[1].energy_ratio is rows[1].speedup_per_area is None


def test_everybody_enters_under_equal_conditions():
    common = conditions(clock_hz=8e8, weight_buffer_bytes=1 << 18)
    field = contenders(entries(), common)
    assert {c.machine.name for c in field} == set(hw.accelerator_names())
    assert field[0].name == BASELINE
    assert len({c.name for c in field}) == len({c.machine.label for c in field}) == len(field)
    for c in field:
        assert {name: c.machine.options[name] for name in common} == common
        if type(c.machine).__module__.startswith("hwmodel."):
            assert c.machine.peak_macs_per_cycle == pytest.approx(PEAK_MACS_PER_CYCLE, rel=0.01)
    for name in hw.accelerator_names():
        cls = accelerator_class(name)
        assert sum(c.machine.name == name for c in field) == len(cls.variants)
        for own in cls.variants:
            assert not set(own) & set(cls.comparison)


def test_equal_machines_enter_once():
    field = contenders([("bitx", {}), ("bitx", {"rows": 6}), ("bitx", {"rows": 4})], conditions())
    assert [c.name for c in field] == ["bitx", "bitx(rows=4)"]


def test_conditions_are_those_that_all_machines_have():
    with pytest.raises(OptionError, match="'rows' is not an option of every accelerator; these are clock_hz"):
        conditions(rows=4)


def test_who_lacks_operands_takes_no_part_and_says_so():
    field = contenders(entries(["bitx", "stripes", "scnn", "dadiannao"]), conditions())
    playing, absent = split(field, NOTHING)
    assert [c.name for c in playing] == ["dadiannao", "stripes"]
    reasons = {c.name: reason for c, reason in absent.values()}
    assert reasons["scnn"] == "needs weights and activations, which are not given"
    assert reasons["bitx"] == "needs weights, which are not given"
    with pytest.raises(OptionError, match="scnn needs weights and activations"):
        split([c for c in field if c.name == "scnn"], NOTHING)
    network = hw.load_network("resnet20-cifar10")
    result = hw.compare(network, accelerators=["bitx", "stripes", "dadiannao"])
    assert [r.accelerator for r in result.rows] == ["dadiannao", "stripes", "bitx", "bitx(format=fixed16)"]
    assert [r.reason is None for r in result.rows] == [True, True, False, False]
    assert result.rows[2].cycles is result.rows[2].speedup is None


def test_the_store_has_the_table(tmp_path):
    network = hw.load_network(SAMPLE, sizes={"N": 1})
    result = hw.compare(
        network, accelerators=["bitx", "dadiannao"], options={"dram": None}, store=tmp_path / "run.h5"
    )
    with Store.open(tmp_path / "run.h5") as store:
        table = store.table("comparison")
        assert store.units("comparison") == units_of(COMPARISON_COLUMNS)
        assert store.table("simulation")["cycles"].size == 3 * len(network)
    assert list(table["accelerator"]) == ["dadiannao", "bitx", "bitx(format=fixed16)"]
    np.testing.assert_array_equal(table["cycles"], [row.cycles for row in result.rows])
    assert (
        table["speedup"][1]
        == result.row("bitx").speedup
        == result.run.speedup("bitx(dram=None)", result.row(BASELINE).label)
    )
    assert set(asdict(result.rows[0])) == set(units_of(COMPARISON_COLUMNS))


def test_a_machine_that_runs_no_layer_has_no_cycles(tmp_path):
    layer = hw.Conv("c", in_channels=3, out_channels=4, in_size=(5, 5), kernel=3)
    network = hw.Network("n", (hw.NetworkLayer(layer),), "this test")
    result = hw.compare(
        network, accelerators=["dadiannao", "eie"], weights="normal", store=tmp_path / "run.h5"
    )
    row = result.row("eie")
    assert (row.layers, row.not_applicable, row.cycles, row.speedup) == (0, 1, None, None)
    assert result.run.total(row.label).columns()["cycles"] is None
    with Store.open(tmp_path / "run.h5") as store:
        for table in ("comparison", "networks"):
            assert store.table(table)["cycles"].mask.tolist() == [False, True]


SCALE = """
import hwmodel as hw
result = hw.compare(hw.load_network("resnet50"), weights="normal", activations="relu-normal")
assert all(row.reason is None for row in result.rows)
for row in result.rows:
    print(row.accelerator, row.layers, row.cycles)
# Unlike ru_maxrss, without what the process that started this one had.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs the peak of a process")
def test_all_accelerators_on_resnet50_in_4_gib():
    """What is asked of 2 cores: every registered machine, synthetic operands, kernels compiled already."""
    warm = "import hwmodel as hw; hw.compare(hw.load_network('resnet20-cifar10'), weights='normal')"
    subprocess.run([sys.executable, "-c", warm], check=True)
    done = subprocess.run([sys.executable, "-c", SCALE], check=True, capture_output=True, text=True)
    *rows, peak_kib = done.stdout.splitlines()
    assert {line.split()[0].partition("(")[0] for line in rows} >= set(hw.accelerator_names())
    assert int(peak_kib) < 4 << 20


# -- what may be asked for ---------------------------------------------------------------------


def test_a_machine_as_it_is_stands_beside_the_registered_one():
    own = hw.accelerators.CambriconS()
    found = hw.compare(
        "resnet20-cifar10", accelerators=["dadiannao", "cambricon_s"], also=own, weights="normal:zeros=0.5"
    )
    names = [row.accelerator for row in found.rows]
    assert len(set(names)) == 3
    for machine, row in zip(found.machines, found.rows, strict=True):
        assert row.label == machine.label
        assert row.cycles == found.run.total(machine.label).cycles
    assert found.row("cambricon_s").label == own.label
    assert len({row.cycles for row in found.rows}) == 3


def test_names_enter_as_they_do_elsewhere():
    load = hw.Workload.of("resnet20-cifar10", weights="normal")
    found = hw.compare(load, accelerators="dadiannao", also="stripes")
    assert [row.accelerator for row in found.rows] == ["dadiannao", "stripes"]
    pair = hw.compare(load, accelerators="dadiannao", also=("bitx", {"rows": 3}))
    assert [row.accelerator for row in pair.rows] == ["dadiannao", "bitx(rows=3)"]


@pytest.mark.parametrize(("asked", "text"), [
    ({"accelerators": []}, "at least one accelerator is needed"),
    ({"accelerators": [hw.accelerators.BitX()]}, "machines as they are go into also="),
    ({"also": [3]}, "a name, a name with its options, or an accelerator is needed, got 3"),
    ({"also": [("bitx", None)]}, "a name, a name with its options"),
    ({"settings": {"bitz": {}}}, "accelerator 'bitz' is not known"),
    ({"settings": {"dadiannao": {"foo": 3}}}, "has no option 'foo'"),
])  # fmt: skip
def test_what_enters_no_comparison_is_refused(asked, text):
    with pytest.raises(OptionError, match=text):
        hw.compare("resnet20-cifar10", **asked)
