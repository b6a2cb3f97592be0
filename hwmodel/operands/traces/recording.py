"""Run a model once and record what its layers really multiply, a slice of layers at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitxcore.progress import Progress
from bitxcore.showing import record_repr
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.operands.traces.inputs import GivenInput, described_inputs, files_of, read_inputs
from hwmodel.operands.traces.model_inputs import model_inputs
from hwmodel.operands.traces.pictures import Scaling
from hwmodel.operands.traces.recorded import NOT_RECORDED, TRACES, NotRecorded, TracedOperand
from hwmodel.operands.traces.traced_run import (
    SLICE_BYTES,
    HasNetwork,
    TracedRun,
    arranged_operand,
    check_model,
    file_of_model,
    slices_of,
)

if TYPE_CHECKING:
    from bitxcore.store import StoreWriter


@dataclass(frozen=True, kw_only=True)
class TraceResult:
    """What `trace` recorded.

    Attributes
    ----------
    network : Network
        Its layers' names are the names of the traces.
    input_sizes : dict of str to tuple of int
    operands : tuple of TracedOperand
        In the layers' order.
    not_recorded : tuple of NotRecorded
    slices : int
        Times that the model ran.
    """

    __repr__ = record_repr

    network: Network
    input_sizes: dict[str, tuple[int, ...]]
    operands: tuple[TracedOperand, ...]
    not_recorded: tuple[NotRecorded, ...]
    slices: int


def trace(
    model: str | os.PathLike[str] | Network | HasNetwork,
    inputs: GivenInput | Mapping[str, GivenInput],
    out: str | os.PathLike[str],
    *,
    input_size: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    sizes: Mapping[str, int] | None = None,
    scaling: Scaling | None = None,
    slice_bytes: int = SLICE_BYTES,
    progress: Progress | None = None,
) -> TraceResult:
    """Run an ONNX model and record the activations of every layer.

    Parameters
    ----------
    model : str, path-like, Network or Workload
        An ``.onnx`` file; or a network that was loaded from one, or a workload of it, whose inputs keep the
        sizes that they were loaded with.
    inputs : array_like, path, or mapping of input name to these
        A picture (``.png``, ``.jpg``: resized to the input's size, see `Scaling`); any dump, in which the
        tensor of the input's name, or the only tensor, is taken; or an array. One dump may hold an array for
        every input.
    out : str or path-like
        The store; it appears whole or not at all.
    input_size, sizes : optional
        As of `hwmodel.load_network`: sizes that the model leaves open. Those that are not given are the
        array's, or the picture's own.
    scaling : Scaling, optional
        Of pictures. By default channels go from 0 to 1.
    slice_bytes : int
        Target for the bytes of activations in memory at once; a single layer may have more.
    progress : callable, optional
        ``progress(done, total, next_layer)``.

    Returns
    -------
    TraceResult

    Raises
    ------
    DumpError
        If a file is missing or damaged, or the model is not an ONNX file.
    OptionError
        If an input is missing or unknown, or a size or another setting is not possible.
    TensorError
        If an input does not fit the model, or the model does not run.
    MissingExtraError
        If onnx, onnxruntime, or for pictures pillow, is missing.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from bitxcore.data import data_folder
    >>> from hwmodel import open_traces
    >>> model = data_folder("samples") / "digits_resnet.onnx"
    >>> with TemporaryDirectory() as folder:
    ...     result = trace(model, np.ones((1, 1, 8, 8), np.float32), f"{folder}/traces.h5")
    ...     with open_traces(f"{folder}/traces.h5") as traces:
    ...         print(len(traces), traces["stem"].shape)
    13 (1, 1, 8, 8)
    """
    from bitxcore.dumps import open_dump
    from bitxcore.store import Store
    from hwmodel.networks.loading import load_network

    path, known_sizes = file_of_model(model)
    if input_size is None and not sizes:
        input_size = known_sizes
    check_model(path, slice_bytes)
    scaling = scaling or Scaling()
    takes = model_inputs(path, input_size, sizes or {})
    feeds = read_inputs(path, takes, inputs, scaling)
    shapes = {name: x.shape for name, x in feeds.items()}
    network = load_network(path, input_size=shapes, inputs=feeds)
    run = TracedRun(path, shapes, feeds)
    parameters = {
        "command": "trace",
        "input_sizes": shapes,
        "given": {name: [str(x.dtype), x.tolist()] for name, x in feeds.items() if _decides(x)},
        "inputs": described_inputs(inputs, takes),
        "scaling": asdict(scaling),
        "slice_bytes": slice_bytes,
    }
    with (
        open_dump(path) as dump,
        Store.create(out, parameters=parameters, inputs=[dump, *files_of(inputs)]) as store,
    ):
        recorder = _Recorder(store)
        done = slices = 0
        for part in slices_of(network.layers, slice_bytes):
            if progress:
                progress(done, len(network), part[0].layer.name)
            run.record(part, recorder)
            done, slices = done + len(part), slices + 1
        recorder.finish()
    if progress:
        progress(len(network), len(network), "")
    return TraceResult(
        network=network,
        input_sizes=shapes,
        operands=tuple(recorder.operands),
        not_recorded=tuple(recorder.missing),
        slices=slices,
    )


def _decides(x: npt.NDArray[Any]) -> bool:
    """Whether an input is a flag or a few numbers, on which the layers of a network may depend."""
    return x.dtype.kind in "iubf" and x.size <= _MOST_GIVEN and bool(np.isfinite(x).all())


_MOST_GIVEN = 16


class _Recorder:
    """Arranges the values of layers, writes them, and keeps the list."""

    def __init__(self, store: StoreWriter) -> None:
        self.store = store
        self.operands: list[TracedOperand] = []
        self.missing: list[NotRecorded] = []

    def record(self, entry: NetworkLayer, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write one layer's operands, and list those that can't be."""
        layer = entry.layer
        arrays: dict[str, npt.NDArray[Any]] = {}
        for read in entry.reads:
            found = read.unrecorded or arranged_operand(entry, read, values)
            if isinstance(found, str):
                self.missing.append(NotRecorded(layer=layer.name, operand=read.operand, reason=found))
                continue
            arrays[read.operand] = found
            self.operands.append(
                TracedOperand(
                    layer=layer.name,
                    operation=layer.operation,
                    operand=read.operand,
                    shape=found.shape,
                    dtype=str(found.dtype),
                    zeros=1 - int(np.count_nonzero(found)) / found.size,
                    lowest=float(found.min()),
                    highest=float(found.max()),
                )
            )
        if arrays:
            self.store.write_tensor_arrays(layer.name, arrays, dict.fromkeys(arrays, "1"))

    def finish(self) -> None:
        """Write the two tables."""
        text = {"layer": str, "operand": str}
        self.store.write_table(
            TRACES,
            (asdict(row) | {"shape": "x".join(map(str, row.shape))} for row in self.operands),
            units={
                "layer": "", "operation": "", "operand": "", "shape": "", "dtype": "", "zeros": "1",
                "lowest": "1", "highest": "1",
            },
            dtypes=text
            | dict.fromkeys(("operation", "shape", "dtype"), str)
            | dict.fromkeys(("zeros", "lowest", "highest"), float),
        )  # fmt: skip
        self.store.write_table(
            NOT_RECORDED,
            (asdict(row) for row in self.missing),
            units={"layer": "", "operand": "", "reason": ""},
            dtypes=text | {"reason": str},
        )
