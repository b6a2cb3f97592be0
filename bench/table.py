"""Run the benchmarks and print the README's speed table from that run.

``python -m bench.table`` runs and prints; ``--write`` also puts the table into README.md;
``--json FILE`` keeps the run (or, if the file exists, prints from it without running).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- speed-table -->", "<!-- /speed-table -->"


def run(target: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "bench",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--benchmark-json={target}",
        ],
        cwd=ROOT,
        check=True,
    )


def rows(results: dict[str, Any]) -> tuple[list[str], list[str]]:
    kernels, starts = [], []
    for result in results["benchmarks"]:
        info = result["extra_info"]
        label = result["param"] or ""
        if "share" in info:
            kernels.append(
                f"| {result['group']} | {label} | {info['values_per_s'] / 1e9:.2f} "
                f"| {info['yardstick_values_per_s'] / 1e9:.2f} | {info['share']:.2f} |"
            )
        else:
            name = result["params"].get("name") or f"first `prune`, {result['params']['cache']} cache"
            starts.append(f"| {name} | {result['stats']['median']:.2f} |")
    return kernels, starts


def table(results: dict[str, Any]) -> str:
    kernels, starts = rows(results)
    machine = results["machine_info"]
    cpu = machine["cpu"].get("brand_raw", machine["processor"])
    threads = next(r["extra_info"]["threads"] for r in results["benchmarks"] if "share" in r["extra_info"])
    lines = [
        f"Medians of {results['datetime'][:10]} on {cpu}, {threads} threads, "
        f"Python {machine['python_version']}. The yardstick is a plain copy of the same bytes on the "
        "same threads, measured before each round (for statistics: a plain read); a share of 1 would "
        "be as fast as copying.",
        "",
        "| kernel | case | G values/s | yardstick, G values/s | share |",
        "|---|---|---:|---:|---:|",
        *kernels,
        "",
        "| start of a process | s |",
        "|---|---:|",
        *starts,
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--json", type=Path, help="keep the run here, or print an earlier one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        target = (arguments.json or Path(folder) / "run.json").resolve()
        if not target.exists():
            run(target)
        text = table(json.loads(target.read_text()))
    print(text)
    if arguments.write:
        readme = ROOT / "README.md"
        before, rest = readme.read_text().split(START)
        after = rest.split(END)[1]
        readme.write_text(f"{before}{START}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
