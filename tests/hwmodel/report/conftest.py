"""Stores of runs, and a browser for pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import hwmodel as hw
from bitxcore.store import Store
from hwmodel.report.figure_sources import tables_of

MACHINES = ("dadiannao", "stripes")
HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=document.title='taken'>",
    "a\"b'c\nd\x1b[2Je\u2028f",
    "=1+1",
    "{{ 7 * 7 }}<!--",
)


@pytest.fixture(scope="session")
def hostile_names() -> tuple[str, ...]:
    """Names that would break a page or a terminal that takes them for more than text."""
    return HOSTILE


@pytest.fixture(scope="session")
def run_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a run on two machines."""
    path = tmp_path_factory.mktemp("report") / "run.h5"
    hw.simulate_network(list(MACHINES), "resnet20-cifar10", precisions=8, store=path)
    return path


def rewritten(source: Path, target: Path, names: Mapping[str, str], **parameters: Any) -> Path:
    """Write a store anew with other texts in it."""
    with Store.create(target, parameters={"command": "simulate", **parameters}, inputs=[source]) as writer:
        for table in tables_of(source).values():
            columns = {
                name: [names.get(value, value) if isinstance(value, str) else value for value in values]
                for name, values in table.columns.items()
            }
            rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            writer.write_table(table.name, rows, units=table.units)
    return target


@pytest.fixture(scope="session")
def hostile_store(run_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, of layers and machines with names that would break a page."""
    layers = list(dict.fromkeys(tables_of(run_store)["simulation"].columns["layer"]))
    names = dict(zip(layers, HOSTILE, strict=False)) | dict(zip(MACHINES, HOSTILE, strict=False))
    folder = tmp_path_factory.mktemp("hostile")
    return rewritten(run_store, folder / "<b>run & 'run'.h5", names, model=HOSTILE[0], other=HOSTILE[2])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; tests are skipped without one, or without Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this system")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()
