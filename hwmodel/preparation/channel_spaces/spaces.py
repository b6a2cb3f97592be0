"""The channel spaces of an ONNX model: which channels change together, and where they are stored."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitxcore.errors import TensorError
from hwmodel.networks.onnx.shapes import infer
from hwmodel.preparation.channel_spaces.element_rules import ELEMENTS
from hwmodel.preparation.channel_spaces.follower import Follower, Purpose
from hwmodel.preparation.channel_spaces.layer_rules import LAYERS
from hwmodel.preparation.channel_spaces.ledger import Labels, Ledger, Role
from hwmodel.preparation.channel_spaces.pooling_rules import POOLING
from hwmodel.preparation.channel_spaces.shape_rules import SHAPES
from hwmodel.preparation.channel_spaces.stored_tensors import StoredTensors

RULES = {**LAYERS, **ELEMENTS, **SHAPES, **POOLING}
"""Operators through which channels are followed."""

_POWER = {"producer": 1, "offset": 1, "factor": 0, "consumer": -1}


@dataclass(frozen=True, eq=False)
class Holder:
    """One axis of a stored tensor that holds channels of a space.

    Attributes
    ----------
    tensor : str
    axis : int
    role : {"producer", "offset", "factor", "consumer"}
        Makes the channels (weights along their output channels), is added to them (biases, a normalisation's
        mean and shift), multiplies them one by one (a normalisation's scale and variance, depthwise weights,
        slopes), or reads them (weights along their input channels).
    channels : ndarray of int64, shape (length of the axis,)
        Channel of the space at each place; -1 where the place is none of the space's.
    node : str
        Operator and name of a node that uses it so.
    filter_axis : int or None
        Axis of the output channels, of a ``"consumer"``.
    """

    tensor: str
    axis: int
    role: Role
    channels: Labels
    node: str
    filter_axis: int | None

    @property
    def repeats(self) -> int:
        """How many places of the axis each channel has."""
        return int((self.channels == 0).sum())


@dataclass(frozen=True, eq=False)
class SizeHolder:
    """A number of a node that counts places of channels: a depthwise convolution's groups, a stored size.

    Attributes
    ----------
    node : int
        Index in the graph.
    where : str or int
        Attribute; or input that holds sizes.
    index : int
        Which of the sizes.
    channels : ndarray of int64
        As of `Holder`.
    """

    node: int
    where: str | int
    index: int
    channels: Labels


@dataclass(frozen=True, eq=False)
class ChannelSpace:
    """Channels of a network that can only change together in every tensor that holds them.

    Attributes
    ----------
    name : str
        Value of the graph in which they are first seen; with a range where it has several spaces.
    channels : int
        How many.
    fixed : str
        Why they must stay as they are, in one line; empty if they need not.
    unremovable : str
        Why none of them can be removed; empty if they can.
    holders : tuple of Holder
    sizes : tuple of SizeHolder
    """

    name: str
    channels: int
    fixed: str
    unremovable: str
    holders: tuple[Holder, ...]
    sizes: tuple[SizeHolder, ...]

    def held_as(self, role: Role) -> list[Holder]:
        """Return the holders of one role."""
        return [holder for holder in self.holders if holder.role == role]


def find_spaces(proto: Any, purpose: Purpose = "order") -> list[ChannelSpace]:
    """Find the channel spaces of a model, in the order in which they are first seen.

    Parameters
    ----------
    proto : onnx.ModelProto
        Functions inlined, weights in the file.
    purpose : {"order", "scale"}
        Spaces whose channels can change places or be removed; or spaces whose channels can each have a
        factor, which ends where a normalisation takes it out again. Of the latter only those that a layer
        reads.

    Returns
    -------
    list of ChannelSpace
        Also those that are fixed, with the reason.

    Notes
    -----
    Channels are followed one by one: a residual sum ties them pairwise, a concatenation puts those of several
    layers side by side, flattening repeats each. Those that occur in the same tensors in the same way make a
    space. An operator that is not known fixes the channels that it reads.

    Examples
    --------
    >>> from hwmodel.evaluation import task
    >>> from hwmodel.networks.onnx import read_model
    >>> spaces = find_spaces(read_model(task("digits").model))
    >>> [(s.name, s.channels, s.fixed) for s in spaces][:2]
    [('image', 1, "'image' is an input of the graph"), ('stem.output', 16, '')]
    >>> [(h.tensor, h.axis, h.role) for h in spaces[1].holders][:2]
    [('stem.weight', 0, 'producer'), ('stem.bias', 0, 'offset')]
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(proto)
    stored = StoredTensors(model)
    try:
        shaped = infer(Path("model.onnx"), model)
    except TensorError:
        shaped = model
    ledger = Follower(shaped, stored, purpose).follow(RULES)
    spaces = _spaces(ledger, scales=purpose == "scale")
    return [s for s in spaces if s.holders and (purpose == "order" or s.held_as("consumer"))]


def space_named(spaces: list[ChannelSpace], name: str) -> ChannelSpace:
    """Return the space of that name.

    Raises
    ------
    TensorError
        If there is none.
    """
    for space in spaces:
        if space.name == name:
            return space
    raise TensorError(f"no channel space is called {name!r}")


def _spaces(ledger: Ledger, scales: bool) -> list[ChannelSpace]:
    """Group channels that occur alike."""
    reasons = _first(ledger, ledger.fixed)
    if scales:
        _conflicts(ledger, reasons)
    kept = _first(ledger, ledger.kept)
    found: dict[tuple[str, int], tuple[Any, Labels]] = {}
    for held in ledger.held:
        key = (held.tensor, held.axis)
        if key not in found or held.role == "consumer":
            found[key] = (held, ledger.roots(held.labels))
    occurs: dict[int, list[Any]] = defaultdict(list)
    lists = [(roots, held.labels) for held, roots in found.values()]
    lists += [(ledger.roots(labels), labels) for labels in ledger.apart]
    for index, (roots, labels) in enumerate(lists):
        seen: dict[int, list[int]] = defaultdict(list)
        for root, origin in zip(roots.tolist(), ledger.origins(labels), strict=True):
            seen[root].append(origin)
        for root, origins in seen.items():
            occurs[root].append((index, *origins))
    alike: dict[Any, list[int]] = {}
    for root in sorted(occurs):
        alike.setdefault((*occurs[root], reasons.get(root, ""), kept.get(root, "")), []).append(root)
    counted = [(count, ledger.roots(count.labels)) for count in ledger.counted]
    names = _names(ledger, list(alike.values()))
    spaces = []
    for (sort, channels), name in zip(alike.items(), names, strict=True):
        members = np.asarray(channels, np.int64)
        holders = tuple(
            Holder(h.tensor, h.axis, h.role, places, h.node, h.filter_axis)
            for h, roots in found.values()
            if (places := _places(roots, members)) is not None
        )
        sizes = tuple(
            SizeHolder(c.node, c.where, c.index, places)
            for c, roots in counted
            if (places := _places(roots, members)) is not None
        )
        spaces.append(ChannelSpace(name, len(members), sort[-2], sort[-1], holders, sizes))
    return spaces


def _first(ledger: Ledger, notes: list[tuple[Labels, str]]) -> dict[int, str]:
    """First reason for each channel."""
    found: dict[int, str] = {}
    for labels, reason in notes:
        for root in ledger.roots(labels).tolist():
            found.setdefault(root, reason)
    return found


def _conflicts(ledger: Ledger, reasons: dict[int, str]) -> None:
    """Fix channels of tensors that would be multiplied by two things at once along one axis."""
    powers: dict[tuple[str, int], int] = {}
    for held in ledger.held:
        power = _POWER[held.role]
        if powers.setdefault((held.tensor, held.axis), power) != power:
            for root in ledger.roots(held.labels).tolist():
                reasons.setdefault(root, f"{held.node} shares {held.tensor!r} with a layer of another kind")


def _places(roots: Labels, members: Labels) -> Labels | None:
    """Channel of a space at each place; None if none is there."""
    at = np.searchsorted(members, roots)
    inside = members[np.minimum(at, len(members) - 1)] == roots
    return np.where(inside, at, -1) if inside.any() else None


def _names(ledger: Ledger, spaces: list[list[int]]) -> list[str]:
    """Name spaces by the value that they are first seen in, and by the range where it has several."""
    origins = [ledger.origins(np.asarray(roots[:1], np.int64))[0] for roots in spaces]
    names: list[str] = []
    for roots, origin in zip(spaces, origins, strict=True):
        name = ledger.names[origin]
        same = sum(ledger.names[o] == name for o in origins)
        if same > 1:
            first = ledger.starts[origin]
            name = f"{name}[{roots[0] - first}:{roots[-1] + 1 - first}]"
        while name in names:
            name += "'"
        names.append(name)
    return names
