"""Lists of sizes that a graph computes of shapes and constants, followed as far as they are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Size = int | tuple[str, int] | None
"""A number; or the length of an axis of a value that depends on the inputs; None if it is not known."""
Sizes = list[Size]


def sizes_made(
    node: Any,
    attributes: dict[str, Any],
    known: Callable[[str], Sizes | None],
    dims: Callable[[str], Sequence[int | None] | None],
) -> Sizes | None:
    """Return the list that a node makes; None if it makes none that is followed.

    Parameters
    ----------
    node : onnx.NodeProto
    attributes : dict
    known : callable
        From a value to its list; a scalar is a list of one.
    dims : callable
        From a value to its shape.

    Examples
    --------
    >>> import onnx
    >>> node = onnx.helper.make_node("Shape", ["x"], ["y"])
    >>> sizes_made(node, {}, {}.get, {"x": [None, 8, 7]}.get)
    [('x', 0), 8, 7]
    """
    kind, first = node.op_type, node.input[0] if node.input else ""
    if kind == "Shape":
        shape = dims(first)
        if shape is None:
            return None
        found: Sizes = [(first, axis) if n is None else n for axis, n in enumerate(shape)]
        return found[attributes.get("start", 0) : attributes.get("end")]
    if kind == "Concat":
        parts = [known(name) for name in node.input]
        return None if None in parts else [size for part in parts if part is not None for size in part]
    values = known(first)
    if values is None:
        return None
    if kind in ("Cast", "Identity", "Squeeze", "Unsqueeze"):
        return values
    if kind == "Slice":
        cut = [attributes.get(key) for key in ("starts", "ends")]
        if cut[0] is None:
            cut = [known(name) for name in node.input[1:3]]
        steps = known(node.input[4]) if len(node.input) > 4 and node.input[4] else [1]
        (start, end, step) = (_one(numbers) for numbers in (*cut, steps))
        return None if start is None or end is None or step != 1 else values[start:end]
    if kind == "Gather":
        places = known(node.input[1]) or []
        inside = [at for at in places if isinstance(at, int) and -len(values) <= at < len(values)]
        return [values[at] for at in inside] if places and len(inside) == len(places) else None
    return None


def _one(numbers: Sequence[Any] | None) -> int | None:
    """Return the only number of a list; None if it is not known."""
    if numbers is None or len(numbers) != 1 or not isinstance(numbers[0], int):
        return None
    return numbers[0]
