"""Sizes of a graph's inputs: what the file says, and what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bitxcore.checks import checked_integer
from bitxcore.errors import OptionError
from hwmodel.networks.layers.fields import MOST_OF_A_SIZE


class SizeError(OptionError):
    """The size of a graph's input is not known; `hint` says how to give it."""


def graph_inputs(model: Any) -> list[tuple[str, tuple[int | str | None, ...], np.dtype[Any]]]:
    """Name, sizes and dtype of each input; the size of an open dimension is its name, or None."""
    import onnx

    stored = {t.name for t in model.graph.initializer}
    return [
        (
            value.name,
            tuple(d.dim_value if d.dim_value > 0 else d.dim_param or None for d in tensor.shape.dim),
            np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)),
        )
        for value in model.graph.input
        if value.name not in stored
        for tensor in [value.type.tensor_type]
    ]


def input_sizes(model: Any) -> dict[str, tuple[int, ...]]:
    """Shape of each input of a model whose sizes are set."""
    stored = {t.name for t in model.graph.initializer}
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in model.graph.input
        if value.name not in stored
    }


def set_input_sizes(
    path: Path,
    model: Any,
    input_size: Sequence[int] | Mapping[str, Sequence[int]] | None,
    sizes: Mapping[str, int],
) -> tuple[str, ...]:
    """Fix the inputs' shapes in the model, as `hwmodel.load_network` has them.

    Returns
    -------
    tuple of str
        Notes on the sizes that were assumed.

    Raises
    ------
    SizeError
        If a size is neither in the file nor given.
    OptionError
        If a size is given for what there is not, or that the graph does not take.
    """
    stored = {t.name for t in model.graph.initializer}
    inputs = {i.name: i for i in model.graph.input if i.name not in stored}
    if input_size is None:
        given: dict[str, tuple[int, ...]] = {}
    elif isinstance(input_size, Mapping):
        given = {name: tuple(shape) for name, shape in input_size.items()}
    elif len(inputs) == 1:
        given = {next(iter(inputs)): tuple(input_size)}
    else:
        raise SizeError(
            f"the graph has inputs {', '.join(inputs)}",
            path=path,
            hint="give input_size as a mapping from their names",
        )
    if unknown := set(given) - set(inputs):
        raise OptionError(
            f"there is no input {sorted(unknown)[0]!r}; it has {', '.join(inputs)}",
            path=path,
            value=sorted(unknown)[0],
        )
    used = set()
    assumed: dict[str, None] = {}
    for name, value in inputs.items():
        tensor = value.type.tensor_type
        shape = given.get(name)
        if not tensor.HasField("shape") and shape is not None:
            for _ in shape:
                tensor.shape.dim.add()
        dims = tensor.shape.dim
        if not tensor.HasField("shape"):
            raise SizeError(
                f"input {name!r} has no shape", path=path, hint=f"give input_size={{{name!r}: (...)}}"
            )
        if shape is not None and len(shape) != len(dims):
            raise OptionError(
                f"input {name!r} has {len(dims)} dimensions, input_size gives {shape}",
                path=path,
                value=shape,
            )
        for axis, dim in enumerate(dims):
            fixed = dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
            used.add(dim.dim_param)
            size = shape[axis] if shape is not None else sizes.get(dim.dim_param, fixed)
            label = dim.dim_param or "?"
            if size is None and axis == 0:  # the batch, by convention
                size = 1
                assumed[f"the batch dimension {label!r} is open: 1 was assumed"] = None
            if size is None:
                example = tuple(d.dim_value or "…" for d in dims)
                raise SizeError(
                    f"input {name!r} has the dynamic dimension {label!r} (axis {axis})",
                    path=path,
                    hint=f"set it with sizes={{{label!r}: …}}"
                    f" or input_size={{{name!r}: ({', '.join(map(str, example))})}}",
                )
            if size < 1 or (fixed is not None and size != fixed):
                raise OptionError(
                    f"input {name!r}, axis {axis}: size {size} is asked for,"
                    f" {'at least 1' if fixed is None else fixed} is needed",
                    path=path,
                    value=size,
                )
            dim.Clear()
            dim.dim_value = checked_integer(MOST_OF_A_SIZE, f"the size of {name!r}", size)
    if unused := set(sizes) - used:
        raise OptionError(
            f"no dynamic dimension is called {sorted(unused)[0]!r}; there are"
            f" {', '.join(sorted(u for u in used if u)) or 'none'}",
            path=path,
            value=sorted(unused)[0],
        )
    # Shapes written for other sizes would contradict inference.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return tuple(assumed)
