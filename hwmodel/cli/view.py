"""What of a result is shown, and where else it goes: ``--json --csv --wide --notes``."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import click

__all__ = ["View", "current_view", "result_options"]

_KEY = f"{__name__}.view"
_OUTPUTS = ("output", "store", "write_policy", "write_report", "page")
"""Parameters of commands that name what is written."""


@dataclass
class View:
    """How the running command shows its result.

    Attributes
    ----------
    wide : bool
        Whether every column is shown at any width.
    notes : bool
        Whether every note is printed in full.
    csv : str or None
        File for the rows of the result; ``-`` is standard output.
    left_out : list of str
        Headings of the columns that were not shown so far.
    """

    wide: bool = False
    notes: bool = False
    csv: str | None = None
    left_out: list[str] = field(default_factory=list)

    def check(self, inputs: Iterable[Any]) -> None:
        """Refuse a CSV file that can't be written, or that is one of the files being read.

        Parameters
        ----------
        inputs : iterable of path-like or Dump

        Raises
        ------
        BitxError
        """
        if self.csv in (None, "-"):
            return
        from bitxcore.files import check_target
        from bitxcore.remote.remote_path import as_path

        target = as_path(str(self.csv))
        files = [each.files() if hasattr(each, "files") else [each] for each in inputs]
        sources = [os.path.realpath(path) for own in files for path in own]
        found = os.path.realpath(target)
        if target.exists() and any(
            os.path.isdir(source) and found.startswith(source + os.sep) for source in sources
        ):
            sources.append(found)
        check_target(target, sources)

    def write(self, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write the rows as CSV, if that was asked for.

        Parameters
        ----------
        rows : iterable of mappings
            One per line; their keys are the columns of the store.

        Returns
        -------
        bool
            Whether they went to standard output, which then holds nothing else.
        """
        if self.csv is None:
            return False
        if self.csv == "-":
            click.echo(csv_text(rows, shown=sys.stdout.isatty()), nl=False)
            return True
        from bitxcore.files import atomic_file

        with atomic_file(self.csv) as temporary:
            temporary.write_bytes(csv_text(rows).encode("utf-8", "backslashreplace"))
        return False

    @property
    def written(self) -> list[str]:
        """What it wrote beside the command's own outputs."""
        return [] if self.csv in (None, "-") else [str(self.csv)]


def current_view() -> View:
    """Return the view of the running command; outside of one, that of a command without options."""
    context = click.get_current_context(silent=True)
    found = None if context is None else context.meta.get(_KEY)
    return found if isinstance(found, View) else View()


def result_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json --csv --wide --notes``; the command gets the first as `as_json`."""

    @wraps(function)
    def command(
        *args: Any, as_json: bool, csv_file: str | None, wide: bool, notes: bool, **given: Any
    ) -> Any:
        context = click.get_current_context()
        view = View(wide, notes, csv_file)
        if as_json and csv_file == "-":
            raise click.UsageError("--json and --csv - both write to standard output: give one of them")
        if view.written:
            parameters = dict(context.params)
            del parameters["csv_file"]
            for name in _OUTPUTS:
                path = parameters.pop(name, None)
                if path is not None and os.path.realpath(path) == os.path.realpath(str(csv_file)):
                    raise click.UsageError(f"--csv and --{name.replace('_', '-')} are the same file")
            view.check(existing_paths(parameters))
            if str(csv_file).lower().endswith(_OTHER_KINDS):  # a slip must not replace a store or a model
                raise click.UsageError(f"--csv writes text; choose a name that ends in .csv, not {csv_file}")
        context.meta[_KEY] = view
        return function(*args, as_json=as_json, **given)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OTHER_KINDS = (".h5", ".hdf5", ".onnx", ".npy", ".npz", ".pt", ".pth", ".safetensors", ".json", ".html")
"""Suffixes of what other outputs and inputs are."""

_OPTIONS: tuple[Any, ...] = (
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document, no tables."),
    click.option(
        "--csv",
        "csv_file",
        metavar="FILE.csv",
        help="Also write the rows of the result, with all columns, in SI units. -: print the rows and"
        " nothing else.",
    ),
    click.option(
        "--wide",
        is_flag=True,
        help="Show all columns. A table wider than the terminal, or than COLUMNS, is printed in parts."
        "  [default: the main columns, or all if they fit; all in a pipe without COLUMNS]",
    ),
    click.option("--notes", is_flag=True, help="Print all notes in full, not only how many there are."),
)


def existing_paths(value: Any) -> Iterator[str]:
    """Existing files and folders that an option's value names, at any depth."""
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        if text and "\0" not in text and (os.path.exists(text) or _is_there(text)):
            yield text
    elif isinstance(value, Mapping):
        yield from (path for item in value.values() for path in existing_paths(item))
    elif isinstance(value, (list, tuple)):
        yield from (path for item in value for path in existing_paths(item))


def _is_there(text: str) -> bool:
    """Whether a text is the URL of an object or of a folder of them."""
    if "://" not in text:
        return False
    from bitxcore.errors import BitxError
    from bitxcore.remote.remote_path import as_path

    try:
        return as_path(text).exists()
    except BitxError:  # which whoever opens it will say
        return False


# -- CSV ---------------------------------------------------------------------------------------


def csv_text(rows: Iterable[Mapping[str, Any]], *, shown: bool = False) -> str:
    """Write rows as CSV: a line of names, then one line per row; what is missing is empty.

    Parameters
    ----------
    rows : iterable of mappings
        Columns are the keys of all of them, in the order in which they first appear.
    shown : bool
        Whether a terminal shows the text; control characters are then escaped.

    Examples
    --------
    >>> print(csv_text([{"layer": "fc", "cycles": 12}, {"layer": "a,b", "cycles": None}]), end="")
    layer,cycles
    fc,12
    "a,b",
    """
    found = list(rows)
    names = list(dict.fromkeys(name for row in found for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in found:
        writer.writerow([_cell(row.get(name), shown) for name in names])
    return text.getvalue()


def _cell(value: Any, shown: bool) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (list, tuple)) and all(isinstance(item, int) for item in value):
        return "x".join(map(str, value))  # a shape, as in stores
    if isinstance(value, (list, tuple, Mapping)):
        value = json.dumps(value, default=str)
    if shown and isinstance(value, str):
        from bitxcore.showing import printable

        return printable(value)
    return value
