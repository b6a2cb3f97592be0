"""The combinations of option values that a sweep visits; points are numbers until one is needed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite, prod
from typing import Any

from bitxcore.errors import TensorError
from hwmodel.accelerators import accelerator_class

_PRUNING = (
    "serial", "format", "window", "group", "grouping", "pack_zeros", "criterion", "threshold", "budget",
    "rounding", "rows",
)  # fmt: skip
"""Options that decide which bits are kept; machines that share these share the pruning."""


@dataclass(frozen=True)
class Space:
    """All combinations of some options' values.

    Parameters
    ----------
    accelerator : str
    varied : mapping of str to sequence
        By option: its values, which are None, bools, numbers or text.
    fixed : mapping of str to value
        Options that keep one value, where this is not the default.

    Notes
    -----
    Point i is that of row i of the full product, the last option changing fastest.
    """

    accelerator: str
    varied: Mapping[str, tuple[Any, ...]]
    fixed: Mapping[str, Any]

    def __len__(self) -> int:
        return prod(map(len, self.varied.values()))

    def options(self, point: int) -> dict[str, Any]:
        """Values of the varied options at a point."""
        found = {}
        for name, place in self.places(point).items():
            found[name] = self.varied[name][place]
        return found

    def places(self, point: int) -> dict[str, int]:
        """Which value, counted from 0, each varied option has at a point."""
        found = {}
        for name, values in reversed(list(self.varied.items())):
            point, found[name] = divmod(point, len(values))
        return {name: found[name] for name in self.varied}

    def chosen(self, sample: int | None, seed: int) -> Sequence[int]:
        """All points, or a random sample of them without repetition, in order."""
        if sample is None or sample >= len(self):
            return range(len(self))
        return sorted(random.Random(seed).sample(range(len(self)), sample))  # noqa: S311

    def by_pruning(self, points: Sequence[int]) -> list[int]:
        """Order points so that those that keep the same bits are neighbours."""
        names = [name for name in _PRUNING if name in self.varied]

        def key(point: int) -> tuple[int, ...]:
            places = self.places(point)
            return (*(places[name] for name in names), point)

        return sorted(points, key=key)


def checked_space(accelerator: str, varied: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any]) -> Space:
    """Make a `Space`.

    Raises
    ------
    TensorError
        For an unknown accelerator or option, an option without values or with one value twice, a value that
        is no plain one, or an option that is both varied and fixed.
    """
    known = [f.name for f in fields(accelerator_class(accelerator))]
    for option in (*varied, *fixed):
        if option not in known:
            raise TensorError(
                f"accelerator {accelerator!r} has no option {option!r}; known: {', '.join(known)}"
            )
    if not varied:
        raise TensorError("a sweep needs at least one option that varies")
    if both := set(varied) & set(fixed):
        raise TensorError(f"option {sorted(both)[0]!r} is varied and fixed at once")
    values = {name: tuple(given) for name, given in varied.items()}
    for name, given in values.items():
        if not given:
            raise TensorError(f"option {name!r}: no values to vary over")
        for i, value in enumerate(given):
            if not (value is None or isinstance(value, (bool, int, str)) or _is_finite(value)):
                raise TensorError(
                    f"option {name!r}: values must be None, bools, numbers or text, got {value!r}"
                )
            if value in given[:i]:
                raise TensorError(f"option {name!r}: value {value!r} is given twice")
    return Space(accelerator, values, dict(fixed))


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and isfinite(value)
