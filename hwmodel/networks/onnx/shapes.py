"""Shapes of a graph's values, as ONNX infers them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from bitxcore.errors import TensorError

TensorShape = tuple[int, ...]


class UnknownShapeError(Exception):
    """The shape of a value is not known; the text says why."""


class Shapes(dict[str, TensorShape]):
    """Shapes by value; one that is not there raises `UnknownShapeError`.

    Attributes
    ----------
    failed : dict of str to str
        Values whose shape was looked for in vain, and why.
    """

    def __init__(self, known: dict[str, TensorShape]) -> None:
        super().__init__(known)
        self.failed: dict[str, str] = {}

    def __missing__(self, name: str) -> TensorShape:
        why = self.failed.get(name)
        raise UnknownShapeError(f"no shape for {name!r}" + (f": {why}" if why else ""))


def infer(path: Path, model: Any) -> Any:
    """Return the model with the shapes that ONNX infers from its inputs'.

    Shapes that the file states are taken where inference finds none, behind an operator of another domain,
    say; they may be stated for other input sizes, so inference comes first.
    """
    import onnx

    values = [*model.graph.value_info, *model.graph.output]
    stated = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in values]
    forget_shapes(model.graph)
    try:
        found = _inferred(path, model)
    finally:
        for value, before in zip(values, stated, strict=True):
            value.CopyFrom(before)
    known = written(found.graph)
    seeds = [value for value in stated if value.name not in known and _whole(value)]
    if not seeds:
        return found
    with suppress(TensorError):  # what is stated may contradict the rest
        seeded = onnx.ModelProto()
        seeded.CopyFrom(found)
        _seed(seeded.graph, seeds)
        return _inferred(path, seeded)
    return found


def forget_shapes(graph: Any) -> None:
    """Take shapes between and behind the nodes of a graph away, types stay."""
    for value in [*graph.value_info, *graph.output]:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")


def _seed(graph: Any, seeds: list[Any]) -> None:
    places = {v.name: v for v in [*graph.value_info, *graph.output]}
    for seed in seeds:
        place = places[seed.name] if seed.name in places else graph.value_info.add()
        place.CopyFrom(seed)


def _inferred(path: Path, model: Any) -> Any:
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise TensorError(f"shapes can't be inferred at these input sizes: {text}", path=path) from error


def _whole(value: Any) -> bool:
    tensor = value.type.tensor_type
    return tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim)


def written(graph: Any) -> dict[str, TensorShape]:
    """Shapes that stand in the graph whole: of inputs, of values between its nodes, of outputs."""
    return {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in [*graph.input, *graph.value_info, *graph.output]
        if _whole(value)
    }
