"""Rows chosen by norms beside the plain method: the measured part of docs/calibration.md.

``python docs/recipes/calibration.py --write`` records norms for some tasks on samples that are not scored,
and evaluates both criteria; about ten minutes on two cores. It needs the extra ``models``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from marked_parts import write_part

import hwmodel as hw
from hwmodel.evaluation import Evaluation, Setting, Task, evaluate, metric, task

PAGE = Path(__file__).parents[1] / "calibration.md"
MARK = "<!-- measured -->\n"
SAMPLES = {"digits": 256, "transformer": 64, "detector": 64, "minilm": 128, "crops": 64}
"""Tasks, and how many samples norms are recorded on."""
BATCH = 16
ROWS = (3, 4, 5, 6)
CRITERIA = ("topn", "calibrated")


def recorded(made: Task, count: int, path: Path) -> float:
    """Record norms; give the median over the tensors of the largest norm over the median norm."""
    parts = list(made.calibration(count))
    feeds = {name: np.concatenate([part.feeds[name] for part in parts]) for name in parts[0].feeds}
    hw.calibrate(made.model, feeds, path, batch=BATCH)
    ratios = [norms.max() / np.median(norms) for norms in hw.open_norms(path).values() if np.median(norms)]
    return float(np.median(ratios))


def score(name: str, value: float) -> str:
    """In percent, where it is a share."""
    return f"{100 * value:.2f}" if metric(name).is_share else f"{value:.4f}"


def table_of(made: Task, found: Evaluation, spread: float, count: int) -> str:
    """Lay out one task: the plain method and the other side by side."""
    names = made.metrics[:1] + made.metrics[-1:]
    units = [f"{name}, %" if metric(name).is_share else name for name in names]
    whole = " and ".join(score(name, found.points[0].scores[name].value) for name in names)
    lines = [
        f"**{made.title}**, norms from {count} others; largest over median norm: {spread:.1f};"
        f" unpruned: {whole}.",
        "",
        f"| rows | {units[0]} | calibrated | {units[1]} | calibrated | cycles | calibrated |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for rows in ROWS:
        wanted = [Setting(rows=rows, criterion=criterion) for criterion in CRITERIA]
        plain, other = (point for point in found.points if point.setting in wanted)
        cells = [score(name, point.scores[name].value) for name in names for point in (plain, other)]
        cells += [f"{point.machine.cycles:,}" for point in (plain, other)]
        lines.append(f"| {rows} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measured(name: str, folder: Path) -> str:
    """Record and evaluate one task."""
    made = task(name)
    spread = recorded(made, SAMPLES[name], folder / f"{name}.h5")
    settings = [Setting(rows=rows, criterion=criterion) for rows in ROWS for criterion in CRITERIA]
    found = evaluate(made, settings, norms=folder / f"{name}.h5", resamples=2)
    return table_of(made, found, spread, SAMPLES[name])


def main() -> None:
    """Measure, and write if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(SAMPLES))
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        text = "\n\n".join(measured(name, Path(folder)) for name in given.tasks.split(","))
    if not given.write:
        print(text)
        return
    write_part(PAGE, MARK, text)


if __name__ == "__main__":
    main()
