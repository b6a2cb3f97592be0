import dataclasses
import json

import pytest

from bitxcore.errors import BitxError, DumpError, OptionError
from hwmodel.dram import load_part, part_from_dramsys, part_names

ORDER = "DDR4-2400_x64_brc"


@pytest.fixture
def table():
    return load_part(ORDER).to_json()


def test_names_and_sources():
    assert part_names() == ["DDR3-1600_x64_brc", "DDR4-2400_x64_bgint", "DDR4-2400_x64_brc"]
    for name in part_names():
        part = load_part(name)
        assert part.name == name
        assert "JESD79" in dict(part.sources)["rules"]
        assert "Micron" in dict(part.sources)["figures"]


def test_si_figures():
    part = load_part(ORDER)
    assert part.clock_period_s == 0.833e-9
    assert part.currents_a.IDD4R == 0.1845
    assert (part.bus_bytes, part.burst_bytes, part.burst_clocks) == (8, 64, 4)
    assert part.capacity_bytes == 4 << 30
    assert part.peak_bytes_per_s == pytest.approx(19.21e9, rel=1e-3)
    ddr3 = load_part("DDR3-1600_x64_brc")
    assert ddr3.capacity_bytes == 1 << 30
    assert ddr3.peak_bytes_per_s == pytest.approx(12.8e9)


@pytest.mark.parametrize("name", part_names())
def test_json_round_trip(name, tmp_path):
    part = load_part(name)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(part.to_json()))
    assert load_part(path) == part
    assert hash(load_part(path)) == hash(part)


def change(place, value):
    def apply(table):
        *groups, key = place
        for group in groups:
            table = table[group]
        if value is None:
            del table[key]
        else:
            table[key] = value

    return apply


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["version"], 2, "version 1 .* got version 2"),
        (["standard"], "LPDDR4", "standard must be one of DDR3, DDR4, got LPDDR4"),
        (["timing_clocks", "RCD"], None, r"timing_clocks lacks \['RCD'\]"),
        (["timing_clocks", "tRCD"], 4, r"has unknown \['tRCD'\]"),
        (["timing_clocks", "RCD"], 16.5, "timing_clocks.RCD must be a whole number"),
        (["timing_clocks", "RCD"], "16", "timing_clocks.RCD must be a number, got '16'"),
        (["timing_clocks", "REFI"], 300, "REFI must be greater than RP"),
        (["timing_clocks", "CCD_S"], 2, "CCD must be at least the 4 clocks of a burst, got 2"),
        (["clock_period_s"], 0, "clock_period_s must be greater than 0"),
        (["clock_period_s"], float("nan"), "clock_period_s must be from 0 to 1000, got nan"),
        (["currents_a", "IDD0"], -1, "IDD0 must be from 0 to 1000"),
        (["controller", "bank_buffer"], 0, "controller.bank_buffer must be a whole number from 1 on, got 0"),
        (["organisation", "banks"], 18, "banks must be a multiple of 4 bank groups, got 18"),
        (["address_bits", "row"], [13, 13], "address_bits must be every bit from 0 on exactly once"),
        (["address_bits", "bank"], "30", "address_bits.bank must be a list of bit numbers, got '30'"),
        (["organisation", "rows"], 1024, "address_bits.row must be bits for 1024, got bits for 32768"),
    ],
)
def test_bad_figures_are_named(table, tmp_path, place, value, message):
    change(place, value)(table)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(table))
    with pytest.raises(BitxError, match=message):
        load_part(path)


def test_a_burst_must_be_contiguous(table, tmp_path):
    bits = table["address_bits"]
    bits["column"][0], bits["row"][0] = bits["row"][0], bits["column"][0]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(table))
    with pytest.raises(OptionError, match="such that the 64 bytes of a burst are consecutive"):
        load_part(path)


def test_unknown_names_and_unreadable_files(tmp_path):
    with pytest.raises(OptionError, match=r"'DDR9' is neither a \.json file nor one of DDR3-1600_x64_brc"):
        load_part("DDR9")
    with pytest.raises(DumpError, match="does not exist") as raised:
        load_part(tmp_path / "none.json")
    assert raised.value.path == tmp_path / "none.json"
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(DumpError, match="must be a JSON object, got list"):
        load_part(tmp_path / "list.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(DumpError, match="no readable JSON"):
        load_part(tmp_path / "deep.json")
    (tmp_path / "long.json").write_text(" " * (1 << 20) + "{}")
    with pytest.raises(DumpError, match="at most 1048576 bytes, got 1048578") as raised:
        load_part(tmp_path / "long.json")
    assert raised.value.value == (1 << 20) + 2


def dramsys(part):
    """The configuration that DRAMSys takes for a part."""
    t, c, o = part.timing_clocks._asdict(), part.currents_a, part.organisation
    if part.standard == "DDR3":
        t |= {name: t[f"{name}_S"] for name in ("CCD", "RRD", "WTR")}
        t = {k: v for k, v in t.items() if k[-2:] not in ("_S", "_L") and k != "WPRE"}
    return {
        "memory": part.name,
        "memspec": {
            "memoryId": "MINE",
            "memoryType": part.standard,
            "memarchitecturespec": {
                "nbrOfDevices": o.devices,
                "width": o.device_bits,
                "burstLength": o.burst_length,
                "nbrOfBankGroups": o.bank_groups,
                "nbrOfBanks": o.banks,
                "nbrOfRows": o.rows,
                "nbrOfColumns": o.columns,
                "nbrOfRanks": 1,
                "nbrOfChannels": 1,
                "dataRate": 2,
            },
            "memtimingspec": t | {"tCK": round(part.clock_period_s * 1e12)},
            "mempowerspec": {
                "idd0": c.IDD0 * 1e3,
                "idd2n": c.IDD2N * 1e3,
                "idd3n": c.IDD3N * 1e3,
                "idd4r": c.IDD4R * 1e3,
                "idd4w": c.IDD4W * 1e3,
                "idd5": c.IDD5B * 1e3,
                "idd02": c.IPP0 * 1e3,
                "vdd": part.voltages_v.VDD,
                "vdd2": part.voltages_v.VPP,
            },
        },
        "addressmapping": {
            f"{name.replace('_', '').upper()}_BIT": list(bits)
            for name, bits in part.address_bits._asdict().items()
        },
        "mcconfig": {
            "PagePolicy": "Open",
            "Scheduler": "FrFcfs",
            "SchedulerBuffer": "Bankwise",
            "RequestBufferSize": 8,
            "RefreshPolicy": "AllBank",
            "MaxActiveTransactions": 128,
        },
    }


@pytest.mark.parametrize("name", part_names())
def test_dramsys_configurations(name, tmp_path):
    part = load_part(name)
    path = tmp_path / "dramsys.json"
    path.write_text(json.dumps(dramsys(part)))
    got = part_from_dramsys(path)
    assert got.currents_a == pytest.approx(part.currents_a)
    assert got.clock_period_s == pytest.approx(part.clock_period_s)
    same = {name: getattr(part, name) for name in ("sources", "currents_a", "clock_period_s")}
    assert dataclasses.replace(got, **same) == part


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["mcconfig", "PagePolicy"], "Closed", "PagePolicy must be 'Open', which is modelled, got 'Closed'"),
        (
            ["memspec", "memarchitecturespec", "nbrOfRanks"],
            2,
            "nbrOfRanks must be 1, which is modelled, got 2",
        ),
        (["memspec", "memoryType"], "HBM2", "standard must be one of DDR3, DDR4, got HBM2"),
        (["memspec", "memtimingspec", "FAW"], None, "memtimingspec.FAW must be a number, got None"),
        (["memspec"], None, "memspec must be a JSON object, got NoneType"),
    ],
)
def test_other_dramsys_configurations_are_refused(tmp_path, place, value, message):
    table = dramsys(load_part(ORDER))
    change(place, value)(table)
    path = tmp_path / "dramsys.json"
    path.write_text(json.dumps(table))
    with pytest.raises(BitxError, match=message):
        part_from_dramsys(path)
