"""Networks as tables: the JSON files of ``data/networks``, and those of users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bitxcore.checks import shown
from bitxcore.data import data_folder
from bitxcore.dumps.trust import read_small
from bitxcore.errors import DumpError, OptionError, TensorError
from bitxcore.groups import Layout
from hwmodel.networks.layers import OPERATIONS
from hwmodel.networks.network import Network, NetworkLayer, NotSimulated
from hwmodel.networks.table_files import MAX_TABLE_BYTES, NO_TENSOR, TABLE_VERSION, network_to_table

__all__ = ["NO_TENSOR", "TABLE_VERSION", "network_names", "network_to_table", "read_table", "table_path"]


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


def read_table(path: Path) -> Network:
    """Read a table.

    Raises
    ------
    DumpError
        If the file is missing, damaged, or no table.
    OptionError
        If an operation is not known.
    """
    data = read_small(path, "a network's table", MAX_TABLE_BYTES)
    try:
        table = json.loads(data)
    except ValueError as error:
        raise DumpError(f"is not JSON: {error}", path=path) from error
    except RecursionError as error:
        raise DumpError("is no table of a network: it is nested too deeply", path=path) from error
    try:
        if table["version"] != TABLE_VERSION:
            raise DumpError(
                f"table version {shown(table['version'])}, this release reads {TABLE_VERSION}",
                path=path,
                value=table["version"],
            )
        return Network(
            layers=[_entry(row, path) for row in table["layers"]],
            name=_of_type(str, table, "name"),
            source=_of_type(str, table, "source"),
            not_simulated=tuple(_not_simulated(row) for row in table["not_simulated"]),
            other_parameters=_of_type(int, table, "other_parameters"),
            notes=_texts(table["notes"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DumpError(f"is no table of a network: {error}", path=path) from error
    except TensorError as error:
        # What is wrong is the file, whatever its layers lack.
        raise DumpError(
            error.message, path=path, tensor=error.tensor, layer=error.layer, value=error.value
        ) from error


_MISSING = object()


def _entry(row: Any, path: Path) -> NetworkLayer:
    if not isinstance(row, dict):
        raise TypeError(f"a layer can't be {shown(row)}")
    row = dict(row)
    operation = row.pop("operation")
    if operation not in tuple(OPERATIONS):
        raise OptionError(
            f"operation {shown(operation)} is none of {', '.join(OPERATIONS)}", path=path, value=operation
        )
    where = {name: row.pop(name) for name in ("weight", "index", "weight_missing", "notes") if name in row}
    layout = _layout(row.pop("layout", {}))
    layer = OPERATIONS[operation](**{k: _tuples(v) for k, v in row.items()})
    weight = _of_type((str, type(None)), where, "weight", None)
    missing = NO_TENSOR if weight is None and layer.has_weights else None
    return NetworkLayer(
        layer,
        weight,
        layout,
        index=_of_type((int, type(None)), where, "index", None),
        weight_missing=_of_type((str, type(None)), where, "weight_missing", missing),
        notes=_texts(where.get("notes", [])),
    )


def _layout(row: Any) -> Layout:
    layout = Layout(**row)
    for name, value in row.items():
        if type(value) is not int or value < 0:
            raise TypeError(f"{name} of a layout must be an integer, got {shown(value)}")
    return layout


def _not_simulated(row: Any) -> NotSimulated:
    found = NotSimulated(**row)
    for name, kind in (("operation", str), ("count", int), ("reason", str), ("multiplies", bool)):
        _of_type(kind, vars(found), name)
    return found


def _of_type(kind: type | tuple[type, ...], row: dict[str, Any], name: str, default: Any = _MISSING) -> Any:
    value = row[name] if default is _MISSING else row.get(name, default)
    # JSON's true is an int to Python; counts and places are from 0.
    if type(value) not in (kind if isinstance(kind, tuple) else (kind,)) or (
        type(value) is int and value < 0
    ):
        raise TypeError(f"{name} can't be {shown(value)}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"notes must be a list of texts, got {shown(value)}")
    return tuple(value)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
