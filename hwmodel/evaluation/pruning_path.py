"""From the least error to the fewest cycles: which tensor gives next, when errors of tensors add up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

from bitxcore.policy import PruningOptions

Names = tuple[str, ...]
"""Tensors that a layer has together; most have one."""
Way = TypeVar("Way")
"""How a tensor is pruned: `PruningOptions`, or whatever else tells the choices apart."""
State = dict[str, PruningOptions]


@dataclass(frozen=True)
class Choice(Generic[Way]):
    """One way to prune the tensors of a layer.

    Parameters
    ----------
    options : Way
    cycles : int
        Of the layers that the tensors are in.
    error : float
        Foretold.
    """

    options: Way
    cycles: int
    error: float


@dataclass(frozen=True)
class Step(Generic[Way]):
    """From one choice to the next of the same tensors.

    Parameters
    ----------
    slope : float
        Error per saved cycle.
    names : tuple of str
    options : Way
        Of the next choice.
    """

    slope: float
    names: Names
    options: Way


def hull(choices: Sequence[Choice[Way]]) -> list[Choice[Way]]:
    """Choices on the lower convex hull, from the least error to the fewest cycles.

    Examples
    --------
    >>> ways = [Choice(PruningOptions(rows), cycles, error) for rows, cycles, error in
    ...         [(8, 100, 0.0), (6, 95, 3.0), (4, 50, 4.0), (3, 60, 5.0), (2, 40, 9.0)]]
    >>> [choice.options.rows for choice in hull(ways)]
    [8, 4, 2]
    """
    found: list[Choice[Way]] = []
    for choice in sorted(choices, key=lambda choice: (choice.error, choice.cycles)):
        if found and choice.cycles >= found[-1].cycles:
            continue  # more error that saves nothing
        while len(found) > 1 and _slope(found[-2], found[-1]) >= _slope(found[-1], choice):
            found.pop()
        found.append(choice)
    return found


def _slope(one: Choice[Way], other: Choice[Way]) -> float:
    return (other.error - one.error) / (one.cycles - other.cycles)


def path(choices: Mapping[Names, Sequence[Choice[Way]]]) -> Iterator[dict[str, Way]]:
    """Give states from the least error on, each one step further; the step with the least slope comes first.

    No other state has both no more cycles and less error, nor fewer cycles and no more error.
    """
    hulls = {names: hull(some) for names, some in choices.items()}
    state = {name: best[0].options for names, best in hulls.items() for name in names}
    yield dict(state)
    steps = [
        Step(_slope(one, other), names, other.options)
        for names, best in hulls.items()
        for one, other in pairwise(best)
    ]
    for step in sorted(steps, key=lambda step: (step.slope, step.names)):
        state |= dict.fromkeys(step.names, step.options)
        yield dict(state)


def path_from(start: Way, choices: Mapping[Names, Sequence[Choice[Way]]]) -> Iterator[dict[str, Way]]:
    """Give states from one way to prune all tensors on, each one step further, as `path` does.

    Tensors that can't be pruned so begin with their least error.

    Examples
    --------
    >>> ways = [Choice(PruningOptions(rows), cycles, error) for rows, cycles, error in
    ...         [(8, 9, 0.0), (6, 7, 1.0), (4, 6, 3.0)]]
    >>> [state["w"].rows for state in path_from(PruningOptions(6), {("w",): ways})]
    [6, 4]
    """
    left: dict[Names, Sequence[Choice[Way]]] = {}
    for names, some in choices.items():
        first = next((choice for choice in some if choice.options == start), None)
        fewer = [choice for choice in some if first and choice.cycles < first.cycles]
        # No error is less than the start's: the first step of a hull is then the start.
        rest = [Choice(c.options, c.cycles, max(c.error, first.error)) for c in fewer] if first else some
        left[names] = [first, *rest] if first else some
    return path(left)
