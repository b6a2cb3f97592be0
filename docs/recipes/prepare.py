"""Prepared weights beside truncated ones: the measured part of docs/prepare.md.

``python docs/recipes/prepare.py --write`` prepares the model of some tasks within budgets of ones, and scores
it on what it was not calibrated on; about half an hour on two cores. It needs the extra ``models``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import prune_dump
from hwmodel.evaluation import Task, estimate, metric, task
from hwmodel.evaluation.model_runs import Run, run
from hwmodel.evaluation.runners import OnnxRunner
from hwmodel.preparation import Budget, prepare_model

PAGE = Path(__file__).parents[1] / "prepare.md"
MARK = "<!-- measured -->\n"
SAMPLES = {"digits": 256, "detector": 64, "transformer": 64, "minilm": 128, "crops": 64}
"""Tasks, and how many samples their weights are prepared on."""
TRUNCATED = (10, 6, 4)
ONES = (4, 3, 2)
METHODS = {
    "nearest": Budget(ones=1, rows=6, compensates=False, corrects_bias=False),
    "second order": Budget(ones=1, rows=6),
}


def costs(path: Path, rows: int) -> tuple[float, float]:
    """Cycles of a group, of all layers' groups together, and ones of a weight."""
    cycles = ones = weights = groups = 0
    with bx.open_dump(path) as dump:
        from bitxcore.batch import Selection
        from bitxcore.batch.selection import channel_first

        for tensor in Selection().choose(dump).tensors:
            found = bx.weight_ones(channel_first(tensor).turn(tensor.read()), rows=rows)
            cycles += found.after.largest * found.groups
            ones += found.after.mean * found.weights
            groups, weights = groups + found.groups, weights + found.weights
    return cycles / groups, ones / weights


def scores(made: Task, path: Path, whole: Run) -> list[float]:
    """Of the first and the last metric."""
    found = run(made, made.joined([OnnxRunner(path, named=made.model)]))
    values = []
    for name in (made.metrics[0], made.metrics[-1]):
        scorer = metric(name)
        target = made.view(name, whole.outputs) if scorer.against == "unpruned" else whole.labels
        records = scorer.records(made.view(name, found.outputs), target)
        values.append(estimate(scorer, records, records, resamples=2).value)
    return values


def models(made: Task, count: int, folder: Path) -> Iterator[tuple[str, Path, int]]:
    """Give each way to make a model, the file, and the rows that the pruner keeps."""
    yield "unpruned", made.model, 32
    out = folder / "made.onnx"
    for rows in TRUNCATED:
        with bx.open_dump(made.model) as dump:
            prune_dump(dump, out, rows=rows)
        yield f"truncated, {rows} rows", out, rows
    batches = [part.feeds for part in made.calibration(count)]
    for ones in ONES:
        for name, budget in METHODS.items():
            given = Budget(
                ones, budget.rows, compensates=budget.compensates, corrects_bias=budget.corrects_bias
            )
            prepare_model(made.model, batches, out, given)
            yield f"{ones} ones, 6 rows, {name}", out, 6


def measured(name: str) -> str:
    """Prepare and score one task."""
    made, count = task(name), SAMPLES[name]
    network = hw.load_network(made.model, sizes={"N": 1} | ({"L": 24} if name == "minilm" else {}))
    whole = run(made, made.joined([OnnxRunner(made.model)]))
    names = [made.metrics[0], made.metrics[-1]]
    heads = [f"{n}, %" if metric(n).is_share else n for n in names]
    lines = [
        f"### {name}\n\n{made.title}; prepared on {count} others.\n",
        f"| weights | {heads[0]} | {heads[1]} | cycles of a group | ones of a weight | cycles |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    with TemporaryDirectory() as folder:
        for way, path, rows in models(made, count, Path(folder)):
            cells = [
                f"{100 * value:.2f}" if metric(n).is_share else f"{value:.4f}"
                for n, value in zip(names, scores(made, path, whole), strict=True)
            ]
            cells += [f"{cost:.2f}" for cost in costs(path, rows)]
            with bx.open_dump(path) as dump:
                machine = hw.accelerator("bitx", rows=rows, pack_zeros=False)
                total = hw.simulate_network(machine, network, dump=dump).totals[0]
            cells.append(f"{total.unpruned_cycles if way == 'unpruned' else total.cycles:,}")
            lines.append(f"| {way} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    """Measure, and write if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(SAMPLES))
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    np.seterr(all="raise", under="ignore")
    text = "\n\n".join(measured(name) for name in given.tasks.split(","))
    if not given.write:
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARK)
    after = rest.partition(MARK)[2]
    PAGE.write_text(before + MARK + "\n" + text + "\n\n" + MARK + after, encoding="utf-8")


if __name__ == "__main__":
    main()
