"""BitX stepped cycle by cycle: small, slow and plain. What the compiled engine is compared with.

Every lane hands the kept ones of its weight to the CUs one by one, every CU holds activations and a register,
and each cycle is put down to one cause by asking who is still busy. Nothing is shared with the engine
but the definition of pruning on Python integers.
"""

from collections import Counter, deque
from dataclasses import dataclass
from itertools import chain
from math import ldexp
from types import SimpleNamespace

import numpy as np

from bitxcore import reference
from bitxcore.formats import number_format

ACTIVATION_WINDOW = 16  # A


# Groups: which weights come together, and the ones that they keep


def gather(used, acc, channels, kernel_positions):
    """Lists of reduction indices, one a group, of a filter; `used`: which of its weights are not zero."""
    runs = [range(len(used))]
    if acc.grouping == "channel":
        runs = [[c * kernel_positions + k for c in range(channels)] for k in range(kernel_positions)]
    elif acc.grouping == "kernel":
        runs = [[c * kernel_positions + k for k in range(kernel_positions)] for c in range(channels)]
    if acc.pack_zeros:
        runs = [[i for run in runs for i in run if used[i]]]
    return [list(run[i : i + acc.group]) for run in runs for i in range(0, len(run), acc.group)]


def ones_of(code, fmt):
    """(exponent, sign) of each one of a value, the most significant first."""
    value = reference.decode(code, fmt)
    top = fmt.significand_bits - 1
    unit = value.exponent - fmt.bias - top if fmt.is_float else 0
    places = [i for i in range(top, -1, -1) if value.significand >> i & 1]
    if fmt.encoding == "twos-complement":
        return [(i, -1 if i == top else 1) for i in places]
    return [(unit + i, -1 if value.sign else 1) for i in places]


@dataclass
class Group:
    """Weights that are pruned together.

    ``indices`` say which weights of the filter they are; ``ones`` has the kept ones of each; ``rows`` has the
    exponents of the kept rows.
    """

    indices: list
    ones: list
    rows: list


def top_exponent(emax, fmt):
    return emax - fmt.bias if fmt.is_float else fmt.significand_bits - 1


def pruned_group(codes, indices, fmt, acc):
    window = acc.window or fmt.default_window
    options = {name: getattr(acc, name) for name in ("criterion", "rows", "threshold", "budget", "rounding")}
    pruned, mask, emax = reference.prune_group(codes, fmt, window, **options)
    top = top_exponent(emax, fmt)
    rows = [top - row for row in range(window) if mask >> (window - 1 - row) & 1]
    return Group(indices, [ones_of(code, fmt) for code in pruned], rows)


def whole_group(codes, indices, fmt, acc):
    """Build a group of which nothing is pruned: ones of whole significands, but rows of the window."""
    rows = []
    if acc.serial_unit == "row":
        aligned = reference.align(codes, fmt, acc.window or fmt.default_window)
        top = top_exponent(aligned.emax, fmt)
        rows = [top - row for row, count in enumerate(reference.row_ones(aligned)) if count]
    return Group(indices, [ones_of(code, fmt) for code in codes], rows)


class Serial:
    """The operand whose ones are taken one after another: groups of each vector, and its width in bits."""

    def __init__(self, acc, layer, codes, fmt, *, prune=True):
        self.fmt = fmt
        self.bits = fmt.storage_bits
        if not fmt.is_float:
            self.bits = fmt.significand_bits + (fmt.encoding == "sign-magnitude")
        if not prune:
            acc = changed(acc, pack_zeros=False)
        self.vectors = []
        for vector in codes:
            used = [reference.decode(code, fmt).significand != 0 for code in vector]
            cut = gather(used, acc, layer.channels, layer.kernel_positions)
            make = pruned_group if prune else whole_group
            self.vectors.append([make([vector[i] for i in indices], indices, fmt, acc) for indices in cut])

    def ones(self, v):
        return sum(len(ones) for group in self.vectors[v] for ones in group.ones)


def changed(acc, **options):
    return SimpleNamespace(**(acc.options | options))


# Turns: what the lanes of a PE do, one after another. A turn is a list of (group, member, exponent, sign).


def lanes_of(acc):
    """Lanes of a PE that hold one weight each."""
    return acc.group * (acc.compute_units if acc.cu_operands == "weights" else 1)


def turns_of_weights(acc, groups):
    """Steps of a PE: for each lane, its weight's ones, one a turn."""
    at_once = acc.compute_units if acc.cu_operands == "weights" else 1
    steps = []
    for first in range(0, len(groups), at_once):
        lanes = [[] for _ in range(lanes_of(acc))]
        for g in range(first, min(first + at_once, len(groups))):
            for member, ones in enumerate(groups[g].ones):
                lanes[(g - first) * acc.group + member] = [[(g, member, *one)] for one in ones]
        if not any(lanes) and not acc.skip_zero_groups:
            lanes = [[[]] for _ in lanes]
        steps.append(lanes)
    return steps


def turns_of_rows(acc, groups):
    """Steps of a PE whose one lane takes whole rows, several a turn."""
    steps = []
    for g, group in enumerate(groups):
        shifts = [
            [(g, member, *one) for member, ones in enumerate(group.ones) for one in ones if one[0] == row]
            for row in group.rows
        ]
        at_once = acc.rows_per_cycle
        turns = [list(chain(*shifts[i : i + at_once])) for i in range(0, len(shifts), at_once)]
        steps.append([turns or ([] if acc.skip_zero_groups else [[]])])
    return steps


def idle_turns(count):
    """Make a rule by which every step takes `count` turns, whatever the weights are."""

    def turns(acc, groups):
        at_once = acc.compute_units if acc.cu_operands == "weights" else 1
        return [[[[]] * count]] * -(-len(groups) // at_once)

    return turns


# Computing units


def round_to_float32(numerator, exponent):
    """Nearest float32 of ``numerator * 2**exponent``, ties to even."""
    size = abs(numerator)
    shift = max(size.bit_length() - 24, -149 - exponent, 0)
    kept, rest = size >> shift, size & ((1 << shift) - 1)
    half = (1 << shift) >> 1
    kept += rest > half or (rest == half and shift > 0 and kept & 1)
    return np.float32(ldexp(kept if numerator >= 0 else -kept, exponent + shift))


class CU:
    """Shifters, a tree and a register: an exact sum, in units of ``2**lowest``."""

    def __init__(self, is_float):
        self.is_float = is_float
        self.sum, self.lowest = 0, 0
        self.queued = {}

    def take(self, group, activations):
        """Queue a group's activations; floats are aligned in their window first."""
        scale = 0
        if self.is_float:
            fmt = number_format("float32")
            codes = np.asarray(activations, np.float32).view(np.uint32).tolist()
            aligned = reference.align(codes, fmt, ACTIVATION_WINDOW)
            members = zip(aligned.aligned, aligned.members, strict=True)
            activations = [-a if v.sign else a for a, v in members]
            scale = aligned.emax - fmt.bias - (ACTIVATION_WINDOW - 1)
        self.queued[group] = activations, scale

    def apply(self, group, member, exponent, sign):
        activations, scale = self.queued[group]
        self.add(sign * activations[member], exponent + scale)

    def add(self, value, exponent):
        if exponent < self.lowest:
            self.sum <<= self.lowest - exponent
            self.lowest = exponent
        self.sum += value << (exponent - self.lowest)


def result(cus):
    """Output of the CUs that have shared a filter at a position: one conversion of one exact sum."""
    whole = CU(cus[0].is_float)
    for cu in cus:
        whole.add(cu.sum, cu.lowest)
    return round_to_float32(whole.sum, whole.lowest) if whole.is_float else whole.sum


# What can be busy


class Countdown:
    def __init__(self, cycles):
        self.left = cycles

    @property
    def busy(self):
        return self.left > 0

    def step(self):
        self.left -= 1


class Port:
    def __init__(self, moved, width):
        self.left, self.width = moved, width

    @property
    def busy(self):
        return self.left > 0

    def step(self):
        self.left -= self.width


class Pool:
    """Workers that all draw from one pool of work."""

    def __init__(self, workers, work):
        self.workers, self.left = workers, work

    @property
    def busy(self):
        return self.left > 0

    def step(self):
        self.left -= self.workers


class Lane:
    """A queue of steps, each a list of turns of which one is done in a cycle."""

    def __init__(self):
        self.queue, self.finished = deque(), 0

    def take(self, turns):
        self.queue.append(deque(turns))
        self.pass_on()

    def pass_on(self):
        while self.queue and not self.queue[0]:
            self.queue.popleft()
            self.finished += 1

    def step(self):
        if not self.queue:
            return []
        turn = self.queue[0].popleft()
        self.pass_on()
        return turn


def nothing(*_):
    pass


class PE:
    """Lanes that take the steps of one filter together, and finish them by themselves."""

    def __init__(self, steps, lane_depth):
        self.steps, self.lane_depth = steps, lane_depth
        self.on_take = self.on_shift = self.write = nothing
        self.lanes = [Lane() for _ in steps[0]] if steps else []
        self.taken = 0  # steps
        self.finished = 0  # by all lanes
        self.done = not steps

    def look(self):
        self.finished = min(lane.finished for lane in self.lanes)
        self.done = self.finished == len(self.steps)

    def has_room(self):
        if self.taken == len(self.steps):
            return False
        return self.lane_depth is None or self.finished >= self.taken - self.lane_depth

    def take(self):
        self.on_take(self.taken)
        for lane, turns in zip(self.lanes, self.steps[self.taken], strict=True):
            lane.take(turns)
        self.taken += 1
        self.look()

    def step(self):
        if self.done:
            return
        for lane in self.lanes:
            for shift in lane.step():
                self.on_shift(*shift)
        self.look()


class PEs:
    """PEs behind a FIFO of `depth` steps and the register from which a step is handed out."""

    def __init__(self, pes, depth, lane_depth):
        self.pes = pes
        self.ahead = None if depth is None or lane_depth is None else depth + lane_depth
        self.settle()

    @property
    def busy(self):
        return any(not pe.done for pe in self.pes)

    def settle(self):
        """Take all that can be taken at this instant."""
        moved = True
        while moved:
            moved = False
            oldest = min((pe.finished for pe in self.pes if not pe.done), default=0)
            for pe in self.pes:
                if pe.has_room() and (self.ahead is None or pe.taken <= oldest + self.ahead):
                    pe.take()
                    moved = True

    def step(self):
        before = [pe.finished for pe in self.pes]
        for pe in self.pes:
            pe.step()
        if [pe.finished for pe in self.pes] != before:
            self.settle()


def cycles_alone(steps, lane_depth):
    """Count the cycles of a PE in whose way nothing is but its own lanes."""
    alone, cycles = PEs([PE(steps, lane_depth)], None, lane_depth), 0
    while alone.busy:
        alone.step()
        cycles += 1
    return cycles


# The machine


def patch(layer, activations, filter_, position):
    """Activations that a filter meets at a position, in the order of its weights."""
    if layer.operation == "swapped":
        return activations[filter_ // (layer.filters // len(activations)), position].tolist()
    if layer.operation == "linear":
        return activations.reshape(layer.positions, -1)[position].tolist()
    (pad_y, _), (pad_x, _) = layer.padding
    y0, x0 = divmod(position, layer.out_size[1])
    first = filter_ // (layer.filters // layer.conv_groups) * layer.channels
    found = []
    for c in range(layer.channels):
        for ky in range(layer.kernel[0]):
            for kx in range(layer.kernel[1]):
                y = y0 * layer.stride[0] + ky * layer.dilation[0] - pad_y
                x = x0 * layer.stride[1] + kx * layer.dilation[1] - pad_x
                inside = 0 <= y < layer.in_size[0] and 0 <= x < layer.in_size[1]
                found.append(activations[first + c, y, x].item() if inside else 0)
    return found


def swapped(layer):
    """Swap the roles: what a position reads is a filter; positions of different steps share no tile.

    The other operand then has the shape (convolution groups, filters of a group, reduction).
    """
    return SimpleNamespace(
        operation="swapped",
        channels=layer.channels,
        kernel_positions=layer.kernel_positions,
        reduction=layer.reduction,
        filters=layer.conv_groups * layer.positions,
        conv_groups=layer.conv_groups * layer.steps,
        positions=layer.filters // layer.conv_groups,
        steps=1,
    )


def tiles(acc, layer):
    """Filters of each tile."""
    per_group = layer.filters // layer.conv_groups
    for first in range(0, layer.filters, per_group):
        for tile in range(first, first + per_group, acc.processing_elements):
            yield range(tile, min(tile + acc.processing_elements, first + per_group))


def position_tiles(acc, layer):
    """Positions of each pass of a tile."""
    per_step = layer.positions // layer.steps
    at_once = 1 if acc.cu_operands == "weights" else acc.compute_units
    for begin in range(0, layer.positions, per_step):
        for start in range(begin, begin + per_step, at_once):
            yield range(start, min(start + at_once, begin + per_step))


def fills(acc, layer, serial):
    """Times that the pipeline fills at the start of each tile, for the loads of half a buffer, in bytes."""
    half = (acc.weight_buffer_bytes if acc.serial == "weights" else acc.activation_buffer_bytes) // 2
    read, loads = 0, 0
    for filters in tiles(acc, layer):
        read += sum(len(serial.vectors[f]) for f in filters) * -(-acc.group * serial.bits // 8)
        yield -(-read // half) - loads
        loads = -(-read // half)


def simulate(acc, layer, serial, others, other_bits, turns=None):
    """Run a layer; its cycles by cause, and its outputs of shape (filters, positions).

    Parameters
    ----------
    acc, layer
        With ``acc.serial == "activations"``, a layer that is `swapped`.
    serial : Serial
        The filters.
    others : ndarray or None
        The activations; None: neither outputs nor the causes within the PEs are found, and passes that are
        alike are stepped once.
    other_bits : int
        Width of `others`.
    turns : callable, optional
        What a PE's lanes do for a list of groups; by default what the machine's serial unit says.
    """
    by_row = acc.serial_unit == "row" or turns is not None
    turns = turns or (turns_of_rows if by_row else turns_of_weights)
    work = [turns(acc, groups) for groups in serial.vectors]
    # Groups are broadcast as they are before zeros are left out.
    unpacked = changed(acc, pack_zeros=False)
    dense = len(gather([True] * layer.reduction, unpacked, layer.channels, layer.kernel_positions))
    activation_bits = other_bits if acc.serial == "weights" else serial.bits
    latency = ((acc.group - 1).bit_length() + 1) * (1 + serial.fmt.is_float)
    outputs = [[None] * layer.positions for _ in range(layer.filters)]
    causes = Counter()
    for filters, loads in zip(tiles(acc, layer), fills(acc, layer, serial), strict=True):
        alike = {}
        alone = [cycles_alone(work[f], acc.lane_fifo_depth) for f in filters] if others is not None else []
        for number, positions in enumerate(position_tiles(acc, layer)):
            own = sum(len(serial.vectors[f]) for f in filters) * -(-acc.group * serial.bits // 8)
            other = len(positions) * dense * -(-acc.group * other_bits // 8)
            moved = (own, other) if acc.serial == "weights" else (other, own)
            results = len(filters) * len(positions) * -(-activation_bits // 8)
            times = 1 if acc.fill == "pass" else loads * (number == 0)
            key = (times, len(positions))
            if others is None and key in alike:
                causes += alike[key]
                continue
            agents = {"fill_cycles": Countdown(latency * times)}
            pes = [PE(work[f], acc.lane_fifo_depth) for f in filters]
            if others is not None:
                for pe, f in zip(pes, filters, strict=True):
                    put_cus(pe, acc, layer, serial, f, positions, others, outputs)
                agents["compute_cycles"] = pool_of_work(acc, [work[f] for f in filters], by_row)
                agents["lane_wait_cycles"] = Pool(acc.processing_elements, sum(alone))
                agents["imbalance_cycles"] = Countdown(max(alone))
            agents["fifo_full_cycles"] = PEs(pes, acc.fifo_depth, acc.lane_fifo_depth)
            alike[key] = run_pass(agents, ports_of(acc, (*moved, results)))
            for pe in pes:
                pe.write()
            causes += alike[key]
    return causes, outputs


def pool_of_work(acc, work, by_row):
    """All that the PEs of a tile have to do: turns, or ones, of which every lane takes one a cycle."""
    turns = [turn for steps in work for lanes in steps for lane in lanes for turn in lane]
    if by_row:
        return Pool(acc.processing_elements, len(turns))
    return Pool(acc.processing_elements * lanes_of(acc), sum(len(turn) for turn in turns))


def put_cus(pe, acc, layer, serial, f, positions, activations, outputs):
    """Give a PE its CUs: one at each position, or one for each of the groups that it takes at once."""
    at_once = acc.compute_units if acc.cu_operands == "weights" else 1
    cus = {q: [CU(serial.fmt.is_float) for _ in range(at_once)] for q in positions}
    there = {q: patch(layer, activations, f, q) for q in positions}
    groups = serial.vectors[f]

    def take(step):
        for g in range(step * at_once, min((step + 1) * at_once, len(groups))):
            for q in positions:
                cus[q][g % at_once].take(g, [there[q][i] for i in groups[g].indices])

    def shift(group, *one):
        for q in positions:
            cus[q][group % at_once].apply(group, *one)

    def write():
        for q in positions:
            outputs[f][q] = result(cus[q])

    pe.on_take, pe.on_shift, pe.write = take, shift, write


def ports_of(acc, moved):
    """Ports of limited width, by the cause that they are; `moved`: bytes of a pass."""
    return {
        f"{what}_wait_cycles": Port(size, width)
        for what, size in zip(("weight", "activation", "output"), moved, strict=True)
        if (width := getattr(acc, f"{what}_bytes_per_cycle"))
    }


def run_pass(agents, ports):
    """Step one tile at one position tile until nobody is busy; its cycles by cause.

    Whatever follows the fill waits for it, but for the ports.
    """
    fill, *behind = agents.values()
    everyone = {**agents, **ports}
    causes = Counter()
    while busy := [cause for cause, agent in everyone.items() if agent.busy]:
        causes[busy[0]] += 1
        for agent in (*([fill] if fill.busy else behind), *ports.values()):
            agent.step()
    return causes


# What a result has beside


def work_cycles(acc, layer, serial):
    """Cycles of lanes that are always busy; a tile of filters takes as long as its longest."""
    passes = len(list(position_tiles(acc, layer)))
    per_group = layer.filters // layer.conv_groups
    cycles = 0
    for first in range(0, layer.filters, per_group):
        for tile in range(first, first + per_group, acc.processing_elements):
            filters = range(tile, min(tile + acc.processing_elements, first + per_group))
            cycles += max(-(-serial.ones(v) // lanes_of(acc)) for v in filters)
    return passes * cycles


def counts(acc, layer, serial):
    """What the engine counts beside the cycles; a histogram is a mapping."""
    groups = [group for vector in serial.vectors for group in vector]
    return {
        "kept_rows_histogram": Counter(len(group.rows) for group in groups),
        "kept_ones_histogram": Counter(len(ones) for group in groups for ones in group.ones),
        "work_cycles": None if acc.serial_unit == "row" else work_cycles(acc, layer, serial),
    }


def unpruned(acc, layer, codes, fmt, other_bits, fixed16):
    """Cycles of the machines without pruning.

    Parameters
    ----------
    acc, layer, codes, fmt
        As for `Serial`.
    other_bits : int or None
        Precision of the other operand, if it is given.
    fixed16 : list of lists of int
        Codes of the values in 16-bit fixed point, for floats.
    """
    width = other_bits or (fmt.storage_bits if fmt.is_float else 16)
    whole = Serial(acc, layer, codes, fmt, prune=False)

    def total(serial, turns=None, bits=width):
        return sum(simulate(acc, layer, serial, None, bits, turns)[0].values())

    found = dict.fromkeys(UNPRUNED)
    if acc.serial_unit == "row":
        every_row = -(-(acc.window or fmt.default_window) // acc.rows_per_cycle)
        found["unpruned_all_rows_cycles"] = total(whole, idle_turns(every_row))
        found["unpruned_nonempty_rows_cycles"] = total(whole)
        return found
    every_bit = fmt.significand_bits if fmt.is_float else whole.bits
    found["unpruned_work_cycles"] = work_cycles(acc, layer, whole)
    found["every_bit_cycles"] = total(whole, idle_turns(every_bit))
    found["unpruned_cycles"] = found["on_chip_unpruned_fixed16_cycles"] = total(whole)
    if fmt.is_float:
        int16 = Serial(acc, layer, fixed16, number_format("int16"), prune=False)
        found["on_chip_unpruned_fixed16_cycles"] = total(int16, bits=other_bits or 16)
    return found


UNPRUNED = (
    "unpruned_work_cycles",
    "unpruned_cycles",
    "every_bit_cycles",
    "on_chip_unpruned_fixed16_cycles",
    "unpruned_all_rows_cycles",
    "unpruned_nonempty_rows_cycles",
)
