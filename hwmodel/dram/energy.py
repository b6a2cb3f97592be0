"""Energy from supply currents, after K. Chandrasekar et al., DRAMPower (www.drampower.info).

A data sheet measures each current in a loop of commands. Of that, what exceeds standby is the commands':

================  ==========================================================================
activate          (IDD0 − IDD3N) · RAS of VDD, IPP0 · RAS of VPP
precharge         (IDD0 − IDD2N) · (RC − RAS) of VDD, IPP0 · (RC − RAS) of VPP
read, write       (IDD4R − IDD3N), (IDD4W − IDD3N) during the burst
refresh           IDD5B during RFC, standby included
standby           IDD3N while a bank is open; IDD2N while none is and no refresh runs
================  ==========================================================================

The memory alone: neither the controller nor drivers and termination of the data bus.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from hwmodel.dram.parts import DramPart


@dataclass(frozen=True)
class EnergyParts:
    """Joules by cause; the sum is the whole.

    Parameters
    ----------
    activate_j, precharge_j, read_j, write_j, refresh_j, active_standby_j, precharged_standby_j : float
    """

    activate_j: float
    precharge_j: float
    read_j: float
    write_j: float
    refresh_j: float
    active_standby_j: float
    precharged_standby_j: float

    @property
    def total_j(self) -> float:
        """Sum of all parts."""
        return float(sum(astuple(self)))


def energy_parts(
    part: DramPart,
    *,
    activates: int,
    precharges: int,
    reads: int,
    writes: int,
    refreshes: int,
    active_clocks: int,
    total_clocks: int,
) -> EnergyParts:
    """Charge every command and every clock of standby.

    Parameters
    ----------
    part : DramPart
    activates, precharges, reads, writes, refreshes : int
        Commands; a precharge of all banks counts once for each bank that was open.
    active_clocks, total_clocks : int
        Clocks with a bank open; all clocks.
    """
    timing, current, volt = part.timing_clocks, part.currents_a, part.voltages_v
    clock_s = part.clock_period_s * part.organisation.devices
    vdd, vpp = volt.VDD * clock_s, volt.VPP * clock_s
    restore = timing.RC - timing.RAS
    idle_clocks = total_clocks - active_clocks - refreshes * timing.RFC
    return EnergyParts(
        activate_j=activates * timing.RAS * ((current.IDD0 - current.IDD3N) * vdd + current.IPP0 * vpp),
        precharge_j=precharges * restore * ((current.IDD0 - current.IDD2N) * vdd + current.IPP0 * vpp),
        read_j=reads * part.burst_clocks * (current.IDD4R - current.IDD3N) * vdd,
        write_j=writes * part.burst_clocks * (current.IDD4W - current.IDD3N) * vdd,
        refresh_j=refreshes * timing.RFC * current.IDD5B * vdd,
        active_standby_j=active_clocks * current.IDD3N * vdd,
        precharged_standby_j=idle_clocks * current.IDD2N * vdd,
    )


def idle_power_w(part: DramPart) -> float:
    """Watts of a memory that is only refreshed."""
    timing, current = part.timing_clocks, part.currents_a
    share = timing.RFC / timing.REFI
    mean_a = share * current.IDD5B + (1 - share) * current.IDD2N
    return mean_a * part.voltages_v.VDD * part.organisation.devices
