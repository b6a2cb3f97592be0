"""Every burst of a layer, in the order in which the engine that moves tiles asks for them.

Shares no code with `hwmodel.memory`: loops are turned, and runs found in the addresses of values.
"""

from dataclasses import dataclass
from itertools import product
from math import ceil, prod

import numpy as np
from stepped_memory import reads_of

from hwmodel.networks.layers import Conv, ConvTranspose

OPERANDS = ("weights", "activations", "outputs", "partial sums")


@dataclass
class Tile:
    """What it needs, by the turns of the loops that choose it; boxes are (coordinates, shape)."""

    weights: tuple
    activations: tuple
    outputs: tuple
    inputs_box: tuple
    outputs_box: tuple
    begins: bool
    ends: bool


def tiles_of(layer, tiling):
    """Turn all loops."""
    reads, in_size = reads_of(layer)
    spatial = isinstance(layer, Conv | ConvTranspose)
    extent = {
        "groups": layer.conv_groups,
        "steps": layer.steps,
        "batch": layer.batch if spatial else 1,
        "depth": len(reads[0]),
        "filters": layer.filters // layer.conv_groups,
        "channels": layer.channels,
        "rows": len(reads[1]),
        "columns": len(reads[2]),
    }
    names = [n for o in tiling.order for n in (("rows", "columns") if o == "positions" else (o,))]
    names = ["groups", "steps", "batch", "depth", *names]
    step = {n: 1 if n in ("steps", "depth") else getattr(tiling, n) for n in extent}
    for starts in product(*(range(0, extent[n], step[n]) for n in names)):
        at = {n: range(start, start + step[n]) for n, start in zip(names, starts, strict=True)}
        planes, rows, columns = (
            sorted(set().union(*(axis[i] for i in at[n])))
            for n, axis in zip(("depth", "rows", "columns"), reads, strict=True)
        )
        columns = range(columns[0], columns[-1] + 1) if columns else columns
        if spatial:
            inputs = [at["batch"], at["groups"], at["channels"], planes, rows, columns]
            outputs = ("batch", "groups", "filters", "depth", "rows", "columns")
            in_shape = [extent[n] for n in ("batch", "groups", "channels")] + list(in_size)
        else:
            inputs = [at["groups"], at["steps"], columns, at["channels"]]
            outputs = ("groups", "steps", "columns", "filters")
            in_shape = [extent["groups"], extent["steps"], in_size[2], extent["channels"]]
        yield Tile(
            weights=tuple(at[n] for n in ("groups", "filters", "channels")),
            activations=tuple(at[n] for n in names if n != "filters"),
            outputs=tuple(at[n] for n in names if n != "channels"),
            inputs_box=(inputs, in_shape),
            outputs_box=([at[n] for n in outputs], [extent[n] for n in outputs]),
            begins=at["channels"].start == 0,
            ends=at["channels"].stop == extent["channels"],
        )


def bursts_of(box, width, burst):
    """Bursts of a box's runs of neighbours, each moved whole from the burst in which it begins."""
    address = np.zeros((), np.int64)
    for at, size in zip(*box, strict=True):
        address = np.add.outer(address * size, np.asarray(at, np.int64))
    address = address.reshape(-1)
    starts = np.flatnonzero(np.diff(address, prepend=-2) != 1)
    count = -(-np.diff(np.append(starts, len(address))) * width // burst)
    first = np.repeat(address[starts] * width // burst, count)
    return first + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)


def transfers_of(layer, tiling, widths):
    """Follow the slots: what tile i + 1 needs, what tile i - 1 leaves.

    Returns
    -------
    list of (operand, is write, array of bursts from the operand's first)
    """
    tiles = list(tiles_of(layer, tiling))
    n, places, found = len(tiles), {}, []

    def piece(operand, key, bits):
        """Pieces that lie in the order in which they are used first."""
        index = places.setdefault((operand, key), sum(known == operand for known, _ in places))
        return np.arange(ceil(bits / widths.burst)) + index * ceil(bits / widths.burst)

    def partial_sums(tile):
        results = prod(len(at) for at in tile.outputs_box[0])
        return piece("partial sums", tile.outputs, results * widths.partial_sum)

    weight_tiles = len({tile.weights for tile in tiles})
    for slot in range(-1, n + 1):
        load = tiles[slot + 1] if slot + 1 < n else None
        here = tiles[slot] if 0 <= slot < n else None
        store = tiles[slot - 1] if slot >= 1 else None
        if load and (here is None or load.weights != here.weights):
            found.append(
                ("weights", False, piece("weights", load.weights, -(-widths.weights // weight_tiles)))
            )
        if load and (here is None or load.activations != here.activations):
            found.append(("activations", False, bursts_of(load.inputs_box, widths.activation, widths.burst)))
        if store and (here is None or store.outputs != here.outputs):
            if store.ends:
                found.append(("outputs", True, bursts_of(store.outputs_box, widths.output, widths.burst)))
            else:
                found.append(("partial sums", True, partial_sums(store)))
        if load and not load.begins and load.outputs != here.outputs:
            found.append(("partial sums", False, partial_sums(load)))
    return found


def traces_of(transfers, part, channels):
    """Addresses and writes of each channel; operands lie a quarter of the memory, and some banks, apart."""
    apart = part.capacity_bytes // 4 + (1 << 15)
    bursts = np.concatenate([at for _, _, at in transfers])
    base = np.concatenate([np.full(len(at), OPERANDS.index(o) * apart) for o, _, at in transfers])
    write = np.concatenate([np.full(len(at), w) for _, w, at in transfers])
    for channel in range(channels):
        here = bursts % channels == channel
        yield bursts[here] // channels * part.burst_bytes + base[here], write[here]
