"""What is found out about channels while a graph is followed: which are one, and where they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
"""Of the places along an axis: equal labels hold the same channel."""

Role = Literal["producer", "offset", "factor", "consumer"]
"""What a stored tensor does along an axis: makes channels, is added to them, multiplies or reads them."""


@dataclass(frozen=True, eq=False)
class Held:
    """A stored tensor's axis, whose places are channels.

    Parameters
    ----------
    tensor : str
    axis : int
    role : str
    labels : ndarray of int64
    node : str
        Node that uses it so, and its operator.
    filter_axis : int or None
        Axis of the output channels where the role is ``"consumer"``.
    """

    tensor: str
    axis: int
    role: Role
    labels: Labels
    node: str
    filter_axis: int | None = None


@dataclass(frozen=True, eq=False)
class Counted:
    """A number in a node that counts places of channels.

    Parameters
    ----------
    node : int
        Index in the graph.
    where : str
        Attribute (``"group"``), or the input that holds sizes, by its place.
    index : int
        Which of the sizes.
    labels : ndarray of int64
    """

    node: int
    where: str | int
    index: int
    labels: Labels


class Ledger:
    """Channels, by label, and what holds for them."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._origin: list[int] = []
        self.names: list[str] = []
        self.held: list[Held] = []
        self.counted: list[Counted] = []
        self.apart: list[Labels] = []
        self.fixed: list[tuple[Labels, str]] = []
        self.kept: list[tuple[Labels, str]] = []
        self._by_axis: dict[tuple[str, int], Labels] = {}
        self.starts: list[int] = []

    def fresh(self, count: int, name: str) -> Labels:
        """Label `count` channels that are first seen in the value `name`."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        self._origin.extend([len(self.names)] * count)
        self.names.append(name)
        self.starts.append(start)
        return np.arange(start, start + count, dtype=np.int64)

    def tie(self, a: Labels, b: Labels) -> None:
        """Make channels one, place by place."""
        for one, other in zip(a.tolist(), b.tolist(), strict=True):
            x, y = self._root(one), self._root(other)
            if x != y:
                self._parent[max(x, y)] = min(x, y)

    def hold(self, held: Held) -> None:
        """Note where channels are stored; an axis that was noted before ties its channels to these."""
        before = self._by_axis.setdefault((held.tensor, held.axis), held.labels)
        self.tie(before, held.labels)
        self.held.append(held)

    def roots(self, labels: Labels) -> Labels:
        """Label each place by the first label of its channel."""
        return np.fromiter((self._root(label) for label in labels.tolist()), np.int64, len(labels))

    def origins(self, labels: Labels) -> list[int]:
        """Index into `names` for each label as it was made."""
        return [self._origin[label] for label in labels.tolist()]

    def are_fixed(self, labels: Labels) -> bool:
        """Whether all of these channels are known to be fixed by now."""
        fixed = {label for some, _ in self.fixed for label in some.tolist()}
        return {self._root(label) for label in labels.tolist()} <= {self._root(label) for label in fixed}

    def stored_under(self, tensor: str) -> list[Labels]:
        """Labels of all axes of a tensor that hold channels."""
        return [labels for (name, _), labels in self._by_axis.items() if name == tensor]

    def _root(self, label: int) -> int:
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = self._parent[label]
        return label


@dataclass(frozen=True, eq=False)
class Followed:
    """A value of the graph.

    Parameters
    ----------
    name : str
    axes : tuple of (ndarray of int64 or None)
        Labels of each axis; None where it holds no channels that are followed.
    dims : tuple of (int or None)
        Length of each axis; None where it depends on the inputs.
    why : str
        Why the other axes are not followed.
    tensor : str
        Stored tensor that it is a view of; else empty.
    source : tuple of (int or None)
        Axis of the stored tensor for each of its own.
    ranked : bool
        Whether the number of axes is known.
    """

    name: str
    axes: tuple[Labels | None, ...] = ()
    dims: tuple[int | None, ...] = ()
    why: str = ""
    tensor: str = ""
    source: tuple[int | None, ...] = ()
    ranked: bool = True

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.dims)

    @property
    def followed(self) -> list[Labels]:
        """Labels of the axes that are followed."""
        return [labels for labels in self.axes if labels is not None]


Attributes = dict[str, Any]
