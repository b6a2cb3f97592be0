"""The memory, written out: every loop turned, every value looked at, every tick waited for.

Shares no code with `hwmodel.memory` but the price list of transfers.
"""

from dataclasses import dataclass, field
from itertools import pairwise, product
from math import ceil

from hwmodel.networks.layers import Conv, ConvTranspose


def reads_of(layer):
    """For each spatial dimension: the inputs that each output reads."""
    if not isinstance(layer, Conv | ConvTranspose):
        ready = layer.positions // layer.steps
        return [[{0}], [{0}], [{q} for q in range(ready)]], [1, 1, ready]
    found = []
    for n, size in enumerate(layer.in_size):
        k, s, d, p = layer.kernel[n], layer.stride[n], layer.dilation[n], layer.padding[n][0]
        read = [set() for _ in range(layer.out_size[n])]
        for tap in range(k):
            if isinstance(layer, ConvTranspose):
                places = ((i * s - p + d * tap, i) for i in range(size))
            else:
                places = ((o, o * s - p + d * tap) for o in range(len(read)))
            for out, into in places:
                if 0 <= out < len(read) and 0 <= into < size:
                    read[out].add(into)
        found.append(read)
    return [[{0}]] * (3 - len(found)) + found, [1] * (3 - len(found)) + list(layer.in_size)


def runs_of(coordinates, sizes):
    """Lengths of runs of neighbours.

    A run goes on into the next row if the box has whole rows without gaps between them, and so on.

    Parameters
    ----------
    coordinates : sorted list of tuple, the innermost coordinate last
    sizes : of the tensor
    """
    whole = [len({c[n] for c in coordinates}) == size for n, size in enumerate(sizes)]
    taken = [sorted({c[n] for c in coordinates}) for n in range(len(sizes))]
    dense = [not t or t[-1] - t[0] == len(t) - 1 for t in taken]
    lengths, last = [], None
    for here in coordinates:
        address = 0
        for c, size in zip(here, sizes, strict=True):
            address = address * size + c
        if last is not None and address == last[1] + 1:
            first = next(n for n, (a, b) in enumerate(zip(last[0], here, strict=True)) if a != b)
            if dense[first] and all(whole[first + 1 :]):
                lengths[-1] += 1
                last = here, address
                continue
        lengths.append(1)
        last = here, address
    return lengths


def bursts(lengths, width, burst):
    return sum(ceil(n * width / burst) * burst for n in lengths)


@dataclass
class Load:
    """What one tile moves; bits, and the boxes they are of."""

    weights: int = 0
    activations: int = 0
    outputs: int = 0
    spilled: int = 0
    resumed: int = 0
    box: tuple = ((0, 0), (0, 0), (0, 0))
    held: tuple = (0, 0, 0)


@dataclass
class Walk:
    """All tiles of a layer, in order."""

    tiles: list = field(default_factory=list)

    def total(self, name):
        return sum(getattr(tile, name) for tile in self.tiles)


def walk(layer, order, sizes, w_bits, a_bits, o_bits, burst):
    """Turn all loops; `sizes` of a tile: filters, channels, rows, columns, images, groups."""
    reads, in_size = reads_of(layer)
    filters, channels = layer.filters // layer.conv_groups, layer.channels
    batch = getattr(layer, "batch", 1) if isinstance(layer, Conv | ConvTranspose) else 1
    kernel = layer.kernel_positions
    last_channels = not isinstance(layer, Conv | ConvTranspose)
    step = dict(zip(("filters", "channels", "rows", "columns", "images", "groups"), sizes, strict=True))
    extent = {
        "filters": filters,
        "channels": channels,
        "rows": len(reads[1]),
        "columns": len(reads[2]),
    }
    names = [n for o in order for n in (("rows", "columns") if o == "positions" else (o,))]
    outer = product(
        range(0, layer.conv_groups, step["groups"]),
        range(layer.steps),
        range(0, batch, step["images"]),
        range(len(reads[0])),
    )
    walked = Walk()
    in_buffer = {"weights": None, "activations": None, "outputs": None}
    visits = {}
    for g, s, b, z in outer:
        for starts in product(*(range(0, extent[n], step[n]) for n in names)):
            at = dict(zip(names, starts, strict=True))
            tile = Load()
            fs = range(at["filters"], at["filters"] + step["filters"])
            cs = range(at["channels"], at["channels"] + step["channels"])
            ys = range(at["rows"], at["rows"] + step["rows"])
            xs = range(at["columns"], at["columns"] + step["columns"])
            gs, bs = range(g, g + step["groups"]), range(b, b + step["images"])
            weights = {(h, f, c, k) for h in gs for f in fs for c in cs for k in range(kernel)}
            if (g, fs, cs) != in_buffer["weights"]:
                in_buffer["weights"] = (g, fs, cs)
                tile.weights = len(weights) * w_bits
            planes = set().union(*(reads[0][z : z + 1]))
            rows = set().union(*(reads[1][y] for y in ys))
            columns = set().union(*(reads[2][x] for x in xs))
            if columns:
                columns = set(range(min(columns), max(columns) + 1))
            inputs = [
                (i, h, x, c) if last_channels else (i, h, c, p, y, x)
                for i in bs for h in gs for c in cs for p in planes for y in rows for x in columns
            ]  # fmt: skip
            outside = (batch, layer.conv_groups)
            spatial = (*outside, in_size[2], channels) if last_channels else (*outside, channels, *in_size)
            if (g, s, b, z, cs, ys, xs) != in_buffer["activations"]:
                in_buffer["activations"] = (g, s, b, z, cs, ys, xs)
                tile.activations = bursts(runs_of(sorted(inputs), spatial), a_bits, burst)
                tile.box = tuple((len(n), max(n) - min(n) + 1 if n else 0) for n in (planes, rows, columns))
            key = (g, s, b, z, fs, ys, xs)
            outputs = [
                (i, h, x, f) if last_channels else (i, h, f, z, y, x)
                for i in bs for h in gs for f in fs for y in ys for x in xs
            ]  # fmt: skip
            if key != in_buffer["outputs"]:
                if in_buffer["outputs"] is not None:
                    leave(walked.tiles[-1], in_buffer, visits, channels)
                in_buffer["outputs"] = key
                if key in visits:
                    tile.resumed = len(outputs) * 32
            shape = (len(reads[2]), filters) if last_channels else (filters, *(len(r) for r in reads))
            shape = (*outside, *shape)
            finished = bursts(runs_of(sorted(outputs), shape), o_bits, burst)
            in_buffer["leaving"] = (finished, len(outputs) * 32)
            visits[key] = visits.get(key, 0) + len(cs)
            one = o_bits if len(cs) == channels else 32
            tile.held = (len(weights) * w_bits, len(inputs) * a_bits, len(outputs) * one)
            walked.tiles.append(tile)
    leave(walked.tiles[-1], in_buffer, visits, channels)
    return walked


def leave(tile, in_buffer, visits, channels):
    """Store the outputs that the last tile worked on."""
    finished, partial = in_buffer["leaving"]
    if visits[in_buffer["outputs"]] == channels:
        tile.outputs = finished
    else:
        tile.spilled = partial


def waits(walked, prices, on_chip):
    """Wait tick by tick; a tick is 1/N of a cycle, so that each tile computes for `on_chip` ticks.

    Parameters
    ----------
    walked : Walk
    prices : callable
        ``prices(load, store)``: cycles at which the DRAM has moved the weights, then the activations, then
        the outputs, of what is loaded and what is stored in one slot; either may be None.
    on_chip : int

    Returns
    -------
    list of int
        Cycles of waiting for weights, activations, outputs: what each adds to the layer's whole cycles.
    """
    tiles = walked.tiles
    n = len(tiles)
    ticks = [0, 0, 0, 0]  # computing, and waiting for the three
    for slot in range(-1, n + 1):
        work = on_chip if 0 <= slot < n else 0
        load = tiles[slot + 1] if slot + 1 < n else None
        store = tiles[slot - 1] if slot >= 1 else None
        done = [n * end for end in prices(load, store)]
        now = 0
        while now < work or now < done[-1]:
            if now < work:
                ticks[0] += 1
            else:
                ticks[1 + next(i for i, end in enumerate(done) if now < end)] += 1
            now += 1
    ends = [ceil(sum(ticks[: i + 1]) / n) for i in range(4)]
    assert ends[0] == on_chip
    return [b - a for a, b in pairwise(ends)]
