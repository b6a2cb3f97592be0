"""The project's shape: who imports whom, what loading costs, and files that must agree with each other."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]
PACKAGES = ("bitxcore", "hwmodel")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# Import names of what the extras install; without it every module still loads.
OPTIONAL = {
    "onnx",
    "onnxruntime",
    "PIL",
    "torch",
    "matplotlib",
    "jinja2",
    "dask",
    "pandas",
    "xarray",
    "sklearn",
    "safetensors",
}
HEAVY = {"numba", "llvmlite", "scipy", "h5py", "click", "rich", *OPTIONAL}


def python(*arguments: str) -> str:
    """Run a fresh interpreter in the root and return what it prints."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_imports_run_one_way(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    broken = lint_imports(no_cache=True)
    assert not broken, capsys.readouterr().out


@pytest.mark.parametrize("package", PACKAGES)
def test_import_is_light(package: str) -> None:
    loaded = set(
        json.loads(python("-c", f"import {package}, sys, json; print(json.dumps(list(sys.modules)))"))
    )
    assert package in loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize("package", PACKAGES)
def test_import_takes_less_than_300_ms(package: str) -> None:
    # What the interpreter itself needs to start is none of ours.
    def seconds(code: str) -> float:
        start = time.perf_counter()
        python("-c", code)
        return time.perf_counter() - start

    pairs = [seconds(f"import {package}") - seconds("pass") for _ in range(5)]
    assert statistics.median(pairs) < 0.3


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_loads_without_the_extras(package: str) -> None:
    code = f"""
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({sorted(OPTIONAL)!r}))
import {package}
modules = [m.name for m in pkgutil.walk_packages({package}.__path__, "{package}.")]
for name in modules:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(modules))
"""
    assert int(python("-c", code)) > 10


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_load_and_are_sorted(package: str) -> None:
    names = json.loads(
        python(
            "-c",
            f"import {package} as p, json; [getattr(p, n) for n in p.__all__]; print(json.dumps(p.__all__))",
        )
    )
    assert names
    assert names == sorted(names)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed_and_installed_whole(package: str) -> None:
    setuptools = PROJECT["tool"]["setuptools"]
    found = {
        ".".join(folder.relative_to(ROOT).parts)
        for folder in [ROOT / package, *(ROOT / package).rglob("*")]
        if folder.is_dir() and any(folder.glob("*.py"))
    }
    listed = {name for name in setuptools["packages"] if name.split(".")[0] == package}
    assert found == listed
    assert (ROOT / package / "py.typed").exists()
    assert "py.typed" in setuptools["package-data"][package]
    # A wheel must never install a top-level module called `data`, nor code from there.
    assert setuptools["package-dir"]["bitxdata"] == "data"
    assert not list((ROOT / "data").rglob("*.py"))


def test_versions_agree() -> None:
    version = PROJECT["project"]["version"]
    cited = re.search(r"^version: (.*)$", text("CITATION.cff"), re.MULTILINE)
    newest = re.search(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE)
    assert cited
    assert newest
    assert cited[1] == newest[1] == version


def test_licence_is_the_one_that_is_named() -> None:
    assert PROJECT["project"]["license"] == "MIT"
    assert text("LICENSE").startswith("MIT License")
    assert "license: MIT" in text("CITATION.cff")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/adding.md", ".ci/run"])
def test_make_targets_that_pages_name_exist(page: str) -> None:
    phony = re.search(r"^\.PHONY: (.*)$", text("Makefile"), re.MULTILINE)
    assert phony
    targets = set(phony[1].split())
    assert all(re.search(rf"^{target}:", text("Makefile"), re.MULTILINE) for target in targets)
    named = re.findall(r"(?:^|`|\$ |&& )make ([a-z]+)", text(page), re.MULTILINE)
    assert named or page == "docs/adding.md"
    assert set(named) <= targets


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("data/**/*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


def test_picture_is_the_scripts() -> None:
    """The README's picture shows the sample network's own weights."""
    namespace: dict[str, object] = {"__name__": "picture"}
    exec(compile(text("docs/recipes/picture.py"), "picture.py", "exec"), namespace)
    draw = namespace["draw"]
    assert callable(draw)
    assert draw() == text("docs/bit-matrix.svg")


def test_every_accelerator_has_a_test_file_of_its_name() -> None:
    from hwmodel.accelerators.registry import accelerator_class, accelerator_names

    own = {name for name in accelerator_names() if accelerator_class(name).__module__.startswith("hwmodel.")}
    tested = {file.stem.removeprefix("test_") for file in ROOT.glob("tests/hwmodel/accelerators/test_*.py")}
    assert len(own) >= 20
    assert not own - tested
