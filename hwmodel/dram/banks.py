"""The bank-state engine: every command to every bank, compiled.

At each clock, in this order:

1. A request is accepted if it has waited `request_clocks`, fewer than `max_in_flight` are under way and no
   bank's buffer is full (the port tells that it is ready before it knows the address); one per clock, in the
   order of the trace.
2. If a refresh is due, all banks are precharged (PREA) and refreshed (REF) as soon as timing allows, and no
   other command is sent until then.
3. Otherwise each bank with requests proposes one command: RD or WR for its oldest request to the open row,
   else PRE for the row in the way, or ACT for the row of its oldest request (FR-FCFS, open page). Of those
   that timing allows now, the one for the oldest request is sent. One command per clock.

Rules of JESD79-3 and JESD79-4 are kept as the first clock at which a bank, a bank group or the whole
rank takes a command. Clocks in which nothing can happen are skipped.

Importing this module imports Numba.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel

# As NumPy integers, which Numba compiles callees for once; of Python's it makes types of their own.
ACT, PRE, RD, WR = np.arange(4)
NEVER = np.iinfo(np.int64).max
"""A clock that does not come."""

# Places in `State.scalars`: times in clocks, counts of commands. Rules, State and these names stay in this
# file: Numba's cache looks at no other one before it takes a compiled kernel for up to date.
CLOCK, NEXT_REFRESH, PREA_READY, REF_READY, LAST_ACCEPT, LAST_RESPONSE, ACCEPTED = np.arange(7)
OPEN_BANKS, ACTIVE_SINCE, ACTIVE_CLOCKS, BUFFERED, OLDEST_RESPONSE, RESPONSES, ACTIVATES = range(7, 14)
ACTS, PRES, PREAS, REFS, RDS, WRS, LAST_BANK, SCALARS = range(14, 22)
# Places in an entry of `State.buffer`.
NUMBER, ROW, WRITE, PRESENTED, TAKEN, FIELDS = range(6)


class Rules(NamedTuple):
    """What the engine needs of a part; delays from one command to another in clocks.

    A group's delays ``_l`` hold within one bank group, the rank's ``_s`` everywhere.
    """

    banks_of_group: int
    activate_to_column: int
    activate_to_precharge: int
    activate_to_activate: int
    activate_s: int
    activate_l: int
    four_activates: int
    precharge_to_activate: int
    read_to_precharge: int
    write_to_precharge: int
    column_s: int
    column_l: int
    read_to_write: int
    write_to_read_s: int
    write_to_read_l: int
    read_data_end: int
    write_data_end: int
    refresh_interval: int
    refresh: int
    bank_buffer: int
    max_in_flight: int
    request: int
    response: int


class State(NamedTuple):
    """Everything the engine remembers between chunks of a trace.

    Attributes
    ----------
    scalars : array of int64
        See the names at the top of this module.
    open_row, waiting : arrays of int64, shape (banks,)
        Row, or -1; requests in the bank's buffer.
    candidate : array of int64, shape (banks, 2)
        Proposed command, and place in the buffer of the request it serves.
    bank_ready, group_ready, rank_ready : arrays of int64, shapes (banks, 4), (groups, 4), (4,)
        First clock for ACT, PRE, RD, WR.
    activates : array of int64, shape (4,)
        Clocks of the last four activates.
    buffer : array of int64, shape (banks, bank_buffer, 5)
        Oldest first; fields are named at the top, the last two are clocks of presentation and acceptance.
    responses : array of int64, shape (max_in_flight,)
        Ring of clocks at which requests under way will have been answered.
    """

    scalars: npt.NDArray[np.int64]
    open_row: npt.NDArray[np.int64]
    waiting: npt.NDArray[np.int64]
    candidate: npt.NDArray[np.int64]
    bank_ready: npt.NDArray[np.int64]
    group_ready: npt.NDArray[np.int64]
    rank_ready: npt.NDArray[np.int64]
    activates: npt.NDArray[np.int64]
    buffer: npt.NDArray[np.int64]
    responses: npt.NDArray[np.int64]


@kernel(allocates=False)
def _propose(state, b):  # type: ignore[no-untyped-def]
    """Choose the command of bank `b`, which has requests."""
    row = state.open_row[b]
    state.candidate[b, 0] = ACT if row < 0 else PRE
    state.candidate[b, 1] = 0
    # The buffer is in the order of acceptance: the first request to the open row is the oldest.
    if row >= 0:
        for k in range(state.waiting[b]):
            if state.buffer[b, k, ROW] == row:
                state.candidate[b, 0] = WR if state.buffer[b, k, WRITE] else RD
                state.candidate[b, 1] = k
                return


@kernel(allocates=False)
def _later(ready, command, clock):  # type: ignore[no-untyped-def]
    """Let `command` wait for `clock`, if it does not wait longer."""
    ready[command] = max(ready[command], clock)


@kernel(allocates=False)
def _activate(rules, state, t, b):  # type: ignore[no-untyped-def]
    """Send ACT at clock `t`, for the request that bank `b` proposes."""
    s = state.scalars
    # First clocks of what may follow: in this bank, in its group, in the whole rank.
    ready = state.bank_ready[b]
    _later(ready, ACT, t + rules.activate_to_activate)
    _later(ready, PRE, t + rules.activate_to_precharge)
    _later(ready, RD, t + rules.activate_to_column)
    _later(ready, WR, t + rules.activate_to_column)
    _later(state.group_ready[b // rules.banks_of_group], ACT, t + rules.activate_l)
    _later(state.rank_ready, ACT, t + rules.activate_s)
    _later(s, PREA_READY, t + rules.activate_to_precharge)
    _later(s, REF_READY, t + rules.activate_to_activate)
    # A ring of four: after its turn, the place at hand holds the oldest, FAW after which a fifth may come.
    state.activates[s[ACTIVATES] % 4] = t
    s[ACTIVATES] += 1
    if s[ACTIVATES] >= 4:
        _later(state.rank_ready, ACT, state.activates[s[ACTIVATES] % 4] + rules.four_activates)
    state.open_row[b] = state.buffer[b, state.candidate[b, 1], ROW]
    # Clocks with any bank open draw IDD3N; the energy model asks for their number.
    if s[OPEN_BANKS] == 0:
        s[ACTIVE_SINCE] = t
    s[OPEN_BANKS] += 1
    s[ACTS] += 1


@kernel(allocates=False)
def _precharge(rules, state, t, b):  # type: ignore[no-untyped-def]
    """Close bank `b` at clock `t`; the caller counts the command."""
    s = state.scalars
    _later(state.bank_ready[b], ACT, t + rules.precharge_to_activate)
    _later(s, REF_READY, t + rules.precharge_to_activate)
    state.open_row[b] = -1
    s[OPEN_BANKS] -= 1
    if s[OPEN_BANKS] == 0:
        s[ACTIVE_CLOCKS] += t - s[ACTIVE_SINCE]


@kernel(allocates=False)
def _column(rules, state, t, b, write):  # type: ignore[no-untyped-def]
    """Send RD or WR; returns the clock at which the last beat has passed."""
    s = state.scalars
    # The data bus and the array's column path belong to all banks: the group is told the long delays, the
    # rank the short ones, which for a bank of the group are the weaker rule.
    group = state.group_ready[b // rules.banks_of_group]
    if write:
        precharge = t + rules.write_to_precharge
        _later(group, RD, t + rules.write_to_read_l)
        _later(group, WR, t + rules.column_l)
        _later(state.rank_ready, RD, t + rules.write_to_read_s)
        _later(state.rank_ready, WR, t + rules.column_s)
        s[WRS] += 1
        data_end = t + rules.write_data_end
    else:
        precharge = t + rules.read_to_precharge
        _later(group, RD, t + rules.column_l)
        _later(state.rank_ready, RD, t + rules.column_s)
        _later(state.rank_ready, WR, t + rules.read_to_write)
        s[RDS] += 1
        data_end = t + rules.read_data_end
    _later(state.bank_ready[b], PRE, precharge)
    _later(s, PREA_READY, precharge)
    return data_end


@kernel(allocates=False)
def _refresh(rules, state, t):  # type: ignore[no-untyped-def]
    """Send PREA or REF if timing allows; returns the clock from which it does."""
    s = state.scalars
    # First all banks are closed by one command, when the slowest of them may be.
    if s[OPEN_BANKS]:
        if s[PREA_READY] > t:
            return s[PREA_READY]
        for b in range(len(state.open_row)):
            if state.open_row[b] >= 0:
                _precharge(rules, state, t, b)
                if state.waiting[b]:
                    _propose(state, b)
        _later(state.rank_ready, ACT, t + rules.precharge_to_activate)
        s[PREAS] += 1
        return t
    if s[REF_READY] > t:
        return s[REF_READY]
    # REF keeps the whole rank for RFC clocks; the next one is due an interval after this one was, not after
    # it ran.
    s[REF_READY] = t + rules.refresh
    _later(state.rank_ready, ACT, t + rules.refresh)
    s[NEXT_REFRESH] += rules.refresh_interval
    s[REFS] += 1
    return t


@kernel(allocates=False)
def _accept(rules, state, t, arrival, b, row, write):  # type: ignore[no-untyped-def]
    """Accept a request if clock `t` allows; returns the clock from which it does, if known by now."""
    s = state.scalars
    # A request stands at the port from its arrival, or from when the one before it was taken.
    presented = max(arrival, s[LAST_ACCEPT])
    ready = presented + rules.request
    # Only the bank of the last request can have become full: with a full one, nothing else was accepted.
    if state.waiting[s[LAST_BANK]] == rules.bank_buffer:
        return NEVER  # until a column command frees a place
    # In flight: requests in buffers, and those whose data moved but whose response is still under way.
    if s[BUFFERED] + s[RESPONSES] >= rules.max_in_flight:
        if s[RESPONSES] == 0:
            return NEVER
        ready = max(ready, state.responses[s[OLDEST_RESPONSE]])
    if ready > t:
        return ready
    entry = state.buffer[b, state.waiting[b]]
    entry[NUMBER] = s[ACCEPTED]
    entry[ROW] = row
    entry[WRITE] = write
    entry[PRESENTED] = presented
    entry[TAKEN] = t
    state.waiting[b] += 1
    _propose(state, b)
    s[BUFFERED] += 1
    s[ACCEPTED] += 1
    s[LAST_ACCEPT] = t
    s[LAST_BANK] = b
    return t


@kernel(allocates=False)
def advance(rules, state, arrival, bank, row, write, last, number, latency, service):  # type: ignore[no-untyped-def]
    """Run until all requests of a chunk are accepted, after the last chunk until all are answered.

    Fills `number`, `latency` (presentation to response) and `service` (acceptance to last beat) of
    the requests that moved their data, in that order, and returns how many did. All times are in clocks.
    """
    # `i` requests of the chunk are accepted, `done` have moved their data. One turn of the loop is a clock in
    # which something may happen.
    s = state.scalars
    banks = len(state.open_row)
    t = s[CLOCK]
    i = 0
    done = 0
    while True:
        # Responses that have been given make room; the ring holds them in the order of their clocks.
        while s[RESPONSES] and state.responses[s[OLDEST_RESPONSE]] <= t:
            s[OLDEST_RESPONSE] = (s[OLDEST_RESPONSE] + 1) % rules.max_in_flight
            s[RESPONSES] -= 1
        # At most one request is accepted; `accept_at`: when the next one could be.
        accept_at = NEVER
        if i < len(bank):
            accept_at = _accept(rules, state, t, arrival[i], bank[i], row[i], write[i])
            if accept_at <= t:
                i += 1
                accept_at = t + 1
        if i == len(bank) and (not last or s[BUFFERED] == 0):
            break

        # One command is sent, of a due refresh or of the bank whose request is oldest. `soonest`: the next
        # clock at which a command may be possible, this one if one was sent.
        if t >= s[NEXT_REFRESH]:
            soonest = _refresh(rules, state, t)
        else:
            soonest = s[NEXT_REFRESH]
            chosen = banks  # none
            oldest = NEVER
            for b in range(banks):
                if state.waiting[b]:
                    command = state.candidate[b, 0]
                    # Bank, group and rank each keep a first clock for the command; the latest holds.
                    ready = max(
                        state.bank_ready[b, command],
                        state.group_ready[b // rules.banks_of_group, command],
                        state.rank_ready[command],
                    )
                    if ready > t:
                        soonest = min(soonest, ready)
                    elif state.buffer[b, state.candidate[b, 1], NUMBER] < oldest:
                        chosen = b
                        oldest = state.buffer[b, state.candidate[b, 1], NUMBER]
            if chosen < banks:
                soonest = t
                command = state.candidate[chosen, 0]
                if command == ACT:
                    _activate(rules, state, t, chosen)
                elif command == PRE:
                    _precharge(rules, state, t, chosen)
                    s[PRES] += 1
                else:
                    end = _column(rules, state, t, chosen, command == WR)
                    # Responses leave in the order of their data, one per clock.
                    response = max(end + rules.response, s[LAST_RESPONSE] + 1)
                    s[LAST_RESPONSE] = response
                    state.responses[(s[OLDEST_RESPONSE] + s[RESPONSES]) % rules.max_in_flight] = response
                    s[RESPONSES] += 1
                    # Take the request out of its bank's buffer, and close the gap.
                    entries = state.buffer[chosen]
                    k = state.candidate[chosen, 1]
                    number[done] = entries[k, NUMBER]
                    latency[done] = response - entries[k, PRESENTED]
                    service[done] = end - entries[k, TAKEN]
                    done += 1
                    s[BUFFERED] -= 1
                    state.waiting[chosen] -= 1
                    for later in range(k, state.waiting[chosen]):
                        # Field by field: a slice's copy would compile the wording of broadcasting errors.
                        for field in range(FIELDS):
                            entries[later, field] = entries[later + 1, field]
                if state.waiting[chosen]:
                    _propose(state, chosen)
        # Skip clocks in which neither the port nor the memory can do anything.
        t = max(t + 1, min(soonest, accept_at))
    s[CLOCK] = t
    return done
