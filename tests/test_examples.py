"""The examples in docstrings show what happens."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("bitxcore", "hwmodel")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>>" in path.read_text("utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if module.startswith("bitxcore.torch"):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    found = doctest.testmod(import_module(module.removesuffix(".__init__")))
    assert found.attempted
    assert not found.failed


WITHOUT_EXAMPLE = {
    "hwmodel.evaluation.search_rows",  # minutes long
    "hwmodel.dram.part_from_dramsys",  # of files that no installation has
}


def test_public_functions_have_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    public = import_module("api_pages").public_names()
    functions = {name.full: name.value for name in public if inspect.isroutine(name.value)}
    assert len(functions) > 50
    assert {
        name for name, value in functions.items() if ">>>" not in (value.__doc__ or "")
    } <= WITHOUT_EXAMPLE
