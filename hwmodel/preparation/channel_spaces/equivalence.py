"""Channels scaled and reordered so that groups of weights lose fewer bits when they are aligned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import MissingExtraError, OptionError
from bitxcore.groups import Grouping
from hwmodel.preparation.channel_spaces.permuting import permute_channels
from hwmodel.preparation.channel_spaces.reading_layers import (
    ReadingLayer,
    levels_of,
    neighbours,
    reader_of,
    room_of,
    shift_of,
)
from hwmodel.preparation.channel_spaces.scaling import scale_channels
from hwmodel.preparation.channel_spaces.spaces import ChannelSpace, find_spaces
from hwmodel.preparation.channel_spaces.stored_tensors import StoredTensors

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

MOST_DOUBLINGS = 16
"""Most doublings or halvings that one channel gets [chosen]."""


@dataclass(frozen=True)
class SpaceChange:
    """What was done to one channel space.

    Attributes
    ----------
    space : str
    channels : int
    done : str
        In one line; empty if nothing was.
    refused : str
        Why nothing was done, in one line; else empty.
    shift_before, shift_after : float
        Bits by which alignment shifts a non-zero weight of the layers that read the space, on average: how
        far its exponent is below the largest of its group.
    """

    space: str
    channels: int
    done: str
    refused: str
    shift_before: float
    shift_after: float


@dataclass(frozen=True)
class OutputError:
    """How far one output moved.

    Attributes
    ----------
    absolute : float
        Largest difference.
    relative : float
        The same over the largest magnitude of the output before.
    """

    absolute: float
    relative: float


def equalised(
    proto: Any, group: int | None = 8, grouping: Grouping = "flat"
) -> tuple[Any, list[SpaceChange]]:
    """Scale channels by powers of two so that a layer's weights for all its input channels are alike in size.

    Cross-layer equalisation without data, after Nagel et al. (ICCV 2019). There each tensor has one scale, so
    the ranges of the layers on both sides count. Here each group of one filter has its own exponent: a factor
    on what makes a channel moves whole filters, and costs nothing. So only the readers count [chosen], and
    factors are powers of two, by which floats are not rounded [chosen].

    Parameters
    ----------
    proto : onnx.ModelProto
        Is not changed.
    group, grouping
        As of `bitxcore.prune`: of several candidates for the sizes (root mean square, mean exponent, largest)
        the one is taken after which alignment shifts least; none, if it shifts no less than before.

    Returns
    -------
    onnx.ModelProto
    list of SpaceChange
        One per channel space that a layer reads.

    Examples
    --------
    >>> from hwmodel.evaluation import task
    >>> from hwmodel.networks.onnx import read_model
    >>> model, changes = equalised(read_model(task("digits").model), 8, "channel")
    >>> changes[0].refused
    "'image' is an input of the graph"
    >>> all(change.shift_after <= change.shift_before for change in changes)
    True
    """
    stored = StoredTensors(proto)
    factors: dict[str, Floats] = {}

    def choose(space: ChannelSpace, readers: list[ReadingLayer]) -> tuple[str, float]:
        best, least = None, shift_of(readers, group, grouping)
        lowest, highest = room_of(space, stored)
        for levels in levels_of(space, readers):
            known = np.isfinite(levels)
            middle = np.median(levels[known]) if known.any() else 0.0
            doublings = np.where(known, np.rint(levels - middle), 0.0)
            doublings = np.clip(doublings, -MOST_DOUBLINGS, MOST_DOUBLINGS)
            doublings = np.clip(doublings, lowest, highest)
            shift = shift_of([reader.scaled(np.exp2(-doublings)) for reader in readers], group, grouping)
            if doublings.any() and shift < least:
                best, least = np.exp2(doublings), shift
        if best is None:
            return "", least
        factors[space.name] = best
        span = int(np.log2(best.max() / best.min()))
        return f"{int((best != 1).sum())} channels scaled, factors over {span} doublings", least

    changes = _changes(find_spaces(proto, "scale"), stored, group, grouping, choose)
    return scale_channels(proto, factors), changes


def permuted(proto: Any, group: int | None = 8, grouping: Grouping = "flat") -> tuple[Any, list[SpaceChange]]:
    """Reorder channels so that the weights of a group, of neighbouring input channels, are alike in size.

    Parameters
    ----------
    proto : onnx.ModelProto
        Is not changed.
    group, grouping
        As of `bitxcore.prune`: of several candidates (sorted by size; nearest neighbours by the weights of
        all filters) the one is taken after which alignment shifts least; none, if it shifts no less than
        before.

    Returns
    -------
    onnx.ModelProto
    list of SpaceChange
        One per channel space that a layer reads.

    Examples
    --------
    >>> from hwmodel.evaluation import task
    >>> from hwmodel.networks.onnx import read_model
    >>> model, changes = permuted(read_model(task("digits").model), 8, "channel")
    >>> sum(bool(change.done) for change in changes) > 3
    True
    """
    stored = StoredTensors(proto)
    orders: dict[str, npt.NDArray[np.int64]] = {}

    def choose(space: ChannelSpace, readers: list[ReadingLayer]) -> tuple[str, float]:
        best, least = None, shift_of(readers, group, grouping)
        candidates = [np.argsort(-levels, kind="stable") for levels in levels_of(space, readers)]
        candidates.append(neighbours(space, readers, group or 1))
        for order in candidates:
            shift = shift_of([reader.reordered(order) for reader in readers], group, grouping)
            if shift < least:
                best, least = order, shift
        if best is None:
            return "", least
        orders[space.name] = best
        return f"{int((best != np.arange(space.channels)).sum())} channels moved", least

    changes = _changes(find_spaces(proto), stored, group, grouping, choose)
    return permute_channels(proto, orders), changes


def float_error(before: Any, after: Any, batches: Sequence[Mapping[str, Array]]) -> dict[str, OutputError]:
    """Compare what two models compute in ONNX Runtime.

    Parameters
    ----------
    before, after : onnx.ModelProto
        With the same inputs and outputs.
    batches : sequence of mapping of str to ndarray

    Returns
    -------
    dict of str to OutputError
        By the name of the output.

    Raises
    ------
    OptionError
        If there are no batches.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    if not batches:
        raise OptionError("there are no batches to compare models on")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    sessions = [
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for model in (before, after)
    ]
    names = [output.name for output in before.graph.output]
    apart, largest = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for feeds in batches:
        found = [session.run(names, dict(feeds)) for session in sessions]
        for name, x, y in zip(names, *found, strict=True):
            wide = np.asarray(x, np.float64)
            apart[name] = max(apart[name], float(np.abs(wide - y).max(initial=0)))
            largest[name] = max(largest[name], float(np.abs(wide).max(initial=0)))
    return {n: OutputError(apart[n], apart[n] / largest[n] if largest[n] else apart[n]) for n in names}


Choice = Callable[[ChannelSpace, list[ReadingLayer]], tuple[str, float]]


def _changes(
    spaces: list[ChannelSpace],
    stored: StoredTensors,
    group: int | None,
    grouping: Grouping,
    choose: Choice,
) -> list[SpaceChange]:
    """Choose for each space, and note what came of it."""
    changes = []
    for space in spaces:
        readers = [reader_of(holder, stored) for holder in space.held_as("consumer")]
        if not readers:
            continue
        before = shift_of(readers, group, grouping)
        done, after, refused = "", before, space.fixed
        if not refused and space.channels == 1:
            refused = "it is one channel"
        if not refused:
            done, after = choose(space, readers)
            refused = "" if done else "alignment would shift no less"
        changes.append(SpaceChange(space.name, space.channels, done, refused, before, after))
    return changes
