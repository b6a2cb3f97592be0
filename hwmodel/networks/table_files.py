"""Files that hold tables of layers: what is written in them."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from bitxcore.errors import OptionError
from bitxcore.files import atomic_file
from bitxcore.groups import Layout

if TYPE_CHECKING:
    from hwmodel.networks.network import Network, NetworkLayer

TABLE_VERSION = 1

NO_TENSOR = "the network names no tensor"
"""Why a layer has no weights, where a public state dict with names everybody uses is missing."""

COMPUTED = "the weights are made of stored tensors in a way that a table does not say"

MAX_TABLE_BYTES = 16 << 20
"""Of a table; the largest network known has some ten thousand layers of 200 bytes each."""


def network_to_table(network: Network) -> dict[str, Any]:
    """Return the JSON object that `load_network` reads back; fields at their defaults are left out."""
    return {
        "version": TABLE_VERSION,
        "name": network.name,
        "source": network.source,
        "other_parameters": network.other_parameters,
        "notes": list(network.notes),
        "not_simulated": [{f.name: getattr(n, f.name) for f in fields(n)} for n in network.not_simulated],
        "layers": [_row(entry) for entry in network.layers],
    }


def _row(entry: NetworkLayer) -> dict[str, Any]:
    layer = entry.layer
    row: dict[str, Any] = {"operation": layer.operation}
    row |= {f.name: getattr(layer, f.name) for f in fields(layer) if getattr(layer, f.name) != f.default}
    if entry.notes:
        row["notes"] = list(entry.notes)
    if entry.recipe is not None:
        return row | {"weight_missing": COMPUTED}
    if entry.weight is not None:
        row["weight"] = entry.weight
    if entry.layout != Layout():
        layout = {f.name: getattr(entry.layout, f.name) for f in fields(entry.layout)}
        row["layout"] = {name: value for name, value in layout.items() if value is not None}
    if entry.index is not None:
        row["index"] = entry.index
    if entry.weight_missing != _usual_reason(entry):
        row["weight_missing"] = entry.weight_missing
    return row


def _usual_reason(entry: NetworkLayer) -> str | None:
    """Why a layer has no tensor, if nothing is said."""
    return NO_TENSOR if entry.weight is None and entry.layer.has_weights else None


def table_text(network: Network) -> str:
    """JSON text of a table: one layer per line, for readable differences."""
    table: dict[str, Any] = network_to_table(network)
    layers = ",\n".join(f"    {json.dumps(row)}" for row in table.pop("layers"))
    head = json.dumps(table, indent=2)
    return f'{head[:-2]},\n  "layers": [\n{layers}\n  ]\n}}\n'


def save_table(network: Network, path: str | os.PathLike[str]) -> None:
    """Write the table of a network; it appears whole, or not at all.

    Raises
    ------
    OptionError
        If the name does not end in ``.json``, by which `load_network` knows tables.
    BitxError
        If it can't be written.
    """
    if not os.fspath(path).endswith(".json"):
        raise OptionError("the name of a table ends in .json", path=path)
    with atomic_file(path) as temporary:
        temporary.write_text(table_text(network), "utf-8")
