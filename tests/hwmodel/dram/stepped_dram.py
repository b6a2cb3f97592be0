"""The controller and its memory clock by clock, as its rules say: slow, and obvious.

Nothing is shared with the engine but the part. Every command is held against all earlier ones, rule
by rule; no clock is skipped, and no state is kept but the log of commands and the requests.
"""

from dataclasses import dataclass


@dataclass
class Request:
    number: int
    bank: int
    row: int
    write: bool
    presented: int
    accepted: int


def delays(part):
    """Least clocks from a command to another: of one bank, of one group, of the rank; None for no rule."""
    t = part.timing_clocks
    burst = part.organisation.burst_length // 2
    written = t.WL + burst
    to_write = t.RL + burst + 1 + t.WPRE - t.WL
    return {
        ("ACT", "ACT"): (t.RC, t.RRD_L, t.RRD_S),
        ("ACT", "RD"): (t.RCD - t.AL, None, None),
        ("ACT", "WR"): (t.RCD - t.AL, None, None),
        ("ACT", "PRE"): (t.RAS, None, None),
        ("ACT", "PREA"): (None, None, t.RAS),
        ("ACT", "REF"): (None, None, t.RC),
        ("PRE", "ACT"): (t.RP, None, None),
        ("PRE", "REF"): (None, None, t.RP),
        ("PREA", "ACT"): (None, None, t.RP),
        ("PREA", "REF"): (None, None, t.RP),
        ("REF", "ACT"): (None, None, t.RFC),
        ("REF", "REF"): (None, None, t.RFC),
        ("RD", "RD"): (None, t.CCD_L, t.CCD_S),
        ("RD", "WR"): (None, None, to_write),
        ("RD", "PRE"): (t.AL + t.RTP, None, None),
        ("RD", "PREA"): (None, None, t.AL + t.RTP),
        ("WR", "WR"): (None, t.CCD_L, t.CCD_S),
        ("WR", "RD"): (None, written + t.WTR_L - t.AL, written + t.WTR_S - t.AL),
        ("WR", "PRE"): (written + t.WR, None, None),
        ("WR", "PREA"): (None, None, written + t.WR),
    }


class Memory:
    """A log of commands, and what it allows."""

    def __init__(self, part):
        self.delays = delays(part)
        self.reach = max(d for each in self.delays.values() for d in each if d is not None)
        self.four_activates = part.timing_clocks.FAW
        self.banks_of_group = part.organisation.banks // part.organisation.bank_groups
        self.log = []
        self.rows = [None] * part.organisation.banks

    def allows(self, clock, command, bank):
        for past, earlier, at in reversed(self.log):
            if past < clock - self.reach:
                break
            same = (
                at == bank,
                bank is not None and at is not None and self.group(at) == self.group(bank),
                True,
            )
            for delay, applies in zip(self.delays.get((earlier, command), ()), same, strict=False):
                if delay is not None and applies and clock < past + delay:
                    return False
        if command == "ACT":
            activates = [past for past, earlier, _ in self.log if earlier == "ACT"]
            return len(activates) < 4 or clock >= activates[-4] + self.four_activates
        return True

    def send(self, clock, command, bank, row=None):
        assert not self.log or clock > self.log[-1][0]
        self.log.append((clock, command, bank))
        if command == "ACT":
            self.rows[bank] = row
        elif command == "PRE":
            self.rows[bank] = None
        elif command == "PREA":
            self.rows = [None] * len(self.rows)

    def group(self, bank):
        return bank // self.banks_of_group


def wanted(memory, waiting, bank):
    """What FR-FCFS with open pages would send to a bank next: command, and request it is for."""
    requests = [r for r in waiting if r.bank == bank]
    if not requests:
        return None
    if memory.rows[bank] is None:
        return "ACT", requests[0]
    hits = [r for r in requests if r.row == memory.rows[bank]]
    if not hits:
        return "PRE", requests[0]
    return ("WR" if hits[0].write else "RD"), hits[0]


def simulate(part, arrivals, banks, rows, writes):
    """Run a trace given in clocks, banks and rows.

    Returns the clock of each response, the latencies, the log of commands and the clocks with an open bank
    before the last response.
    """
    t = part.timing_clocks
    controller = part.controller
    burst = part.organisation.burst_length // 2
    memory = Memory(part)
    waiting, responses, latencies = [], {}, {}
    clock, coming, last_accept, last_response, refreshes, active = 0, 0, 0, 0, 0, []
    while len(responses) < len(arrivals):
        if coming < len(arrivals):
            presented = max(arrivals[coming], last_accept)
            full = any(
                sum(r.bank == b for r in waiting) >= controller.bank_buffer for b in range(len(memory.rows))
            )
            under_way = len(waiting) + sum(done > clock for done in responses.values())
            if (
                clock >= presented + controller.request_clocks
                and not full
                and under_way < controller.max_in_flight
            ):
                waiting.append(Request(coming, banks[coming], rows[coming], writes[coming], presented, clock))
                last_accept = clock
                coming += 1
        if not waiting and coming == len(arrivals):
            break
        if clock >= t.REFI * (refreshes + 1):
            command = "PREA" if any(row is not None for row in memory.rows) else "REF"
            if memory.allows(clock, command, None):
                memory.send(clock, command, None)
                refreshes += command == "REF"
        else:
            proposals = [p for b in range(len(memory.rows)) if (p := wanted(memory, waiting, b))]
            ready = [p for p in proposals if memory.allows(clock, p[0], p[1].bank)]
            if ready:
                command, request = min(ready, key=lambda p: p[1].number)
                memory.send(clock, command, request.bank, request.row)
                if command in ("RD", "WR"):
                    end = clock + (t.WL if command == "WR" else t.RL) + burst
                    last_response = max(end + controller.response_clocks, last_response + 1)
                    responses[request.number] = last_response
                    latencies[request.number] = last_response - request.presented
                    waiting.remove(request)
        active.append(any(row is not None for row in memory.rows))
        clock += 1
    in_order = range(len(arrivals))
    open_clocks = sum(active[:clock]) + (last_response - clock if active and active[-1] else 0)
    return [responses[i] for i in in_order], [latencies[i] for i in in_order], memory.log, open_clocks
