"""Candidates out of a graph's spaces of channels, and the graph without those that go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bitxcore.batch.selection import LEFT_OUT_BY_NAME, Chosen
from bitxcore.dumps import Dump
from bitxcore.dumps.onnx import MAX_BYTES
from bitxcore.errors import DumpError
from bitxcore.files import atomic_file
from hwmodel.preparation.channel_spaces.removal import remove_channels
from hwmodel.preparation.channel_spaces.spaces import Holder, find_spaces
from hwmodel.preparation.channel_spaces.stored_tensors import StoredTensors
from hwmodel.preparation.software_pruning.channel_candidates import ChannelCandidate, StoredChannels
from hwmodel.preparation.software_pruning.software_method import ChannelChoice


def find_candidates(dump: Dump, chosen: Chosen) -> tuple[list[ChannelCandidate], dict[str, str]]:
    """Find the channels of a model that can be taken away.

    Returns
    -------
    candidates : list of ChannelCandidate
    reasons : dict of str to str
        Why channels are left alone, by tensor that writes them.
    """
    proto = _read(dump.path)
    weights = {tensor.name for tensor in chosen.tensors}
    gammas = {node.input[1] for node in proto.graph.node if node.op_type == "BatchNormalization"}
    found: list[ChannelCandidate] = []
    reasons: dict[str, str] = {}
    for space in find_spaces(proto):
        stored = tuple(
            StoredChannels(h.tensor, h.axis, _places(h, space.channels), _role(h, dump, gammas))
            for h in space.holders
        )
        writers = [held.tensor for held in stored if held.role == "writer"]
        if not writers:
            continue
        reason = space.fixed or space.unremovable or _unwanted(stored, weights, chosen.left_out, dump)
        if reason:
            reasons |= dict.fromkeys(writers, reason)
        else:
            found.append(ChannelCandidate(space.name, space.channels, stored, dump))
    return found, reasons


def written_without(dump: Dump, out: Path, choice: ChannelChoice) -> None:
    """Write a model without the channels that do not stay.

    Raises
    ------
    BitxError
        If they can't be removed, or the model can't be written.
    """
    proto = _read(dump.path)
    stored = StoredTensors(proto)
    for name, values in choice.replaced.items():
        stored.write(name, values)
    smaller = remove_channels(proto, choice.kept)
    for tensor in smaller.graph.initializer:
        tensor.ClearField("doc_string")  # `read_model` notes the name there
    if smaller.ByteSize() > MAX_BYTES:
        raise DumpError("without the channels it is larger than 2 GiB, which no ONNX file can be", path=out)
    with atomic_file(out, inputs=dump.files()) as temporary:
        temporary.write_bytes(smaller.SerializeToString(deterministic=True))


def _read(path: Path) -> Any:
    """Read a model with its weights in it."""
    import onnx

    from hwmodel.networks.onnx import read_model

    proto = read_model(path)
    onnx.external_data_helper.load_external_data_for_model(proto, str(path.parent))
    return proto


def _places(holder: Holder, count: int) -> Any:
    """Give the places of each channel, ``(channels, repeat)``."""
    order = np.argsort(holder.channels, kind="stable")
    order = order[holder.channels[order] >= 0]
    return order.reshape(count, -1)


def _role(holder: Holder, dump: Dump, gammas: set[str]) -> str:
    if holder.role == "producer":
        return "writer"
    if holder.role == "consumer":
        return "reader"
    if holder.tensor in gammas:
        return "gamma"
    if holder.role == "factor" and holder.tensor in dump and dump[holder.tensor].is_weight:
        return "writer"
    return "offset" if holder.role == "offset" else "other"


def _unwanted(
    stored: tuple[StoredChannels, ...], weights: set[str], left_out: dict[str, str], tensors: Dump
) -> str:
    """Say why a selection leaves channels alone; empty if it does not."""
    excluded, _ = LEFT_OUT_BY_NAME
    for held in stored:
        why = left_out.get(held.tensor)
        if held.role == "writer" and held.tensor not in weights:
            return why or "no weights write them"
        if held.role in ("writer", "reader") and why == excluded:
            return f"{held.tensor} is excluded"
        if held.role != "other" and held.tensor not in tensors:
            return f"{held.tensor} can't be read"
    return ""
