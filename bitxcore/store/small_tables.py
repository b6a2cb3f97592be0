"""Tables that are read several times: small ones are kept in memory, large ones read again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy.typing as npt

from bitxcore.store.reader import BLOCK_ROWS, Store


class SmallTables:
    """Blocks and units of a store's tables.

    Parameters
    ----------
    store : Store
        Open as long as this is used.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._units: dict[str, dict[str, str]] = {}
        self._kept: dict[str, list[dict[str, npt.NDArray[Any]]]] = {}

    def units(self, name: str) -> dict[str, str]:
        """Units of a table's columns."""
        if name not in self._units:
            self._units[name] = self._store.units(name)
        return self._units[name]

    def blocks(self, name: str) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Give a table's blocks as `Store.blocks`; a table of one block is read only once."""
        if name not in self._kept:
            stream = self._store.blocks(name)
            first = next(stream, None)
            if first is not None and len(next(iter(first.values()))) == BLOCK_ROWS:
                yield first
                yield from stream
                return
            self._kept[name] = [] if first is None else [first]
        yield from self._kept[name]
