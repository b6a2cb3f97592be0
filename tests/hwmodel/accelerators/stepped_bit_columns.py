"""UNPU, BitWave and BitVert written straight from their descriptions, on Python integers, step by step."""

from fractions import Fraction
from itertools import product
from math import ceil

import hwmodel as hw

UNROLLINGS = ((8, 32, 16), (16, 32, 8), (32, 32, 4), (128, 8, 1), (16, 64, 1), (32, 32, 1), (16, 1, 16))


def position_steps(layer, width, copies):
    """Steps over all positions: neighbours of the last dimension go together, a row to an array."""
    if isinstance(layer, hw.Linear):
        ready = layer.positions // layer.steps
        return layer.steps * len(range(0, ready, width * copies))
    size = layer.out_size if isinstance(layer, hw.Conv) else layer.in_size
    rows = product(range(layer.batch), *(range(n) for n in size[:-1]))
    pieces = [(row, x) for row in rows for x in range(0, size[-1], width)]
    return len(range(0, len(pieces), copies))


def chunks_of(weights, filter_, size):
    """Weights of one filter as they are taken in, the last chunk of a line cut short."""
    channels, positions = weights.shape[1:]
    if positions > channels:
        lines = [[int(weights[filter_, c, p]) for p in range(positions)] for c in range(channels)]
    else:
        lines = [[int(weights[filter_, c, p]) for c in range(channels)] for p in range(positions)]
    return [line[i : i + size] for line in lines for i in range(0, len(line), size)]


def in_lock_step(per_filter, conv_groups, rows):
    """Cycles if tiles of `rows` filters wait for each other after every chunk."""
    filters = len(per_filter) // conv_groups
    total = 0
    for g in range(conv_groups):
        for first in range(0, filters, rows):
            tile = per_filter[g * filters + first : g * filters + min(first + rows, filters)]
            total += sum(
                max(1, *chunk) if len(chunk) > 1 else max(1, chunk[0]) for chunk in zip(*tile, strict=True)
            )
    return total


def width_of(weights, bits):
    """Bits of a weight with its sign."""
    return max(2, bits + (int(weights.max()) >= 1 << bits - 1))


def unpu(layer, bits, activation_bits, *, cores=4, pes=6, tables=16, table_inputs=3, outputs=12):
    together = tables * (table_inputs + 1 if bits == 1 else table_inputs)
    cycles = 0
    for _ in range(layer.conv_groups):
        for _ in range(0, layer.filters // layer.conv_groups, outputs):
            for _ in range(layer.steps):
                ready = range(layer.positions // layer.steps)
                work = [(p, s) for p in ready for s in range(0, layer.reduction, together)]
                while work:
                    del work[: cores * pes]
                    for _ in range(0, activation_bits, 16):
                        cycles += bits
    return cycles


def nearest(magnitude, low, most):
    """Multiple of ``2**low``, at most `most` of them, that is nearest; of two the smaller."""
    below = magnitude >> low
    choices = {min(n, most) << low for n in (below, below + 1)}
    return min(choices, key=lambda c: (abs(c - magnitude), c))


def bit_flip(group, columns, zero_columns):
    """Bit-Flip of magnitudes, column by column from the top, each magnitude to the nearest that is left."""
    matrix = [[m >> columns - 1 - c & 1 for m in group] for c in range(columns)]
    keep = columns - zero_columns
    frozen = 0
    for c, column in enumerate(matrix):
        if c < keep and not any(column):
            keep += 1
            frozen = c + 1
    if keep >= columns:
        return list(group)
    flipped = []
    for m in group:
        free_bits = columns - frozen
        above, free = m >> free_bits << free_bits, m & (1 << free_bits) - 1
        flipped.append(above + nearest(free, columns - keep, (1 << keep - frozen) - 1))
    return flipped


def bitwave(
    layer,
    weights,
    bits,
    activation_bits,
    *,
    word_bits=8,
    group=32,
    skip_columns=True,
    zero_columns=0,
    arrays=1,
    unrollings=UNROLLINGS,
):
    columns = width_of(weights, bits) - 1
    passes = len(range(0, activation_bits, word_bits))
    found = []
    for channels, filters, positions in unrollings:
        per_filter = []
        for f in range(len(weights)):
            costs = []
            for chunk in chunks_of(weights, f, channels):
                cost = 0
                for i in range(0, len(chunk), group):
                    magnitudes = [min(abs(v), (1 << columns) - 1) for v in chunk[i : i + group]]
                    if zero_columns:
                        magnitudes = bit_flip(magnitudes, columns, zero_columns)
                    used = [any(m >> c & 1 for m in magnitudes) for c in range(columns)]
                    cost = max(cost, sum(used) if skip_columns else columns)
                costs.append(cost)
            per_filter.append(costs)
        for widening in range(1, arrays + 1):
            if arrays % widening == 0:
                kernel = in_lock_step(per_filter, layer.conv_groups, filters * widening)
                found.append(kernel * position_steps(layer, positions, arrays // widening) * passes)
    return min(found)


def redundant(group, width):
    """Columns below the sign's that equal it in every weight, three at most."""
    count = 0
    while count < min(3, width - 1):
        c = width - 2 - count
        if any((v >> c & 1) != (v < 0) for v in group):
            break
        count += 1
    return count


def averaged(group, width, columns):
    """Rounded averaging: the stored values, and the columns left out at the top and at the bottom."""
    top = min(redundant(group, width), columns)
    low = columns - top
    mean = round(Fraction(sum(v % (1 << low) for v in group), len(group)))
    return [(v >> low << low) + mean for v in group], top, low


def shifted(group, width, columns, constant_bits):
    """Zero-point shifting, by trying all constants."""
    most = (1 << width - 1) - 1
    best = None
    for constant in range(-(1 << constant_bits - 1), 1 << constant_bits - 1):
        moved = [max(-most, min(most, v + constant)) for v in group]
        top = 0
        while top < min(3, columns, width - 1) and all(abs(v) < 1 << width - 2 - top for v in moved):
            top += 1
        low = columns - top
        if low:
            left = [nearest(abs(v), low, (1 << width - 1 - columns) - 1) for v in moved]
            stored = [n if v >= 0 else -n for n, v in zip(left, moved, strict=True)]
        else:
            stored = moved
        error = sum((s - constant - v) ** 2 for s, v in zip(stored, group, strict=True))
        if best is None or error < best[0]:
            best = error, stored, top, low
    return best[1:]


def bitvert(
    layer,
    weights,
    bits,
    activation_bits,
    *,
    word_bits=8,
    arrays=1,
    rows=32,
    columns=16,
    pe_weights=16,
    subgroup=8,
    lanes=4,
    both_ways=True,
    pruned_columns=2,
    method="average",
    group=32,
    constant_bits=6,
    sensitive=0.1,
):
    """Cycles, and the bits that PEs add."""
    width = width_of(weights, bits)
    filters = len(weights)

    def spread(f):
        values = [int(v) for v in weights[f].reshape(-1)]
        mean = Fraction(sum(values), len(values))
        return sum((v - mean) ** 2 for v in values)

    count = ceil(ceil(sensitive * filters) / rows) * rows
    kept = set(sorted(range(filters), key=lambda f: (-spread(f), f))[:count])
    if not pruned_columns:
        kept = set(range(filters))
    per_filter, added = [], 0
    for f in range(filters):
        costs = []
        for whole in chunks_of(weights, f, group):
            top = low = 0
            stored = whole
            if f not in kept:
                if method == "average":
                    stored, top, low = averaged(whole, width, pruned_columns)
                else:
                    stored, top, low = shifted(whole, width, pruned_columns, constant_bits)
            for i in range(0, len(stored), pe_weights):
                pe = stored[i : i + pe_weights] + [0] * pe_weights
                cost = 0
                for c in range(low, width - top):
                    turns = 1
                    for s in range(0, pe_weights, subgroup):
                        ones = sum(v >> c & 1 for v in pe[s : s + subgroup])
                        bits_added = min(ones, subgroup - ones) if both_ways else ones
                        added += bits_added
                        turns = max(turns, ceil(bits_added / lanes))
                    cost += turns
                costs.append(cost)
        per_filter.append(costs)
    ordered = []
    of_group = filters // layer.conv_groups
    for g in range(layer.conv_groups):
        own = range(g * of_group, (g + 1) * of_group)
        ordered += [per_filter[f] for f in own if f in kept] + [per_filter[f] for f in own if f not in kept]
    passes = len(range(0, activation_bits, word_bits))
    found = [
        in_lock_step(ordered, layer.conv_groups, rows * f) * position_steps(layer, columns, arrays // f)
        for f in range(1, arrays + 1)
        if arrays % f == 0
    ]
    return min(found) * passes, added
