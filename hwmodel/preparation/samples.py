"""Calibration samples: do they fit the model, and are they numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import DumpError, OptionError, TensorError
from hwmodel.networks.onnx import graph_inputs

Array = npt.NDArray[Any]
ModelInputs = Sequence[tuple[str, tuple[int | str | None, ...], np.dtype[Any]]]
"""Name, sizes and dtype of each input; sizes that are open are not numbers."""


def inputs_of(model: Any) -> ModelInputs:
    """Give the inputs of an ONNX model that it holds no values for."""
    held = {tensor.name for tensor in model.graph.initializer}
    return [item for item in graph_inputs(model) if item[0] not in held]


def in_model_batches(batches: Sequence[dict[str, Array]], inputs: ModelInputs) -> Sequence[dict[str, Array]]:
    """Cut samples into batches of the size that a model has for all inputs; as given, if it has none.

    Samples that fill no batch are left out, if others do.
    """
    sizes = {shape[0] if shape else None for _, shape, _ in inputs}
    (size, *others) = sizes or {None}
    if others or not isinstance(size, int) or len({frozenset(feeds) for feeds in batches}) != 1:
        return batches
    shapes = {(name, x.shape[1:]) for feeds in batches for name, x in feeds.items() if x.ndim}
    if len(shapes) != len(batches[0]) or all(len(x) == size for feeds in batches for x in feeds.values()):
        return batches
    joined = {name: np.concatenate([feeds[name] for feeds in batches]) for name in batches[0]}
    count = max(map(len, joined.values()))
    starts = range(0, count - size + 1 if count >= size else count, size)
    return [{name: x[start : start + size] for name, x in joined.items()} for start in starts]


def spread(count: int, most: int) -> list[int]:
    """Give the numbers of at most so many samples, evenly spread over those that there are."""
    return sorted({at * count // most for at in range(most)}) if count > most else list(range(count))


def check_samples(
    batches: Sequence[Mapping[str, Array]], inputs: ModelInputs | None, path: str | PathLike[str] | None
) -> None:
    """Refuse calibration samples that are none, that a model does not take, or that hold a NaN.

    Parameters
    ----------
    batches : sequence of dict of str to ndarray
        Samples along the first axis.
    inputs : sequence of tuple, optional
        Of the model; None where it does not tell them.
    path : path-like, optional
        That errors name.

    Raises
    ------
    OptionError
        If there are no samples.
    DumpError
        If names, dtypes or shapes differ from the model's.
    TensorError
        If a sample holds a NaN.
    """
    if not any(array.size for feeds in batches for array in feeds.values()):
        raise OptionError("there are no calibration samples", path=path)
    first = 0
    for feeds in batches:
        if inputs is not None:
            _check_fit(feeds, inputs, path)
        count = 1
        for name, array in feeds.items():
            count = len(array) if array.ndim else 1
            check_numbers(name, array, range(first, first + count), path)
        first += count


def check_numbers(name: str, array: Array, numbers: Sequence[int], path: str | PathLike[str] | None) -> None:
    """Raise `TensorError` at the first NaN of an input, with the number of its sample."""
    if array.dtype.kind == "f" and (bad := np.isnan(array)).any():
        at = int(np.argmax(bad.reshape(-1)))
        place = np.unravel_index(at, array.shape)
        within = tuple(map(int, place[1:]))
        sample = numbers[int(place[0])] if array.ndim else numbers[0]
        raise TensorError(
            f"calibration sample {sample} holds a NaN at {within}",
            path=path,
            part=f"input {name!r}",
            index=at,
        )


def _check_fit(feeds: Mapping[str, Array], inputs: ModelInputs, path: str | PathLike[str] | None) -> None:
    wanted = [name for name, *_ in inputs]
    if set(wanted) != set(feeds):
        raise DumpError(
            f"takes {', '.join(sorted(wanted))}; it was given {', '.join(sorted(feeds))}", path=path
        )
    fits = all(
        feeds[name].dtype == dtype
        and (not sizes or feeds[name].ndim == len(sizes))
        and all(n == size for n, size in zip(feeds[name].shape, sizes, strict=False) if isinstance(size, int))
        for name, sizes, dtype in inputs
    )
    if not fits:
        given = ", ".join(f"{name} {feeds[name].dtype} {feeds[name].shape}" for name in wanted)
        takes = ", ".join(f"{name} {dtype} ({', '.join(map(_size, sizes))})" for name, sizes, dtype in inputs)
        raise DumpError(f"does not take the samples: these are {given}, it takes {takes}", path=path)


def _size(size: int | str | None) -> str:
    return "any" if size is None else str(size)
