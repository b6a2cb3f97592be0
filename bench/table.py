"""Run the benchmarks and print the table of main cases from that run.

``python -m bench.table`` runs and prints; ``--write`` also puts a few rows into README.md, and the
main and all cases into docs/speed.md; ``--all`` prints those. ``--json FILE`` keeps the run with the
machine's description (or, if the file exists, prints from it without running).
"""

from __future__ import annotations

import argparse
import json
import operator
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Any

from bench.machine import describe
from bench.results import Case, ResultsError, Run

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- speed-table -->", "<!-- /speed-table -->"
PASSES = 3
BUSY = 0.5  # load of a machine that is not quiet
README_ROWS = (
    "`prune` float32, group 8, 6 rows",
    "`weight_ones` float32, before and after pruning",
)
"""What README.md shows: the main case, and the one that is furthest from the speed of a copy."""
BESIDE = "`prune` runs beside each peer in the same rounds, to a new array where the peer makes one."
README_PEERS = ("C++", "`ml_dtypes` cast to bfloat16")
"""How the peers' names begin that README.md shows: the same function, and one that does less."""


def run() -> Run:
    """Run all benchmarks `PASSES` times, each in a process of its own, and put their rounds together.

    What changes more slowly than a case takes (other work on the machine, the place of the arrays in
    memory) then shows in the spread of its rounds.
    """
    machine = describe()
    if machine["load"] > BUSY:
        print(f"warning: the machine is not quiet, its load is {machine['load']}", file=sys.stderr)
    return reduce(operator.add, (one_pass(machine) for _ in range(PASSES)))


def one_pass(machine: dict[str, Any]) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "run.json"
        options = ["-q", "-p", "no:cacheprovider", "--benchmark-columns=median", f"--benchmark-json={target}"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "bench", *options], cwd=ROOT, stdout=sys.stderr
        )
        if done.returncode:
            raise ResultsError(f"pytest bench failed with exit status {done.returncode}")
        return Run.of_pytest(json.loads(target.read_text()), machine)


def head(run: Run) -> str:
    """Name the machine, and what the columns mean."""
    machine, packages = run.machine, run.machine["packages"]
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    vectors = (
        "AVX-512" if "avx512f" in machine["features"] else "AVX2" if "avx2" in machine["features"] else ""
    )
    where = ", ".join(filter(None, [machine["cpu"], caches, vectors, f"{machine['threads']} threads"]))
    versions = f"Python {machine['python']}, NumPy {packages['numpy']}, Numba {packages['numba']}"
    return (
        f"Medians of {run.datetime[:10]} on {where}, {versions}. The yardstick is a plain copy of the same "
        "64 MiB on all threads (for statistics a plain read), timed before each round. A share of 1 would be "
        "as fast as copying."
    )


def rates(case: Case) -> str:
    if case.values is None:
        return f"{_median(case.seconds):.3f} s | {_median(case.yardstick_seconds):.3f} s"
    return f"{case.rate() / 1e9:.2f} | {case.rate('yardstick_seconds') / 1e9:.2f}"


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def worst_of_rows(run: Run) -> Iterator[Case]:
    """Give the case of smallest share per row of the main table, in the order of the run."""
    rows: dict[str, Case] = {}
    for case in run.cases:
        if case.row and not case.missing and (case.row not in rows or case.share < rows[case.row].share):
            rows[case.row] = case
    yield from rows.values()


def peers(run: Run) -> list[str]:
    """Lay out the kernel that has peers: one row per peer, compared at equal numbers of threads."""
    compared = {case.kernel for case in run.cases if case.peer}
    cases = [case for case in run.cases if case.kernel in compared]
    counts = sorted({case.threads for case in cases})
    plural = {n: f"{n} thread{'s' * (n != 1)}" for n in counts}
    lines = [
        f"| {', '.join(sorted(compared))} | "
        + " | ".join(f"{plural[n]}, G values/s" for n in counts)
        + " | `prune` is times as fast |",
        "|---|" + "---:|" * (len(counts) + 1),
    ]
    for name in dict.fromkeys(case.case for case in cases):
        found = {case.threads: case for case in cases if case.case == name}
        cells = [found[n].missing or f"{found[n].rate() / 1e9:.3f}" if n in found else "–" for n in counts]
        times = [f"{found[n].times_prune:.1f}" for n in counts if n in found and found[n].prune_seconds]
        lines.append(f"| {name} | {' | '.join(cells)} | {', '.join(times)} |")
    return lines


def wrapped(text: str) -> str:
    """Wrap prose as the pages are."""
    return fill(text, 80, break_long_words=False, break_on_hyphens=False)


def short(run: Run) -> str:
    """Make the README's table: a few main cases and peers, slow cases and losses included."""
    where = (
        f"Medians of {run.datetime[:10]} on {run.machine['cpu']}, {run.machine['threads']} threads. {BESIDE}"
    )
    rows = [f"| {c.row} | {c.rate() / 1e9:.2f} | {c.share:.2f} | |" for c in _readme_cases(run)]
    peers = [case for case in run.cases if case.peer and case.prune_seconds]
    for case in peers:
        if case.threads == run.machine["threads"] and case.case.startswith(README_PEERS):
            speed = f"{case.rate() / 1e9:.2f} | {case.share:.2f}"
            rows.append(f"| {case.case} | {speed} | {case.times_prune:.1f} |")
    return "\n".join([
        wrapped(where), "",
        "| | G values/s | share of a copy's speed | `prune` float32 is times as fast |",
        "|---|---:|---:|---:|",
        *rows,
    ])  # fmt: skip


def _readme_cases(run: Run) -> Iterator[Case]:
    found = {case.row: case for case in worst_of_rows(run)}
    yield from (found[row] for row in README_ROWS if row in found)


def summary(run: Run) -> str:
    """Make the table of main cases, under what was measured where."""
    return f"{wrapped(head(run))}\n\n{main_cases(run)}"


def main_cases(run: Run) -> str:
    """Make the table of main cases and those of peers and of first calls."""
    timed = [case for case in worst_of_rows(run) if case.values]
    starts = [case for case in worst_of_rows(run) if case.values is None]
    return "\n".join([
        "| | G values/s | yardstick, G values/s | share |",
        "|---|---:|---:|---:|",
        *(f"| {case.row} | {rates(case)} | {case.share:.2f} |" for case in timed), "",
        *peers(run), "", wrapped(BESIDE), "",
        *(f"- The {case.row}: {_median(case.seconds):.2f} s." for case in starts),
    ])  # fmt: skip


def full(run: Run) -> str:
    """Make the page of all cases: the main ones, then every one with the spread of its share."""
    machine = run.machine
    packages = ", ".join(f"{name} {version or 'missing'}" for name, version in machine["packages"].items())
    lines = [
        wrapped(head(run)), "",
        wrapped(
            f"Commit {run.commit[:12]}{'+' * run.commit.endswith('+')}; {machine['os']}; {packages}; "
            f"{machine['compiler'] or 'no g++'}; LLVM's name of the CPU: {machine['llvm_cpu']}; "
            f"transparent huge pages: {machine['huge_pages']}; load before the run: {machine['load']}."
        ), "",
        "## Main cases", "",
        main_cases(run),
    ]  # fmt: skip
    for kernel, cases in groupby(run.cases, key=lambda case: case.kernel):
        lines += ["", f"## {kernel[0].upper()}{kernel[1:]}", ""]
        lines += ["| case | threads | G values/s | yardstick | share | quartiles of the share | rounds |"]
        lines += ["|---|---:|---:|---:|---:|---:|---:|"]
        for case in cases:
            if case.missing:
                lines.append(f"| {case.case} | {case.threads} | {case.missing} | | | | |")
                continue
            low, median, high = case.quartiles
            lines.append(
                f"| {case.case} | {case.threads} | {rates(case)} | {median:.3f} "
                f"| {low:.3f} – {high:.3f} | {len(case.seconds)} |"
            )
    return "\n".join(lines)


def put(page: Path, text: str) -> None:
    """Replace the text between the markers of a page."""
    before, rest = page.read_text("utf-8").split(START)
    after = rest.split(END)[1]
    page.write_text(f"{before}{START}\n{text}\n{END}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.table", description=__doc__)
    parser.add_argument(
        "--write", action="store_true", help="put the tables into README.md and docs/speed.md"
    )
    parser.add_argument("--all", action="store_true", help="print all cases")
    parser.add_argument("--json", type=Path, help="keep the run here, or print an earlier one")
    arguments = parser.parse_args()
    try:
        if arguments.json and arguments.json.exists():
            results = Run.load(arguments.json)
        else:
            results = run()
            if arguments.json:
                results.save(arguments.json)
    except ResultsError as error:
        sys.exit(f"error: {error}")
    print(full(results) if arguments.all else summary(results))
    if arguments.write:
        put(ROOT / "README.md", short(results))
        put(ROOT / "docs" / "speed.md", full(results))


if __name__ == "__main__":
    main()
