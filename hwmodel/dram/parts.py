"""Memories: organisation, timing, currents and address mapping, one JSON file each.

The files are in ``data/dram``; each names the standard its rules come from and the data sheet its
figures come from. Rules that need ranks, power-down or refresh by bank are not modelled, so a part
is one rank of DDR3 or DDR4 devices side by side.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.data import data_folder
from bitxcore.errors import DumpError, OptionError
from hwmodel.dram.part_json import mapping, number, read_json, record
from hwmodel.dram.part_records import AddressBits, Controller, Currents, Organisation, Timing, Voltages

PART_VERSION = 1
STANDARDS = ("DDR3", "DDR4")


@dataclass(frozen=True)
class DramPart:
    """A memory and the settings of its controller; hashable.

    Parameters
    ----------
    name : str
    standard : str
        ``"DDR3"`` or ``"DDR4"``.
    sources : tuple of (str, str)
        Sources of the rules, the figures, the mapping and the controller.
    organisation : Organisation
    clock_period_s : float
    timing_clocks : Timing
    currents_a : Currents
    voltages_v : Voltages
    address_bits : AddressBits
    controller : Controller

    Raises
    ------
    OptionError
        If a figure is out of range, or contradicts another.
    """

    name: str
    standard: str
    sources: tuple[tuple[str, str], ...]
    organisation: Organisation
    clock_period_s: float
    timing_clocks: Timing
    currents_a: Currents
    voltages_v: Voltages
    address_bits: AddressBits
    controller: Controller

    def __post_init__(self) -> None:
        organisation, timing, bits = self.organisation, self.timing_clocks, self.address_bits
        self._require(self.standard in STANDARDS, "standard", f"one of {', '.join(STANDARDS)}", self.standard)
        _whole(self.name, "organisation", organisation, minimum=1)
        _whole(self.name, "timing_clocks", timing, minimum=0)
        _whole(self.name, "controller", self.controller, minimum=1)
        self._require(organisation.burst_length % 2 == 0, "burst_length", "even", organisation.burst_length)
        self._require(
            organisation.banks % organisation.bank_groups == 0,
            "banks",
            f"a multiple of {organisation.bank_groups} bank groups",
            organisation.banks,
        )
        for name, value in (("clock_period_s", self.clock_period_s), *self.currents_a._asdict().items()):
            self._require(0 <= value < 1e3, name, "from 0 to 1000", value)
        self._require(self.clock_period_s > 0, "clock_period_s", "greater than 0", self.clock_period_s)
        self._require(
            timing.REFI > timing.RP + timing.RFC + timing.RCD,
            "REFI",
            f"greater than RP + RFC + RCD = {timing.RP + timing.RFC + timing.RCD}",
            timing.REFI,
        )
        self._require(
            min(timing.CCD_S, timing.CCD_L) >= self.burst_clocks,
            "CCD",
            f"at least the {self.burst_clocks} clocks of a burst",
            min(timing.CCD_S, timing.CCD_L),
        )
        every = sorted(bit for group in bits for bit in group)
        self._require(
            every == list(range(len(every))) and len(every) <= 62,
            "address_bits",
            "every bit from 0 on exactly once, at most 62",
            every,
        )
        for name, count in (
            ("byte", organisation.devices * organisation.device_bits // 8),
            ("column", organisation.columns),
            ("bank_group", organisation.bank_groups),
            ("bank", organisation.banks // organisation.bank_groups),
            ("row", organisation.rows),
        ):
            found = 1 << len(getattr(bits, name))
            self._require(found == count, f"address_bits.{name}", f"bits for {count}", f"bits for {found}")
        low = (*bits.byte, *bits.column)[: self.burst_bytes.bit_length() - 1]
        self._require(
            sorted(low) == list(range(len(low))),
            "address_bits",
            f"such that the {self.burst_bytes} bytes of a burst are consecutive",
            list(low),
        )

    def _require(self, holds: bool, what: str, rule: str, value: object) -> None:
        if not holds:
            raise OptionError(f"DRAM part {self.name}: {what} must be {rule}, got {value}", value=value)

    @property
    def bus_bytes(self) -> int:
        """Bytes of one beat."""
        return self.organisation.devices * self.organisation.device_bits // 8

    @property
    def burst_bytes(self) -> int:
        """Bytes of one burst, which one request moves."""
        return self.bus_bytes * self.organisation.burst_length

    @property
    def burst_clocks(self) -> int:
        """Clocks of one burst on the data bus; two beats per clock."""
        return self.organisation.burst_length // 2

    @property
    def capacity_bytes(self) -> int:
        """Bytes of the whole memory."""
        return 1 << sum(len(group) for group in self.address_bits)

    @property
    def peak_bytes_per_s(self) -> float:
        """Bytes per second of a data bus that is never idle."""
        return 2 * self.bus_bytes / self.clock_period_s

    def locate(self, addresses: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the bank (numbered group by group) and the row of every byte address."""
        bits = self.address_bits
        banks_of_group = self.organisation.banks // self.organisation.bank_groups
        bank = _gather(addresses, bits.bank_group) * banks_of_group + _gather(addresses, bits.bank)
        return bank, _gather(addresses, bits.row)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `load_part` reads back."""
        table = asdict(self)
        for name, value in table.items():
            if hasattr(value, "_asdict"):
                table[name] = {
                    key: list(v) if isinstance(v, tuple) else v for key, v in value._asdict().items()
                }
        return {"version": PART_VERSION, **table, "sources": dict(self.sources)}


def _gather(addresses: npt.NDArray[np.int64], bits: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Collect bits; neighbours move together."""
    # A run of neighbouring bits from `start` to `stop` is cut out of the address by one shift and one mask,
    # and put above the bits that are there already.
    value = np.zeros_like(addresses)
    start = 0
    while start < len(bits):
        stop = start + 1
        while stop < len(bits) and bits[stop] == bits[stop - 1] + 1:
            stop += 1
        value |= ((addresses >> bits[start]) & ((1 << (stop - start)) - 1)) << start
        start = stop
    return value


def _whole(part: str, group: str, values: Any, *, minimum: int) -> None:
    for name, value in values._asdict().items():
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value < 1 << 31:
            raise OptionError(
                f"DRAM part {part}: {group}.{name} must be a whole number from {minimum} on, got {value!r}",
                value=value,
            )


def part_names() -> list[str]:
    """Names of the memories in ``data/dram``, sorted.

    Examples
    --------
    >>> "DDR4-2400_x64_brc" in part_names()
    True
    """
    return sorted(path.stem for path in data_folder("dram").glob("*.json"))


def load_part(source: str | PathLike[str]) -> DramPart:
    """Read a memory.

    Parameters
    ----------
    source : str or path-like
        A name from `part_names`, or a ``.json`` file of the same form.

    Raises
    ------
    OptionError
        If there is no such memory, or a figure breaks a rule.
    DumpError
        If the file can't be read, or has another form.

    Examples
    --------
    >>> part = load_part("DDR4-2400_x64_brc")
    >>> part.burst_bytes, round(part.peak_bytes_per_s / 1e9, 1)
    (64, 19.2)
    """
    if str(source) in part_names():
        return _packaged(str(source))
    if Path(source).suffix == ".json":
        return _read(Path(source))
    raise OptionError(
        f"DRAM part {str(source)!r} is neither a .json file nor one of {', '.join(part_names())}",
        value=str(source),
    )


@cache
def _packaged(name: str) -> DramPart:
    # One object for all machines: what is known of its streams is found without comparing its fields.
    return _read(data_folder("dram") / f"{name}.json")


def _read(path: Path) -> DramPart:
    table = read_json(path)
    expected = {"version", *(f.name for f in fields(DramPart))}
    if table.get("version") != PART_VERSION or set(table) != expected:
        raise DumpError(
            f"a DRAM part has version {PART_VERSION} and the keys {', '.join(sorted(expected))};"
            f" got version {table.get('version')!r} and {', '.join(sorted(table))}",
            path=path,
        )
    return DramPart(
        name=str(table["name"]),
        standard=str(table["standard"]),
        sources=tuple((str(k), str(v)) for k, v in mapping(path, "sources", table["sources"]).items()),
        organisation=record(path, Organisation, "organisation", table["organisation"]),
        clock_period_s=number(path, "clock_period_s", table["clock_period_s"]),
        timing_clocks=record(path, Timing, "timing_clocks", table["timing_clocks"]),
        currents_a=record(path, Currents, "currents_a", table["currents_a"]),
        voltages_v=record(path, Voltages, "voltages_v", table["voltages_v"]),
        address_bits=record(path, AddressBits, "address_bits", table["address_bits"]),
        controller=record(path, Controller, "controller", table["controller"]),
    )
