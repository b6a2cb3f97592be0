"""Walks a graph node by node, and keeps what each rule finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from bitxcore.dumps.onnx_weights.bodies import bodies_of, read_by
from hwmodel.networks.onnx.graph import attributes_of, name_of
from hwmodel.preparation.channel_spaces.known_sizes import Sizes, sizes_made
from hwmodel.preparation.channel_spaces.ledger import (
    Attributes,
    Counted,
    Followed,
    Held,
    Labels,
    Ledger,
    Role,
)
from hwmodel.preparation.channel_spaces.stored_tensors import StoredTensors

Purpose = Literal["order", "scale"]
"""Channels that change places or go away together; or those that have one factor together."""


_MOST_SIZES = 64
"""Of a stored list that may be one of sizes."""


class Refused(Exception):  # noqa: N818
    """A node's channels can't be followed; the text says why."""


Rule = Callable[["Follower"], None]


class Follower:
    """A graph that is being followed; what rules see of the node that it has come to.

    Parameters
    ----------
    model : onnx.ModelProto
        With inferred shapes.
    stored : StoredTensors
    purpose : {"order", "scale"}

    Attributes
    ----------
    ledger : Ledger
    node : onnx.NodeProto
    attributes : dict
    """

    def __init__(self, model: Any, stored: StoredTensors, purpose: Purpose) -> None:
        self.ledger, self.stored, self.scales = Ledger(), stored, purpose == "scale"
        self._graph = model.graph
        self._opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
        self._dims = {
            value.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in shape.dim)
            for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]
            if (shape := _shape(value)) is not None
        }
        self._values: dict[str, Followed] = {}
        self._sizes: dict[str, Sizes] = {}
        self._held: set[int] = set()
        self._else: dict[str, str] = {}
        self.node: Any = None
        self.index = 0
        self.attributes: Attributes = {}

    def follow(self, rules: dict[str, Rule]) -> Ledger:
        """Walk through the graph and return what was found out."""
        for value in self._graph.input:
            if value.name not in self.stored:
                self._note_unknown(value.name, f"{value.name!r} is an input of the graph")
        for name in self.stored:
            shape = self.stored.shape(name)
            axes = tuple(range(len(shape)))
            self._values[name] = Followed(name, (None,) * len(shape), shape, "", name, axes)
        for index, node in enumerate(self._graph.node):
            self.index, self.node = index, node
            if self.node.op_type != "Constant" or self.node.output[0] not in self.stored:
                self._step(rules)
        for value in self._graph.output:
            self._end(self._value(value.name), f"{value.name!r} is an output of the graph")
        for tensor, reason in self._else.items():
            for labels in self.ledger.stored_under(tensor):
                self.ledger.fixed.append((labels, reason))
        return self.ledger

    def _step(self, rules: dict[str, Rule]) -> None:
        self._held = set()
        self.attributes = attributes_of(self.node)
        made = sizes_made(self.node, self.attributes, self._known_sizes, self._known_dims)
        if made is not None:
            self._sizes[self.node.output[0]] = made
        rule = rules.get(self.node.op_type) if self.node.domain in ("", "ai.onnx") else None
        try:
            if rule is None or bodies_of(self.node):
                raise Refused("is not followed")
            unranked = [name for name in self.node.input if name and not self._value(name).ranked]
            if unranked and self.node.op_type != "Reshape":
                raise Refused("has an input of unknown rank")
            rule(self)
        except Refused as refused:
            self._held = set()
            reason = f"{self.what} {refused}"
            for name in read_by(self.node):
                self._end(self._value(name), reason)
            for name in filter(None, self.node.output):
                self._note_unknown(name, reason)
        for place, name in enumerate(self.node.input):
            if name and place not in self._held and (tensor := self._value(name).tensor):
                passed = self._values.get(self.node.output[0])
                if passed is None or passed.tensor != tensor:
                    self._else.setdefault(tensor, f"{tensor!r} is read by {self.what}, too")

    def _known_sizes(self, name: str) -> Sizes | None:
        if name in self._sizes or name not in self.stored:
            return self._sizes.get(name)
        shape = self.stored.shape(name)
        if len(shape) > 1 or (shape and shape[0] > _MOST_SIZES):
            return None
        values = self.stored.read(name)
        return [int(n) for n in values.reshape(-1)] if values.dtype.kind in "iu" else None

    def _known_dims(self, name: str) -> tuple[int | None, ...] | None:
        value = self._value(name)
        return value.dims if value.ranked else None

    def _end(self, value: Followed, reason: str) -> None:
        for labels in value.followed:
            self.ledger.fixed.append((labels, reason))
        if value.tensor:
            self._else.setdefault(value.tensor, reason)

    def _value(self, name: str) -> Followed:
        return self._values.get(name) or Followed(name, why=f"{name!r} is not known", ranked=False)

    def _note_unknown(self, name: str, why: str) -> None:
        dims = self._dims.get(name)
        axes = (None,) * len(dims or ())
        self._values[name] = Followed(name, axes, dims or (), why, ranked=dims is not None)

    # -- for rules -----------------------------------------------------------------------------------

    @property
    def what(self) -> str:
        """The node, for messages."""
        return f"{self.node.op_type} {name_of(self.node)!r}"

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return int(self._opset)

    def has(self, place: int) -> bool:
        """Whether the node has that input."""
        return place < len(self.node.input) and bool(self.node.input[place])

    def input(self, place: int = 0) -> Followed:
        """Return an input."""
        if not self.has(place):
            raise Refused(f"lacks input {place}")
        return self._value(self.node.input[place])

    def activation(self, place: int = 0, rank: int = 0) -> Followed:
        """Return an input that is not a stored tensor, of at least `rank` axes."""
        value = self.input(place)
        if value.tensor:
            raise Refused("computes from stored tensors")
        if value.rank < rank:
            raise Refused(f"reads {value.rank} axes")
        return value

    def constant(self, place: int) -> Any:
        """Return an input's values, None if it is absent; it must be stored as it is."""
        if not self.has(place):
            return None
        value = self.input(place)
        if value.tensor != value.name:
            raise Refused(f"has an input {place} that is computed")
        return self.stored.read(value.tensor)

    def channels(self, value: Followed, axis: int) -> Labels:
        """Return the labels of an axis; where it is not followed, new ones that are fixed."""
        labels = value.axes[axis]
        if labels is not None:
            return labels
        length = value.dims[axis]
        if length is None:
            raise Refused(f"reads an axis of unknown length, {value.why}")
        fresh = self.ledger.fresh(length, value.name)
        self.fix(fresh, value.why)
        return fresh

    def fresh(self, count: int) -> Labels:
        """Label channels that this node makes."""
        return self.ledger.fresh(count, self.node.output[0])

    def hold(self, place: int, axis: int, labels: Labels, role: Role, filter_axis: int | None = None) -> None:
        """Note that an input holds channels along an axis of its own."""
        value = self.input(place)
        source = value.source[axis] if value.tensor else None
        if source is None or value.dims[axis] != len(labels):
            raise Refused(f"has an input {place} that is not stored channel by channel")
        filters = None if filter_axis is None else value.source[filter_axis]
        self.ledger.hold(Held(value.tensor, source, role, labels, self.what, filters))
        self._held.add(place)

    def fix(self, labels: Labels | None, reason: str = "") -> None:
        """Note that channels can't be changed."""
        if labels is not None:
            self.ledger.fixed.append((labels, reason or f"{self.what} does not allow it"))

    def keep(self, labels: Labels | None, reason: str) -> None:
        """Note that channels can't be removed."""
        if labels is not None:
            self.ledger.kept.append((labels, f"{self.what} {reason}"))

    def count(self, where: str | int, labels: Labels, index: int = 0) -> None:
        """Note that an attribute, or an entry of an input, counts places."""
        self.ledger.counted.append(Counted(self.index, where, index, labels))

    def give(
        self,
        axes: Sequence[Labels | None],
        place: int = 0,
        *,
        dims: Sequence[int | None] | None = None,
        why: str = "",
    ) -> None:
        """Set an output of the node by the labels of its axes, and known lengths of the others."""
        if place >= len(self.node.output) or not self.node.output[place]:
            return
        name = self.node.output[place]
        known = self._dims.get(name, ())
        known = known if len(known) == len(axes) else (None,) * len(axes)
        given = known if dims is None else [k if n is None else n for n, k in zip(dims, known, strict=True)]
        lengths = tuple(n if a is None else len(a) for n, a in zip(given, axes, strict=True))
        others = (v.why for v in self._inputs() if v.why and not (v.tensor or self._held))
        why = why or next(others, f"{self.what} made them")
        self._values[name] = Followed(name, tuple(axes), lengths, why)

    def _inputs(self) -> list[Followed]:
        return [self._value(name) for name in self.node.input if name]

    def view(self, axes: Sequence[int | None], cut: Sequence[int] = ()) -> None:
        """Set the output to a view of the stored first input: which of its axes each axis is, None a new one.

        Along the axes `cut` only a part is seen.
        """
        value, name = self.input(), self.node.output[0]
        dims = tuple(1 if a is None else None if a in cut else value.dims[a] for a in axes)
        axes = [None if a in cut else a for a in axes]
        source = tuple(None if a is None else value.source[a] for a in axes)
        self._values[name] = Followed(name, (None,) * len(dims), dims, value.why, value.tensor, source)

    def sizes(self, place: int) -> Sizes | None:
        """Return an input's list of sizes, as far as they are known."""
        return self._known_sizes(self.node.input[place]) if self.has(place) else None

    def is_stored(self, place: int) -> bool:
        """Whether an input is a stored tensor as it is."""
        return self.has(place) and self.node.input[place] in self.stored

    def known_dims(self) -> tuple[int | None, ...] | None:
        """Return the output's dims as inferred; None where its rank is not known."""
        return self._dims.get(self.node.output[0])


def _shape(value: Any) -> Any:
    kind = value.type.tensor_type
    return kind.shape if kind.HasField("shape") else None


def spread(labels: Labels, shape: Sequence[int], axis: int) -> Labels:
    """Repeat the labels of an axis over a whole block."""
    view = labels.reshape([-1 if at == axis else 1 for at in range(len(shape))])
    return np.broadcast_to(view, tuple(shape))
