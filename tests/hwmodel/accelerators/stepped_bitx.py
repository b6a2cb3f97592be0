"""BitX stepped cycle by cycle: small, slow and plain. What the compiled engine is compared with.

Every PE holds activations and an accumulator, every unit takes rows off its own list, and each cycle
is put down to one cause by asking who is still busy. Nothing is shared with the engine but the
definition of pruning on Python integers.
"""

from collections import Counter
from math import ldexp
from types import SimpleNamespace

import numpy as np

from bitxcore import reference

ACTIVATION_WINDOW = 32  # A


# Groups: which weights come together, and their rows


def gather(used, acc, channels, kernel_positions):
    """Lists of reduction indices, one a group, of a filter; `used`: which of its weights are not zero."""
    order = range(len(used))
    lanes = [order]
    if acc.grouping == "channel":
        lanes = [[c * kernel_positions + k for c in range(channels)] for k in range(kernel_positions)]
    if acc.pack_zeros:
        lanes = [[i for lane in lanes for i in lane if used[i]]]
    return [list(lane[i : i + acc.group]) for lane in lanes for i in range(0, len(lane), acc.group)]


class WeightGroup:
    """Kept rows of a group, the most significant first: (exponent of the row, signed bits)."""

    def __init__(self, codes, indices, fmt, window, acc):
        self.indices = indices
        group = reference.align([*codes, *[0] * (acc.group - len(codes))], fmt, window)
        ones = reference.row_ones(group)
        mask = reference.keep(ones, acc.criterion, acc.rows, acc.threshold, acc.budget)
        top = group.emax - fmt.bias if fmt.is_float else fmt.significand_bits - 1
        self.rows = []
        for row in reference.ranking(ones):
            place = window - 1 - row
            if mask >> place & 1:
                bits = [
                    (-1) ** v.sign * (a >> place & 1)
                    for v, a in zip(group.members, group.aligned, strict=True)
                ]
                if fmt.encoding == "twos-complement" and row == 0:
                    bits = [-b for b in bits]
                self.rows.append((top - row, bits))


# Processing elements


def round_to_float32(numerator, exponent):
    """Nearest float32 of ``numerator * 2**exponent``, ties to even."""
    size = abs(numerator)
    shift = max(size.bit_length() - 24, -149 - exponent, 0)
    kept, rest = size >> shift, size & ((1 << shift) - 1)
    half = (1 << shift) >> 1
    kept += rest > half or (rest == half and shift > 0 and kept & 1)
    return np.float32(ldexp(kept if numerator >= 0 else -kept, exponent + shift))


class FixedPE:
    def __init__(self):
        self.result = 0

    def load(self, activations):
        self.activations = activations

    def apply(self, exponent, bits):
        self.result += sum(b * a for b, a in zip(bits, self.activations, strict=False)) << exponent

    def end_group(self):
        pass


class FloatPE:
    def __init__(self):
        self.result = np.float32(0)

    def load(self, activations):
        """Align the activations in their window; start an exact sum."""
        from bitxcore.formats import number_format

        fmt = number_format("float32")
        codes = np.asarray(activations, np.float32).view(np.uint32).tolist()
        aligned = reference.align(codes, fmt, ACTIVATION_WINDOW)
        self.activations = [
            -a if v.sign else a for a, v in zip(aligned.aligned, aligned.members, strict=True)
        ]
        self.scale = aligned.emax - fmt.bias - (ACTIVATION_WINDOW - 1)
        self.sum, self.lowest = 0, 0

    def apply(self, exponent, bits):
        if exponent < self.lowest:
            self.sum <<= self.lowest - exponent
            self.lowest = exponent
        self.sum += sum(b * a for b, a in zip(bits, self.activations, strict=False)) << (
            exponent - self.lowest
        )

    def end_group(self):
        self.result += round_to_float32(self.sum, self.lowest + self.scale)


# What can be busy


class Fill:
    def __init__(self, cycles):
        self.left = cycles

    busy = property(lambda self: self.left > 0)

    def step(self):
        self.left = max(0, self.left - 1)


class Port:
    def __init__(self, moved, width):
        self.left, self.width = moved if width else 0, width

    busy = property(lambda self: self.left > 0)

    def step(self):
        self.left = max(0, self.left - (self.width or 0))


class EvenUnits:
    """All units draw from one pool of work."""

    def __init__(self, units, groups):
        self.units = units
        self.left = sum(len(turns) for filter_groups in groups for turns in filter_groups)

    busy = property(lambda self: self.left > 0)

    def step(self):
        self.left = max(0, self.left - self.units)


class Unit:
    """One filter's groups, each a list of turns; a turn is the rows of one cycle."""

    def __init__(self, groups, on_start, on_turn, on_end):
        self.groups, self.on_start, self.on_turn, self.on_end = groups, on_start, on_turn, on_end
        self.group, self.turn, self.working = 0, 0, False

    @property
    def done(self):
        return self.group == len(self.groups)

    def start(self):
        self.on_start(self.group)
        self.working, self.turn = True, 0
        self.end_if_over()

    def step(self):
        if self.working:
            self.on_turn(self.groups[self.group][self.turn])
            self.turn += 1
            self.end_if_over()

    def end_if_over(self):
        if self.turn == len(self.groups[self.group]):
            self.on_end()
            self.group += 1
            self.working = False


def nothing(*_):
    pass


class Units:
    """Units behind a FIFO of `depth` groups and the register from which a group is handed out."""

    def __init__(self, units, depth):
        self.units, self.depth = units, depth
        self.settle()

    @property
    def busy(self):
        return not all(u.done for u in self.units)

    def settle(self):
        """Start all that can start at this instant."""
        moved = True
        while moved:
            moved = False
            oldest = min((u.group for u in self.units if not u.done), default=0)
            for u in self.units:
                there = self.depth is None or u.group <= oldest + self.depth
                if not u.done and not u.working and there:
                    u.start()
                    moved = True

    def step(self):
        for u in self.units:
            u.step()
        self.settle()


# The machine


def patch(layer, activations, filter_, position):
    """Activations that a filter meets at a position, in the order of its weights."""
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
    """One convolution group with its roles swapped; positions of different steps share no tile."""
    return SimpleNamespace(
        operation="linear",
        channels=layer.channels,
        kernel_positions=layer.kernel_positions,
        reduction=layer.reduction,
        filters=layer.positions,
        conv_groups=layer.steps,
        positions=layer.filters // layer.conv_groups,
        steps=1,
    )


def simulate(acc, layer, codes, fmt, others, other_bits):
    """Run a layer; its cycles by cause, and its outputs of shape (filters, positions).

    ``codes`` are the weights' codes as Python integers, shape (filters, reduction); ``others`` the
    activations. With ``acc.serial == "activations"`` the caller swaps the roles (`swapped`): codes are the
    activations', filters are positions, others are weights.
    """
    window = acc.window or fmt.default_window
    own_bits = fmt.storage_bits if fmt.is_float else fmt.significand_bits + (fmt.encoding == "sign-magnitude")
    activation_bits = other_bits if acc.serial == "weights" else own_bits
    used = [[reference.decode(code, fmt).significand != 0 for code in f] for f in codes]
    plain = [gather(f, acc, layer.channels, layer.kernel_positions) for f in used]
    dense = -(-layer.reduction // acc.group)
    if acc.grouping == "channel":
        dense = layer.kernel_positions * -(-layer.channels // acc.group)
    groups = [
        [WeightGroup([codes[f][i] for i in indices], indices, fmt, window, acc) for indices in plain[f]]
        for f in range(layer.filters)
    ]

    def turns(group):
        rows = group.rows
        taken = [rows[i : i + acc.lanes] for i in range(0, len(rows), acc.lanes)]
        return taken or ([] if acc.skip_zero_groups else [[]])

    latency = (acc.group - 1).bit_length() + 1
    per_group = layer.filters // layer.conv_groups
    per_step = layer.positions // layer.steps
    outputs = [[None] * layer.positions for _ in range(layer.filters)]
    causes = Counter()
    for first in range(0, layer.filters, per_group):
        for tile in range(first, first + per_group, acc.compute_units):
            filters = range(tile, min(tile + acc.compute_units, first + per_group))
            for begin in range(0, layer.positions, per_step):
                for start in range(begin, begin + per_step, acc.processing_elements):
                    positions = range(start, min(start + acc.processing_elements, begin + per_step))
                    own = sum(len(groups[f]) for f in filters) * -(-acc.group * own_bits // 8)
                    other = len(positions) * dense * -(-acc.group * other_bits // 8)
                    moved = (own, other) if acc.serial == "weights" else (other, own)
                    results = len(filters) * len(positions) * -(-activation_bits // 8)
                    run_pass(
                        acc, layer, filters, positions, groups, turns, latency * (1 + fmt.is_float), causes,
                        outputs, others, fmt.is_float, (*moved, results),
                    )  # fmt: skip
    return causes, outputs


def run_pass(
    acc, layer, filters, positions, groups, turns, latency, causes, outputs, activations, is_float, moved
):
    def real(f):
        elements = {q: FloatPE() if is_float else FixedPE() for q in positions}

        def load(g):
            for q, pe in elements.items():
                there = patch(layer, activations, f, q)
                pe.load([there[i] for i in groups[f][g].indices])

        def turn(rows):
            for pe in elements.values():
                for row in rows:
                    pe.apply(*row)

        def end():
            for q, pe in elements.items():
                pe.end_group()
                outputs[f][q] = pe.result

        for q, pe in elements.items():
            outputs[f][q] = pe.result
        return Unit(work[f], load, turn, end)

    work = {f: [turns(g) for g in groups[f]] for f in filters}
    fill = Fill(latency)
    behind = {
        "compute_cycles": EvenUnits(acc.compute_units, work.values()),
        "imbalance_cycles": Units([Unit(work[f], nothing, nothing, nothing) for f in filters], None),
        "fifo_full_cycles": Units([real(f) for f in filters], acc.fifo_depth),
    }
    ports = {
        "weight_wait_cycles": Port(moved[0], acc.weight_bytes_per_cycle),
        "activation_wait_cycles": Port(moved[1], acc.activation_bytes_per_cycle),
        "output_wait_cycles": Port(moved[2], acc.output_bytes_per_cycle),
    }
    everyone = {"fill_cycles": fill, **behind, **ports}
    while any(agent.busy for agent in everyone.values()):
        causes[next(cause for cause, agent in everyone.items() if agent.busy)] += 1
        stepping = [fill] if fill.busy else behind.values()
        for agent in (*stepping, *ports.values()):
            agent.step()
