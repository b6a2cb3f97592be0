"""What a traced model is fed with: arrays, files of arrays, pictures, and where they come from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError, TensorError, error_context
from hwmodel.operands.traces.model_inputs import ModelInput
from hwmodel.operands.traces.pictures import IMAGES, Scaling, read_picture

GivenInput = str | os.PathLike[str] | npt.ArrayLike
"""An array; or a file: a picture, or any dump (its tensor of the input's name, or its only one)."""


def read_inputs(
    path: Path, inputs: Sequence[ModelInput], given: GivenInput | Mapping[str, GivenInput], scaling: Scaling
) -> dict[str, npt.NDArray[Any]]:
    """Read every input of a model.

    Parameters
    ----------
    path : pathlib.Path
        The model's, for errors.
    inputs : sequence of ModelInput
        With the sizes that are asked for.
    given : GivenInput or mapping of str to GivenInput
    scaling : Scaling
        Of pictures.

    Returns
    -------
    dict of str to ndarray
        In the inputs' dtypes.

    Raises
    ------
    OptionError
        If an input is missing or unknown, or the scaling does not fit it.
    TensorError
        If an input is of another shape or kind.
    DumpError
        If a file can't be read.
    """
    by_name = {item.name: item for item in inputs}
    if not isinstance(given, Mapping):
        if len(inputs) != 1:
            raise OptionError(f"has inputs {', '.join(by_name)}; name the one that is given", path=path)
        given = {inputs[0].name: given}
    if unknown := next((name for name in given if name not in by_name), None):
        raise OptionError(
            f"there is no input {unknown!r}; it has {', '.join(by_name)}", path=path, value=unknown
        )
    if missing := next((name for name in by_name if name not in given), None):
        raise OptionError(f"input {missing!r} ({by_name[missing].shape_text}) is not given", path=path)
    return {name: _read(item, given[name], scaling) for name, item in by_name.items()}


def _read(item: ModelInput, given: GivenInput, scaling: Scaling) -> npt.NDArray[Any]:
    if not isinstance(given, (str, os.PathLike)):
        return _fitting(item, np.asarray(given))
    path = Path(given)
    if path.suffix.lower() in IMAGES:
        return read_picture(path, item, scaling)
    from bitxcore.dumps import open_dump

    with open_dump(path) as dump:
        name = item.name if item.name in dump else next(iter(dump), None)
        if name is None or (name != item.name and len(dump) > 1):
            raise TensorError(f"has no tensor {item.name!r}, which the model's input is called", path=path)
        values = dump[name].read()
    with error_context(path=path):
        return _fitting(item, values)


def _fitting(item: ModelInput, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Check an array against the input, and bring it into its dtype."""
    where = f"input {item.name!r}"
    fits = values.ndim == len(item.sizes) and all(
        not isinstance(size, int) or size == found
        for size, found in zip(item.sizes, values.shape, strict=True)
    )
    if not fits:
        found = "x".join(map(str, values.shape))
        raise TensorError(
            f"{where}: shape {found or '()'} is given, the model takes {item.shape_text}", value=values.shape
        )
    if not values.size:
        raise TensorError(f"{where}: is empty")
    if not np.can_cast(values.dtype, item.dtype, "same_kind"):
        raise TensorError(f"{where}: holds {values.dtype}, the model takes {item.dtype}", value=values.dtype)
    # Unlike ascontiguousarray, this keeps a scalar one.
    return np.asarray(values, item.dtype, order="C")


def files_of(inputs: GivenInput | Mapping[str, GivenInput]) -> list[str | os.PathLike[str]]:
    """Paths among the inputs that are given."""
    given = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    return [item for item in given if isinstance(item, (str, os.PathLike))]


def described_inputs(
    inputs: GivenInput | Mapping[str, GivenInput], takes: Sequence[ModelInput]
) -> dict[str, str]:
    """Say where each input comes from: a path, or the digest of an array's bytes."""
    given = inputs if isinstance(inputs, Mapping) else {takes[0].name: inputs}
    return {
        name: os.fspath(item)
        if isinstance(item, (str, os.PathLike))
        else f"array, sha256 {sha256(np.ascontiguousarray(item).tobytes()).hexdigest()}"
        for name, item in given.items()
    }
