"""The project's shape: who imports whom, what loading costs, and files that must agree with each other."""

from __future__ import annotations

import ast
import json
import re
import resource
import statistics
import subprocess
import sys
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
    "cv2",
    "safetensors",
    "fsspec",
    "s3fs",
    "aiohttp",
    "pycocotools",
    "rapidfuzz",
    "rapidocr_onnxruntime",
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
    # Of a processor, which others at work do not change; what the interpreter itself needs is none of ours.
    def seconds(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python("-c", code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

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
    newest = re.search(r"^## (\d\S*)", text("CHANGELOG.md"), re.MULTILINE)
    assert cited
    assert newest
    assert cited[1] == version
    # On the way to the next release the version is later than the newest one, and says so.
    assert version == newest[1] or (version.endswith(".dev0") and version > newest[1])


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
    named = re.findall(r"(?:^|`|\$ |&& )make ([a-z-]+)", text(page), re.MULTILINE)
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


def test_pages_that_scripts_write_are_theirs() -> None:
    """docs/store.md lists the columns and rules that are declared."""
    for name in ("columns", "store_rules"):
        script = f"docs/recipes/{name}.py"
        namespace: dict[str, object] = {"__name__": name, "__file__": str(ROOT / script)}
        exec(compile(text(script), script, "exec"), namespace)
        page = namespace["page"]
        assert callable(page)
        assert page() == text("docs/store.md")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "written"), [("machine", "docs/machine.md"), ("published_figures", "README.md")]
)
def test_tables_of_pages_are_computed(script: str, written: str) -> None:
    """The pages show what their scripts find."""
    path = f"docs/recipes/{script}.py"
    namespace: dict[str, object] = {"__name__": script, "__file__": str(ROOT / path)}
    exec(compile(text(path), path, "exec"), namespace)
    page = namespace["page"]
    assert callable(page)
    assert page() == text(written)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def test_a_package_fits_on_a_page() -> None:
    """The top of hwmodel is its architecture: a dozen entries at most, and no module of many ideas."""
    top = {path.stem for path in (ROOT / "hwmodel").iterdir() if path.suffix in ("", ".py")}
    assert len(top - {"__init__", "__pycache__"}) <= 12
    long = {
        f"{path.relative_to(ROOT)}: {count}"
        for path in modules("hwmodel")
        if (count := len(path.read_text("utf-8").splitlines())) > 400
    }
    assert not long


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_modules_have_one_name(package: str) -> None:
    names = [path.stem for path in modules(package) if not path.stem.startswith("__")]
    # A package may hold the module of its own name: operands/operands.py.
    folders = [path for path in (ROOT / package).rglob("*") if path.is_dir() and path.name[0] != "_"]
    names += [path.name for path in folders if not (path / f"{path.name}.py").exists()]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice


def test_one_class_a_name() -> None:
    """Also of public type aliases: whoever reads `Part` knows which."""
    found: dict[str, list[str]] = {}
    for path in [*modules("bitxcore"), *modules("hwmodel")]:
        for node in ast.parse(path.read_text("utf-8")).body:
            names = [node.name] if isinstance(node, ast.ClassDef) else []
            for name in names:
                if not name.startswith("_"):
                    found.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_what_machines_share_knows_no_machine() -> None:
    shared = (
        "engines",
        "families",
        "base",
        "changes",
        "cycle_attribution",
        "memo",
        "on_chip",
        "option_values",
    )
    machines = {path.stem for path in (ROOT / "hwmodel/accelerators").iterdir()} - {*shared}
    machines -= {"__init__", "__pycache__", "registry"}
    assert len(machines) >= 20
    for place in shared:
        folder = ROOT / "hwmodel/accelerators" / place
        for path in folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
            imported = re.findall(r"(?:from|import) hwmodel\.accelerators\.(\w+)", path.read_text("utf-8"))
            assert not machines & {*imported}, path


@pytest.mark.parametrize("package", PACKAGES)
def test_no_document_is_needed_to_read_the_code(package: str) -> None:
    for path in modules(package):
        assert "SPEC §" not in path.read_text("utf-8"), path


@pytest.mark.slow
def test_type_checkers_see_the_machines(tmp_path: Path) -> None:
    """Options of a machine are checked in a user's script; completion has them likewise."""
    script = tmp_path / "script.py"
    script.write_text(
        "import hwmodel as hw\n"
        "machine = hw.accelerators.BitX(rows=6)\n"
        "depth: int | None = machine.lane_fifo_depth\n"
        "hw.accelerators.BitX(rows='six')\n"
        "hw.published.averages()[0].published\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(script)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert 'script.py:4: error: Argument "rows" to "BitX"' in done.stdout
    assert "Found 1 error" in done.stdout


def test_every_accelerator_has_a_test_file_of_its_name() -> None:
    from hwmodel.accelerators.registry import accelerator_class, accelerator_names

    own = {name for name in accelerator_names() if accelerator_class(name).__module__.startswith("hwmodel.")}
    tested = {file.stem.removeprefix("test_") for file in ROOT.glob("tests/hwmodel/accelerators/test_*.py")}
    assert len(own) >= 20
    assert not own - tested
