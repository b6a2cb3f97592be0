"""Virtual HDF5 datasets: all of their values must be in the file itself.

libhdf5 reads what is missing as fill values without a word, and a dataset that is made of itself without end.
"""

from __future__ import annotations

from typing import Any

import h5py

from bitxcore.dumps.hdf5_links import find
from bitxcore.dumps.trust import UnsupportedError

MAX_DEPTH = 16  # virtual datasets of virtual datasets; libhdf5 calls itself for each


class VirtualSources:
    """What the virtual datasets of one file are made of; each dataset is looked at once."""

    def __init__(self) -> None:
        self._depths: dict[int, int] = {}

    def check(self, dataset: Any) -> None:
        """Check a virtual dataset, and those that it is made of; called where `reading` names the place.

        Raises
        ------
        UnsupportedError
            If a source is in another file, is missing, is smaller than what is taken from it, or is made
            of the dataset.
        """
        self._depth(dataset, ())

    def _depth(self, dataset: Any, above: tuple[int, ...]) -> int:
        """Return how many virtual datasets stand on each other, this one included."""
        address = h5py.h5o.get_info(dataset.id).addr
        if address in above:
            raise UnsupportedError("is virtual, and made of itself")
        if len(above) >= MAX_DEPTH:
            raise UnsupportedError(
                f"is virtual, through more than {MAX_DEPTH} others, which bitx does not follow"
            )
        if address not in self._depths:
            depth = 0
            for mapping in dataset.virtual_sources():
                source = _source(dataset, mapping)
                if source.is_virtual:
                    depth = max(depth, self._depth(source, (*above, address)))
            self._depths[address] = depth + 1
        if len(above) + self._depths[address] > MAX_DEPTH:
            raise UnsupportedError(
                f"is virtual, through more than {MAX_DEPTH} others, which bitx does not follow"
            )
        return self._depths[address]


def _source(dataset: Any, mapping: Any) -> Any:
    """Return the dataset that a mapping takes values from."""
    name = mapping.dset_name
    if mapping.file_name != ".":
        raise UnsupportedError(f"is virtual, with values in another file, {mapping.file_name!r}")
    if "%" in name:
        raise UnsupportedError(f"is virtual, and names its sources by a pattern, {name!r}")
    try:
        found = find(dataset.file, name)
    except UnsupportedError as error:
        raise UnsupportedError(f"is virtual, and its source {name!r} is missing, or elsewhere") from error
    source = h5py.Dataset(found) if isinstance(found, h5py.h5d.DatasetID) else None
    if source is None or source.shape is None:
        raise UnsupportedError(f"is virtual, and its source {name!r} is missing")
    if source.external:
        raise UnsupportedError(f"is virtual, and its source {name!r} has its values in another file")
    if not _holds(source, mapping, dataset.size):
        raise UnsupportedError(
            f"is virtual, and its source {name!r} of shape {source.shape} is smaller than declared"
        )
    return source


def _holds(source: Any, mapping: Any, size: int) -> bool:
    """Whether all that a mapping takes is there; `size` is that of the virtual dataset."""
    taken, given = mapping.src_space, mapping.vspace
    if taken.get_select_type() == h5py.h5s.SEL_ALL:
        whole = given.get_select_type() == h5py.h5s.SEL_ALL
        return bool(source.size == (size if whole else given.get_select_npoints()))
    if taken.get_select_type() == h5py.h5s.SEL_HYPERSLABS and taken.is_regular_hyperslab():
        _, _, counts, blocks = taken.get_regular_hyperslab()
        if h5py.h5s.UNLIMITED in (*counts, *blocks):
            return True  # as much as there is
    if not taken.get_select_npoints():
        return True
    _, last = taken.get_select_bounds()
    return len(last) == source.ndim and all(at < n for at, n in zip(last, source.shape, strict=True))
