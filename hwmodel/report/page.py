"""The report: one HTML page that holds all it shows, and asks for nothing else."""

from __future__ import annotations

import json
import os
import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from bitxcore.errors import MissingExtraError
from bitxcore.files import atomic_file
from bitxcore.plot.chart import Chart
from bitxcore.remote.remote_path import as_path
from bitxcore.showing import brief, printable
from hwmodel.report.figure_blocks import FigureBlock, blocks_of
from hwmodel.report.figure_sources import rows_of
from hwmodel.report.figure_words import named
from hwmodel.report.report_findings import MOST_FINDINGS, findings_of
from hwmodel.report.stored_runs import StoredRun, read_runs

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Accuracy against rows and cycles", ("evaluation_figure",)),
    ("Machines side by side", ("comparison_figure", "machines_figure")),
    ("Cycles by layer", ("cycles_figure",)),
    ("Energy by layer", ("energy_figure",)),
    ("Rooflines", ("roofline_figure",)),
    ("DRAM traffic by layer", ("traffic_figure",)),
    ("Bits and errors", ("bit_rows_figure", "row_errors_figure", "kept_rows_figure", "kept_ones_figure")),
    ("Space of the sweep", ("sweep_figure", "option_figure")),
    ("Published numbers and ours", ("reproduction_figure",)),
)
"""Sections of a run, in order, and the figures of each: modules of `hwmodel.report.plot`."""

_TABLE_ROWS = 200
_FEW_RUNS = 2
_WITHOUT_TOTALS = (
    "Runs of this kind have no totals to compare. Their findings and figures follow, one run after the other."
)
_WITHOUT_MACHINE = "No machine is in both runs, so their totals are not compared."
_SUBJECT, _BASELINE = "bitx", "dadiannao"


@dataclass(frozen=True)
class WrittenReport:
    """A report that was written.

    Parameters
    ----------
    path : pathlib.Path
    size_bytes : int
    findings : dict of str to list of str
        What each run found, by its name.
    figures : int
    """

    path: Path
    size_bytes: int
    findings: dict[str, list[str]]
    figures: int


def write_report(
    stores: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str], *, title: str | None = None
) -> WrittenReport:
    """Write a report of one or several stores.

    Parameters
    ----------
    stores : sequence of str or path-like
        Of any of the commands that write stores. Two of one kind are compared, too.
    path : str or path-like
        The page; a file that is there already is replaced at the end.
    title : str, optional
        By default made of the names of the stores.

    Returns
    -------
    WrittenReport

    Raises
    ------
    DumpError
        If a store can't be read, or holds nothing that a report shows.
    OptionError
        If no store is given, or one twice.
    MissingExtraError
        If the packages of the extra ``report`` are not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import hwmodel as hw
    >>> folder = tempfile.mkdtemp()
    >>> store, page = os.path.join(folder, "run.h5"), os.path.join(folder, "report.html")
    >>> _ = hw.simulate_network("dadiannao", "resnet20-cifar10", store=store)
    >>> written = hw.report.write_report([store], page)
    >>> os.path.getsize(page) == written.size_bytes, sorted(written.findings)
    (True, ['run.h5'])
    """
    runs = read_runs(stores)
    # The output is opened first, so that a bad path costs no time.
    with atomic_file(path, inputs=[run.path for run in runs]) as temporary:
        template, libraries = _template(), _libraries()
        script = _file("report.js")
        shown = [_run(run, number) for number, run in enumerate(runs, 1)]
        changes = _changes(runs)
        blocks = [block for run in shown for section in run["sections"] for block in section["blocks"]]
        blocks += [block for change in changes for block in change["blocks"]]
        text = template.render(
            title=printable(title) if title else f"BitX report: {', '.join(named(run.name) for run in runs)}",
            runs=shown,
            changes=changes,
            findings=_summary(shown, changes),
            figures=_json({block.identifier: block.content() for block in blocks}),
            libraries=libraries,
            js=script,
            css=_file("report.css"),
            script_sources=" ".join(map(_source_hash, (libraries, script))),
            table_rows=_TABLE_ROWS,
        )
        temporary.write_text(text, "utf-8")
    return WrittenReport(
        as_path(path),
        as_path(path).stat().st_size,
        {run.name: own["findings"] for run, own in zip(runs, shown, strict=True)},
        sum(len(block.charts) for block in blocks),
    )


# -- contents ----------------------------------------------------------------------------------


def _run(run: StoredRun, number: int) -> dict[str, Any]:
    """Arrange one run for the template."""
    first = _first_accelerators(run)
    findings = findings_of(run.kind, run.tables, run.provenance.parameters)
    sections = []
    for place, (heading, modules) in enumerate(SECTIONS):
        blocks: list[FigureBlock] = []
        for module in modules:
            blocks += blocks_of(charts_of(module, run), f"run{number}-{place}-{module}", first)
        if blocks:
            sections.append({"heading": heading, "identifier": f"run{number}-{place}", "blocks": blocks})
    return {
        "name": printable(run.name),
        "identifier": f"run{number}",
        "title": run.title,
        "findings": [printable(sentence) for sentence in findings],
        "remarks": [printable(remark) for remark in run.remarks],
        "facts": _facts(run),
        "inputs": [
            (printable(str(found.path)), found.sha256[:12], found.size_bytes)
            for found in run.provenance.inputs
        ],
        "parameters": _parameters(run),
        "sections": sections,
    }


def charts_of(module: str, run: StoredRun) -> list[Chart]:
    """Make the charts of one module of `hwmodel.report.plot` from a run."""
    found: list[Chart] = import_module(f"hwmodel.report.plot.{module}").charts(run.tables)
    return found


def _first_accelerators(run: StoredRun) -> list[str]:
    """Name the machines to show first: those of BitX, the fastest, the baseline."""
    if "networks" not in run.tables:
        return []
    rows = [row for row in rows_of(run.tables, "networks") if row["cycles"]]
    names = [row["accelerator"] for row in rows]
    fastest = sorted(rows, key=lambda row: row["cycles"])
    own = [name for name in names if name.partition("(")[0] == _SUBJECT]
    return list(
        dict.fromkeys(
            [*own, *(row["accelerator"] for row in fastest[:1]), *(n for n in names if n == _BASELINE)]
        )
    )


def _facts(run: StoredRun) -> list[tuple[str, str]]:
    found = run.provenance
    program, *rest = found.command_line or ("",)
    if Path(program).name in ("bitx", "__main__.py"):
        program = "bitx"
    command = shlex.join([program, *rest]) if program else ""
    what = found.parameters.get("workload")
    network = what.get("network") if isinstance(what, dict) else found.parameters.get("network")
    return [
        (name, printable(text))
        for name, text in (
            ("network", network),
            ("command", command),
            ("written", f"{found.created:%Y-%m-%d %H:%M} UTC"),
            (
                "version",
                f"bitx {found.versions.get('bitx', '?')}, Python {found.versions.get('python', '?')}",
            ),
            ("platform", found.platform),
        )
        if text
    ]


def _parameters(run: StoredRun, labels: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """List parameters in depth, by dotted names; those of accelerators under other labels, if given."""
    found: list[tuple[str, str]] = []

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                own = (labels or {}).get(key, key) if name == "accelerators" else key
                walk(f"{name}.{own}" if name else str(own), inner)
        elif value not in (None, [], {}):
            found.append((printable(name), value if isinstance(value, str) else brief(value)))

    walk("", run.provenance.parameters)
    return [(name, printable(text)) for name, text in found]


def _summary(shown: Sequence[dict[str, Any]], changes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choose the findings on top: what changed, and all of one or two runs, else the first of each."""
    most = MOST_FINDINGS if len(shown) <= _FEW_RUNS else 1
    found = [{"of": change, "sentences": [change["see"]]} for change in changes if change["see"]]
    return found + [{"of": run, "sentences": run["findings"][:most]} for run in shown if run["findings"]]


def _changes(runs: Sequence[StoredRun]) -> list[dict[str, Any]]:
    """Compare each two neighbours of one kind."""
    from hwmodel.report.plot.change_figure import charts_of_change, paired_labels

    found = []
    kinds = dict.fromkeys(run.kind for run in runs)
    pairs = [
        pair
        for kind in kinds
        for own in [[run for run in runs if run.kind == kind]]
        for pair in pairwise(own)
    ]
    for number, (before, after) in enumerate(pairs, 1):
        charts = charts_of_change(before.tables, after.tables)
        machines = [
            [row["accelerator"] for row in rows_of(run.tables, "networks")]
            for run in (before, after)
            if "networks" in run.tables
        ]
        labels = paired_labels(*machines) if len(machines) == 2 else {}
        back = {new: old for old, new in labels.items()}
        old, new = dict(_parameters(before)), dict(_parameters(after, back))
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        first = [f"{back[new]} → {new}" for new in _first_accelerators(after) if back.get(new, new) != new]
        blocks = blocks_of(charts, f"change{number}", [*first, *_first_accelerators(after)])
        found.append(
            {
                "identifier": f"change{number}",
                "title": "What changed",
                "name": printable(f"{before.name} → {after.name}"),
                "see": printable(next((c.see for c in charts if c.name == "change_of_totals"), "")),
                "before": printable(before.name),
                "after": printable(after.name),
                "blocks": blocks,
                "none": _WITHOUT_TOTALS if "networks" not in after.tables else _WITHOUT_MACHINE,
                "parameters": [(name, old.get(name, "–"), new.get(name, "–")) for name in names],
            }
        )
    return found


# -- parts of the page -------------------------------------------------------------------------


def _template() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("jinja2", "report") from error
    environment = Environment(
        loader=PackageLoader("hwmodel.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    return environment.get_template("report.html.j2")


@cache
def _libraries() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    try:
        import vl_convert
    except ImportError as error:
        raise MissingExtraError("vl-convert-python", "report") from error
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # which its stub wants more of
    return bundle.replace("</script", "<\\/script")


def _file(name: str) -> str:
    return (Path(__file__).with_name("templates") / name).read_text("utf-8")


def _source_hash(script: str) -> str:
    """Name a script as a content security policy does: no other one runs, whatever a store holds."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def _json(document: Any) -> str:
    """Write JSON that can stand in a script element, whatever its strings hold."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
