"""Norms of what weights meet: root mean squares of every layer's inputs over a calibration run.

Nothing but sums is kept: each array of a slice is squared, added up by input channel, and let go.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.checks import checked_integer
from bitxcore.errors import DumpError, OptionError
from bitxcore.progress import Progress
from bitxcore.showing import record_repr
from hwmodel.networks.network import Network
from hwmodel.operands.traces.inputs import GivenInput, described_inputs, files_of, read_inputs
from hwmodel.operands.traces.model_inputs import ModelInput, model_inputs
from hwmodel.operands.traces.pictures import Scaling
from hwmodel.operands.traces.recorded import NOT_RECORDED, NotRecorded
from hwmodel.operands.traces.squared_inputs import SquaredInputs, TensorNorms
from hwmodel.operands.traces.traced_run import (
    SLICE_BYTES,
    HasNetwork,
    TracedRun,
    check_model,
    file_of_model,
    slices_of,
)

NORMS = "norms"
"""Table of the store, and the array of each of its tensors."""

MOST_SAMPLES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CalibrationResult:
    """What `calibrate` found.

    Attributes
    ----------
    network : Network
        With the sizes of the first run.
    tensors : tuple of TensorNorms
    not_recorded : tuple of NotRecorded
        Layers whose weights have no norms.
    runs : int
        Times that the model ran.
    """

    __repr__ = record_repr

    network: Network
    tensors: tuple[TensorNorms, ...]
    not_recorded: tuple[NotRecorded, ...]
    runs: int


def calibrate(
    model: str | os.PathLike[str] | Network | HasNetwork,
    inputs: GivenInput | Mapping[str, GivenInput],
    out: str | os.PathLike[str],
    *,
    batch: int | None = None,
    input_size: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    sizes: Mapping[str, int] | None = None,
    scaling: Scaling | None = None,
    slice_bytes: int = SLICE_BYTES,
    progress: Progress | None = None,
) -> CalibrationResult:
    """Run an ONNX model on samples and write the norms of the inputs of each weight tensor.

    A norm is the root mean square of an input channel over all samples and positions; for a matrix, of an
    input over all rows. Where several layers share a tensor, the mean is over the inputs of all of them.

    Parameters
    ----------
    model, inputs, input_size, sizes, scaling, slice_bytes, progress
        As of `hwmodel.trace`.
    out : str or path-like
        The store; it appears whole or not at all. `open_norms` reads it.
    batch : int, optional
        Samples per run, along axis 0 of every input. By default all at once, or the number that the model
        takes, in as many runs as are needed.

    Returns
    -------
    CalibrationResult

    Raises
    ------
    DumpError
        If a file is missing or damaged, or the model is not an ONNX file.
    OptionError
        If an input is missing or unknown, the samples can't be divided, or a setting is not possible.
    TensorError
        If an input does not fit the model, or the model does not run.
    MissingExtraError
        If onnx, onnxruntime, or for pictures pillow, is missing.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from bitxcore.data import data_folder
    >>> model = data_folder("samples") / "digits_resnet.onnx"
    >>> with TemporaryDirectory() as folder:
    ...     result = calibrate(model, np.ones((4, 1, 8, 8), np.float32), f"{folder}/norms.h5", batch=2)
    ...     norms = open_norms(f"{folder}/norms.h5")
    >>> result.runs, norms["stem.weight"].tolist(), norms["head.weight"].shape
    (2, [1.0], (64,))
    """
    from bitxcore.dumps import open_dump
    from bitxcore.store import Store
    from hwmodel.networks.loading import load_network

    path, known_sizes = file_of_model(model)
    if input_size is None and not sizes:
        input_size = known_sizes
    check_model(path, slice_bytes)
    batch = None if batch is None else checked_integer(MOST_SAMPLES, "batch", batch)
    scaling = scaling or Scaling()
    takes = model_inputs(path, input_size, sizes or {})
    feeds, batch = _samples(path, takes, inputs, scaling, batch)
    parameters = {
        "command": "trace",
        "norms": True,
        "input_sizes": {name: x.shape for name, x in feeds.items()},
        "inputs": described_inputs(inputs, takes),
        "scaling": asdict(scaling),
        "batch": batch,
        "slice_bytes": slice_bytes,
    }
    sums = SquaredInputs()
    network, runs = None, 0
    samples = max((len(x) for x in feeds.values() if x.ndim), default=1)
    for done, part in _parts(feeds, batch):
        shapes = {name: x.shape for name, x in part.items()}
        # Anew for each part: the last one may be shorter, and values of inputs may decide on layers.
        found = load_network(path, input_size=shapes, inputs=part)
        network = network or found
        run = TracedRun(path, shapes, part)
        for layers in slices_of(found.layers, slice_bytes):
            if progress:
                progress(done, samples, layers[0].layer.name)
            run.record(layers, sums)
            runs += 1
    if progress:
        progress(samples, samples, "")
    assert network is not None
    with (
        open_dump(path) as dump,
        Store.create(out, parameters=parameters, inputs=[dump, *files_of(inputs)]) as store,
    ):
        rows = []
        for row, norms in sums.tensors(dump):
            rows.append(row)
            store.write_tensor_arrays(row.tensor, {NORMS: norms}, {NORMS: "1"})
        store.write_table(
            NORMS,
            (asdict(row) | {"shape": "x".join(map(str, row.shape))} for row in rows),
            units={
                "tensor": "", "layers": "1", "shape": "", "values": "1", "lowest": "1", "highest": "1",
                "mean": "1",
            },
            dtypes=dict.fromkeys(("tensor", "shape"), str)
            | dict.fromkeys(("layers", "values"), int)
            | dict.fromkeys(("lowest", "highest", "mean"), float),
        )  # fmt: skip
        store.write_table(
            NOT_RECORDED,
            (asdict(row) for row in sums.missing),
            units={"layer": "", "operand": "", "reason": ""},
            dtypes=dict.fromkeys(("layer", "operand", "reason"), str),
        )
    return CalibrationResult(
        network=network, tensors=tuple(rows), not_recorded=tuple(sums.missing), runs=runs
    )


def open_norms(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Read what `calibrate` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict of str to ndarray of float64
        By the name of the weight tensor in the model, for the tensor with its output channel first. The
        shape is ``(in_channels,)`` where all filters and kernel positions share the norms, otherwise one
        that `bitxcore.prune` takes.

    Raises
    ------
    DumpError
        If the file is not a store, holds no norms, or is damaged.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from bitxcore.data import data_folder
    >>> model = data_folder("samples") / "digits_resnet.onnx"
    >>> with TemporaryDirectory() as folder:
    ...     result = calibrate(model, np.ones((1, 1, 8, 8), np.float32), f"{folder}/norms.h5")
    ...     norms = open_norms(f"{folder}/norms.h5")
    >>> norms["head.weight"].shape
    (64,)
    """
    from bitxcore.store import Store

    with Store.open(Path(path)) as store:
        if NORMS not in store.tables:
            raise DumpError("is a store, but holds no norms; bitx trace --norms writes them", path=path)
        found = {}
        for name in store.table(NORMS)["tensor"].tolist():
            arrays = store.tensors.get(name, {})
            if NORMS not in arrays:
                raise DumpError(f"is damaged: norms of tensor {name!r} are not there", path=path)
            found[name] = np.asarray(arrays[NORMS], np.float64)
        return found


# -- samples -----------------------------------------------------------------------------------


def _samples(
    path: Path,
    takes: Sequence[ModelInput],
    inputs: GivenInput | Mapping[str, GivenInput],
    scaling: Scaling,
    batch: int | None,
) -> tuple[dict[str, npt.NDArray[Any]], int | None]:
    """Read the inputs, of any number of samples, and find how many make a run; None: all."""
    fixed = {item.sizes[0] for item in takes if item.sizes and isinstance(item.sizes[0], int)}
    feeds = read_inputs(path, [_of_any_number(item) for item in takes], inputs, scaling)
    counts = {len(x) if x.ndim else 0 for x in feeds.values()}
    if batch is None and all(
        len(feeds[item.name]) == item.sizes[0]
        for item in takes
        if item.sizes and isinstance(item.sizes[0], int)
    ):
        return feeds, None
    if len(counts) != 1 or len(fixed) > 1:
        raise OptionError(
            "inputs of different lengths can't be cut into runs along axis 0; give those of one run",
            path=path,
        )
    size = next(iter(fixed), None)
    if size is not None and batch not in (None, size):
        raise OptionError(f"the model takes {size} samples in a run, not {batch}", path=path, value=batch)
    if size is not None and next(iter(counts)) % size:
        raise OptionError(
            f"the model takes {size} samples in a run, {next(iter(counts))} are given, which is no multiple",
            path=path,
            value=next(iter(counts)),
        )
    return feeds, size if batch is None else batch


def _of_any_number(item: ModelInput) -> ModelInput:
    """Leave axis 0 of an input open; of a picture there is one."""
    return replace(item, sizes=(None, *item.sizes[1:])) if item.sizes else item


def _parts(
    feeds: dict[str, npt.NDArray[Any]], batch: int | None
) -> Iterator[tuple[int, dict[str, npt.NDArray[Any]]]]:
    """Cut samples into those of one run; with the number of samples before them."""
    if batch is None:
        yield 0, feeds
        return
    for start in range(0, len(next(iter(feeds.values()))), batch):
        yield start, {name: x[start : start + batch] for name, x in feeds.items()}
