"""Memories: organisation, timing, currents and address mapping, one JSON file each.

The files are in ``data/dram``; each names the standard its rules come from and the data sheet its
figures come from. Rules that need ranks, power-down or refresh by bank are not modelled, so a part
is one rank of DDR3 or DDR4 devices side by side.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.data import data_folder
from bitxcore.errors import BitxError, OptionError

PART_VERSION = 1
STANDARDS = ("DDR3", "DDR4")
MAX_FILE_BYTES = 1 << 20


class Timing(NamedTuple):
    """Timing parameters of JESD79-3 and JESD79-4 in clocks, without their prefix t.

    ``_S`` holds between bank groups, ``_L`` within one; DDR3 has one group, and both are equal.

    Attributes
    ----------
    AL, RL, WL : int
        Additive, read and write latency.
    RCD, RP, RAS, RC : int
        Activate to read or write; precharge; activate to precharge; activate to activate.
    RTP, WR : int
        Read to precharge; end of written data to precharge.
    FAW : int
        Window that holds at most four activates.
    REFI, RFC : int
        Interval and duration of a refresh of all banks.
    CCD_S, CCD_L, RRD_S, RRD_L, WTR_S, WTR_L : int
        Column to column command; activate to activate; end of written data to read.
    WPRE : int
        Write preamble; reads keep 1 + WPRE clocks of the data bus free before a write.
    """

    AL: int
    RL: int
    WL: int
    RCD: int
    RP: int
    RAS: int
    RC: int
    RTP: int
    WR: int
    FAW: int
    REFI: int
    RFC: int
    CCD_S: int
    CCD_L: int
    RRD_S: int
    RRD_L: int
    WTR_S: int
    WTR_L: int
    WPRE: int


class Controller(NamedTuple):
    """Settings of the memory controller.

    Attributes
    ----------
    bank_buffer : int
        Requests that each bank's buffer holds.
    max_in_flight : int
        Requests between acceptance and response.
    request_clocks, response_clocks : int
        Clocks from a request's arrival to its acceptance, and from its last beat of data to its response.
    """

    bank_buffer: int
    max_in_flight: int
    request_clocks: int
    response_clocks: int


class AddressBits(NamedTuple):
    """Bits of a byte address that select each component, least significant first."""

    byte: tuple[int, ...]
    column: tuple[int, ...]
    bank_group: tuple[int, ...]
    bank: tuple[int, ...]
    row: tuple[int, ...]


class Currents(NamedTuple):
    """Supply currents of one device in ampere, as data sheets name them; IPP0 is of VPP, 0 in DDR3."""

    IDD0: float
    IDD2N: float
    IDD3N: float
    IDD4R: float
    IDD4W: float
    IDD5B: float
    IPP0: float = 0.0


class Voltages(NamedTuple):
    """Supply voltages in volt; VPP is 0 where there is none."""

    VDD: float
    VPP: float = 0.0


class Organisation(NamedTuple):
    """Counts.

    Attributes
    ----------
    devices, device_bits : int
        Devices side by side, and data bits of each.
    burst_length : int
        Beats.
    bank_groups, banks : int
        Groups; banks of all groups.
    rows, columns : int
        Rows of a bank; beats of a row.
    """

    devices: int
    device_bits: int
    burst_length: int
    bank_groups: int
    banks: int
    rows: int
    columns: int


@dataclass(frozen=True)
class DramPart:
    """A memory and the settings of its controller; hashable.

    Parameters
    ----------
    name : str
    standard : str
        ``"DDR3"`` or ``"DDR4"``.
    sources : tuple of (str, str)
        What is from where: rules, figures, mapping, controller.
    organisation : Organisation
    clock_period_s : float
    timing_clocks : Timing
    currents_a : Currents
    voltages_v : Voltages
    address_bits : AddressBits
    controller : Controller

    Raises
    ------
    BitxError
        If a figure is missing, out of range, or at odds with another.
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
            raise BitxError(f"DRAM part {self.name}: {what} must be {rule}, got {value}")

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
        """Clocks of one burst on the data bus; two beats a clock."""
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
            raise BitxError(
                f"DRAM part {part}: {group}.{name} must be a whole number from {minimum} on, got {value!r}"
            )


def part_names() -> list[str]:
    """Names of the memories in ``data/dram``, sorted."""
    return sorted(path.stem for path in data_folder("dram").glob("*.json"))


def load_part(source: str | PathLike[str]) -> DramPart:
    """Read a memory.

    Parameters
    ----------
    source : str or path-like
        A name from `part_names`, or a ``.json`` file of the same form.

    Raises
    ------
    BitxError
        If there is no such memory, or a figure breaks a rule.
    """
    if str(source) in part_names():
        path = data_folder("dram") / f"{source}.json"
    elif Path(source).suffix == ".json":
        path = Path(source)
    else:
        raise OptionError(
            f"DRAM part {str(source)!r} is neither a .json file nor one of {', '.join(part_names())}"
        )
    table = read_json(path)
    expected = {"version", *(f.name for f in fields(DramPart))}
    if table.get("version") != PART_VERSION or set(table) != expected:
        raise BitxError(
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


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file of reasonable size."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BitxError(
                f"a DRAM part has at most {MAX_FILE_BYTES} bytes, got {path.stat().st_size}", path=path
            )
        table = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, BitxError):
            raise
        raise BitxError(f"is no readable JSON: {error}", path=path) from error
    return mapping(path, "the file", table)


def mapping(path: Path, name: str, value: Any) -> dict[str, Any]:
    """Return a value that must be a JSON object."""
    if not isinstance(value, dict):
        raise BitxError(f"{name} must be a JSON object, got {type(value).__name__}", path=path)
    return value


def number(path: Path, name: str, value: Any) -> float:
    """Return a value that must be a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BitxError(f"{name} must be a number, got {value!r}", path=path)
    return value


def record(path: Path, kind: Any, name: str, table: Any) -> Any:
    """Make a named tuple of a JSON object that has its fields and no other."""
    values = mapping(path, name, table)
    missing = [f for f in kind._fields if f not in values and f not in kind._field_defaults]
    unknown = [key for key in values if key not in kind._fields]
    if missing or unknown:
        raise BitxError(
            f"{name} lacks {missing or 'nothing'} and has unknown {unknown or 'nothing'}", path=path
        )
    if kind is AddressBits:
        for key, bits in values.items():
            if not isinstance(bits, list) or not all(type(bit) is int and bit >= 0 for bit in bits):
                raise BitxError(f"{name}.{key} must be a list of bit numbers, got {bits!r}", path=path)
        return kind(**{key: tuple(bits) for key, bits in values.items()})
    return kind(**{key: number(path, f"{name}.{key}", value) for key, value in values.items()})
