"""The combinations of option values that a sweep visits; points are numbers until one is needed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

from bitxcore.errors import OptionError
from bitxcore.policy import Policy
from hwmodel.accelerators.registry import accelerator_class, check_options


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

    def by_shared_work(self, points: Sequence[int]) -> list[int]:
        """Order points so that machines that share work are neighbours (`Accelerator.sharing_options`)."""
        shared = accelerator_class(self.accelerator).sharing_options
        names = [name for name in shared if name in self.varied]

        def key(point: int) -> tuple[int, ...]:
            places = self.places(point)
            return (*(places[name] for name in names), point)

        return sorted(points, key=key)


def checked_space(
    accelerator: str,
    varied: Mapping[str, Sequence[Any]],
    fixed: Mapping[str, Any],
    policy: Policy | None = None,
) -> Space:
    """Make a `Space`.

    Raises
    ------
    OptionError
        For an unknown accelerator or option, an option without values or with one value twice, a value that
        is not a plain one, or an option that is both varied and fixed, or set by the policy.
    """
    if not isinstance(accelerator, str):
        raise OptionError(
            f"a sweep takes the name of an accelerator, got {accelerator!r}; options go into fixed="
        )
    check_options(accelerator, (*varied, *fixed))
    if not varied:
        raise OptionError("a sweep needs at least one option that varies")
    if policy is not None:
        own = accelerator_class(accelerator).policy_options
        for option in (*varied, *fixed):
            if option in own or (own and option == "preset"):
                raise OptionError(f"option {option!r} is set by the policy, layer by layer")
    if both := set(varied) & set(fixed):
        raise OptionError(f"option {sorted(both)[0]!r} is varied and fixed at once")
    for name, given in varied.items():
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise OptionError(f"option {name!r}: a sequence of values is needed, got {given!r}")
    values = {name: tuple(given) for name, given in varied.items()}
    for name, given in values.items():
        if not given:
            raise OptionError(f"option {name!r}: no values to vary over")
        for i, value in enumerate(given):
            if not (value is None or isinstance(value, (bool, int, str)) or _is_finite(value)):
                raise OptionError(
                    f"option {name!r}: values must be None, bools, numbers or text, got {value!r}"
                )
            if value in given[:i]:
                raise OptionError(f"option {name!r}: value {value!r} is given twice")
    return Space(accelerator, values, dict(fixed))


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and isfinite(value)
