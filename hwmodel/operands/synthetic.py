"""Arrays that are drawn from a distribution when they are asked for: weights and stand-in activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import numpy.typing as npt

from hwmodel.networks.layers import Layer
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.operands.distributions import DEFAULT_ACTIVATIONS, DEFAULT_WEIGHTS, Distribution, distribution
from hwmodel.operands.operands import activation_shape

MOST_DRAWN = 1 << 29
"""Activations of one layer; they are held in memory."""


def too_many_to_draw(layer: Layer) -> bool:
    """Whether a layer has more activations than are drawn for it."""
    return prod(activation_shape(layer)) > MOST_DRAWN


def drawn_activations(drawn: Distribution, entry: NetworkLayer) -> npt.NDArray[Any]:
    """Draw a layer's activations; of a product of activations, its first operand."""
    return drawn.draw("activations", entry.layer.name, activation_shape(entry.layer))


def drawn_weights(drawn: Distribution, entry: NetworkLayer) -> npt.NDArray[Any]:
    """Draw a layer's weights, output channel first; layers that share a tensor get the same."""
    return drawn.draw("weights", entry.weight or entry.layer.name, entry.layer.weight_shape)


class Drawn(Mapping[str, npt.NDArray[Any]]):
    """Arrays that are drawn, or read, when they are asked for; never kept.

    Parameters
    ----------
    entries : mapping of str to NetworkLayer
        By the name that is asked for.
    make : callable
        From the entry to its array.
    """

    def __init__(
        self, entries: Mapping[str, NetworkLayer], make: Callable[[NetworkLayer], npt.NDArray[Any]]
    ) -> None:
        self._entries = entries
        self._make = make

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._make(self._entries[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)


def stand_ins(
    network: Network,
    activations: Distribution | str = DEFAULT_ACTIVATIONS,
    traces: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Mapping[str, npt.NDArray[Any]]:
    """Give every layer activations: its trace, or else values of a distribution, drawn on access.

    Parameters
    ----------
    network : Network
    activations : Distribution or str
        As of `hwmodel.simulate_network`.
    traces : mapping, optional

    Returns
    -------
    mapping of str to ndarray
        Usable as ``traces=``. Results lack the notes that `hwmodel.simulate_network` adds for drawn values.

    Examples
    --------
    >>> from hwmodel import load_network
    >>> activations = stand_ins(load_network("resnet18"), "relu-normal:zeros=0.6")
    >>> activations["conv1"].shape
    (1, 3, 224, 224)
    """
    drawn, known = distribution(activations), traces or {}

    def make(entry: NetworkLayer) -> npt.NDArray[Any]:
        name = entry.layer.name
        return known[name] if name in known else drawn_activations(drawn, entry)

    return Drawn({e.layer.name: e for e in network.layers}, make)


def synthetic_weights(network: Network, weights: Distribution | str = DEFAULT_WEIGHTS) -> Mapping[str, Any]:
    """Give every tensor that a network names values of a distribution, drawn on access.

    Parameters
    ----------
    network : Network
    weights : Distribution or str
        As of `hwmodel.simulate_network`.

    Returns
    -------
    mapping of str to ndarray
        Usable as ``dump=``. Results lack the notes for drawn values. Tensors that are stacks of matrices
        are left out.

    Examples
    --------
    >>> from hwmodel import load_network
    >>> weights = synthetic_weights(load_network("resnet18"), "laplace")
    >>> weights["fc.weight"].shape
    (1000, 512)
    """
    drawn = distribution(weights)
    named = {
        e.weight: e for e in network.layers if e.weight is not None and e.index is None and e.recipe is None
    }
    return Drawn(named, lambda entry: entry.layout.restore(drawn_weights(drawn, entry)))
