"""Classes that are found by name, of this package and of others that offer theirs by an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from bitxcore.errors import OptionError


@dataclass(frozen=True)
class FoundByName:
    """Classes of one kind.

    Parameters
    ----------
    kind : str
        In messages, e.g. ``"metric"``.
    group : str
        Entry points of other packages: the name, and ``module:Class``.
    own : mapping of str to str
        Those of this package, likewise; they win.
    """

    kind: str
    group: str
    own: Mapping[str, str]

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self.own, *_of_other_packages(self.group)})

    def find(self, name: str) -> type[Any]:
        """Load a class.

        Raises
        ------
        OptionError
            If there is none of that name; all names follow.
        """
        place = self.own.get(name) or _of_other_packages(self.group).get(name)
        if place is None:
            raise OptionError(
                f"{self.kind} must be one of {', '.join(self.names())}, got {name!r}", value=name
            )
        module, _, cls = place.partition(":")
        found: type[Any] = getattr(import_module(module), cls)
        return found


@cache
def _of_other_packages(group: str) -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=group)}
