"""The registry: accelerators by name, and those of other packages."""

from dataclasses import FrozenInstanceError, dataclass, fields
from math import ceil
from pathlib import Path

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import BitxError, OptionError
from hwmodel.accelerators import registry


def test_accelerators_are_frozen_records_of_their_options():
    acc = hw.accelerator("bitx", rows=4, fifo_depth=None)
    assert (acc.rows, acc.fifo_depth, acc.group) == (4, None, 8)
    assert acc.label == "bitx(rows=4, fifo_depth=None)"
    assert hw.accelerator("bitx").label == "bitx"
    assert acc == hw.accelerator("bitx", rows=4, fifo_depth=None)
    with pytest.raises(FrozenInstanceError):
        acc.rows = 3


def test_unknown_names_and_options_list_the_known_ones():
    with pytest.raises(OptionError, match=r"'bitz' is not known; known: .*bitx, .*dadiannao"):
        hw.accelerator("bitz")
    with pytest.raises(
        OptionError, match=r"'dadiannao' has no option 'row'; known: clock_hz, .*lanes, columns, rows, tiles"
    ):
        hw.accelerator("dadiannao", row=3)
    assert {"bitx", "dadiannao"} <= set(hw.accelerator_names())


@dataclass(frozen=True, kw_only=True)
class Ideal(hw.Accelerator):
    macs_per_cycle: int = 10
    name = "ideal"
    title = source = "a test"

    @property
    def reads(self):
        return hw.Reads(weights=False)

    @property
    def peak_macs_per_cycle(self):
        return self.macs_per_cycle

    def run(self, layer, operands):
        return self.on_chip(compute_cycles=ceil(layer.macs / self.macs_per_cycle))


class EntryPoint:
    def __init__(self, name, value, target):
        self.name, self.value, self.target = name, value, target

    def load(self):
        if isinstance(self.target, Exception):
            raise self.target
        return self.target


def test_other_packages_add_accelerators(monkeypatch):
    points = {
        "ideal": EntryPoint("ideal", "pkg:Ideal", Ideal),
        "broken": EntryPoint("broken", "pkg:Gone", AttributeError("no Gone")),
        "wrong": EntryPoint("wrong", "pkg:dict", dict),
    }
    monkeypatch.setattr(registry, "_third_party", lambda: points)
    assert "ideal" in hw.accelerator_names()
    acc = hw.accelerator("ideal", macs_per_cycle=7, dram=None)
    assert hw.simulate(acc, hw.Linear("l", 3, 5)).cycles == 3
    with pytest.raises(OptionError, match="'pkg:Gone' fails: no Gone"):
        hw.accelerator("broken")
    with pytest.raises(OptionError, match="no subclass"):
        hw.accelerator("wrong")


def test_presets_are_the_instances_that_a_paper_names():
    mild, wild = (hw.accelerator("bitx", preset=name, fifo_depth=0) for name in ("mild", "wild"))
    assert (mild.rows, mild.group, mild.label) == (10, 8, "bitx(rows=10, fifo_depth=0)")
    assert wild == hw.accelerator("bitx", fifo_depth=0)
    with pytest.raises(OptionError, match="preset must be one of mild, wild, got 'hot'"):
        hw.accelerator("bitx", preset="hot")
    with pytest.raises(OptionError, match="preset='mild' sets rows=10; rows=6 can't be given besides"):
        hw.accelerator("bitx", preset="mild", rows=6)
    with pytest.raises(OptionError, match="'dadiannao' has no option 'preset'"):
        hw.accelerator("dadiannao", preset="mild")


# -- values of no sensible type or size --------------------------------------------------------

ABSURD = {
    "beyond int64": 1180591620717411303424,
    "beyond memory": 2**51,
    "too many digits": 10**5000,
    "negative": -1,
    "negative and large": -(2**70),
    "not a number": float("nan"),
    "infinite": float("inf"),
    "share": 0.5,
    "complex": 1j,
    "text": "x",
    "long text": "9" * 6000,
    "list": [],
    "dict": {},
    "array": np.array([1, 2]),
    "array of one": np.array([4]),
    "object": object(),
}


def one_line(error):
    text = str(error)
    return "\n" not in text and 0 < len(text) < 1000


@pytest.mark.parametrize("name", hw.accelerator_names())
def test_absurd_values_of_every_option_are_refused_or_work(name):
    """Of these, an option of a float alone takes any: a share, or a frequency."""
    for field in fields(registry.accelerator_class(name)):
        taken = set()
        for kind, value in ABSURD.items():
            try:
                hw.accelerator(name, **{field.name: value})
                taken.add(kind)
            except BitxError as error:
                refused = str(error)
                assert "\n" not in refused, (field.name, kind)
        assert taken <= ({"share"} if field.type.startswith("float") else set()), field.name


@pytest.mark.parametrize(("options", "message"), [
    ({"lanes": 2**20 + 1}, f"lanes must be at most {2**20}, got {2**20 + 1}"),
    ({"lanes": 2**70}, f"lanes must be at most {2**20}, got {2**70}"),
    ({"lanes": -(2**70)}, f"lanes must be an integer of at least 1, got {-(2**70)}"),
    ({"weight_buffer_bytes": 2**51}, f"weight_buffer_bytes must be at most {2**50}, got {2**51}"),
    ({"cost_basis": "x" * 5000}, f"cost_basis must be at most 4096 characters, got '{'x' * 76}..."),
    ({"clock_hz": 1e13}, f"clock_hz must be at most {10**12}, got 10000000000000.0"),
    ({"lanes": 1.0}, "lanes must be an integer of at least 1, got 1.0"),
    ({"lanes": True}, "lanes must be an integer of at least 1, got True"),
    ({"lanes": [8]}, "lanes must be an integer, got [8]"),
    ({"fold_first_layer": "no"}, "fold_first_layer must be True or False, got 'no'"),
    ({"fold_first_layer": 2}, "fold_first_layer must be True or False, got 2"),
    ({"clock_hz": "1e9"}, "clock_hz must be a number, got '1e9'"),
    ({"clock_hz": True}, "clock_hz must be a number, got True"),
    ({"clock_hz": 2**70}, f"clock_hz must be at most {10**12}, got {2**70}"),
    ({"clock_hz": float("nan")}, "clock_hz must be a positive number of cycles per second, got nan"),
    ({"dram": 5}, "dram must be a name, got 5"),
    ({"cost_basis": []}, "cost_basis must be a name, got []"),
    ({"lanes": 2**20, "rows": 2**20, "tiles": 2**20},
     "its options make 1.15292e+18 multiply-accumulates per cycle, at most 1.09951e+12 are simulated"),
])  # fmt: skip
def test_messages_name_option_rule_and_value(options, message):
    with pytest.raises(OptionError) as caught:
        hw.accelerator("stripes", **options)
    assert str(caught.value) == f"accelerator 'stripes': {message}"


def test_numbers_of_numpy_are_numbers():
    given = {"lanes": np.int32(8), "rows": np.uint8(4), "clock_hz": np.float32(1e9), "dram": None}
    found = hw.accelerator(
        "stripes", **given, fold_first_layer=np.bool_(False), weight_buffer_bytes=np.int32(4096)
    )
    same = hw.accelerator(
        "stripes", lanes=8, rows=4, clock_hz=1e9, dram=None, fold_first_layer=False, weight_buffer_bytes=4096
    )
    assert (found, found.label) == (same, same.label)
    assert (
        hw.simulate(found, hw.Linear("l", 64, 32)).cycles == hw.simulate(same, hw.Linear("l", 64, 32)).cycles
    )


def test_a_memory_may_be_given_by_its_path():
    part = Path(__file__).parents[3] / "data" / "dram" / "DDR4-2400_x64_bgint.json"
    assert hw.accelerator("stripes", dram=part).dram == str(part)


@pytest.mark.parametrize("name", [5, None, [], {}, np.array(["bitx"]), b"bitx", "b" * 5000, "bitx\n"])
def test_what_is_no_name(name):
    for function in (hw.accelerator, registry.as_accelerator, registry.accelerator_class):
        with pytest.raises(OptionError) as caught:
            function(name)
        assert one_line(caught.value)


def test_options_of_other_packages_are_checked_alike():
    assert Ideal(macs_per_cycle=np.int64(7)).macs_per_cycle == 7
    for value in (2**70, [7], np.array([7])):
        with pytest.raises(OptionError, match="accelerator 'ideal': macs_per_cycle must be "):
            Ideal(macs_per_cycle=value)
