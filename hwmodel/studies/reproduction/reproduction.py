"""What is reproduced, in the paper's order, and the run over it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bitxcore.errors import OptionError
from bitxcore.progress import Progress
from bitxcore.showing import table_repr
from bitxcore.tables import TableCollector, Tables, TabularResult
from hwmodel.simulation.result_tables import TableWriter
from hwmodel.studies.reproduction.line import COLUMNS, Line
from hwmodel.studies.reproduction.simulations import Simulations

if TYPE_CHECKING:
    from bitxcore.store import StoreWriter


@dataclass(frozen=True)
class Section:
    """A module of lines.

    Parameters
    ----------
    module : str
        Of `hwmodel.studies.reproduction.places`.
    places : tuple of str
        Tables and figures that it has lines of.
    trained : bool
        Whether it runs our trained networks.
    """

    module: str
    places: tuple[str, ...]
    trained: bool = False


SECTIONS = (
    Section("table_1", ("Table 1",)),
    Section("tables_2_and_3", ("Table 2", "Table 3")),
    Section("figures_5_and_6", ("Figures 5 and 6",)),
    Section("figure_7", ("Figure 7",)),
    Section("figure_8", ("Figure 8",)),
    Section("figures_9_and_10", ("Figure 9", "Figure 10")),
    Section("figure_11", ("Figure 11a", "Figure 11b")),
    Section("table_6", ("Table 6",)),
    Section("table_7", ("Table 7",)),
    Section("accuracy", ("Table 2", "Table 3", "Table 4", "Table 5", "Table 6"), trained=True),
    Section("composed", ("Table 6",), trained=True),
    Section("contradictions", ("Contradictions",)),
)
"""Where lines come from."""

PLACES = (
    *(f"Table {number}" for number in range(1, 8)),
    "Figures 5 and 6",
    *(f"Figure {number}" for number in ("7", "8", "9", "10", "11a", "11b")),
    "Contradictions",
)
"""Every table and figure that has lines, in the paper's order."""

_ALSO = {
    "figure 5": ("Figures 5 and 6",),
    "figure 6": ("Figures 5 and 6",),
    "figure 11": ("Figure 11a", "Figure 11b"),
}
"""What else places are called."""


def places_called(name: str) -> tuple[str, ...]:
    """Find the places of a name, however it is capitalised.

    Raises
    ------
    OptionError
        If there are no lines of it.

    Examples
    --------
    >>> places_called("figure 11")
    ('Figure 11a', 'Figure 11b')
    """
    found = _ALSO.get(name.lower(), tuple(place for place in PLACES if place.lower() == name.lower()))
    if not found:
        raise OptionError(f"no lines of {name!r}; there are {', '.join(PLACES)}", value=name)
    return found


class Reproduction(tuple[Line, ...], TabularResult):
    """What a reproduction found: a tuple of `Line`."""

    __slots__ = ()
    _main_table = "reproduction"

    def tables(self) -> Tables:
        """Return the table ``reproduction``, as its store holds it.

        Examples
        --------
        >>> found = reproduce(["Table 3"], accuracy=False)
        >>> len(found.tables()["reproduction"]) == len(found)
        True
        """
        collector = TableCollector()
        _write(collector, self)
        return collector.tables()

    def _shown(self) -> tuple[str, Iterable[str]]:
        return "reproduction", _SHOWN

    def __repr__(self) -> str:
        rows = ({name: getattr(line, name) for name in _SHOWN} for line in self)
        return table_repr(f"Reproduction: {len(self):,} lines", rows, "all: .to_pandas()")


_SHOWN = ("place", "network", "setting", "quantity", "unit", "published", "ours", "ratio")
"""What the repr tells of a line."""


def _write(writer: TableWriter, found: Iterable[Line]) -> None:
    """Write the table ``reproduction``."""
    writer.write_table(
        "reproduction",
        (line.columns() for line in found),
        units={name: "1" if name == "ratio" else "" for name in COLUMNS}
        | {"published": "as in unit", "ours": "as in unit"},
        dtypes={name: dtype for name, (dtype, _) in COLUMNS.items()},
    )


def reproduce(
    places: Iterable[str] | None = None,
    progress: Progress | None = None,
    store: str | os.PathLike[str] | StoreWriter | None = None,
    parameters: dict[str, Any] | None = None,
    quick: bool = False,
    accuracy: bool = True,
) -> Reproduction:
    """Compute our numbers for comparison with the paper's.

    Published numbers are only compared with, with two exceptions, which their lines name: the standard
    deviations of Figure 8's weights and the slimmed YOLOv3 were chosen by published numbers. Everything
    together takes about half an hour on two cores, most of it for accuracies. No network access is needed.

    Parameters
    ----------
    places : iterable of str, optional
        Of `PLACES`; all by default.
    progress : callable, optional
        ``progress(done, total, next_step)``.
    store : path or StoreWriter, optional
        HDF5 file that receives the lines, as the table ``reproduction``.
    parameters : mapping, optional
        Further values to record in the store's provenance.
    quick : bool
        Accuracies on a fifth of the samples, and for three of Table 4's group sizes only.
    accuracy : bool
        Whether to run our trained networks beside Tables 2 to 6, which takes most of the time.

    Returns
    -------
    Reproduction
        A tuple of `Line`, in the order of `PLACES`.

    Raises
    ------
    OptionError
        If there are no lines of a place.

    Examples
    --------
    >>> found = reproduce(["Table 3"], accuracy=False)
    >>> resnet = next(x for x in found if x.network == "ResNet50" and x.setting == "fp32, N=6")
    >>> resnet.published, round(resnet.ours, 2)
    (1.67, 1.68)
    """
    named = PLACES if places is None else (place for name in places for place in places_called(name))
    wanted = tuple(dict.fromkeys(named))
    with _opened(
        store, {"places": wanted, "quick": quick, "accuracy": accuracy, **(parameters or {})}
    ) as writer:
        simulations, found = Simulations(quick, wanted), list[Line]()
        sections = [
            section
            for section in SECTIONS
            if set(section.places) & set(wanted) and (accuracy or not section.trained)
        ]
        for done, section in enumerate(sections):
            if progress is not None:
                progress(done, len(sections), section.module.replace("_", " "))
            module = import_module(f"hwmodel.studies.reproduction.places.{section.module}")
            found += [line for line in module.lines(simulations) if line.place in wanted]
        if progress is not None:
            progress(len(sections), len(sections), "")
        found.sort(key=lambda line: PLACES.index(line.place))
        result = Reproduction(found)
        if writer is not None:
            _write(writer, result)
    return result


def _opened(store: str | os.PathLike[str] | StoreWriter | None, parameters: dict[str, Any]) -> Any:
    """Open a new store before the work begins, so that a bad path costs no time."""
    if not isinstance(store, (str, os.PathLike)):
        return nullcontext(store)
    from bitxcore.store import Store

    return Store.create(store, parameters=parameters)
