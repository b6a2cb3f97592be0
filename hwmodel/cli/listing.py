"""``bitx list``: what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hwmodel.cli import output as out
from hwmodel.cli.view import current_view, result_options

Rows = list[dict[str, Any]]


def formats() -> Rows:
    """List number formats: the floats, and the families of integers."""
    from bitxcore.formats import FLOATS

    rows: Rows = [
        {
            "format": f.name,
            "stored_bits": f"{f.storage_bits}",
            "significand_bits": f"{f.significand_bits}",
            "exponent_bits": f"{f.exponent_bits}",
            "default_window_rows": f"{f.default_window}",
            "encoding": f.encoding,
        }
        for f in FLOATS.values()
    ]
    families = (
        ("int2 … int16", "8 or 16", "N - 1", "sign-magnitude"),
        ("int2-twos … int16-twos", "8 or 16", "N", "twos-complement"),
        ("uint8", "8", "8", "unsigned"),
        ("fixed2 … fixed16", "of the float", "N - 1", "floats, quantised to int<N> first"),
    )
    for name, stored, p, encoding in families:
        row = {"format": name, "stored_bits": stored, "significand_bits": p, "exponent_bits": "0"}
        rows.append(row | {"default_window_rows": p, "encoding": encoding})
    return rows


def criteria() -> Rows:
    """Pruning criteria."""
    from bitxcore.criteria import CRITERIA

    texts = {
        "topn": ("--rows", "the rows of highest significance: the method"),
        "msb": ("--rows", "the highest non-empty rows: plain truncation, a control"),
        "threshold": ("--threshold, --rows", "rows of at least a share of the greatest significance"),
        "energy": ("--budget, --rows", "the fewest rows whose relative error stays within a budget"),
        "calibrated": ("--norms, --rows", "the rows of highest significance for inputs of given norms"),
    }
    return [
        {"criterion": name, "options": texts.get(name, ("", ""))[0], "keeps": texts.get(name, ("", ""))[1]}
        for name in CRITERIA
    ]


def readers() -> Rows:
    """Containers of dumps."""
    from bitxcore.dumps import READERS, WRITERS

    own = "in its own kind"
    return [
        {
            "suffix": suffix,
            "reader": place,
            "written": "from any kind" if suffix in WRITERS else own if _rewrites(place) else "no",
        }
        for suffix, place in {**_installed_readers(), **READERS}.items()
    ]


def _installed_readers() -> dict[str, str]:
    from importlib.metadata import entry_points

    from bitxcore.dumps import GROUP

    return {f".{point.name.removeprefix('.')}": point.value for point in entry_points(group=GROUP)}


def _rewrites(place: str) -> bool:
    """Whether a reader's module has a dump that can be written again."""
    from importlib import import_module

    from bitxcore.dumps import Dump

    members = vars(import_module(place.partition(":")[0])).values()
    own = [m for m in members if isinstance(m, type) and issubclass(m, Dump) and m is not Dump]
    return any(m.rewrite is not Dump.rewrite for m in own)


def accelerators() -> Rows:
    """Accelerators, their options with defaults, and what was assumed."""
    from dataclasses import fields

    from hwmodel.accelerators import accelerator_class, accelerator_names

    rows = []
    for name in accelerator_names():
        cls = accelerator_class(name)
        rows.append(
            {
                "accelerator": name,
                "title": cls.title,
                "source": cls.source,
                "options": {field.name: field.default for field in fields(cls)},
                "assumptions": cls.assumptions,
            }
        )
    return rows


def networks() -> Rows:
    """Tables of published networks."""
    from hwmodel import load_network, network_names

    found = [load_network(name) for name in network_names()]
    return [
        {"network": n.name, "layers": len(n), "weights": n.parameters, "macs": n.macs, "source": n.source}
        for n in found
    ]


def samples() -> Rows:
    """Sample dumps that come with the package."""
    from bitxcore.data import data_folder
    from bitxcore.dumps import READERS

    folder = data_folder("samples")
    return [
        {"sample": path.stem, "size_bytes": path.stat().st_size, "path": str(path)}
        for path in sorted(folder.iterdir())
        if path.name.endswith(tuple(READERS))
    ]


def tasks() -> Rows:
    """Tasks to evaluate pruning on, with their own models and data."""
    from hwmodel.evaluation.tasks import task_class, task_names

    return [{"task": name, "what": task_class(name).summary} for name in task_names()]


def metrics() -> Rows:
    """Scores of a model's outputs."""
    from hwmodel.evaluation import metric, metric_names

    found = [metric(name) for name in metric_names()]
    return [
        {
            "metric": m.name,
            "unit": "%" if m.is_share else m.unit,
            "better": "more" if m.higher_is_better else "less",
            "against": "the unpruned model" if m.against == "unpruned" else m.against,
            "what": (type(m).__doc__ or "").strip().partition("\n")[0],
        }
        for m in found
    ]


def methods() -> Rows:
    """List methods of software pruning."""
    from hwmodel.preparation.software_pruning import method_names
    from hwmodel.preparation.software_pruning.software_method import method_class

    found = [method_class(name) for name in method_names()]
    return [
        {
            "method": m.name,
            "takes_away": m.on,
            "by": m.summary,
            "scope": " or ".join(m.scopes),
            "samples": "needed" if m.needs_data else "",
            "source": m.source,
        }
        for m in found
    ]


LISTS = {
    f.__name__: f
    for f in (formats, criteria, readers, accelerators, networks, samples, tasks, metrics, methods)
}
"""What can be listed."""


@click.command(name="list")
@click.argument("what", type=click.Choice(list(LISTS)), metavar="WHAT")
@click.option(
    "--assumptions",
    is_flag=True,
    help="Of accelerators: also print the source, and what was chosen or guessed.",
)
@result_options
def command(what: str, assumptions: bool, as_json: bool) -> None:
    """List WHAT: formats, criteria, readers, accelerators, networks, samples, tasks, metrics or methods."""
    if assumptions and what != "accelerators":
        raise click.UsageError("--assumptions is for bitx list accelerators")
    rows = LISTS[what]()
    if current_view().write(rows):
        return
    if as_json:
        out.print_json({what: rows})
    elif what == "accelerators":
        out.say(f"options of every accelerator: {_options(_common_options())}")
        for row in rows:
            _print_accelerator(row, assumptions)
    elif rows:
        columns = [
            out.Shown(name, name.replace("_", "\n"), *_shown(value), more=(what, name) in _MORE)
            for name, value in rows[0].items()
            if name != "path"
        ]
        out.print_rows(columns, rows)
        out.say(*(row["path"] for row in rows if "path" in row))  # whole, to be copied
        out.finish_columns()


_MORE = {
    ("networks", "source"),
    ("methods", "scope"),
    ("methods", "source"),
    ("metrics", "unit"),
    ("metrics", "against"),
    ("readers", "reader"),
}
"""Columns that are left out of narrow tables."""


def _shown(value: Any) -> tuple[Callable[[Any], str], bool]:
    """Say how a column is written, and whether it is text."""
    return (out.count, False) if isinstance(value, int) else (str, True)


def _common_options() -> dict[str, Any]:
    from dataclasses import fields

    from hwmodel import Accelerator

    return {field.name: field.default for field in fields(Accelerator)}


def _options(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _print_accelerator(row: dict[str, Any], assumptions: bool) -> None:
    common = _common_options()
    own = {n: v for n, v in row["options"].items() if n not in common or common[n] != v}
    out.say(f"{row['accelerator']}: {row['title']}", f"  options: {_options(own) or 'the common ones only'}")
    if assumptions:
        out.say(f"  source: {row['source']}", *(f"  - {text}" for text in row["assumptions"]))
