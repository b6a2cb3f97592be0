"""Groups of a memory's figures: timing, controller, address bits, currents, voltages, organisation."""

from __future__ import annotations

from typing import NamedTuple


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
