"""The registry: accelerators by name, and those of other packages."""

from dataclasses import FrozenInstanceError, dataclass
from math import ceil

import pytest

import hwmodel as hw
from bitxcore.errors import OptionError
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
