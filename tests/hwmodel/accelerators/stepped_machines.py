"""Naive machines, written from the rules: every step, lane and term one by one, on Python integers."""

from itertools import chain, product
from math import ceil

import hwmodel as hw

# The layer as the lanes see it ---------------------------------------------------------------------------


def lanes_view(layer, a, w, lanes, rows, fold=True):
    """Groups of (activations[window][step][lane], weights[filter][step][lane], held[filter][step][lane]).

    Windows are a list a pass. A filter's `held` says which slots have a weight, be it 0.
    """
    if isinstance(layer, hw.Linear):
        a = a.reshape(layer.positions, layer.in_features).tolist()
        w = w.reshape(layer.out_features, layer.in_features).tolist()
        blocks = ceil(layer.in_features / lanes)

        def cut(row):
            row = row + [0] * (blocks * lanes - len(row))
            return [row[b * lanes : (b + 1) * lanes] for b in range(blocks)]

        held = [cut([True] * layer.in_features)] * len(w)
        return [([cut(r) for r in a], [cut(r) for r in w], held)]
    assert isinstance(layer, hw.Conv)
    dims = len(layer.in_size)
    a = a.reshape(layer.batch, layer.in_channels, *layer.in_size)
    w = w.reshape(layer.weight_shape)
    stride, dilation, kernel = layer.stride, layer.dilation, layer.kernel
    fold = fold and layer.in_channels == 3 and layer.groups == 1 and max(stride) > 1 and max(dilation) == 1

    def activation(b, c, at):
        at = [x - p[0] for x, p in zip(at, layer.padding, strict=True)]
        inside = all(0 <= x < n for x, n in zip(at, layer.in_size, strict=True))
        return int(a[(b, c, *at)]) if inside else 0

    def weight(f, c, k):
        inside = all(x < n for x, n in zip(k, kernel, strict=True))
        return int(w[(f, c, *k)]) if inside else 0

    channels = layer.channels
    taps = kernel
    if fold:
        channels = 3
        for s in stride:
            channels *= s
        taps = [ceil(k / s) for k, s in zip(kernel, stride, strict=True)]

    def unfold(channel):
        """Phase of each axis, and the channel: the last axis's phase weighs most."""
        channel, k = divmod(channel, 3)
        phase = []
        for s in stride:
            channel, rest = divmod(channel, s)
            phase.append(rest)
        return phase, k

    def window_value(b, o, k, channel):
        if fold:
            phase, c = unfold(channel)
            at = [(x + y) * s + p for x, y, s, p in zip(o, k, stride, phase, strict=True)]
            return activation(b, c, at)
        at = [x * s + y * d for x, y, s, d in zip(o, k, stride, dilation, strict=True)]
        return activation(b, channel, at)

    def weight_value(f, k, channel):
        if fold:
            phase, c = unfold(channel)
            return weight(f, c, [y * s + p for y, s, p in zip(k, stride, phase, strict=True)])
        return weight(f, channel, k)

    # The first axis is fastest in windows, the last one slowest in time.
    def backwards(sizes):
        return [tuple(reversed(p)) for p in product(*(range(n) for n in reversed(sizes)))]

    windows = [(b, o) for b in range(layer.batch) for o in backwards(layer.out_size)]
    positions = backwards(taps)
    per_group = layer.filters // layer.groups
    groups = []
    if channels == 1 and layer.groups > 1:
        width = min(lanes, rows)
        for g in range(0, layer.filters, width):
            filters = range(g, min(g + width, layer.filters))
            acts = [
                [
                    [window_value(b, o, k, f // per_group) for f in filters] + [0] * (width - len(filters))
                    for k in positions
                ]
                for b, o in windows
            ]
            mine = [
                [[weight(f, 0, k) if f - g == i else 0 for i in range(width)] for k in positions]
                for f in filters
            ]
            held = [[[f - g == i for i in range(width)] for _ in positions] for f in filters]
            groups.append((acts, mine, held))
        assert dims
        return groups
    blocks = range(0, channels, lanes)

    def step(value, block):
        return [value(c) if c < channels else 0 for c in range(block, block + lanes)]

    for g in range(layer.groups):
        first = g * layer.channels
        acts = [
            [
                step(
                    lambda c, b=b, o=o, k=k, first=first: window_value(b, o, k, c if fold else first + c),
                    block,
                )
                for k in positions
                for block in blocks
            ]
            for b, o in windows
        ]
        filters = range(g * per_group, (g + 1) * per_group)
        mine = [
            [step(lambda c, f=f, k=k: weight_value(f, k, c), block) for k in positions for block in blocks]
            for f in filters
        ]
        held = [[step(lambda c: True, block) for _ in positions for block in blocks]] * len(mine)
        groups.append((acts, mine, held))
    return groups


def cut(value, words, bits):
    """Words of a two's complement number, lowest first."""
    return [value >> bits * b & (1 << bits) - 1 for b in range(words)]


# Who waits -----------------------------------------------------------------------------------------------


def synchronise(steps, columns, registers):
    """Cycles of convolutions: `steps` are costs of all columns, 0 where there is none."""
    if not registers:
        return sum(max(m) for m in steps)
    ended = []  # when all columns had finished each step
    busy = [0] * columns
    for n, m in enumerate(steps):
        gate = ended[n - 1 - registers] if n - 1 - registers >= 0 else 0
        busy = [max(b, gate) + (m[c] if c < len(m) else 0) for c, b in enumerate(busy)]
        ended.append(max(busy))
    return max(busy)


def stagger(costs, columns):
    """Cycles of fully connected layers."""
    free = [0] * columns
    now = 0
    for n, cost in enumerate(costs):
        column = n % columns
        now = max(now, free[column])
        free[column] = now + cost
        now += 1
    return max(free)


# What a column costs -------------------------------------------------------------------------------------


def booth(v):
    """Positions of the simulator's Booth terms, as a mask."""

    def bit(j):
        return v >> j & 1 if j >= 0 else 0

    e, run = 0, False
    for j in range(16, -1, -1):
        e <<= 1
        bits = (bit(j), bit(j - 1), bit(j - 2))
        if bits in ((0, 1, 0), (0, 1, 1)):
            e |= run
        elif bits == (1, 0, 0):
            e |= 1
            run = False
        elif bits in ((1, 0, 1), (1, 1, 0)):
            e |= not run
        elif bits == (1, 1, 1) and not run:
            e |= 2
            run = True
    return e


def terms(value, recode):
    return booth(value) if recode else value


def two_stage(masks, first_stage_bits):
    masks = list(masks)
    cycles = 0
    while any(masks):
        lowest = min((m & -m).bit_length() - 1 for m in masks if m)
        for i, m in enumerate(masks):
            if m and (m & -m).bit_length() - 1 <= lowest + 2**first_stage_bits - 1:
                masks[i] = m & (m - 1)
        cycles += 1
    return max(cycles, 1)


def width(values, signed, bits, minor):
    """Bits of a group of words."""
    ones = [v ^ (1 << bits) - 1 if signed and v >> (bits - 1) & 1 else v for v in values]
    low = min(((v & -v).bit_length() - 1 if v else 16) for v in ones)
    high = max(max(v.bit_length() - 1, 0) for v in ones) + signed
    if minor:
        return 1 + signed if low > high else high - low + 1
    return high + 1


# Machines ------------------------------------------------------------------------------------------------


class Walk:
    """Columns and rounds of one layer on one grid."""

    def __init__(self, m, layer, a, w, activation_bits, weight_bits):
        self.m, self.layer = m, layer
        self.a_words, self.w_words = ceil(activation_bits / m.word_bits), ceil(weight_bits / m.word_bits)
        self.columns, self.rows = m.columns // self.a_words, m.rows // self.w_words
        self.groups = lanes_view(layer, a, w, m.lanes, self.rows, m.fold_first_layer)
        self.depthwise = isinstance(layer, hw.Conv) and layer.channels == 1 and layer.groups > 1
        if self.depthwise:
            self.rows = min(m.lanes, self.rows)
        per_pass = layer.positions // layer.steps
        self.fc = isinstance(layer, hw.Linear) and per_pass == 1
        self.sets = [
            list(range(p, min(p + self.columns, first + per_pass)))
            for first in range(0, layer.positions, per_pass)
            for p in range(first, first + per_pass, self.columns)
        ]
        self.signed = bool(a.min() < 0)
        self.signed_weights = bool(w.min() < 0)
        self.weight_bits, self.activation_bits = weight_bits, activation_bits

    def rounds(self, filters):
        """Tiles of each round: lists of filter numbers."""
        sets = [list(range(f, min(f + self.rows, filters))) for f in range(0, filters, self.rows)]
        return [sets[i : i + self.m.tiles] for i in range(0, len(sets), self.m.tiles)]

    def cycles(self, cost, registers=0, group=1):
        """`cost(acts, weights, windows, tiles, t)` gives the costs of a step's columns."""
        steps = []
        for acts, weights, _ in self.groups:
            for windows in self.sets:
                for tiles in self.rounds(len(weights)):
                    for t in range(len(acts[0])):
                        steps.append(cost(acts, weights, windows, tiles, t))
        if self.fc:
            return stagger([max(s) for s in steps], self.columns)
        return synchronise(steps, ceil(self.columns * self.a_words / group), registers)

    def column_words(self, acts, windows, t):
        """Words of each physical column: a list of lanes."""
        return [
            [cut(v, self.a_words, self.m.word_bits)[b] for v in acts[c][t]]
            for c in windows
            for b in range(self.a_words)
        ]

    def group_widths(self, acts, windows, t, group, minor):
        columns = self.column_words(acts, windows, t)
        joined = [list(chain(*columns[i : i + group])) for i in range(0, len(columns), group)]
        return [width(j, self.signed, self.m.word_bits, minor) for j in joined]


def magnitudes(x):
    return abs(x.astype(object))


def dadiannao(m, layer, a, w, *bits):
    walk = Walk(m, layer, a, w, *bits)
    return sum(
        len(walk.rounds(len(weights))) * len(walk.sets) * len(acts[0]) for acts, weights, _ in walk.groups
    )


def stripes(m, layer, a, w, *bits):
    walk = Walk(m, layer, a, w, *bits)
    return walk.cycles(lambda *_: [min(bits[0], m.word_bits)])


def shapeshifter(m, layer, a, w, *bits):
    walk = Walk(m, layer, a, w, *bits)
    group = 1 if walk.fc else m.group_columns
    if walk.fc and m.fc_turns and m.group_columns > 1:
        turns = ceil(walk.columns / m.group_columns)
        costs = []
        for acts, weights, _ in walk.groups:
            for windows in walk.sets:
                for _ in walk.rounds(len(weights)):
                    for t in range(len(acts[0])):
                        own = len(costs) % turns == t % walk.columns
                        real = max(walk.group_widths(acts, windows, t, m.group_columns, m.minor_bit))
                        costs.append(real if own else 1 + walk.signed)
        return stagger(costs, turns)
    return walk.cycles(
        lambda acts, weights, windows, tiles, t: walk.group_widths(acts, windows, t, group, m.minor_bit),
        m.column_registers,
        group,
    )


def loom(m, layer, a, w, *bits):
    walk = Walk(m, layer, a, w, *bits)

    def cost(acts, weights, windows, tiles, t):
        wa = max(walk.group_widths(acts, windows, t, m.group_columns, m.minor_bit))
        ww = [bits[1]]
        if m.dynamic_weights:
            ww = []
            for tile in tiles:
                rows = [
                    [cut(v, walk.w_words, m.word_bits)[b] for v in weights[f][t]]
                    for f in tile
                    for b in range(walk.w_words)
                ]
                for i in range(0, len(rows), m.group_columns):
                    joined = list(chain(*rows[i : i + m.group_columns]))
                    ww.append(width(joined, walk.signed_weights, m.word_bits, m.minor_bit))
        return [ceil(wa / m.serial_bits) * max(ww)]

    return walk.cycles(cost)


def pragmatic(m, layer, a, w, *bits):
    walk = Walk(m, layer, magnitudes(a), w, *bits)
    return walk.cycles(
        lambda acts, weights, windows, tiles, t: [
            two_stage([terms(v, m.booth) for v in column], m.first_stage_bits)
            for column in walk.column_words(acts, windows, t)
        ],
        m.column_registers,
    )


def laconic(m, layer, a, w, *bits):
    walk = Walk(m, layer, magnitudes(a), magnitudes(w), *bits)

    def cost(acts, weights, windows, tiles, t):
        slowest = 1
        for column in walk.column_words(acts, windows, t):
            for tile in tiles:
                for f in tile:
                    for x, y in zip(column, weights[f][t], strict=True):
                        for word in cut(y, walk.w_words, m.word_bits):
                            pairs = terms(x, m.booth).bit_count() * terms(word, m.booth).bit_count()
                            slowest = max(slowest, pairs)
        return [slowest]

    return walk.cycles(cost)


def slots(m, weights, held, tile):
    """Schedule a tile; slots[filter][t][lane] = (weight, original t, original lane)."""
    lanes, steps = len(weights[0][0]), len(weights[0])
    found = {
        f: [
            [(weights[f][t][i], t, i) if held[f][t][i] else (0, 0, 0) for i in range(lanes)]
            for t in range(steps)
        ]
        for f in tile
    }
    if m.pattern == "T":
        places = [(1, -1), (1, 0), (1, 1), (1, 3), (2, -2), (2, 0), (2, 2)]
    else:
        places = sorted(
            [(h, 0) for h in range(1, m.lookahead + 1)] + [(1, -d) for d in range(1, m.lookaside + 1)]
        )
    skip = 0
    for t in range(steps):
        if skip < m.lookahead and all(s[0] == 0 for f in tile for s in found[f][t]):
            skip += 1
            continue
        skip = 0
        for f in tile:
            rows = found[f]
            while True:
                options = {}
                for i in range(lanes):
                    if rows[t][i][0] == 0:
                        candidates = [
                            (t + dt, (i + di) % lanes)
                            for dt, di in places
                            if t + dt < steps and rows[t + dt][(i + di) % lanes][0] != 0
                        ]
                        if candidates:
                            options[i] = candidates
                if not options:
                    break
                choose = max if m.order == "most" else min
                many = choose(len(c) for c in options.values())
                lane = min(i for i, c in options.items() if len(c) == many)
                there, other = options[lane][0]
                rows[t][lane], rows[there][other] = rows[there][other], rows[t][lane]
    return found


def executed(m, found, tile):
    """Time steps that a tile executes."""
    done, skip = [], 0
    for t in range(len(found[tile[0]])):
        if skip < m.lookahead and all(s[0] == 0 for f in tile for s in found[f][t]):
            skip += 1
        else:
            done.append(t)
            skip = 0
    return done


def bit_tactical(m, layer, a, w, *bits):
    walk = Walk(m, layer, magnitudes(a) if m.back_end == "e" else a, w, *bits)
    walk.signed = bool(a.min() < 0)
    group = m.group_columns if m.back_end == "p" and not walk.fc else 1
    registers = m.column_registers
    if registers is None:
        registers = 1 if m.back_end == "e" else 0
    steps = []
    for acts, weights, held in walk.groups:
        plans = []
        for tiles in walk.rounds(len(weights)):
            found = [slots(m, weights, held, tile) for tile in tiles]
            plans.append([(f, executed(m, f, tile)) for f, tile in zip(found, tiles, strict=True)])
        for windows in walk.sets:
            for plan in plans:
                for n in range(max(len(done) for _, done in plan)):
                    steps.append(tactical_step(m, walk, acts, windows, plan, n, group))
    if m.back_end is None:
        return len(steps)
    if walk.fc:
        return stagger([max(s) for s in steps], walk.columns)
    return synchronise(steps, ceil(walk.columns * walk.a_words / group), registers)


def tactical_step(m, walk, acts, windows, plan, n, group):
    if m.back_end is None:
        return [1]
    columns = [(c, b) for c in windows for b in range(walk.a_words)]
    groups = [columns[i : i + group] for i in range(0, len(columns), group)]
    costs = [0] * len(groups)
    for found, done in plan:
        if n >= len(done):
            continue
        t = done[n]
        for g, members in enumerate(groups):
            read = {
                f: [
                    cut(acts[c][ot][oi], walk.a_words, m.word_bits)[b]
                    for c, b in members
                    for _, ot, oi in found[f][t]
                    if ot >= t
                ]
                for f in found
            }
            if m.back_end == "p":
                everything = list(chain(*read.values())) or [0]
                cost = width(everything, walk.signed, m.word_bits, m.minor_bit)
            else:
                cost = max(
                    two_stage([terms(v, m.booth) for v in values], m.first_stage_bits)
                    for values in read.values()
                )
            costs[g] = max(costs[g], cost)
    return costs


def scnn(m, layer, a, w, *_):
    """One 2-D convolution, as in the reference's pseudocode, group by group."""
    a = a.reshape(layer.batch, layer.in_channels, *layer.in_size)
    w = w.reshape(layer.weight_shape)
    Wt, Ht = m.pe_rows, m.pe_columns
    W, H = layer.out_size
    R, S = layer.kernel
    sx, sy = layer.stride
    dx, dy = layer.dilation
    (px, ax), (py, ay) = layer.padding
    X, Y = layer.in_size[0] + px + ax, layer.in_size[1] + py + ay
    tw, th = ceil(X / Wt), ceil(Y / Ht)
    Kc = m.accumulator_entries // (ceil(W / Wt) * ceil(H / Ht))
    if layer.groups > 1 and layer.channels == 1:
        Kc = 1
    shift = (px, py) if m.phase_shift else (0, 0)
    reach_x, reach_y = max((R - 1) * dx - px, 0), max((S - 1) * dy - py, 0)
    xv, yv = (reach_x, tw, px), (reach_y, th, py)
    halo = max(xv[i] * yv[j] for i in range(3) for j in range(3) if (i, j) != (1, 1))
    per_group = layer.filters // layer.groups

    def bank(k, ow, oh):
        high = ((k & 4) << 2) ^ ((ow & 2) << 3) ^ ((oh & 2) << 3)
        return (high + ((ow & 1) << 3) + ((oh & 1) << 2) + (k & 3)) % m.banks

    def pe(x0, y0, image, channel, kc, end, phase_x, phase_y, of):
        acts = [
            (x, y)
            for x in range(x0, min(x0 + tw, X))
            for y in range(y0, min(y0 + th, Y))
            if (x % sx, y % sy) == (phase_x, phase_y)
            and 0 <= x - px < layer.in_size[0]
            and 0 <= y - py < layer.in_size[1]
            and image[channel, x - px, y - py] != 0
        ]
        wgts = [
            (r * dx, s * dy, k)
            for r in range(R)
            for s in range(S)
            if ((r * dx + shift[0]) % sx, (s * dy + shift[1]) % sy) == (phase_x, phase_y)
            for k in range(kc, end)
            if w[k, of, r, s] != 0
        ]
        cost = 0
        for i in range(0, len(acts), m.activation_width):
            for j in range(0, len(wgts), m.weight_width):
                banks = [0] * 32
                for x, y in acts[i : i + m.activation_width]:
                    for r, s, k in wgts[j : j + m.weight_width]:
                        ow, oh = int((x - r) / sx), int((y - s) / sy)
                        if 0 <= ow < W and 0 <= oh < H:
                            banks[bank(k, ow, oh)] += 1
                cost += max(1, *banks)
        return cost

    total = 0
    for image in a:
        for g in range(layer.groups):
            for kc in range(g * per_group, (g + 1) * per_group, Kc):
                end = min(kc + Kc, (g + 1) * per_group)
                for of in range(layer.channels):
                    total += max(
                        sum(
                            pe(i * tw, j * th, image, g * layer.channels + of, kc, end, u, v, of)
                            for u in range(sx)
                            for v in range(sy)
                        )
                        for i in range(Wt)
                        for j in range(Ht)
                    )
                total += halo * (end - kc)
    return total
