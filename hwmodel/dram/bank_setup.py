"""From a part to the bank-state engine's rules and its first state.

Importing this module imports Numba, as that of the engine does.
"""

from __future__ import annotations

import numpy as np

from hwmodel.dram.banks import NEXT_REFRESH, SCALARS, Rules, State
from hwmodel.dram.parts import DramPart

NO_REFRESH = 1 << 62
"""Clocks that no trace reaches, and that no sum of delays carries beyond int64."""


def rules_of(part: DramPart, *, refresh: bool = True) -> Rules:
    """Derive the delays between commands from a part's timing."""
    # Clocks from command to command. A read or write acts AL clocks after it is sent, which RCD, RTP and WTR
    # count to or from. A write's data end WL clocks and a burst after the command.
    t, burst = part.timing_clocks, part.burst_clocks
    return Rules(
        banks_of_group=part.organisation.banks // part.organisation.bank_groups,
        activate_to_column=t.RCD - t.AL,
        activate_to_precharge=t.RAS,
        activate_to_activate=t.RC,
        activate_s=t.RRD_S,
        activate_l=t.RRD_L,
        four_activates=t.FAW,
        precharge_to_activate=t.RP,
        read_to_precharge=t.AL + t.RTP,
        write_to_precharge=t.WL + burst + t.WR,
        column_s=t.CCD_S,
        column_l=t.CCD_L,
        # The data bus turns round: one clock between the two bursts, and the write's preamble.
        read_to_write=t.RL + burst + 1 + t.WPRE - t.WL,
        write_to_read_s=t.WL + burst + t.WTR_S - t.AL,
        write_to_read_l=t.WL + burst + t.WTR_L - t.AL,
        read_data_end=t.RL + burst,
        write_data_end=t.WL + burst,
        refresh_interval=t.REFI if refresh else NO_REFRESH,
        refresh=t.RFC,
        bank_buffer=part.controller.bank_buffer,
        max_in_flight=part.controller.max_in_flight,
        request=part.controller.request_clocks,
        response=part.controller.response_clocks,
    )


def new_state(part: DramPart, rules: Rules) -> State:
    """All banks precharged, clock 0, the first refresh one interval ahead."""
    banks, groups = part.organisation.banks, part.organisation.bank_groups
    state = State(
        scalars=np.zeros(SCALARS, np.int64),
        open_row=np.full(banks, -1, np.int64),
        waiting=np.zeros(banks, np.int64),
        candidate=np.zeros((banks, 2), np.int64),
        bank_ready=np.zeros((banks, 4), np.int64),
        group_ready=np.zeros((groups, 4), np.int64),
        rank_ready=np.zeros(4, np.int64),
        activates=np.zeros(4, np.int64),
        buffer=np.zeros((banks, rules.bank_buffer, 5), np.int64),
        responses=np.zeros(rules.max_in_flight, np.int64),
    )
    state.scalars[NEXT_REFRESH] = rules.refresh_interval
    return state
