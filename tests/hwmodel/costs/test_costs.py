"""Energy and area: figures, sums, and laws."""

import csv
from itertools import pairwise
from math import fsum
from pathlib import Path

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import OptionError
from bitxcore.store import Store
from hwmodel.accelerators.bitx.hardware import Datapath, Events, Hardware
from hwmodel.costs.figures import BASES, Cost, costs
from hwmodel.studies import published

DATA = Path(__file__).parents[3] / "data" / "costs"
PARTS = [
    "e_align", "extractor", "activation_fifo", "lanes", "accumulators",
    "weight_buffer", "activation_buffer", "output_buffer", "leakage", "clock", "dram",
]  # fmt: skip
RNG = np.random.default_rng(2)
LAYER = hw.Conv("c", in_channels=16, out_channels=40, in_size=(8, 8), kernel=3)
WEIGHTS = RNG.standard_normal(LAYER.weight_shape).astype(np.float32)


def simulate(**options):
    return hw.simulate(hw.accelerator("bitx", **options), LAYER, hw.Operands(WEIGHTS))


# Figures


def test_every_row_has_a_source():
    for path in DATA.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        assert all(row["source"] for row in rows), path


@pytest.mark.parametrize(
    ("basis", "energy_pj", "area_um2"),
    [("aladdin", 0.062, 76.1), ("neurosim", 0.026, 37), ("horowitz", 0.026, 25)],
)
def test_figures_are_those_of_the_basis(basis, energy_pj, area_um2):
    c = costs(basis)
    found = c.adder(16)
    assert (found.energy_j, found.area_mm2) == pytest.approx((energy_pj * 1e-12, area_um2 * 1e-6))
    assert c.adder(24).energy_j == pytest.approx((c.adder(16).energy_j + c.adder(32).energy_j) / 2)
    assert c.adder(8).energy_j == pytest.approx(found.energy_j / 2)
    assert c.adder(64).area_mm2 == pytest.approx(2 * c.adder(32).area_mm2)
    # What a basis lacks is a share of its own adder, by NAND2 equivalents: an AND is 1.5 of 5.
    assert c.gates("and", 10).energy_j == pytest.approx(10 * 1.5 / 5 * energy_pj / 16 * 1e-12)
    assert all(figure.source for figure in c.figures())
    derived = next(f for f in c.figures() if f.name.startswith("multiplexer"))
    assert "2.5 of the 5 NAND2 equivalents" in derived.source


def test_float_adder_of_a_basis_that_has_none_is_a_ratio():
    horowitz, aladdin = costs("horowitz"), costs("aladdin")
    assert horowitz.float32_adder().energy_j == pytest.approx(0.46e-12)
    assert aladdin.float32_adder().energy_j == pytest.approx(0.124e-12 * 0.46 / 0.051, rel=1e-3)


def test_srams_are_banked():
    c = costs("aladdin")
    assert (c.sram(1 << 19).banks, c.sram(1 << 19).bank_bytes) == (16, 1 << 15)
    assert (c.sram(3000).banks, c.sram(3000).bank_bytes) == (1, 4096)
    assert c.sram(1).bank_bytes == 512
    assert c.sram(1 << 15).read_j == pytest.approx(12.0083e-12)
    assert c.sram(1 << 16).area_mm2 == pytest.approx(2 * 0.04126)
    assert c.sram(1 << 15).accesses(257) == 2


def test_unknown_basis():
    with pytest.raises(OptionError, match="cost_basis must be one of aladdin, neurosim, horowitz, got 'x'"):
        hw.accelerator("bitx", cost_basis="x")


class Gates:
    """Sizes in NAND2 equivalents instead of energies and areas."""

    def gates(self, cell, count):
        return Cost(0, {"and": 1.5, "xor": 2.5, "multiplexer": 2.5}[cell] * count)

    def adder(self, bits):
        return Cost(0, 5 * bits)

    def register(self, bits):
        return Cost(0, 6 * bits)

    def shifter(self, bits, places):
        return self.gates("multiplexer", bits * (places - 1).bit_length())


def test_a_lane_is_within_a_tenth_of_the_size_that_synthesis_gives():
    """8-bit weights (7 rows) and 16-bit activations: 3,100 to 3,540 NAND2 equivalents, five libraries."""
    path, gates = Datapath(16, 7, 16, 0), Gates()
    size = (path.lane(gates) + path.accumulate(gates) + path.accumulator(gates)).area_mm2
    assert size == 3_075.5
    assert 0.9 * 3_100 <= size <= 1.1 * 3_540


# Results


def test_parts_sum_to_the_energy_and_the_area():
    for form in (None, "fixed16"):
        acc = hw.accelerator("bitx", format=form)
        r = hw.simulate(acc, LAYER, hw.Operands(WEIGHTS))
        assert list(r.energy_parts_j) == PARTS
        assert all(energy >= 0 for energy in r.energy_parts_j.values())
        assert r.energy_j == fsum(r.energy_parts_j.values())
        assert r.area_mm2 == fsum(acc.area_parts_mm2.values())
        assert list(acc.area_parts_mm2) == PARTS[:8]
        assert r.power_w == r.energy_j / r.seconds
        assert r.columns()["energy_j"] == r.energy_j


def test_doubling_the_clock_halves_the_time_and_changes_no_cycle():
    slow, fast = simulate(clock_hz=5e8, dram=None), simulate(clock_hz=1e9, dram=None)
    assert slow.cycles == fast.cycles
    assert slow.seconds == 2 * fast.seconds
    for part in PARTS[:-1]:
        factor = 2 if part == "leakage" else 1
        assert slow.energy_parts_j[part] == pytest.approx(factor * fast.energy_parts_j[part])


def test_doubling_the_clock_does_not_speed_up_the_dram():
    slow, fast = simulate(clock_hz=5e8), simulate(clock_hz=1e9)
    assert slow.on_chip_cycles == fast.on_chip_cycles
    assert slow.cycles < fast.cycles
    assert slow.dram_seconds == fast.dram_seconds <= fast.seconds < slow.seconds


def test_e_align_is_gated_in_fixed_point():
    floating, fixed = simulate(), simulate(format="fixed16")
    assert floating.energy_parts_j["e_align"] > 0
    assert fixed.energy_parts_j["e_align"] == 0
    assert fixed.area_mm2 == floating.area_mm2
    gated = hw.accelerator("bitx").area_parts_mm2["e_align"]
    leakage = 0.01 * (fixed.area_mm2 - gated) * fixed.seconds
    assert fixed.energy_parts_j["leakage"] == pytest.approx(leakage)
    assert floating.energy_parts_j["leakage"] == pytest.approx(0.01 * floating.area_mm2 * floating.seconds)
    for part in ("extractor", "lanes", "accumulators", "weight_buffer"):
        assert fixed.energy_parts_j[part] < floating.energy_parts_j[part]


def test_fewer_rows_cost_less():
    found = [simulate(rows=n).energy_parts_j for n in (32, 9, 5, 3, 1)]
    for part in ("lanes", "extractor", "accumulators", "clock", "leakage"):
        values = [parts[part] for parts in found]
        assert all(a > b for a, b in pairwise(values)), part
    assert found[0]["weight_buffer"] == found[-1]["weight_buffer"]


def test_basis_is_switchable():
    energies = {basis: simulate(cost_basis=basis).energy_j for basis in BASES}
    assert len(set(energies.values())) == 3
    assert max(energies.values()) < 5 * min(energies.values())
    assert simulate(cost_basis="neurosim").accelerator == "bitx(cost_basis=neurosim)"


def test_events_by_hand():
    """One filter of two groups of 4 (rows 2 and 1) at 5 positions, 3 at a time, one lane, 8-bit weights."""
    seen = []

    class Watching(Hardware):
        def energy(self, path, events):
            seen.append((path, events))
            return super().energy(path, events)

    acc = hw.accelerator(
        "bitx",
        compute_units=1,
        processing_elements=3,
        group=4,
        rows=2,
        pack_zeros=False,
        fifo_depth=1,
        dram=None,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwmodel.accelerators.bitx.machine.Hardware", Watching)
        w = np.array([[64, 32, 0, 0, 1, 0, 0, 0]], np.int8)
        r = hw.simulate(acc, hw.Linear("l", 8, 1, positions=5), hw.Operands(w))
    ((path, events),) = seen
    assert path == Datapath(group=4, window=7, parallel_bits=16, exponent_bits=0)
    assert events == Events(
        serial_groups=2 * 2,
        rows_emitted=3 * 2,
        rows_applied=3 * 5,
        pe_cycles=3 * 5,
        group_sums=2 * 5,
        parallel_groups=2 * 5,
        weight_bits_read=2 * 2 * 32,
        activation_bits_read=2 * 5 * 64,
        output_bits_written=5 * 16,
    )
    c = costs("aladdin")
    assert r.energy_parts_j["lanes"] == 15 * path.lane(c).energy_j
    # 128 bits read in 1 access, 64 written by the memory in 1.
    assert r.energy_parts_j["weight_buffer"] == c.sram(1 << 19).read_j + c.sram(1 << 19).write_j


def test_networks_add_up_and_reach_the_store(tmp_path):
    network = hw.Network(
        "two",
        (hw.NetworkLayer(LAYER, "a"), hw.NetworkLayer(hw.Linear("l", 90, 7), "b")),
        source="a test",
    )
    dump = {"a": WEIGHTS, "b": RNG.standard_normal((7, 90)).astype(np.float32)}
    machines = [hw.accelerator("bitx"), hw.accelerator("dadiannao")]
    run = hw.simulate_network(machines, network, dump=dump, store=tmp_path / "run.h5")
    total = run.totals[0]
    rows = run.of("bitx")
    assert total.energy_j == pytest.approx(sum(r.energy_j for r in rows))
    assert total.seconds == pytest.approx(sum(r.seconds for r in rows))
    assert total.energy_j == fsum(total.energy_parts_j.values())
    both = run.totals
    with Store.open(tmp_path / "run.h5") as store:
        energy = store.table("energy")
        assert sum(energy["energy_j"]) == pytest.approx(sum(t.energy_j for t in both))
        assert store.units("energy")["energy_j"] == "J"
        assert sum(store.table("area")["area_mm2"]) == pytest.approx(sum(t.area_mm2 for t in both))
        figures = store.table("costs")
        assert len(figures["name"]) == sum(len(m.cost_figures) for m in machines)
        assert all(figures["source"])


# Beside the published figures


def test_published_figures_are_beside_ours_and_never_inputs():
    machine = published.nearest_in_area("aladdin", 1e9)
    assert published.logic_area_mm2(machine) == pytest.approx(published.AREA_MM2, rel=0.1)
    network = hw.Network("one", (hw.NetworkLayer(LAYER, "a"),), source="a test")
    found = published.area_and_power(network, dump={"a": WEIGHTS})[1]
    assert [c.quantity for c in found] == ["area", "power, float32", "power, fixed16"]
    assert [c.published for c in found] == [0.039, 0.06862, 0.03641]
    for c in found:
        assert c.ratio == c.ours / c.published
        assert 0.1 < c.ratio < 10
    assert found[1].ours > found[2].ours
    sources = (Path(hw.__file__).parent / "accelerators").rglob("*.py")
    for path in [*sources, *DATA.iterdir()]:
        text = path.read_text("utf-8")
        assert not any(figure in text for figure in ("0.039", "68.62", "36.41", "0.06862", "0.03641")), path
