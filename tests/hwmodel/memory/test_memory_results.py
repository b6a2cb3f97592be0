"""What the memory adds to results: sums, laws, and the same for every machine."""

from dataclasses import replace
from math import ceil, fsum

import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import OptionError
from hwmodel.accelerators.bitx.hardware import Hardware
from hwmodel.accelerators.cycle_attribution import CAUSES
from hwmodel.costs.area_energy import buffer_srams, port_j
from hwmodel.costs.figures import costs
from hwmodel.dram import load_part, part_names
from hwmodel.memory.channels import Channels
from hwmodel.simulation.results import BOUNDS, DRAM_TRAFFIC

RNG = np.random.default_rng(5)
SMALL = {"weight_buffer_bytes": 1 << 12, "activation_buffer_bytes": 1 << 12, "output_buffer_bytes": 1 << 11}
LAYERS = [
    hw.Conv("conv", in_channels=16, out_channels=24, in_size=(12, 14), kernel=3, padding=1),
    hw.Conv("strided", in_channels=8, out_channels=16, in_size=(13, 13), kernel=3, stride=2, batch=2),
    hw.Conv("depthwise", in_channels=16, out_channels=16, in_size=(9, 9), kernel=3, padding=1, groups=16),
    hw.Conv("3d", in_channels=4, out_channels=8, in_size=(4, 6, 6), kernel=3, padding=1),
    hw.ConvTranspose("up", in_channels=8, out_channels=4, in_size=(5, 6), kernel=4, stride=2, padding=1),
    hw.Linear("fc", 300, 120),
    hw.Linear("recurrent", 64, 128, positions=12, steps=4),
]


def operands(layer, seed=0):
    rng = np.random.default_rng(seed)
    return hw.Operands(rng.standard_normal(layer.weight_shape).astype(np.float32))


def bitx(**options):
    return hw.accelerator("bitx", **(SMALL | {"processing_elements": 16, "compute_units": 4} | options))


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("dram", [None, *part_names()])
def test_sums(layer, dram):
    for machine in (bitx(dram=dram), hw.accelerator("dadiannao", dram=dram, **SMALL)):
        given = operands(layer)
        r, chip = hw.simulate(machine, layer, given), machine.run(layer, given)
        assert r.cycles == sum(getattr(r, c) or 0 for c in CAUSES)
        assert r.on_chip_cycles == chip.cycles
        assert r.compute_cycles == chip.compute_cycles
        assert r.dram_bytes == sum(getattr(r, name) for name in DRAM_TRAFFIC)
        assert r.bound_by in BOUNDS.values()
        assert r.energy_j == fsum(r.energy_parts_j.values())
        assert r.utilisation * r.cycles == pytest.approx(chip.utilisation * chip.cycles)
        for part in ("leakage", "clock"):
            assert r.energy_parts_j[part] == chip.energy.standing_w[part] * r.seconds
        if dram is None:
            assert (r.cycles, r.dram_seconds) == (chip.cycles, None)
            assert "dram" not in r.energy_parts_j
            continue
        assert r.dram_seconds <= r.seconds
        peak = machine.dram_channels * machine.dram_part.peak_bytes_per_s
        assert r.dram_bytes / r.dram_seconds < peak
        idle = machine.dram_channels * Channels(machine.dram_part, 1).idle_power_w
        assert r.energy_parts_j["dram"] > idle * r.seconds


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_what_the_dram_moves_passes_the_buffers_outer_ports(layer):
    machine, given = bitx(), operands(layer)
    r, chip = hw.simulate(machine, layer, given), machine.run(layer, given)
    spilled = r.dram_partial_sum_bytes // 2
    moved = {
        "weight_buffer": (0, r.dram_weight_bytes),
        "activation_buffer": (0, r.dram_activation_bytes),
        "output_buffer": (r.dram_output_bytes + spilled, spilled),
    }
    for part, sram in buffer_srams(machine, costs("aladdin")).items():
        read, written = moved[part]
        more = r.energy_parts_j[part] - chip.energy.events_j[part]
        assert more == pytest.approx(port_j(sram, 8 * read, 8 * written)), part


@pytest.mark.parametrize("tiled", [False, True])
def test_what_enters_a_buffer_leaves_it(monkeypatch, tiled):
    """Weights are read in every pass, activations for every filter tile, and outputs leave once."""
    seen = []
    energy = Hardware.energy
    watch = lambda self, path, events: seen.append(events) or energy(self, path, events)  # noqa: E731
    monkeypatch.setattr(Hardware, "energy", watch)
    layer = hw.Linear("l", 64, 32, positions=48)
    r = hw.simulate(bitx() if tiled else bitx(**dict.fromkeys(SMALL, 1 << 20)), layer, operands(layer))
    (events,) = seen
    passes, filter_tiles = 48 // 4, 32 // 16
    assert (r.position_tiles, r.filter_tiles) == (passes, filter_tiles)
    weights, activations = (32 * 64 * 4, 48 * 64 * 4)
    assert (r.dram_weight_bytes + r.dram_activation_bytes > weights + activations) == tiled
    assert events.weight_bits_read == 8 * weights * passes
    assert events.activation_bits_read == 8 * activations * filter_tiles
    assert events.output_bits_written == 8 * r.dram_output_bytes
    assert r.dram_weight_bytes % weights == r.dram_activation_bytes % activations == 0
    if not tiled:
        assert (r.dram_weight_bytes, r.dram_activation_bytes) == (weights, activations)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_less_in_the_way_is_never_slower(layer):
    for option, values in {
        "dram_channels": (1, 2, 4),
        "fifo_depth": (0, 1, 2, None),
        "lane_fifo_depth": (0, 1, 4, None),
        "rows": (24, 9, 5, 2),
        "processing_elements": (4, 8, 16),
    }.items():
        found = [hw.simulate(bitx(**{option: v}), layer, operands(layer)).cycles for v in values]
        assert found == sorted(found, reverse=True), option
    found = [hw.simulate(bitx(weight_buffer_bytes=n), layer, operands(layer)) for n in (1 << 11, 1 << 14)]
    assert found[0].dram_bytes >= found[1].dram_bytes


@pytest.mark.parametrize(
    ("options", "skipping", "every"),
    [({"window": 64}, "unpruned", "every_bit"), ({"serial_unit": "row"}, "nonempty_rows", "all_rows")],
)
def test_unpruned_readings_wait_for_the_same_memory(options, skipping, every):
    layer = LAYERS[0]
    over, over_every = f"speedup_over_{skipping}", f"speedup_over_{every}"
    dense = "unpruned_" * (skipping != "unpruned") + f"{skipping}_cycles"
    for dram in (None, "DDR4-2400_x64_brc"):
        machine = bitx(rows=64, pack_zeros=False, dram=dram, **options)
        whole = hw.simulate(machine, layer, operands(layer))
        assert getattr(whole, over) == getattr(whole, f"on_chip_{over}") == 1
        pruned = hw.simulate(replace(machine, rows=5), layer, operands(layer))
        assert getattr(pruned, dense) == whole.cycles
        gain, on_chip = getattr(pruned, over_every), getattr(pruned, f"on_chip_{over_every}")
        if dram is None:
            assert gain == on_chip
        else:
            assert 1 <= gain < on_chip


def test_every_machine_moves_the_same_at_the_same_precision():
    layer = LAYERS[0]
    rng = np.random.default_rng(0)
    w = rng.integers(-100, 100, layer.weight_shape).astype(np.int16)
    a = rng.integers(0, 100, (layer.in_channels, *layer.in_size)).astype(np.int16)
    given = hw.Operands(w, a, 16, 16)
    names = ("bitx", "dadiannao", "stripes", "pragmatic", "loom")
    found = {name: hw.simulate(hw.accelerator(name, **SMALL), layer, given) for name in names}
    assert len({tuple(getattr(r, name) for name in DRAM_TRAFFIC) for r in found.values()}) == 1
    # Of the tilings with these bytes each takes the one of fewest cycles, all the same without waits.
    unlimited = (hw.accelerator(name, dram=None, **SMALL) for name in names)
    assert len({hw.simulate(machine, layer, given).tiling for machine in unlimited}) == 1


def test_products_of_activations_take_the_second_operand_as_weights():
    r = hw.simulate(hw.accelerator("dadiannao"), hw.MatMul("qk", rows=8, inner=32, columns=16, batch=2))
    assert r.dram_weight_bytes == 2 * 32 * 16 * 2
    assert r.dram_activation_bytes == 2 * 32 * 8 * 2
    assert r.dram_output_bytes == 2 * 8 * 16 * 2


@pytest.mark.parametrize("form", ["float32", "float16", "int8", "uint8", "fixed16"])
@pytest.mark.parametrize("rows", [1, 4])
def test_packed_weights_move_the_bits_of_the_packed_form(form, rows):
    layer = hw.Linear("l", 70, 30)
    w = RNG.standard_normal((30, 70)).astype(np.float32)
    if form in ("int8", "uint8"):
        w = np.abs(w) * 30
    w = w.astype(np.float32 if form == "fixed16" else form)
    machine = bitx(weights_in_dram="packed", pack_zeros=False, rows=rows, format=form)
    given = hw.Operands(w)
    r = hw.simulate(machine, layer, given)
    packed = bx.pack(bx.prune(w, rows=rows, group=machine.group, format=form)).bits
    assert machine.stored_bits(layer, given, r).weights == packed
    plain = hw.simulate(replace(machine, weights_in_dram="plain"), layer, given)
    assert r.dram_weight_bytes == ceil(packed / 8)
    assert r.dram_weight_bytes_plain == plain.dram_weight_bytes
    assert plain.dram_weight_bytes_plain is None
    assert r.on_chip_cycles == plain.on_chip_cycles
    assert r.unpruned_cycles == plain.unpruned_cycles
    if packed < 8 * plain.dram_weight_bytes:
        assert r.cycles <= plain.cycles
        assert r.energy_parts_j["dram"] < plain.energy_parts_j["dram"]


def test_packed_weights_say_where_packed_away_zeros_were():
    layer = hw.Linear("l", 64, 30)
    w = RNG.standard_normal((30, 64)).astype(np.float32) * (RNG.random((30, 64)) < 0.4)
    r = hw.simulate(bitx(weights_in_dram="packed"), layer, hw.Operands(w))
    groups, rows = r.groups, sum(n * k for n, k in enumerate(r.kept_rows_histogram))
    assert r.dram_weight_bytes == ceil((groups * (8 + 32 + 8) + rows * 8 + 30 * 64) / 8)


def test_options_are_checked():
    with pytest.raises(
        OptionError, match=r"accelerator 'stripes': dram: DRAM part 'DDR9' is neither .* DDR3"
    ):
        hw.accelerator("stripes", dram="DDR9")
    with pytest.raises(OptionError, match="dram_channels must be an integer of at least 1, got 0"):
        hw.accelerator("scnn", dram_channels=0)
    with pytest.raises(OptionError, match="weights_in_dram must be one of plain, packed, got 'zip'"):
        hw.accelerator("bitx", weights_in_dram="zip")
    with pytest.raises(OptionError, match="weights_in_dram='packed' needs serial='weights'"):
        hw.accelerator("bitx", weights_in_dram="packed", serial="activations")


def test_a_memory_from_a_file(tmp_path):
    import json

    path = tmp_path / "own.json"
    path.write_text(json.dumps(load_part("DDR3-1600_x64_brc").to_json()))
    layer = LAYERS[5]
    found = [hw.simulate(bitx(dram=d), layer, operands(layer)) for d in (str(path), "DDR3-1600_x64_brc")]
    assert found[0].cycles == found[1].cycles
    assert found[0].energy_parts_j == found[1].energy_parts_j
