"""Naive machines that skip zeros, stepped cycle by cycle on Python integers; they compute the outputs too."""

from collections import deque
from itertools import product
from math import ceil

import numpy as np
from stepped_machines import lanes_view

import hwmodel as hw

# Cnvlutin ------------------------------------------------------------------------------------------------


def cnvlutin(m, layer, a, w):
    """Cycles: lanes pop (value, offset) pairs off the bricks of their slices."""
    first = isinstance(layer, hw.Conv) and layer.in_channels == 3 and not m.encoded_first_layer
    width = m.lanes if first else m.brick
    groups = lanes_view(layer, a, w, width, m.rows, fold=first and m.fold_first_layer)
    cycles = 0
    for acts, weights, _ in groups:
        for filters in range(0, len(weights), m.rows * m.tiles):
            round_weights = weights[filters : filters + m.rows * m.tiles]
            for window in acts:
                if first:
                    cycles += len(window)
                    continue
                spent, sums = drain(m, window, round_weights, blocks_of(layer, width))
                cycles += spent
                assert sums == [
                    sum(x * y for t, step in enumerate(window) for x, y in zip(step, f[t], strict=True))
                    for f in round_weights
                ]
    return cycles


def blocks_of(layer, brick):
    depthwise = layer.channels == 1 and layer.conv_groups > 1
    return 1 if depthwise else ceil(layer.channels / brick)


def drain(m, window, filters, blocks):
    """One window: cycles, and the sums of its filters."""
    slices = [deque() for _ in range(m.lanes)]
    for number, values in enumerate(window):
        lane = (number if m.slices == "bricks" else number % blocks) % m.lanes
        encoded = deque((v, offset) for offset, v in enumerate(values) if v)
        slices[lane].append((number, encoded))
    sums, cycles = [0] * len(filters), 0
    while any(slices):
        cycles += 1
        for bricks in slices:
            if not bricks:
                continue  # waits for the others
            number, encoded = bricks[0]
            if encoded:
                value, offset = encoded.popleft()
                for i, weights in enumerate(filters):
                    sums[i] += value * weights[number][offset]
            if not encoded:
                bricks.popleft()
    return cycles, sums


# EIE and ESE ---------------------------------------------------------------------------------------------


def stored_column(column, pe, pes, index_bits):
    """Store one PE's part of a column: (value, zeros before it), fillers of value zero included."""
    entries, zeros = [], 0
    for weight in column[pe::pes]:
        if weight == 0:
            zeros += 1
            continue
        while zeros > (1 << index_bits) - 1:
            entries.append((0, (1 << index_bits) - 1))
            zeros -= 1 << index_bits
        entries.append((weight, zeros))
        zeros = 0
    return entries


def vector(columns, broadcasts, pes, depth, index_bits):
    """Product of a matrix with a vector: cycles, the sums by row, and the entries worked on.

    `columns`: weights of each column, by row; `broadcasts`: (column, activation).
    """
    sums = dict.fromkeys(range(len(columns[0])), 0)
    to_come = deque(broadcasts)
    queues = [deque() for _ in range(pes)]
    cycles = worked = 0
    while to_come or any(queues):
        full = any(len(q) == depth for q in queues)
        for pe, q in enumerate(queues):
            if not q:
                continue
            job = q[0]
            if job["entries"]:
                weight, zeros = job["entries"].popleft()
                job["row"] += zeros
                sums_row = job["row"] * pes + pe
                if weight:
                    sums[sums_row] += weight * job["activation"]
                job["row"] += 1
                worked += 1
            if not job["entries"]:
                q.popleft()
        if to_come and not full:
            j, activation = to_come.popleft()
            for pe, q in enumerate(queues):
                entries = deque(stored_column(columns[j], pe, pes, index_bits))
                q.append({"entries": entries, "row": 0, "activation": activation})
        cycles += 1
    return cycles, list(sums.values()), worked


def eie(m, layer, a, w, depth=None):
    """Cycles of all positions, one after another, in passes over the outputs."""
    a, w = a.reshape(layer.positions, -1), w.reshape(layer.filters, -1)
    at_once, cycles = m.pes * m.output_registers, 0
    for x in a:
        outputs = []
        for first in range(0, len(w), at_once):
            columns = w[first : first + at_once].T.tolist()
            nonzero = [(j, v) for j, v in enumerate(x.tolist()) if v]
            spent, sums, _ = vector(columns, nonzero, m.pes, depth or m.fifo_depth, m.index_bits)
            cycles += spent
            outputs += sums
        assert outputs == (w @ x).tolist()
    return cycles


def ese(m, layer, a, w):
    """Cycles of all turns; the channels of a turn do the same with other vectors."""
    a, w = a.reshape(layer.steps, -1, layer.in_features), w.reshape(layer.filters, -1)
    cycles = 0
    for step in a:
        for first in range(0, len(step), m.channels):
            spent = set()
            for x in step[first : first + m.channels]:
                dense = list(enumerate(x.tolist()))
                channel, sums, worked = vector(w.T.tolist(), dense, m.pes, m.fifo_depth, m.index_bits)
                assert sums == (w @ x).tolist()
                if m.load_balanced:
                    # As much work in all, columns without an entry included, and nobody waits.
                    used = range(min(m.pes, len(w)))
                    idle = sum(not c[pe :: m.pes].any() for c in w.T for pe in used)
                    channel = 1 + ceil((worked + idle) / m.pes)
                spent.add(channel)
            cycles += spent.pop()
            assert not spent
    return cycles


# Cambricon-S ---------------------------------------------------------------------------------------------


def backwards(sizes):
    """Points of a grid, the first axis fastest."""
    return [tuple(reversed(p)) for p in product(*(range(n) for n in reversed(sizes)))]


def gathered(layer, a):
    """Inputs of each window, by convolution group: {(channel, *kernel position): value} in walk order."""
    if isinstance(layer, hw.Linear):
        return [[{(c,): v for c, v in enumerate(x)} for x in a.reshape(layer.positions, -1).tolist()]]
    a = a.reshape(layer.batch, layer.in_channels, *layer.in_size)

    def value(b, c, o, k):
        at = [
            x * s + y * d - p[0]
            for x, y, s, d, p in zip(o, k, layer.stride, layer.dilation, layer.padding, strict=True)
        ]
        inside = all(0 <= x < n for x, n in zip(at, layer.in_size, strict=True))
        return int(a[(b, c, *at)]) if inside else 0

    return [
        [
            {
                (c, *k): value(b, g * layer.channels + c, o, k)
                for k in backwards(layer.kernel)
                for c in range(layer.channels)
            }
            for b in range(layer.batch)
            for o in backwards(layer.out_size)
        ]
        for g in range(layer.groups)
    ]


def cambricon_s(m, layer, a, w):
    """Cycles of the unit that ends last; windows and groups of outputs are dealt to the units."""
    if isinstance(layer, hw.Linear):
        narrow = layer.out_features <= m.narrow_fc_outputs
        b_in, b_out = m.narrow_fc_block if narrow else m.fc_block
        block = [b_in]
    else:
        b_in, b_out, *kernel = m.conv_block
        block = [b_in, *(*kernel, 1)[: len(layer.kernel)]]
    w = w.reshape(layer.weight_shape)
    per_group = layer.filters // layer.conv_groups
    jobs = []
    for g, windows in enumerate(gathered(layer, a)):
        mine = w[g * per_group : (g + 1) * per_group]

        def block_of(f, at):
            return (f // b_out, *(x // size for x, size in zip(at, block, strict=True)))

        kept = {block_of(f, at) for f, *at in np.argwhere(mine).tolist()}
        for window in windows:
            for first in range(0, per_group, m.pes):
                tile = range(first, min(first + m.pes, per_group))
                needed = {at for at in window if any(block_of(f, at) in kept for f in tile)}
                spent, sums = select(m, window, needed, mine, tile)
                assert sums == [sum(v * int(mine[(f, *at)]) for at, v in window.items()) for f in tile]
                jobs.append(spent)
    cycles, at_once = 0, len(jobs) // layer.steps
    for step in range(0, len(jobs), at_once):
        units = [jobs[step + u : step + at_once : m.units] for u in range(m.units)]
        cycles += max(sum(u) for u in units)
    return cycles


def select(m, window, needed, weights, tile):
    """One window of one group of outputs: cycles, and the sums."""
    sums, cycles = [0] * len(tile), 0
    inputs = deque(window.items())
    while inputs:
        neurons = [inputs.popleft() for _ in range(min(m.neuron_window, len(inputs)))]
        synapses = deque((at, v) for at, v in neurons if at in needed)
        while True:
            held = [synapses.popleft() for _ in range(min(m.synapse_window, len(synapses)))]
            chosen = deque((at, v) for at, v in held if v)
            while True:
                cycles += 1
                for _ in range(min(m.multipliers, len(chosen))):
                    at, v = chosen.popleft()
                    for i, f in enumerate(tile):
                        sums[i] += v * int(weights[(f, *at)])
                if not chosen:
                    break
            if not synapses:
                break
    return cycles, sums
