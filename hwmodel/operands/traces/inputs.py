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
from hwmodel.operands.traces.model_inputs import ModelInput, model_inputs
from hwmodel.operands.traces.pictures import IMAGES, Scaling, read_picture

GivenInput = str | os.PathLike[str] | npt.ArrayLike
"""An array; or a file: a picture, or any dump (its tensor of the input's name, or its only one)."""


def read_inputs(
    path: Path,
    inputs: Sequence[ModelInput],
    given: GivenInput | Mapping[str, GivenInput],
    scaling: Scaling,
    *,
    some: bool = False,
) -> dict[str, npt.NDArray[Any]]:
    """Read the inputs of a model.

    Parameters
    ----------
    path : pathlib.Path
        The model's, for errors.
    inputs : sequence of ModelInput
        With the sizes that are asked for.
    given : GivenInput or mapping of str to GivenInput
        A dump that is given for no input in particular has a tensor of the name of each.
    scaling : Scaling
        Of pictures.
    some : bool
        Whether inputs may be missing.

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
    given = by_input(path, inputs, given, some=some)
    if unknown := next((name for name in given if name not in by_name), None):
        raise OptionError(
            f"there is no input {unknown!r}; it has {', '.join(by_name)}", path=path, value=unknown
        )
    if not some and (missing := next((name for name in by_name if name not in given), None)):
        raise OptionError(f"input {missing!r} ({by_name[missing].shape_text}) is not given", path=path)
    return {name: _read(item, given[name], scaling) for name, item in by_name.items() if name in given}


def by_input(
    path: Path,
    inputs: Sequence[ModelInput],
    given: GivenInput | Mapping[str, GivenInput],
    *,
    some: bool = False,
) -> Mapping[str, GivenInput]:
    """Say what is given for each input, where one array, picture or dump is given for all.

    Raises
    ------
    OptionError
        If it is not a dump, and the model has several inputs.
    TensorError
        If a dump has no tensor for an input, or, with `some`, for none.
    """
    if isinstance(given, Mapping):
        return given
    if len(inputs) == 1:
        return {inputs[0].name: given}
    names = ", ".join(item.name for item in inputs)
    if not isinstance(given, (str, os.PathLike)) or Path(given).suffix.lower() in IMAGES:
        raise OptionError(f"has inputs {names}; name the one that is given", path=path)
    from bitxcore.dumps import open_dump

    with open_dump(given) as dump:
        found = [item.name for item in inputs if item.name in dump]
    missing = [item.name for item in inputs if item.name not in found]
    if missing and not (some and found):
        raise TensorError(
            f"has no tensor {missing[0]!r}; the model has inputs {names}: give a file with all of them,"
            " or name the one that is given",
            path=given,
        )
    return dict.fromkeys(found, given)


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


def known_inputs(
    path: Path,
    given: GivenInput | Mapping[str, GivenInput],
    input_size: Sequence[int] | Mapping[str, Sequence[int]] | None,
    sizes: Mapping[str, int],
) -> dict[str, npt.NDArray[Any]]:
    """Read those inputs of an ONNX model that are given, for `hwmodel.load_network`."""
    return read_inputs(path, model_inputs(path, input_size, sizes), given, Scaling(), some=True)


def files_of(inputs: GivenInput | Mapping[str, GivenInput]) -> list[str | os.PathLike[str]]:
    """Paths among the inputs that are given."""
    given = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    return [item for item in given if isinstance(item, (str, os.PathLike))]


def described_inputs(
    inputs: GivenInput | Mapping[str, GivenInput], takes: Sequence[ModelInput]
) -> dict[str, str]:
    """Say where each input comes from: a path, or the digest of an array's bytes."""
    given = inputs if isinstance(inputs, Mapping) else dict.fromkeys((item.name for item in takes), inputs)
    return {
        name: os.fspath(item)
        if isinstance(item, (str, os.PathLike))
        else f"array, sha256 {sha256(np.ascontiguousarray(item).tobytes()).hexdigest()}"
        for name, item in given.items()
    }
