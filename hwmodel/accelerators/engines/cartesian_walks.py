"""What a layer makes SCNN's PEs do, and its dense counterpart's. Importing this module imports Numba."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from math import prod

import numpy as np

from hwmodel.accelerators.engines.cartesian import Multipliers, plane_cycles
from hwmodel.accelerators.engines.planar_tiles import Mapped, PlaneTiling
from hwmodel.accelerators.engines.planes import Arranged, shares
from hwmodel.accelerators.engines.queued_banks import tile_cycles, with_exchange
from hwmodel.networks.layers import Conv, Layer, Linear


@dataclass(frozen=True)
class Walk:
    """What a layer makes the PEs do.

    Parameters
    ----------
    cycles, halo : int
        Cycles that multiply, and that exchange halos.
    useful, products : int
        Products that met an output, and all that were multiplied.
    weights, activations : int
        Values that are not zero, each as often as it is read from its buffer.
    blocks : float
        Blocks of weights read from the PEs' FIFOs.
    halo_sums : int
        Sums that move from PE to PE.
    """

    cycles: int = 0
    halo: int = 0
    useful: int = 0
    products: int = 0
    weights: int = 0
    activations: int = 0
    blocks: float = 0
    halo_sums: int = 0

    def __add__(self, other: Walk) -> Walk:
        return Walk(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def _together(walks: list[Walk]) -> Walk:
    """All copies of the machine: the work of all, the cycles of the slowest."""
    slowest = max(walks, key=lambda walk: walk.cycles + walk.halo)
    return replace(sum(walks, Walk()), cycles=slowest.cycles, halo=slowest.halo)


def stalling_walk(layer: Arranged, blocks: tuple[int, int], banks: int, *, sums: int, units: int) -> Walk:
    """Walk through all inputs and groups, with a stall for each bank conflict and a barrier each channel.

    Parameters
    ----------
    layer : Arranged
    blocks : (int, int)
        Activations and weights that a PE multiplies a cycle.
    banks : int
    sums : int
        Partial sums that a PE holds.
    units : int
    """
    filters_at_once = layer.filters_at_once(sums)
    plane, w = layer.plane, layer.weights
    multipliers = Multipliers(*blocks, banks)
    channels = w.shape[1]
    walks = []
    for share in shares(len(w), layer.groups, units):
        walk = Walk()
        for g, filters in share:
            weights = w[filters.start : filters.stop]
            turns = -(-len(filters) // filters_at_once)
            for x in layer.activations:
                activations = x[g * channels : (g + 1) * channels]
                cycles, useful = plane_cycles(
                    plane, activations, weights, filters.start, filters_at_once, multipliers
                )
                walk += Walk(
                    cycles=cycles,
                    halo=layer.halo * len(filters),
                    useful=useful,
                    products=plane.products(activations, weights),
                    weights=int(np.count_nonzero(weights)),
                    activations=int(np.count_nonzero(activations)) * turns,
                )
        walks.append(walk)
    together = _together(walks)
    pes = prod(plane.pes) * units
    # Blocks are taken for full ones; every PE moves as many sums as halos take cycles.
    return replace(together, blocks=together.products / prod(blocks), halo_sums=together.halo * pes)


def queued_walk(
    layer: Mapped,
    *,
    blocks: tuple[int, int],
    banks: int,
    depth: int | None,
    filters_outermost: bool,
    sets: int,
    units: int,
) -> Walk:
    """Walk through all inputs, groups of channels, rounds of tiles and groups of filters.

    Parameters
    ----------
    layer : Mapped
    blocks, banks, depth, filters_outermost
        As in `hwmodel.accelerators.engines.queued_banks.tile_cycles`.
    sets : int
        Sets of accumulators.
    units : int
    """
    tiling, w = layer.tiling, layer.weights
    busiest, leaving = tiling.halo
    channels = w.shape[2]
    walks = []
    for share in shares(w.shape[1], layer.groups, units):
        walk = Walk()
        # Of every group of filters, in the order in which they are worked off.
        compute, exchange = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for a in layer.activations:
            for g, filters in share:
                activations = a[g * channels : (g + 1) * channels]
                weights = w[:, filters.start : filters.stop]
                cycles, useful, products, pairs = tile_cycles(
                    layer,
                    activations,
                    weights,
                    filters.start,
                    blocks=blocks,
                    banks=banks,
                    depth=depth,
                    filters_outermost=filters_outermost,
                )
                firsts = np.arange(0, len(filters), tiling.filters)
                sizes = np.minimum(len(filters) - firsts, tiling.filters)
                # PEs wait for each other: the slowest decides about each round and group.
                compute.append(cycles.max(axis=2).T.reshape(-1))
                exchange.append((busiest[:, None] * sizes).reshape(-1))
                walk += Walk(
                    useful=useful,
                    products=products,
                    weights=int(np.count_nonzero(weights)) * tiling.rounds,
                    activations=int(np.count_nonzero(activations)) * len(firsts),
                    blocks=pairs,
                    halo_sums=int(leaving.sum()) * len(filters),
                )
        spent = np.concatenate(compute)
        multiplying = int(spent.sum())
        total = with_exchange(spent, np.concatenate(exchange), sets)
        walks.append(replace(walk, cycles=multiplying, halo=total - multiplying))
    return _together(walks)


def dot_walk(layer: Layer, tiling: PlaneTiling, *, multipliers: int, units: int) -> Walk:
    """Form dot products of whole windows over SCNN's tiles, zeros included.

    Parameters
    ----------
    layer : Conv or Linear
    tiling : PlaneTiling
    multipliers : int
        Of a PE: pairs of a dot product that it multiplies a cycle.
    units : int
    """
    if isinstance(layer, Conv):
        inputs, groups = layer.batch, layer.groups
    else:
        assert isinstance(layer, Linear)
        inputs, groups = layer.steps, 1
    filters, pairs = layer.weight_shape[0], prod(layer.weight_shape[1:])
    pes = prod(axis.pes for axis in tiling.axes)
    # Of a fully connected layer each PE has its share of the inputs.
    sharing = pes if tiling.own_inputs else 1
    own = -(-pairs // sharing)
    steps = -(-own // multipliers)
    parts = [[len(part) for _, part in share] for share in shares(filters, groups, units)]
    turns = sum(-(-part // tiling.filters) for share in parts for part in share)
    return Walk(
        cycles=max(map(sum, parts)) * int(tiling.outputs.sum()) * steps * inputs,
        useful=layer.macs,
        products=layer.macs,
        weights=filters * pairs * tiling.rounds * inputs,
        activations=layer.input_count // groups * turns,
        blocks=layer.output_count * steps * sharing,
    )
