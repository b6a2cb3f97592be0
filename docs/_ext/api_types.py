"""Types in signatures: as the source writes them, and links where they are public."""

from __future__ import annotations

import inspect
from typing import Any

from api_pages import public_names
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode


class _Text:
    """Text that stands in a signature without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _written(annotation: Any) -> Any:
    return _Text(annotation) if isinstance(annotation, str) else annotation


def _default(value: Any) -> Any:
    # An object without a literal would show its address, which differs from build to build.
    return _Text("...") if repr(value).startswith("<") else value


def signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, shown: str | None, returns: str | None
) -> tuple[str, str] | None:
    """Return a signature with annotations as they are written; evaluated, `ArrayLike` fills a screen."""
    if what not in ("function", "method", "class") or shown is None:
        return None
    try:
        found = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    parameters = [
        p.replace(
            annotation=p.annotation if p.annotation is p.empty else _written(p.annotation),
            default=p.default if p.default is p.empty else _default(p.default),
        )
        for p in found.parameters.values()
        if p.name not in ("self", "cls")
    ]
    text = str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    result = "" if found.return_annotation is found.empty else str(found.return_annotation)
    return text, "" if what == "class" else result


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Node | None:
    """Link a name to its page by its last part; types and parameters, which have no page, stay text."""
    if node.get("refdomain") != "py" or node.get("reftype") not in ("class", "exc", "obj"):
        return None
    last = node["reftarget"].rpartition(".")[2]
    pages = {public.described_as for public in public_names() if public.name == last}
    if len(pages) != 1 or app.builder is None:
        return contnode
    (full,) = pages
    target = f"reference/api/{full}"
    return (
        make_refnode(app.builder, node["refdoc"], target, full, contnode) if node.get("refdoc") else contnode
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Install the hooks."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-signature", signature)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
