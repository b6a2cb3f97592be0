"""Sizes of a graph's inputs: what the file says, and what is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.checks import checked_integer
from bitxcore.errors import OptionError
from hwmodel.networks.layers.fields import MOST_OF_A_SIZE

Dims = Sequence[int | str | None]
"""Sizes of an input; a name or None where one is open."""


class SizeError(OptionError):
    """The size of a graph's input is not known; `hint` says how to give it.

    Attributes
    ----------
    on_command_line : str or None
        The hint in options of the command ``bitx``.
    """

    on_command_line: str | None = None


def size_of(sizes: Mapping[str, int], name: str, axis: int, label: str | None) -> int | None:
    """Look up the size that is asked for an open dimension: by place, ``image.2``, or by its name."""
    return sizes.get(f"{name}.{axis}", sizes.get(label or ""))


def check_size_names(path: Path, inputs: Mapping[str, Dims], sizes: Mapping[str, int]) -> None:
    """Check that every size is asked for an open dimension.

    Raises
    ------
    OptionError
        Naming the dimensions that are open.
    """
    open_dims = [
        (f"{name}.{axis}", dim)
        for name, dims in inputs.items()
        for axis, dim in enumerate(dims)
        if not isinstance(dim, int)
    ]
    known = {dim for _, dim in open_dims} | {place for place, _ in open_dims}
    if unknown := next((name for name in sizes if name not in known), None):
        # One without a name is called by its input and axis.
        called = ", ".join(sorted({str(dim or place) for place, dim in open_dims}))
        raise OptionError(
            f"no dynamic dimension is called {unknown!r}; there are {called or 'none'}",
            path=path,
            value=unknown,
        )


def batch_axis(dims: Dims) -> int:
    """Find the batch among the dimensions of an input: an open one called so, else the first."""
    called = (axis for axis, dim in enumerate(dims) if isinstance(dim, str) and "batch" in dim.lower())
    return next(called, 0)


def graph_inputs(model: Any) -> list[tuple[str, tuple[int | str | None, ...], np.dtype[Any]]]:
    """Name, sizes and dtype of each input; the size of an open dimension is its name, or None."""
    import onnx

    stored = {t.name for t in model.graph.initializer}
    return [
        (
            value.name,
            _dims_of(value),
            np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)),
        )
        for value in model.graph.input
        if value.name not in stored
        for tensor in [value.type.tensor_type]
    ]


def _dims_of(value: Any) -> tuple[int | str | None, ...]:
    return tuple(
        d.dim_value if d.dim_value > 0 else d.dim_param or None for d in value.type.tensor_type.shape.dim
    )


def input_sizes(model: Any) -> dict[str, tuple[int, ...]]:
    """Shape of each input of a model whose sizes are set."""
    stored = {t.name for t in model.graph.initializer}
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in model.graph.input
        if value.name not in stored
    }


def given_arrays(path: Path, model: Any, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, npt.NDArray[Any]]:
    """Bring inputs that are given into the model's dtypes.

    Raises
    ------
    OptionError
        If there is no such input, or it takes no such values.
    """
    dtypes = {name: dtype for name, _, dtype in graph_inputs(model)}
    found: dict[str, npt.NDArray[Any]] = {}
    for name, value in inputs.items():
        if name not in dtypes:
            raise _no_such_input(path, name, dtypes)
        array = np.asarray(value)
        if not np.can_cast(array.dtype, dtypes[name], "same_kind"):
            raise OptionError(
                f"input {name!r}: {array.dtype} is given, the model takes {dtypes[name]}",
                path=path,
                value=array.dtype,
            )
        found[name] = array.astype(dtypes[name])
    return found


def _no_such_input(path: Path, name: str, inputs: Iterable[str]) -> OptionError:
    return OptionError(f"there is no input {name!r}; it has {', '.join(inputs)}", path=path, value=name)


def set_input_sizes(
    path: Path,
    model: Any,
    input_size: Sequence[int] | Mapping[str, Sequence[int]] | None,
    sizes: Mapping[str, int],
    given: Mapping[str, npt.NDArray[Any]] | None = None,
) -> tuple[str, ...]:
    """Fix the inputs' shapes in the model, as `hwmodel.load_network` has them.

    Shapes that the file states for other values stay; their open dimensions get the sizes of the same name.

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
    asked = {name: array.shape for name, array in (given or {}).items()}
    asked |= _sizes_by_input(path, inputs, input_size)
    check_size_names(path, {name: _dims_of(value) for name, value in inputs.items()}, sizes)
    assumed: dict[str, None] = {}
    missing: list[tuple[str, str | None, int]] = []
    set_to: dict[str, set[int]] = {}
    for name, value in inputs.items():
        shape, batch = asked.get(name), batch_axis(_dims_of(value))
        for axis, dim in enumerate(_dims(path, name, value, shape)):
            label = dim.dim_param or None
            fixed = dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
            size = shape[axis] if shape is not None else fixed or size_of(sizes, name, axis, label)
            if size is None and axis == batch:
                size = 1
                assumed[f"the batch dimension {label or '?'!r} is open: 1 was assumed"] = None
            if size is None:
                missing.append((name, label, axis))
                continue
            if size < 1 or (fixed is not None and size != fixed):
                raise OptionError(
                    f"input {name!r}, axis {axis}: size {size} is asked for,"
                    f" {'at least 1' if fixed is None else fixed} is needed",
                    path=path,
                    value=size,
                )
            if dim.dim_param:
                set_to.setdefault(dim.dim_param, set()).add(int(size))
            dim.Clear()
            dim.dim_value = checked_integer(MOST_OF_A_SIZE, f"the size of {name!r}", size)
    if missing:
        raise _missing_sizes(path, inputs, missing)
    for value in [*model.graph.value_info, *model.graph.output]:
        for dim in value.type.tensor_type.shape.dim if value.type.HasField("tensor_type") else ():
            if len(found := set_to.get(dim.dim_param, ())) == 1:
                dim.dim_value = next(iter(found))
    return tuple(assumed)


def _sizes_by_input(
    path: Path, inputs: Mapping[str, Any], input_size: Sequence[int] | Mapping[str, Sequence[int]] | None
) -> dict[str, tuple[int, ...]]:
    if input_size is None:
        return {}
    if isinstance(input_size, Mapping):
        if unknown := sorted(set(input_size) - set(inputs)):
            raise _no_such_input(path, unknown[0], inputs)
        return {name: tuple(shape) for name, shape in input_size.items()}
    if len(inputs) == 1:
        return {next(iter(inputs)): tuple(input_size)}
    error = SizeError(
        f"the graph has inputs {', '.join(inputs)}",
        path=path,
        hint="give input_size as a mapping from their names",
    )
    error.on_command_line = "say whose size is given: " + " ".join(
        f"--input-size {name}={_text(value.type.tensor_type.shape.dim, 'x')}"
        for name, value in inputs.items()
    )
    raise error


def _dims(path: Path, name: str, value: Any, shape: Sequence[int] | None) -> Any:
    """Return the dimensions of an input; those of one that has no shape are as many as are asked for."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        if shape is None:
            error = SizeError(
                f"input {name!r} has no shape", path=path, hint=f"give input_size={{{name!r}: (...)}}"
            )
            error.on_command_line = (
                f"give it with --input-size {name}=1x3x224x224, or as many sizes as it has"
            )
            raise error
        tensor.shape.SetInParent()
        for _ in shape:
            tensor.shape.dim.add()
    if shape is not None and len(shape) != len(tensor.shape.dim):
        raise OptionError(
            f"input {name!r} has {len(tensor.shape.dim)} dimensions, input_size gives {tuple(shape)}",
            path=path,
            value=tuple(shape),
        )
    return tensor.shape.dim


def _missing_sizes(
    path: Path, inputs: Mapping[str, Any], missing: Sequence[tuple[str, str | None, int]]
) -> SizeError:
    """Name every dimension that is open, and how to set it."""
    by_input: dict[str, list[str]] = {}
    for name, label, axis in missing:
        by_input.setdefault(name, []).append(f"{label or '?'!r} (axis {axis})")
    dims = {name: inputs[name].type.tensor_type.shape.dim for name in by_input}
    # A dimension without a name is set by its input and axis.
    keys = dict.fromkeys(label or f"{name}.{axis}" for name, label, axis in missing)
    shapes = ", ".join(f"{name!r}: ({_text(of, ', ')})" for name, of in dims.items())
    them = f"set {'them' if len(missing) > 1 else 'it'} with"
    error = SizeError(
        "; ".join(
            f"input {name!r} has the dynamic dimension{'s' if len(labels) > 1 else ''} {', '.join(labels)}"
            for name, labels in by_input.items()
        ),
        path=path,
        hint=f"{them} sizes={{{', '.join(f'{key!r}: …' for key in keys)}}} or input_size={{{shapes}}}",
    )
    by_size = " ".join(f"--size {key}=…" for key in keys)
    by_shape = " ".join(
        f"--input-size {f'{name}=' if len(inputs) > 1 else ''}{_text(of, 'x')}" for name, of in dims.items()
    )
    error.on_command_line = f"{them} {by_size} or {by_shape}"
    return error


def _text(dims: Any, between: str) -> str:
    """Write the sizes of an input, open ones as dots."""
    return between.join(str(dim.dim_value or "…") for dim in dims)
