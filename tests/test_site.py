"""The documentation site: what its pages are made from, and, slowly, the built site in a browser."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CHROMIUM = Path("/usr/bin/chromium")

# Packages without a name in another one's `__all__`, which pages and recipes use all the same.
ALSO_PUBLIC = {
    "bitxcore.clusters",
    "bitxcore.batch",
    "bitxcore.dumps",
    "bitxcore.store",
    "hwmodel.dram",
    "hwmodel.evaluation.metrics",
    "hwmodel.evaluation.tasks",
    "hwmodel.preparation",
    "hwmodel.preparation.software_pruning",
    "hwmodel.studies.composition",
}
# Those of recipes for a reader, a format or a criterion, from within: docs/adding.md.
WITHIN = {
    "bitxcore",
    "bitxcore.dumps.base",
    "bitxcore.dumps.span",
    "bitxcore.dumps.trust",
    "bitxcore.errors",
    "bitxcore.formats",
}


@pytest.fixture
def extensions(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Modules of docs/_ext that load without Sphinx, which `make test` does not install."""
    monkeypatch.syspath_prepend(DOCS / "_ext")
    names = ("api_pages", "check_site", "repository_links")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def public_names() -> set[str]:
    """Every public name, found by itself: `__all__` from the two packages down."""
    waiting = {"bitxcore": importlib.import_module("bitxcore"), "hwmodel": importlib.import_module("hwmodel")}
    waiting |= {name: importlib.import_module(name) for name in ALSO_PUBLIC}
    names: set[str] = set()
    seen: set[int] = set()
    while waiting:
        module_name, module = waiting.popitem()
        if id(module) in seen:
            continue
        seen.add(id(module))
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.ismodule(value):
                waiting[f"{module_name}.{name}"] = value
            else:
                names.add(f"{module_name}.{name}")
    return names


def test_the_reference_lists_exactly_the_public_names(extensions: SimpleNamespace, tmp_path: Path) -> None:
    extensions.api_pages.write(SimpleNamespace(srcdir=tmp_path))
    folder = tmp_path / "reference" / "api"
    described = {path.stem for path in folder.glob("*.rst")}
    listed: set[str] = set()
    for module in extensions.api_pages.public_modules():
        page = (folder / f"{module}-names.rst").read_text("utf-8")
        for name, described_as in re.findall(r"^   \* - :py:obj:`(\w+) <([\w.]+)>`$", page, re.MULTILINE):
            assert described_as in described
            listed.add(f"{module}.{name}")
    # A package that two names lead to is listed under one of them.
    by_value = {id(module): name for name, module in extensions.api_pages.public_modules().items()}
    expected = set()
    for name in public_names():
        package, _, last = name.rpartition(".")
        top, *rest = package.split(".")
        module = importlib.import_module(top)
        for part in rest:
            module = getattr(module, part, None) or importlib.import_module(package)
        expected.add(f"{by_value[id(module)]}.{last}")
    assert listed == expected
    assert {public.described_as for public in extensions.api_pages.public_names()} == {
        name for name in described if not name.endswith("-names") and name != "index"
    }


def test_every_name_has_a_line(extensions: SimpleNamespace) -> None:
    public = extensions.api_pages.public_names()
    assert [name.full for name in public if not extensions.api_pages.summary(name)] == []
    assert {extensions.api_pages.subject_of(name) for name in public} >= {"Pruning", "Simulation"}
    assert "Others" not in {extensions.api_pages.subject_of(name) for name in public}


def test_pages_import_public_names_only(extensions: SimpleNamespace) -> None:
    """What a page shows is in the reference."""
    public = {name.full for name in extensions.api_pages.public_names()}
    for page in [ROOT / "README.md", *DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md")]:
        found = re.findall(
            r"^from ((?:bitxcore|hwmodel)[\w.]*) import ([\w, ]+)$", page.read_text("utf-8"), re.MULTILINE
        )
        for module, names in found:
            private = {f"{module}.{name.strip()}" for name in names.split(",")} - public
            assert not private or module in WITHIN | EXCEPTIONS, (page.name, private)


# Single functions of pages that tell how something works inside.
EXCEPTIONS = {"bitxcore.store.text", "hwmodel.costs.area_energy", "hwmodel.evaluation.tasks.labelled"}


def test_every_page_is_in_one_part_of_the_site() -> None:
    """Lists that are read are those that the navigation is made of."""
    parts = [
        DOCS / part / "index.md" for part in ("tutorials", "how-to", "explanation", "reference", "project")
    ]
    found: list[Path] = []
    for part in parts:
        text = part.read_text("utf-8")
        listed = {(part.parent / link).resolve() for link in re.findall(r"\]\(([^)]+\.md)\)", text)}
        (tree,) = re.findall(r"^```\{toctree\}\n:hidden:\n\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        names = [name for name in tree.split() if name != "api/index"]
        pages = [(part.parent / f"{name}.md").resolve() for name in names]
        assert set(pages) == listed
        found += pages
    assert len(found) == len(set(found))
    every = set(DOCS.rglob("*.md")) - {
        *parts,
        DOCS / "index.md",
        DOCS / "README.md",
        DOCS / "project/readme.md",
    }
    assert set(found) == every


def test_links_of_included_pages_are_written_anew(extensions: SimpleNamespace, tmp_path: Path) -> None:
    links = extensions.repository_links
    page = tmp_path / "docs" / "project" / "changes.md"
    page.parent.mkdir(parents=True)
    page.write_text("```{include} ../../CHANGES.md\n```\n")
    file = tmp_path / "CHANGES.md"
    file.write_text("")
    assert links.included(page) == file
    pages = links.pages_of(tmp_path / "docs")
    text = "[a](docs/a.md#b), [c](CHANGES.md), [d](https://e.org), [f](#g)\n```\n[h](docs/i.md)\n```\n"
    found = links.with_links(text, file, page, pages)
    assert found == "[a](../a.md#b), [c](changes.md), [d](https://e.org), [f](#g)\n```\n[h](docs/i.md)\n```\n"
    back = links.with_links("[c](../CHANGES.md)", tmp_path / "docs/x.md", tmp_path / "docs/x.md", pages)
    assert back == "[c](project/changes.md)"


def test_the_check_finds_what_is_wrong(extensions: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a id="here"></a><a href="b.html#here">b</a><a href="#there">c</a><a href="c.html">d</a>'
        '<a href="https://e.org">e</a><script src="https://f.org/g.js"></script>'
        '<img srcset="h.png, i.png 2x">'
    )
    (tmp_path / "b.html").write_text('<p id="here"></p>')
    (tmp_path / "h.png").touch()
    (tmp_path / "j.css").write_text(
        '/* url(https://k.org) */ @import "https://l.org/m.css"; p { x: url(//n.org/o) }'
    )
    assert list(extensions.check_site.faults(tmp_path)) == [
        "a.html: loads https://f.org/g.js",
        "a.html: no place for #there",
        "a.html: no file for c.html",
        "a.html: no file for i.png",
        "j.css: loads https://l.org/m.css",
        "j.css: loads //n.org/o",
    ]


def test_examples_of_the_gallery_run_by_themselves() -> None:
    """The build runs them; each begins with a title, and reads nothing by a path of its own."""
    scripts = sorted((DOCS / "gallery").glob("*.py"))
    assert len(scripts) >= 4
    for script in scripts:
        text = script.read_text("utf-8")
        assert script.name.startswith("plot_")
        assert re.match(r'"""\n[^\n]+\n=+\n', text)
        assert "data/" not in text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    for name in ("sphinx", "furo", "myst_parser", "numpydoc", "sphinx_copybutton", "sphinx_gallery"):
        pytest.importorskip(name, reason="needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-n", "-q", "-d", folder / "doctrees", DOCS, folder / "html"]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *map(str, options)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


@pytest.mark.slow
def test_the_built_site_is_whole(site: Path) -> None:
    check = [sys.executable, str(DOCS / "_ext" / "check_site.py"), str(site)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(check, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (site / ".nojekyll").exists()
    assert len(list((site / "examples").glob("plot_*.html"))) == len(list((DOCS / "gallery").glob("*.py")))


@pytest.mark.slow
def test_search_works_from_a_disk(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        for query, place in (
            ("bit sparsity", "tutorials/compression.html"),
            ("prune_dump", "reference/api/bitxcore.batch.prune_dump.html"),
        ):
            page.goto(f"{site.as_uri()}/search.html?q={query.replace(' ', '+')}")
            page.wait_for_selector("#search-results li a")
            page.wait_for_selector("#search-results p.search-summary:has-text('found')")
            found = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
            assert any(place in link for link in found), found
        for name in (
            "index.html",
            "command-line.html",
            "reference/api/hwmodel-names.html",
            "examples/index.html",
        ):
            page.goto(f"{site.as_uri()}/{name}")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        browser.close()
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert said == []
