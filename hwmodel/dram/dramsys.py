"""Memories described by DRAMSys configurations."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from bitxcore.errors import DumpError
from hwmodel.dram.part_json import mapping, number, read_json, record
from hwmodel.dram.part_records import AddressBits, Controller, Currents, Organisation, Timing, Voltages
from hwmodel.dram.parts import DramPart

MODELLED: dict[str, dict[str, object]] = {
    "memarchitecturespec": {"nbrOfChannels": 1, "nbrOfRanks": 1, "dataRate": 2},
    "mcconfig": {
        "PagePolicy": "Open",
        "Scheduler": "FrFcfs",
        "SchedulerBuffer": "Bankwise",
        "CmdMux": "Oldest",
        "RefreshPolicy": "AllBank",
        "RefreshMaxPostponed": 0,
        "RefreshMaxPulledin": 0,
        "PowerDownPolicy": "NoPowerDown",
        "RefreshManagement": False,
    },
}
ORGANISATION = {
    "devices": "nbrOfDevices",
    "device_bits": "width",
    "burst_length": "burstLength",
    "bank_groups": "nbrOfBankGroups",
    "banks": "nbrOfBanks",
    "rows": "nbrOfRows",
    "columns": "nbrOfColumns",
}
CURRENTS = {
    "IDD0": "idd0",
    "IDD2N": "idd2n",
    "IDD3N": "idd3n",
    "IDD4R": "idd4r",
    "IDD4W": "idd4w",
    "IDD5B": "idd5",
    "IPP0": "idd02",
}


def part_from_dramsys(path: str | PathLike[str]) -> DramPart:
    """Read a memory from a DRAMSys 5 configuration.

    Parameters
    ----------
    path : path-like
        JSON file with ``memspec``, ``addressmapping`` and ``mcconfig``. What is modelled: DDR3 or DDR4, one
        channel of one rank, FR-FCFS, open page, buffers by bank, refresh of all banks without postponing,
        no power-down.

    Raises
    ------
    DumpError
        If the file is not a configuration, or needs a feature that is not modelled.
    OptionError
        If a figure breaks a rule of `DramPart`.
    """
    path = Path(path)
    table = read_json(path)
    spec = mapping(path, "memspec", table.get("memspec"))
    groups = {
        name: mapping(path, name, source.get(name))
        for source, names in (
            (spec, ("memarchitecturespec", "memtimingspec", "mempowerspec")),
            (table, ("addressmapping", "mcconfig")),
        )
        for name in names
    }
    for group, settings in MODELLED.items():
        for key, modelled in settings.items():
            if groups[group].get(key, modelled) != modelled:
                raise DumpError(
                    f"{key} must be {modelled!r}, which is modelled, got {groups[group][key]!r}",
                    path=path,
                    value=groups[group][key],
                )
    architecture, power = groups["memarchitecturespec"], groups["mempowerspec"]
    architecture = {"nbrOfDevices": 1, "nbrOfBankGroups": 1} | architecture
    timing = groups["memtimingspec"]
    one_group = {
        f"{name}_{s}": timing[name] for name in ("CCD", "RRD", "WTR") if name in timing for s in "SL"
    }
    timing = {"WPRE": 1} | timing | one_group
    bits = groups["addressmapping"]
    milliamperes = {"idd02": 0} | power
    controller = groups["mcconfig"]
    return DramPart(
        name=str(table.get("memory", path.stem)),
        standard=str(spec.get("memoryType")),
        sources=(("all", f"{path.name}: {spec.get('memoryId')}"),),
        organisation=record(
            path,
            Organisation,
            "memarchitecturespec",
            {k: architecture.get(v) for k, v in ORGANISATION.items()},
        ),
        clock_period_s=number(path, "tCK", timing.get("tCK")) * 1e-12,
        timing_clocks=record(path, Timing, "memtimingspec", {k: timing.get(k) for k in Timing._fields}),
        currents_a=Currents(**{k: number(path, v, milliamperes.get(v)) / 1e3 for k, v in CURRENTS.items()}),
        voltages_v=Voltages(
            number(path, "vdd", power.get("vdd")), number(path, "vdd2", power.get("vdd2", 0))
        ),
        address_bits=record(
            path,
            AddressBits,
            "addressmapping",
            {name: bits.get(f"{name.replace('_', '').upper()}_BIT", []) for name in AddressBits._fields},
        ),
        controller=record(
            path,
            Controller,
            "mcconfig",
            {
                "bank_buffer": controller.get("RequestBufferSize"),
                "max_in_flight": controller.get("MaxActiveTransactions"),
                "request_clocks": 1,
                "response_clocks": 1,
            },
        ),
    )
