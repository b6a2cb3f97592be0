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
from hwmodel.accelerators.bitx.datapath import RowSerial, WeightSerial
from hwmodel.accelerators.bitx.hardware import PE_PARTS, Events, Hardware
from hwmodel.costs.figures import BASES, Cost, costs
from hwmodel.memory.channels import Channels
from hwmodel.memory.overlap import schedule
from hwmodel.memory.stored import dense_bits
from hwmodel.memory.widths import OperandWidths
from hwmodel.studies import published

DATA = Path(__file__).parents[3] / "data" / "costs"
PARTS = [
    *PE_PARTS, "activation_alignment", "activation_fifo",
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
    path, gates = RowSerial(group=16, window=7, rows=7, parallel_bits=16, exponent_bits=0), Gates()
    size = (path.lane(gates) + path.combine(gates)).area_mm2
    assert size == 2_955.5
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
        assert list(acc.area_parts_mm2) == PARTS[:10]
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
    assert fast.dram_seconds <= fast.seconds < slow.seconds
    # The same bytes, if not in the same tiles: each machine takes those that make it wait least.
    assert slow.dram_bytes == fast.dram_bytes
    assert slow.dram_seconds == pytest.approx(fast.dram_seconds, rel=0.05)
    # The same tiles take the DRAM equally long.
    memory = hw.accelerator("bitx").memory
    tiling = memory.move(LAYER, dense_bits(LAYER, 32, 32)).tiling
    widths = OperandWidths(WEIGHTS.size * 32, WEIGHTS.size * 32, 32, 32, 512)
    timed = [schedule(tiling, widths, Channels(memory.dram, 4), clock_hz) for clock_hz in (5e8, 1e9)]
    assert timed[0].seconds == timed[1].seconds


def test_e_align_is_gated_in_fixed_point():
    floating, fixed = simulate(), simulate(format="fixed16")
    only_floats = ("e_alignment", "activation_alignment", "conversion")
    assert all(floating.energy_parts_j[part] > 0 for part in only_floats)
    assert all(fixed.energy_parts_j[part] == 0 for part in only_floats)
    assert fixed.area_mm2 == floating.area_mm2
    gated = sum(hw.accelerator("bitx").area_parts_mm2[part] for part in only_floats)
    leakage = 0.01 * (fixed.area_mm2 - gated) * fixed.seconds
    assert fixed.energy_parts_j["leakage"] == pytest.approx(leakage)
    assert floating.energy_parts_j["leakage"] == pytest.approx(0.01 * floating.area_mm2 * floating.seconds)
    for part in ("bit_extraction", "compute_units", "weight_buffer"):
        assert fixed.energy_parts_j[part] < floating.energy_parts_j[part]


def test_fewer_rows_cost_less():
    found = [simulate(rows=n).energy_parts_j for n in (32, 9, 5, 3, 1)]
    for part in ("bit_extraction", "compute_units", "clock", "leakage"):
        values = [parts[part] for parts in found]
        assert all(a > b for a, b in pairwise(values)), part
    assert found[0]["weight_buffer"] == found[-1]["weight_buffer"]


def test_basis_is_switchable():
    energies = {basis: simulate(cost_basis=basis).energy_j for basis in BASES}
    assert len(set(energies.values())) == 3
    assert max(energies.values()) < 5 * min(energies.values())
    assert simulate(cost_basis="neurosim").accelerator == "bitx(cost_basis=neurosim)"


def events_of(weights, positions, **options):
    """Datapath that a layer uses, its events and its result, on one PE of 3 CUs."""
    seen = []

    class Watching(Hardware):
        def energy(self, path, events):
            seen.append((path, events))
            return super().energy(path, events)

    machine = {"processing_elements": 1, "compute_units": 3, "group": 4, "rows": 2, "fifo_depth": 1}
    acc = hw.accelerator("bitx", **(machine | {"pack_zeros": False, "dram": None} | options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwmodel.accelerators.bitx.machine.Hardware", Watching)
        layer = hw.Linear("l", weights.shape[1], len(weights), positions=positions)
        r = hw.simulate(acc, layer, hw.Operands(weights))
    return *seen[0], r


def test_events_by_hand():
    """One filter of two groups of 4 at 5 positions, 3 at a time; 8-bit weights.

    Rows 64 and 32 are kept of the first group: 2, 1, 0 and 0 ones, 2 cycles; row 1 of the second: 1, 1 cycle.
    """
    w = np.array([[96, 32, 0, 0, 1, 0, 0, 0]], np.int8)
    path, events, r = events_of(w, positions=5)
    assert path == WeightSerial(group=4, window=7, rows=2, parallel_bits=16, exponent_bits=0)
    assert events == Events(
        serial_groups=2 * 2,
        handed_out=4 * 2,
        applied=4 * 5,
        cu_cycles=3 * 5,
        outputs=5,
        parallel_groups=2 * 5,
        taken_groups=2 * 5,
        weight_bits_read=2 * 2 * 32,
        activation_bits_read=2 * 5 * 64,
        output_bits_written=5 * 16,
    )
    c = costs("aladdin")
    units = 20 * path.lane(c).energy_j + 15 * path.combine(c).energy_j
    assert r.energy_parts_j["compute_units"] == units
    # 128 bits read in 1 access, 64 written by the memory in 1.
    assert r.energy_parts_j["weight_buffer"] == c.sram(1 << 19).read_j + c.sram(1 << 19).write_j


def test_events_of_other_organisations_by_hand():
    w = np.array([[96, 32, 0, 0, 1, 0, 0, 0]], np.int8)
    _, rows, _ = events_of(w, positions=5, serial_unit="row")
    assert (rows.handed_out, rows.applied, rows.cu_cycles) == (3 * 2, 3 * 5, 3 * 5)
    # Both groups are a step of 2 cycles, on all 3 CUs, at each position.
    _, shared, _ = events_of(w, positions=5, cu_operands="weights")
    assert (shared.serial_groups, shared.handed_out, shared.applied) == (2 * 5, 4 * 5, 4 * 5)
    assert (shared.cu_cycles, shared.taken_groups) == (2 * 3 * 5, 2 * 5)
    _, queued, r = events_of(w, positions=5, lane_fifo_depth=1)
    assert queued.applied == 4 * 5
    assert r.energy_parts_j["lane_queues"] > 0


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
    network = hw.Network("one", (hw.NetworkLayer(LAYER, "a"),), source="a test")
    found = {(c.quantity, c.basis): c for c in published.one_pe(network, dump={"a": WEIGHTS})}
    assert len(found) == 3 * 3 * 5
    totals = {"area": 0.039, "power, float32": 0.06862, "power, fixed16": 0.03641}
    for basis in BASES:
        for what, figure in totals.items():
            c = found[f"Total: {what}", basis]
            assert c.published == pytest.approx(figure)
            assert c.ratio == c.ours / c.published
            parts = (p for p in ("E-alignment", "Bit Extraction", "16 CUs", "Misc&Control"))
            assert c.ours == pytest.approx(sum(found[f"{p}: {what}", basis].ours for p in parts))
            assert 0.1 < c.ratio < 10
        gated = found["E-alignment: power, fixed16", basis]
        assert (gated.ours, gated.published, gated.ratio) == (0.0, None, None)
        assert found["Total: power, float32", basis].ours > found["Total: power, fixed16", basis].ours
    sources = (Path(hw.__file__).parent / "accelerators").rglob("*.py")
    for path in [*sources, *DATA.iterdir()]:
        text = path.read_text("utf-8")
        assert not any(figure in text for figure in ("0.039", "68.62", "36.41", "0.06862", "0.03641")), path


def test_one_pe_is_a_machine_of_one():
    """Its power is the energy of its parts over the time, leakage and clock of other parts left out."""
    network = hw.Network("one", (hw.NetworkLayer(LAYER, "a"),), source="a test")
    (total,) = (
        c.ours
        for c in published.one_pe(network, dump={"a": WEIGHTS}, bases=["horowitz"])
        if c.quantity == "Total: power, float32"
    )
    acc = hw.accelerator("bitx", processing_elements=1, cost_basis="horowitz", dram=None)
    r = hw.simulate(acc, LAYER, hw.Operands(WEIGHTS))
    parts = acc.hardware.inventory()
    c = costs("horowitz")
    energy = sum(r.energy_parts_j[p] for p in PE_PARTS)
    clock = sum(parts[p].register_bits for p in PE_PARTS) * c.clock_j_per_bit * 1e9
    leakage = sum(parts[p].area_mm2 for p in PE_PARTS) * c.leakage_w_per_mm2
    assert total == pytest.approx(energy / r.seconds + clock + leakage)
