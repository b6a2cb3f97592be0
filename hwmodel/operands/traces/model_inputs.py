"""Inputs that a model has, with the sizes that are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitxcore.errors import OptionError


@dataclass(frozen=True)
class ModelInput:
    """An input of a model.

    Parameters
    ----------
    name : str
    sizes : tuple of int, str or None
        Of each axis; a name or None where it is open.
    dtype : numpy.dtype
    """

    name: str
    sizes: tuple[int | str | None, ...]
    dtype: np.dtype[Any]

    @property
    def shape_text(self) -> str:
        """The sizes as text, ``1x3x?x?``."""
        return "x".join("?" if size is None else str(size) for size in self.sizes)


def model_inputs(
    path: Path, input_size: Sequence[int] | Mapping[str, Sequence[int]] | None, sizes: Mapping[str, int]
) -> list[ModelInput]:
    """Read the inputs of the model, with the sizes that are asked for.

    Raises
    ------
    OptionError
        If `input_size` or `sizes` names what the model has not, or sizes that it does not take.
    """
    from hwmodel.networks.onnx import graph_inputs, read_model
    from hwmodel.networks.onnx.sizes import check_size_names

    inputs = [ModelInput(name, dims, dtype) for name, dims, dtype in graph_inputs(read_model(path))]
    named: Mapping[str, Sequence[int]] = {}
    if isinstance(input_size, Mapping):
        named = input_size
    elif input_size is not None:
        if len(inputs) != 1:
            names = ", ".join(item.name for item in inputs)
            raise OptionError(f"has inputs {names}; say whose size is given", path=path)
        named = {inputs[0].name: input_size}
    if unknown := set(named) - {item.name for item in inputs}:
        raise OptionError(f"there is no input {sorted(unknown)[0]!r}", path=path, value=sorted(unknown)[0])
    check_size_names(path, {item.name: item.sizes for item in inputs}, sizes)
    return [_asked(path, item, named.get(item.name), sizes) for item in inputs]


def _asked(
    path: Path, item: ModelInput, wanted: Sequence[int] | None, sizes: Mapping[str, int]
) -> ModelInput:
    if wanted is not None:
        fits = len(wanted) == len(item.sizes) and all(
            not isinstance(size, int) or size == asked for size, asked in zip(item.sizes, wanted, strict=True)
        )
        if not fits:
            asked_text = "x".join(map(str, wanted))
            raise OptionError(
                f"input {item.name!r}: size {asked_text} is asked for, the model takes {item.shape_text}",
                path=path,
                value=tuple(wanted),
            )
        return ModelInput(item.name, tuple(wanted), item.dtype)
    from hwmodel.networks.onnx.sizes import size_of

    filled: list[int | str | None] = []
    for axis, size in enumerate(item.sizes):
        found = size if isinstance(size, int) else size_of(sizes, item.name, axis, size)
        filled.append(size if found is None else found)
    return ModelInput(item.name, tuple(filled), item.dtype)
