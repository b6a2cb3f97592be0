"""Stores that were edited: a report shows what is left of them, or refuses them in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import hwmodel as hw
from bitxcore.errors import BitxError
from bitxcore.store import Store
from hwmodel.cli import group

pytest.importorskip("jinja2")
pytest.importorskip("vl_convert")

SAMPLE = Path(__file__).parents[4] / "data/samples/digits_resnet.onnx"
Columns = dict[str, Any]
Edit = Callable[[dict[str, Columns]], None]
FLOATS = (np.nan, np.inf, -np.inf, 0.0, -1.0, 5e-324, 9e299, 1e308)
INTEGERS = (0, 1, -1, 2**53, 2**62)
VARIANTS = 60


@pytest.fixture(scope="module")
def sources(kept: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small store of each kind."""
    folder = tmp_path_factory.mktemp("sources")
    paths = {name: folder / f"{name}.h5" for name in ("inspect", "prune")}
    for arguments in (
        ["inspect", SAMPLE, "--preset", "wild", "-o", paths["inspect"]],
        ["prune", SAMPLE, "-o", folder / "pruned.onnx", "--store", paths["prune"]],
    ):
        done = CliRunner().invoke(group, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
    return paths | {name: one.path for name, one in kept.items()}


def rewritten(source: Path, target: Path, edit: Edit) -> Path:
    """Write a store anew with other columns."""
    with pytest.MonkeyPatch.context() as patch, Store.open(source) as store, Store.create(target) as writer:
        patch.setattr("bitxcore.store.writer.KEYS", {})  # other programs do not check what they write
        tables: dict[str, Columns] = {name: dict(store.table(name)) for name in store.tables}
        edit(tables)
        for name, columns in tables.items():
            if columns:
                units = {column: store.units(name)[column] for column in columns}
                dtypes = {c: str if values.dtype == object else values.dtype for c, values in columns.items()}
                writer.write_table(name, columns, units=units, dtypes=dtypes, attrs=store.attrs(name))
        for name, arrays in store.tensors.items():
            writer.write_tensor_arrays(name, arrays, store.tensor_units(name))
    return target


def filled(kind: str, value: float) -> Edit:
    """Give all columns of a kind one value."""

    def edit(tables: dict[str, Columns]) -> None:
        for columns in tables.values():
            for name, values in columns.items():
                if values.dtype.kind == kind:
                    columns[name] = np.full(len(values), value, values.dtype)

    return edit


def first_rows(count: int) -> Edit:
    """Keep the first rows of all tables."""

    def edit(tables: dict[str, Columns]) -> None:
        for columns in tables.values():
            columns.update({name: values[:count] for name, values in columns.items()})

    return edit


def nothing_known(tables: dict[str, Columns]) -> None:
    """Mark all values as missing that can be."""
    for columns in tables.values():
        for name, values in columns.items():
            if values.dtype.kind == "i":
                columns[name] = np.ma.masked_all(len(values), values.dtype)
            elif values.dtype.kind == "f":
                columns[name] = np.full(len(values), np.nan, values.dtype)
            elif values.dtype == object:
                columns[name] = np.full(len(values), None, object)


def without(table: str, column: str) -> Edit:
    """Remove a column, or with ``""`` the table."""

    def edit(tables: dict[str, Columns]) -> None:
        tables[table] = {k: v for k, v in tables[table].items() if k != column} if column else {}

    return edit


def variants(sources: dict[str, Path]) -> Iterator[tuple[str, Path, Edit]]:
    for kind, path in sources.items():
        yield from ((f"{kind}: floats {value}", path, filled("f", value)) for value in FLOATS)
        yield from ((f"{kind}: integers {value}", path, filled("i", value)) for value in INTEGERS)
        yield from ((f"{kind}: {count} rows", path, first_rows(count)) for count in (0, 1))
        yield f"{kind}: nothing known", path, nothing_known
        with Store.open(path) as store:
            names = [(table, column) for table in store.tables for column in ("", *store.units(table))]
        yield from ((f"{kind}: without {t}/{c}", path, without(t, c)) for t, c in names)


@pytest.mark.slow
def test_no_edit_gives_more_than_an_error_of_one_line(sources: dict[str, Path], tmp_path: Path) -> None:
    page, outcomes = tmp_path / "report.html", {True: 0, False: 0}
    everything = list(variants(sources))
    for number, (label, source, edit) in enumerate(Random(0).sample(everything, VARIANTS)):
        try:
            path = rewritten(source, tmp_path / f"{number}.h5", edit)
            hw.report.write_report([path], page)
        except BitxError as refused:
            several = len(str(refused).splitlines()) > 1
            assert (several, page.exists()) == (False, False), label
            outcomes[False] += 1
            continue
        except Exception as error:
            raise AssertionError(label) from error
        outcomes[True] += 1
        said = re.sub(r"<script.*?</script>", "", page.read_text("utf-8"), flags=re.DOTALL)
        assert not re.search(r"\b(?:nan|inf)\b", said), label
        page.unlink()
    assert min(outcomes.values()) > 5  # some are shown, some are refused


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "edit", "told"),
    [
        ("inspect", without("errors", "rows"), "table errors: lacks the column 'rows'"),
        ("run", without("networks", "accelerator"), "table networks: lacks the column 'accelerator'"),
        ("run", filled("i", -1), "column 'kept_ones', row 0: must be a whole number from 0 to 4096, got -1"),
        (
            "sweep",
            filled("i", 2**62),
            "row 0: must be a whole number from 0 to 2**53, got 4611686018427387904",
        ),
        ("run", filled("f", 1e308), "row 0: must be a number from 0 to 1e300, got 1e+308"),
        ("run", nothing_known, "row 0: must be text, and is missing"),
    ],
)
def test_broken_rules_are_named(
    kind: str, edit: Edit, told: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    path = rewritten(sources[kind], tmp_path / "edited.h5", edit)
    with pytest.raises(BitxError) as raised:
        hw.report.write_report([path], tmp_path / "report.html")
    assert told in str(raised.value)
    assert str(raised.value).startswith(f"{path}: table ")
