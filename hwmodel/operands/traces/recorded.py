"""Traces: the activations that layers really had, read lazily from a store that `hwmodel.trace` wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from bitxcore.errors import DumpError, OptionError, TensorError
from hwmodel.networks.graph_operands import FIRST, SECOND
from hwmodel.operands.operands import activation_shape

if TYPE_CHECKING:
    from bitxcore.store import Store
    from hwmodel.networks.layers import Layer
    from hwmodel.networks.network import Network

TRACES, NOT_RECORDED = "traces", "not_recorded"
"""Tables of the store."""


@dataclass(frozen=True, kw_only=True)
class TracedOperand:
    """One operand of a layer, as it was recorded; a row of the table ``traces``.

    Attributes
    ----------
    layer, operation : str
    operand : {"activations", "second"}
        ``second``: second operand of a product of activations.
    shape : tuple of int
    dtype : str
    zeros : float
        Share of values that are 0.
    lowest, highest : float
    """

    layer: str
    operation: str
    operand: str
    shape: tuple[int, ...]
    dtype: str
    zeros: float
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class NotRecorded:
    """An operand of a layer that could not be recorded, and why; a row of the table ``not_recorded``."""

    layer: str
    operand: str
    reason: str


class Traces(Mapping[str, npt.NDArray[Any]]):
    """Activations by layer name; each is read from the file when it is asked for.

    A context manager that closes its file. `open_traces` makes one.

    Attributes
    ----------
    path : pathlib.Path
    model_path, model_sha256 : str
        The model that ran, when it did.
    input_sizes : dict of str to tuple of int
        Shapes of its inputs.
    given : dict of str to ndarray
        Those of its inputs that are flags or a few numbers.
    operands : tuple of TracedOperand
    not_recorded : tuple of NotRecorded
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.path = store.path
        if TRACES not in store.tables or NOT_RECORDED not in store.tables:
            raise DumpError("is a store, but holds no traces", path=store.path)
        record = store.provenance
        try:
            rows = list(_rows(store.table(TRACES)))
            self.operands = tuple(
                TracedOperand(**(row | {"shape": tuple(map(int, row["shape"].split("x")))})) for row in rows
            )
            self.not_recorded = tuple(NotRecorded(**row) for row in _rows(store.table(NOT_RECORDED)))
            self.model_path, self.model_sha256 = record.inputs[0].path, record.inputs[0].sha256
            sizes = record.parameters["input_sizes"]
            self.input_sizes = {name: tuple(map(int, shape)) for name, shape in sizes.items()}
            given = record.parameters.get("given", {})  # stores before 0.2 have none
            self.given = {name: np.array(values, dtype) for name, (dtype, values) in given.items()}
        except DumpError:
            raise  # It says what is damaged.
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise DumpError(f"is damaged: its traces can't be read: {error}", path=store.path) from error
        self._first = {row.layer: row for row in self.operands if row.operand == FIRST}
        self._second = {row.layer: row for row in self.operands if row.operand == SECOND}

    def __getitem__(self, layer: str) -> npt.NDArray[Any]:
        return self._read(self._first[layer])

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __contains__(self, layer: object) -> bool:
        return layer in self._first

    def __len__(self) -> int:
        return len(self._first)

    def second(self, layer: str) -> npt.NDArray[Any] | None:
        """Read a product's second operand, ``(batch, inner, columns)``; None if it is not there."""
        row = self._second.get(layer)
        return None if row is None else self._read(row)

    def _read(self, row: TracedOperand) -> npt.NDArray[Any]:
        try:
            values = self._store.tensors[row.layer][row.operand]
        except KeyError:
            values = None
        if values is None or values.shape != row.shape:
            raise DumpError(f"is damaged: {row.operand} of layer {row.layer!r} are not there", path=self.path)
        return values

    def check(self, network: Network) -> None:
        """Check that layers of the same name have the shapes that were recorded.

        Raises
        ------
        OptionError
            If the network is of another file and has no layer of a name that was recorded.
        TensorError
            Naming the layer and both shapes.
        """
        known: dict[str, Layer] = {layer.name: layer for layer in network}
        for name, row in self._first.items():
            if name not in known and self._ran(network):
                continue  # a layer whose size depends on the inputs
            if name not in known:
                raise OptionError(
                    f"network {network.name!r} has no layer {name!r}", path=self.path, value=name
                )
            needed = activation_shape(known[name])
            if row.shape != needed:
                raise TensorError(
                    f"activations of layer {name!r} were recorded with shape {row.shape},"
                    f" network {network.name!r} needs {needed}",
                    path=self.path,
                    value=row.shape,
                )

    def notes(self, network: Network) -> list[str]:
        """Say what of these traces is not what one would take it to be: another model, missing operands."""
        notes = [
            f"{row.operand} of layer {row.layer} were not recorded: {row.reason}" for row in self.not_recorded
        ]
        names = {layer.name for layer in network}
        notes += [
            f"layer {name} was recorded, but is none here: its size depends on the inputs"
            for name in self._first
            if name not in names
        ]
        if network.path is not None and not self._ran(network):
            notes.append(
                f"{self.path} was recorded with another model ({self.model_path}, sha256"
                f" {self.model_sha256[:12]}…) of the same layers and shapes"
            )
        return notes

    def _ran(self, network: Network) -> bool:
        """Whether a network is of the file that was recorded."""
        if network.path is None:
            return False
        from bitxcore.dumps import open_dump

        with open_dump(network.path) as dump:
            return dump.sha256() == self.model_sha256

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_traces(path: str | os.PathLike[str]) -> Traces:
    """Open what `hwmodel.trace` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Traces

    Raises
    ------
    DumpError
        If the file is not a store, holds no traces, or is damaged.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> import hwmodel as hw
    >>> from bitxcore.data import data_folder
    >>> model = data_folder("samples") / "digits_resnet.onnx"
    >>> with TemporaryDirectory() as folder:
    ...     result = hw.trace(model, np.ones((1, 1, 8, 8), np.float32), f"{folder}/traces.h5")
    ...     with open_traces(f"{folder}/traces.h5") as traces:
    ...         print(traces["head"].shape)
    (1, 64)
    """
    from bitxcore.store import Store

    store = Store.open(path)
    try:
        return Traces(store)
    except BaseException:
        store.close()
        raise


def _rows(table: Mapping[str, npt.NDArray[Any]]) -> Iterator[dict[str, Any]]:
    columns = [column.tolist() for column in table.values()]
    return (dict(zip(table, row, strict=True)) for row in zip(*columns, strict=True))
