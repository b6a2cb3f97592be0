"""Pages of the API reference: one per public name, and a table of the names of each subject.

The names are those in `__all__` of the public modules, so that a new one appears by itself. Each object is
described once, under the first name that it has here; other names of it lead there.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, get_origin

if TYPE_CHECKING:
    from sphinx.application import Sphinx

TITLES = {
    "bitxcore": "bitxcore",
    "bitxcore.dumps": "Files of weights",
    "bitxcore.batch": "Pruning files",
    "bitxcore.store": "Stores",
    "bitxcore.torch": "PyTorch",
    "bitxcore.cuda": "CUDA",
    "bitxcore.clusters": "Clusters",
    "bitxcore.plot": "Figures of weights",
    "hwmodel": "hwmodel",
    "hwmodel.accelerators": "Machines",
    "hwmodel.costs": "Energy and area",
    "hwmodel.dram": "DRAM",
    "hwmodel.evaluation": "Accuracy",
    "hwmodel.evaluation.tasks": "Tasks",
    "hwmodel.evaluation.metrics": "Metrics",
    "hwmodel.preparation": "Preparing weights",
    "hwmodel.preparation.software_pruning": "Software pruning",
    "hwmodel.studies.composition": "Software pruning on machines",
    "hwmodel.published": "Published figures",
    "hwmodel.reproduction": "The BitX paper",
    "hwmodel.validation": "Other papers",
    "hwmodel.report": "Reports",
    "hwmodel.plot": "Figures of runs",
}
"""Public modules in the order of the reference; public submodules that are not here come after them."""

SUBJECTS = {
    "bitxcore": {
        "Pruning": ("pruning", "pruned", "many", "packed", "preparing", "policy", "presets"),
        "Bits": ("bits", "summary", "weight_ones", "groups"),
        "Number formats": ("formats", "quantization"),
        "Files of weights": ("dumps",),
        "Errors": ("errors",),
    },
    "hwmodel": {
        "Networks and layers": ("networks",),
        "Operands: weights and activations": ("operands",),
        "Machines": ("accelerators",),
        "Simulation": ("simulation",),
        "Comparison, explanation, sweeps": ("studies",),
    },
}
"""Headings for the names of a large module, by the part of the package in which they are defined."""


class PublicName(NamedTuple):
    """A name of a public module."""

    module: str
    name: str
    value: object
    described_as: str
    """The name under which the value is described: this one, or one that came before."""

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"


@cache
def public_modules() -> dict[str, ModuleType]:
    """Return the public modules by the name under which they are used."""
    found: dict[str, ModuleType] = {}

    def add(name: str) -> None:
        package, _, last = name.rpartition(".")
        # hw.published is an attribute; its module has another name.
        public = package in found and last in found[package].__all__
        module = getattr(found[package], last) if public else importlib.import_module(name)
        if name in found or any(module is other for other in found.values()):
            return
        found[name] = module
        for child in module.__all__:
            if inspect.ismodule(getattr(module, child)):
                also = f"{name}.{child}"
                later.append(also)

    later: list[str] = []
    for name in TITLES:
        if optional(name):
            add(name)
    for name in later:
        add(name)
    return found


def optional(name: str) -> bool:
    """Whether a module of `TITLES` is there."""
    package, _, last = name.rpartition(".")
    if not package or last in importlib.import_module(package).__dir__():
        return True
    return importlib.util.find_spec(name) is not None


@cache
def public_names() -> list[PublicName]:
    """Return every public name, modules aside, in the order of the reference."""
    first: dict[int, str] = {}
    names = []
    for module, loaded in public_modules().items():
        for name in loaded.__all__:
            value = getattr(loaded, name)
            if inspect.ismodule(value):
                continue
            full = f"{module}.{name}"
            # Two constants may be one object, and yet two names.
            described = full if is_constant(value) else first.setdefault(id(value), full)
            names.append(PublicName(module, name, value, described))
    return names


def subject_of(public: PublicName) -> str:
    """Return the heading under which a name stands on its module's page."""
    package = public.module
    source = getattr(public.value, "__module__", None) or ""
    if is_constant(public.value):
        source, _ = constant(package, public.name)
    part = source.removeprefix(package + ".").split(".")[0]
    for heading, parts in SUBJECTS.get(package, {}).items():
        if part in parts:
            return heading
    return "Others" if package in SUBJECTS else ""


def is_constant(value: object) -> bool:
    """Whether a value does not tell where it is from, as classes and functions do; a type alias does not."""
    return not (inspect.isclass(value) or inspect.isroutine(value) or hasattr(value, "__wrapped__"))


@cache
def constant(package: str, name: str) -> tuple[str, str]:
    """Return the module under a package that assigns a name, and the text below the assignment."""
    module = public_modules()[package]
    file = Path(module.__file__ or "")
    top = file.parent
    for path in sorted(top.rglob("*.py")) if hasattr(module, "__path__") else [file]:
        text = path.read_text("utf-8")
        # Parsing takes long, and few files are worth it.
        if re.search(rf"^{name}\b", text, re.MULTILINE) and (said := documented(text, name)) is not None:
            return ".".join([module.__name__, *path.relative_to(top).with_suffix("").parts]), said
    return "", ""


def documented(text: str, name: str) -> str | None:
    """Return the text below the assignment of a constant; nothing if it is not assigned there."""
    body = ast.parse(text).body
    for i, node in enumerate(body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            after = body[i + 1] if i + 1 < len(body) else None
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                return inspect.cleandoc(str(after.value.value))
            return ""
    return None


def stops(cls: type, described: set[type]) -> Sequence[str]:
    """Return the bases whose members are not shown again: public ones, and those of other projects."""
    return [
        base.__name__
        for base in cls.__mro__[1:]
        if base in described or not base.__module__.startswith(("bitxcore", "hwmodel"))
    ]


def page(public: PublicName, described: set[type]) -> str:
    """Return the page of one name."""
    # The lists of names lead here: hundreds of pages in the navigation of every page would help nobody.
    lines = [":orphan:", "", public.name, "=" * len(public.name), ""]
    lines += [f"Of :doc:`{public.module} <{public.module}-names>`.", ""]
    value = public.value
    if inspect.isclass(value):
        lines += [f".. autoclass:: {public.full}", "   :members:"]
        lines += ["   :show-inheritance:"] if value.__bases__ != (object,) else []
        lines += [f"   :inherited-members: {','.join(stops(value, described))}"]
    elif is_constant(value):
        _, text = constant(public.module, public.name)
        lines += [f".. py:data:: {public.full}", "", *("   " + line for line in text.splitlines())]
        if hasattr(value, "keys"):
            lines += ["", f"   Keys: {members(value)}"]
        elif isinstance(value, Iterable) and not get_origin(value):
            lines += ["", f"   Values: {members(value)}"]
        else:
            lines += ["", f"   ``{value!r}``"]
    else:
        lines += [f".. autofunction:: {public.full}"]
    return "\n".join(lines) + "\n"


def summary(public: PublicName) -> str:
    """Return the first line of what is said of a name."""
    if not is_constant(public.value):
        text = inspect.getdoc(public.value) or ""
    else:
        _, text = constant(public.module, public.name)
        is_several = isinstance(public.value, Iterable)
        text = text or (f"Values: {members(public.value)}" if is_several else f"``{public.value!r}``")
    return " ".join(text.partition("\n\n")[0].split())


def members(value: Iterable[Any]) -> str:
    """Return the keys or members of a constant."""
    return ", ".join(f"``{key!r}``" for key in (sorted(value) if isinstance(value, Set) else value))


def table(names: Sequence[PublicName]) -> Iterator[str]:
    """Return a table of names, a line each."""
    yield ".. list-table::"
    yield "   :class: names"
    yield "   :widths: 35 65"
    yield ""
    for public in names:
        yield f"   * - :py:obj:`{public.name} <{public.described_as}>`"
        yield f"     - {summary(public)}"
    yield ""


def module_page(module: str, names: Sequence[PublicName]) -> str:
    """Return the page of a public module."""
    title = TITLES.get(module, module)
    lines = [title, "=" * len(title), "", f".. py:module:: {module}", "", introduction(module), ""]
    lines += [f"``{imported(module)}``", ""]
    headings = [*SUBJECTS.get(module, {}), "Others", ""]
    for heading in headings:
        below = [public for public in names if subject_of(public) == heading]
        if below:
            lines += [heading, "-" * len(heading), ""] if heading else []
            lines += table(below)
    return "\n".join(lines) + "\n"


def introduction(module: str) -> str:
    """Return the first sentence of a module."""
    return " ".join((inspect.getdoc(public_modules()[module]) or "").partition("\n\n")[0].split())


def imported(module: str) -> str:
    """Return how a module is imported, or reached."""
    short = {"bitxcore": "bx", "hwmodel": "hw"}
    package, _, last = module.partition(".")
    if not last:
        return f"import {module} as {short[module]}"
    if last in public_modules()[package].__all__:
        return f"{short[package]}.{last}"
    return f"import {module}"


def write(app: Sphinx) -> None:
    """Write all pages, and touch none that is as it was."""
    folder = Path(app.srcdir) / "reference" / "api"
    names = public_names()
    described = {public.value for public in names if inspect.isclass(public.value)}
    pages = {
        f"{public.full}.rst": page(public, described)
        for public in names
        if public.described_as == public.full
    }
    modules = list(public_modules())
    for module in modules:
        pages[f"{module}-names.rst"] = module_page(module, [p for p in names if p.module == module])
    title = "Python"
    lines = [title, "=" * len(title), "", "Every public name of the two packages, by module.", ""]
    lines += [".. list-table::", "   :class: names", "   :widths: 45 55", ""]
    for module in modules:
        lines += [f"   * - :doc:`{module} <{module}-names>`", f"     - {introduction(module)}"]
    lines += ["", ".. toctree::", "   :hidden:", "", *(f"   {module}-names" for module in modules)]
    pages["index.rst"] = "\n".join(lines) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.name not in pages:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Install the hook."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
