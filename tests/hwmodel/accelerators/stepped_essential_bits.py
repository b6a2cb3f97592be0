"""Naive machines for the essential bits of weights: every bit, lane, row and cycle one by one."""

import struct
from itertools import product
from math import ceil

from stepped_machines import lanes_view

import hwmodel as hw


def run_ahead(units, depth):
    """Step through cycles; `units`: cycles of each entry of each unit.

    A unit begins an entry once it has done the one before, and all units have done the one `depth` + 1
    earlier, if they have it (None: any time).
    """
    done = [0] * len(units)
    left = [None] * len(units)
    now = 0
    while True:
        moving = True
        while moving:  # what takes no cycle begins and ends at once
            moving = False
            for u, entries in enumerate(units):
                if left[u] is None and done[u] < len(entries):
                    gate = -1 if depth is None else done[u] - depth - 1
                    if all(done[v] > gate or done[v] == len(units[v]) for v in range(len(units))):
                        left[u] = entries[done[u]]
                if left[u] == 0:
                    left[u] = None
                    done[u] += 1
                    moving = True
        if all(d == len(e) for d, e in zip(done, units, strict=True)):
            return now
        now += 1
        left = [None if x is None else x - 1 for x in left]


# Split and accumulate --------------------------------------------------------------------------------------


def knead(weights, activations, bits, segments, signed_top=None):
    """Send a lane's group through its splitter, kneaded weight by kneaded weight; count them.

    `signed_top`: precision of two's complement weights, whose top bit is subtracted.
    """
    if signed_top:
        columns = [
            [i for i, w in enumerate(weights) if w >> b & 1] if b < signed_top else [] for b in range(bits)
        ]
    else:
        columns = [[i for i, w in enumerate(weights) if abs(w) >> b & 1] for b in range(bits)]
    count = 0
    while any(columns):
        for b, pointers in enumerate(columns):
            if pointers:
                i = pointers.pop(0)
                negative = b == signed_top - 1 if signed_top else weights[i] < 0
                segments[b] += -activations[i] if negative else activations[i]
        count += 1
    return count


def one_by_one(weight, activation, bits, at_once, segments):
    ones = [b for b in range(bits) if abs(weight) >> b & 1]
    for b in ones:
        segments[b] += -activation if weight < 0 else activation
    return ceil(len(ones) / (at_once or bits))


def lane_entries(machine, weights, activations, segments, w_bits):
    """Cycles of each entry that passes one lane, all its weights in order."""
    pairs = list(zip(weights, activations, strict=True))
    if machine.name == "aec_low_power":
        return [one_by_one(w, a, 16, machine.bits_per_cycle, segments) for w, a in pairs]
    if machine.name == "aec_kneading":
        pairs = [(w, a) for w, a in pairs if w]
    entries = []
    signed_top = w_bits if machine.encoding == "twos-complement" else None
    for first in range(0, len(pairs), machine.kneading_stride):
        w, a = zip(*pairs[first : first + machine.kneading_stride], strict=True)
        count = knead(w, a, 16, segments, signed_top)
        entries.append(count or (0 if machine.skip_zero_groups else 1))
    return entries


class Sac:
    """One SAC unit: its lanes drain what is theirs of an output sum, then wait at the pass mark."""

    def __init__(self, sums):
        self.sums = list(sums)  # each a list of lanes, each a list of entries' cycles
        self.lanes = None

    @property
    def idle(self):
        return self.lanes is None

    def begin(self):
        self.lanes = [sum(lane) for lane in self.sums.pop(0)]

    def step(self):
        self.lanes = [max(0, left - 1) for left in self.lanes]

    def pass_detector(self):
        if self.lanes is not None and not any(self.lanes):
            self.lanes = None


def by_pass_marks(pes, share):
    """Step through cycles; `pes`: SAC units of each PE. With `share`, a PE's units begin a sum together."""
    now = 0
    while True:
        moving = True
        while moving:  # sums without cycles pass at once
            moving = False
            for pe in pes:
                for sac in pe:
                    sac.pass_detector()
                ready = [sac for sac in pe if sac.idle and sac.sums]
                if share and not all(sac.idle for sac in pe):
                    ready = []
                for sac in ready:
                    sac.begin()
                    moving = True
        if all(sac.idle for pe in pes for sac in pe):
            return now
        for pe in pes:
            for sac in pe:
                if not sac.idle:
                    sac.step()
        now += 1


def deal(filters, rows, tiles, windows):
    """Sums of every SAC unit of every PE: filters in turns, each for all windows; a PE's units in step."""
    pes = [[[] for _ in range(rows)] for _ in range(tiles)]
    for group in filters:
        for first in range(0, len(group), rows * tiles):
            for i in range(rows * tiles):
                lanes = group[first + i] if first + i < len(group) else []
                pes[i // rows][i % rows] += [lanes] * windows
    return [[Sac(sums) for sums in pe] for pe in pes]


def split_accumulate(machine, layer, a, w, w_bits):
    """Cycles of a layer on SAC units; checks the first window's sums on the way."""
    lanes = machine.lanes
    if machine.dual_issue and 2 * w_bits <= machine.word_bits:
        lanes *= 2
    total, filters = 0, []
    rows = machine.rows
    for acts, weights, held in lanes_view(layer, a, w, lanes, machine.rows):
        depthwise = layer.operation == "conv" and layer.channels == 1 and layer.conv_groups > 1
        rounds = machine.rows * machine.tiles
        if depthwise:
            rounds = len(weights)
            rows = min(lanes, machine.rows)
        cycles = 0
        filters.append([])
        for first in range(0, len(weights), rounds):
            units = []
            for f in range(first, min(first + rounds, len(weights))):
                segments = [0] * 16
                mine_of_filter = []
                filters[-1].append(mine_of_filter)
                for lane in range(len(weights[f][0])):
                    steps = range(len(weights[f]))
                    if any(held[f][t][lane] for t in steps):
                        mine = [weights[f][t][lane] for t in steps]
                        inputs = [acts[0][t][lane] for t in steps]
                        mine_of_filter.append(lane_entries(machine, mine, inputs, segments, w_bits))
                units += mine_of_filter
                exact = sum(
                    x * y
                    for row, values in zip(weights[f], acts[0], strict=True)
                    for x, y in zip(row, values, strict=True)
                )
                assert sum(s << b for b, s in enumerate(segments)) == exact
            if machine.barrier == "round":
                cycles += run_ahead(units, machine.fifo_depth)
        total += cycles
    window_sets = layer.position_tiles(machine.columns)
    if machine.barrier == "round":
        return total * window_sets
    # A few windows one by one; further ones repeat the same weights.
    stepped = min(window_sets, 3)
    passed = by_pass_marks(deal(filters, rows, machine.tiles, stepped), machine.barrier == "pe")
    return passed * window_sets // stepped


# Bitlet ----------------------------------------------------------------------------------------------------


def row_cycles(bits, look, walk="second", stops_early=False):
    """State machine of one row: emit the first 1 in the window; go on at the second, or behind the window.

    With `walk` "next", go on behind the first.
    """
    pointer = cycles = 0
    emitted = []
    while pointer < len(bits) and not (stops_early and not any(bits[pointer:])):
        window = [i for i in range(pointer, min(pointer + look, len(bits))) if bits[i]]
        emitted += window[:1]
        if walk == "next":
            pointer = window[0] + 1 if window else pointer + look
        else:
            pointer = window[1] if len(window) > 1 else pointer + look
        cycles += 1
    assert emitted == [i for i, b in enumerate(bits) if b]
    return cycles


def group_cycles(significands, rows, look, walk="second", stops_early=False):
    """C: the slowest row's cycles."""
    cycles = max(row_cycles([s >> b & 1 for s in significands], look, walk, stops_early) for b in range(rows))
    return max(cycles, 1)


def bitlet_rules(machine):
    """Overhead of a group, window, walk and whether short groups are filled up."""
    is_float = machine.numbers == "float"
    if machine.variant == "rtl":
        stages = (25 if is_float else 22) - 8
        own = (
            stages + (machine.beat - 1).bit_length() + ceil(machine.group / machine.beat),
            8,
            "second",
            False,
        )
    elif machine.variant == "paper":
        own = (13 if is_float else 10, 8, "second", False)
    else:
        own = (17, 2, "next", True)
    given = (None, machine.look, machine.walk, machine.pads_groups)
    return [mine if x is None else x for x, mine in zip(given, own, strict=True)]


def float32_parts(value):
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    field, fraction = bits >> 23 & 0xFF, bits & 0x7FFFFF
    if field:
        return field, fraction | 0x800000
    return (1 if fraction else 0), fraction


def aligned(weights, activations, rows):
    """Significands of a group's weights, aligned by the exponents of the products, the upper `rows` bits."""
    pairs = [(float32_parts(w), float32_parts(a)[0]) for w, a in zip(weights, activations, strict=True)]
    largest = max(e + x for (e, _), x in pairs)
    return [s >> 24 - rows >> largest - e - x for (e, s), x in pairs]


def position_windows(layer, a):
    """What each position reads, by convolution group: [group][position] -> values in a filter's order."""
    if isinstance(layer, hw.Linear):
        return [a.reshape(layer.positions, -1).tolist()]
    a = a.reshape(layer.batch, layer.in_channels, *layer.in_size)

    def value(b, c, at):
        at = [x - p[0] for x, p in zip(at, layer.padding, strict=True)]
        inside = all(0 <= x < n for x, n in zip(at, layer.in_size, strict=True))
        return float(a[(b, c, *at)]) if inside else 0.0

    outputs = list(product(*(range(n) for n in layer.out_size)))
    taps = list(product(*(range(k) for k in layer.kernel)))
    return [
        [
            [
                value(
                    b,
                    g * layer.channels + c,
                    [x * s + k * d for x, s, k, d in zip(o, layer.stride, tap, layer.dilation, strict=True)],
                )
                for c in range(layer.channels)
                for tap in taps
            ]
            for b in range(layer.batch)
            for o in outputs
        ]
        for g in range(layer.conv_groups)
    ]


def bitlet(machine, layer, a, w):
    """Cycles of a layer on an array of PEs."""
    filters = w.reshape(layer.filters, -1).tolist()
    per_group = layer.filters // layer.conv_groups
    steps = layer.positions // layer.steps
    is_float = machine.numbers == "float"
    views = position_windows(layer, a) if is_float else None
    apart, look, walk, pads = bitlet_rules(machine)
    rows_at_work = machine.kept_rows or machine.bit_rows
    total = 0

    def group_starts():
        return range(0, layer.reduction, machine.group)

    def pe(f, g, position):
        """Cycles between the starts of the groups of one PE."""
        times = []
        for first in group_starts():
            weights = filters[f][first : first + machine.group]
            if is_float:
                values = views[g][position][first : first + machine.group]
                rows = aligned(weights, values, rows_at_work)
            else:
                rows = [abs(x) for x in weights]
            if pads:
                rows += [0] * (machine.group - len(rows))
            c = group_cycles(rows, rows_at_work, look, walk, machine.stops_early)
            times.append(max(c, ceil(machine.group / machine.beat)) if machine.double_buffered else c + apart)
        return times

    for g in range(layer.conv_groups):
        for step in range(layer.steps):
            for p0 in range(0, steps, machine.pe_columns):
                positions = [step * steps + p for p in range(p0, min(p0 + machine.pe_columns, steps))]
                for f0 in range(0, per_group, machine.pe_rows):
                    rows = range(f0, min(f0 + machine.pe_rows, per_group))
                    seen = positions if is_float else positions[:1]
                    units = [pe(g * per_group + f, g, p) for f in rows for p in seen]
                    total += run_ahead(units, machine.fifo_depth)
                    if machine.double_buffered:
                        total += apart - (machine.variant == "rtl")
    return total
