"""Networks as tables: the JSON files of ``data/networks``, and those of users."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from bitxcore.data import data_folder
from bitxcore.dumps.trust import read_small
from bitxcore.errors import DumpError, OptionError, TensorError
from bitxcore.groups import Layout
from hwmodel.networks.layers import OPERATIONS
from hwmodel.networks.network import Network, NetworkLayer, NotSimulated

TABLE_VERSION = 1
MAX_TABLE_BYTES = 16 << 20
"""Hundred thousand layers; the JSON objects need twenty times as much memory."""

NO_TENSOR = "the table names no tensor"
"""Why a table's layer has no weights, where a public state dict with names everybody uses is missing."""


def network_names() -> list[str]:
    """Names of the tables in ``data/networks``, sorted.

    Examples
    --------
    >>> "resnet50" in network_names()
    True
    """
    return sorted(p.stem for p in data_folder("networks").glob("*.json"))


def table_path(name: str) -> Path:
    """Path of the table of a name."""
    return data_folder("networks") / f"{name}.json"


def network_to_table(network: Network) -> dict[str, Any]:
    """Return the JSON object that `load_network` reads back; fields at their defaults are left out."""
    layers = []
    for entry in network.layers:
        layer = entry.layer
        row: dict[str, Any] = {"operation": layer.operation}
        row |= {f.name: getattr(layer, f.name) for f in fields(layer) if getattr(layer, f.name) != f.default}
        if entry.weight is not None and entry.recipe is None:
            row["weight"] = entry.weight
        if entry.layout != Layout():
            layout = {f.name: getattr(entry.layout, f.name) for f in fields(entry.layout)}
            row["layout"] = {name: value for name, value in layout.items() if value is not None}
        layers.append(row)
    return {
        "version": TABLE_VERSION,
        "name": network.name,
        "source": network.source,
        "other_parameters": network.other_parameters,
        "notes": list(network.notes),
        "not_simulated": [{f.name: getattr(n, f.name) for f in fields(n)} for n in network.not_simulated],
        "layers": layers,
    }


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def read_table(path: Path) -> Network:
    """Read a table.

    Raises
    ------
    DumpError
        If the file is missing, damaged, or no table.
    OptionError
        If an operation is not known.
    """
    try:
        table = json.loads(read_small(path, "a network's table", MAX_TABLE_BYTES))
    except DumpError:
        raise
    except (ValueError, RecursionError) as error:
        raise DumpError(f"is not JSON: {error}", path=path) from error
    try:
        if table["version"] != TABLE_VERSION:
            raise DumpError(
                f"table version {table['version']!r}, this release reads {TABLE_VERSION}",
                path=path,
                value=table["version"],
            )
        layers = []
        for row in table["layers"]:
            row = dict(row)
            weight, layout = row.pop("weight", None), Layout(**row.pop("layout", {}))
            operation = row.pop("operation")
            if operation not in OPERATIONS:
                raise OptionError(
                    f"operation {operation!r} is none of {', '.join(OPERATIONS)}", path=path, value=operation
                )
            layer = OPERATIONS[operation](**{k: _tuples(v) for k, v in row.items()})
            missing = NO_TENSOR if weight is None and layer.has_weights else None
            layers.append(NetworkLayer(layer, weight, layout, weight_missing=missing))
        return Network(
            name=table["name"],
            layers=tuple(layers),
            source=table["source"],
            not_simulated=tuple(NotSimulated(**n) for n in table["not_simulated"]),
            other_parameters=table["other_parameters"],
            notes=tuple(table["notes"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DumpError(f"is no table of a network: {error}", path=path) from error
    except TensorError as error:
        # What is wrong is the file, whatever its layers lack.
        raise DumpError(
            error.message, path=path, tensor=error.tensor, layer=error.layer, value=error.value
        ) from error
