"""Prepared weights beside truncated and quantised ones: the measured part of docs/prepare.md.

``python docs/recipes/prepare.py --write`` prepares the models of all tasks and scores them on what they were
not calibrated on; about an hour on two cores. It needs the extra ``models``. Rows that are done are kept in
``out/prepare``, and are taken from there the next time; remove it to measure anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from integer_baselines import Integers, write_integers
from marked_parts import write_part

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import Selection, prune_dump
from bitxcore.batch.selection import channel_first
from hwmodel.evaluation import Task, estimate, metric, task
from hwmodel.evaluation.datasets.draws import Draws
from hwmodel.evaluation.model_runs import Run, run
from hwmodel.evaluation.runners import OnnxRunner, Runner
from hwmodel.evaluation.tasks.crops import CROPS, PHOTOGRAPHS, SEED, Crops
from hwmodel.evaluation.tasks.task_base import Samples
from hwmodel.preparation import Budget, prepare_model, search_budgets, write_equivalent

Array = npt.NDArray[Any]

PAGE = Path(__file__).parents[1] / "prepare.md"
STORE = Path(__file__).parents[2] / "out" / "prepare"
MARK = "<!-- measured -->\n"
SAMPLES = {
    "digits": 256, "detector": 96, "ocr": 64, "pages": 8, "transformer": 64, "minilm": 128, "crops": 96,
}  # fmt: skip
"""Tasks, and how many samples their weights are prepared on."""
FREE = 64
"""Rows that limit nothing."""
WINDOW = 32
"""Rows of the alignment window of float32."""
NEAREST = {"compensates": False, "corrects_bias": False, "reconstructs": False}
STEPS: dict[str, dict[str, Any]] = {
    "nearest": NEAREST,
    "nearest, bias": {"compensates": False, "reconstructs": False},
    "second order (GPTQ's)": {"reconstructs": False, "sweeps": 0},
    "second order, 4 sweeps": {"reconstructs": False},
    "reconstructed": {},
}
"""Each adds to the one before."""
AT_BITS = {
    "int8, per filter": Integers(8, None),
    "6 rows of groups of 32": Budget(rows=6, group=32, window=16),
    "4 rows of groups of 8": Budget(rows=4, group=8, window=16),
    "int4, groups of 64": Integers(4, 64),
    "int4, groups of 64, GPTQ": Integers(4, 64, gptq=True),
    "int4, groups of 64, GPTQ, reconstructed": Integers(4, 64, gptq=True, reconstructs=True),
    "3 rows of groups of 64": Budget(rows=3, group=64, window=8),
    "2 rows of groups of 32": Budget(rows=2, group=32, window=8),
}
"""About 8 bits per weight, then about 4."""


class CropsOfOthers(Crops):
    """Crops of every other photograph; calibrated on crops of those between."""

    name: ClassVar[str] = "crops"

    def __init__(self) -> None:
        super().__init__()
        count = len(self._of(range(CROPS), 0))
        self.title = f"photographs: EfficientNet-Lite0 on {count} crops, those of every other photograph"

    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give those of the task's crops that show the first photograph, the third, ..."""
        del quick
        yield from self._crops(self._of(range(CROPS), 0))

    def calibration(self, count: int) -> Iterator[Samples]:
        """Give crops of the second photograph, the fourth, ..."""
        yield from self._crops(self._of(range(CROPS, CROPS + 4 * count), 1)[:count])

    @staticmethod
    def _of(indices: Sequence[int], remainder: int) -> list[int]:
        last = len(PHOTOGRAPHS) + 1  # and scikit-learn's two
        return [index for index in indices if Draws(SEED, index).one(0, last) % 2 == remainder]


class Recording(Runner):
    """Another runner, and what it was fed."""

    def __init__(self, runner: Runner) -> None:
        super().__init__()
        self._runner, self.feeds = runner, []

    def outputs(self, feeds: dict[str, Array]) -> list[Array]:
        """Run one batch."""
        self.feeds.append(dict(feeds))
        return self._runner.outputs(feeds)


@dataclass
class Subject:
    """A task, and what its models are calibrated on."""

    task: Task
    samples: int

    @cached_property
    def batches(self) -> dict[Path, list[dict[str, Array]]]:
        """By model: samples, or what the task feeds each of its models."""
        parts = list(self.task.calibration(self.samples))
        if len(self.task.models) == 1:
            return {self.task.model: [part.feeds for part in parts]}
        runners = [Recording(OnnxRunner(path)) for path in self.task.models]
        joined = self.task.joined(runners)
        for part in parts:
            joined(part.feeds)
        return {
            path: [{n: np.asarray(x) for n, x in feeds.items()} for feeds in runner.feeds[:32]]
            for path, runner in zip(self.task.models, runners, strict=True)
        }

    @cached_property
    def whole(self) -> Run:
        """Outputs of the models as they are."""
        return run(self.task, self.task.joined([OnnxRunner(path) for path in self.task.models]))

    @cached_property
    def networks(self) -> list[Any]:
        """For the machine; of a model whose inputs differ in size, of one sample."""
        found = []
        for path, batches in self.batches.items():
            sizes = {name: (1, *x.shape[1:]) for name, x in batches[0].items()}
            found.append(hw.load_network(path, input_size=sizes))
        return found

    def scores(self, paths: Sequence[Path]) -> list[float]:
        """Of the first and the last metric."""
        runners = [OnnxRunner(p, named=m) for p, m in zip(paths, self.task.models, strict=True)]
        found = run(self.task, self.task.joined(runners))
        values = []
        for name in (self.task.metrics[0], self.task.metrics[-1]):
            scorer = metric(name)
            target = (
                self.task.view(name, self.whole.outputs)
                if scorer.against == "unpruned"
                else self.whole.labels
            )
            records = scorer.records(self.task.view(name, found.outputs), target)
            values.append(estimate(scorer, records, records, resamples=2).value)
        return values

    def costs(self, paths: Sequence[Path], rows: int, budget: Budget) -> tuple[float, float, float]:
        """Cycles per group, over all positions; ones per weight; bits per weight of the packed form."""
        cycles = groups = ones = weights = bits = 0.0
        for path, network in zip(paths, self.networks, strict=True):
            positions: dict[str, int] = {}
            for layer in network.layers:
                if layer.weight is not None:
                    positions[layer.weight] = positions.get(layer.weight, 0) + layer.layer.positions
            with bx.open_dump(path) as dump:
                for tensor in Selection().choose(dump).tensors:
                    x = channel_first(tensor).turn(tensor.read())
                    kept = min(rows or FREE, budget.window or WINDOW)
                    pruned = bx.prune(x, rows=kept, group=budget.group, window=budget.window)
                    found = bx.weight_ones(x, rows=kept, group=budget.group, window=budget.window)
                    here = positions.get(tensor.name, 0)
                    used = found.after if rows else found.before
                    cycles += used.largest * found.groups * here
                    groups += found.groups * here
                    ones += used.mean * found.weights
                    weights += found.weights
                    bits += bx.pack(pruned).bits
        return cycles / groups, ones / weights, bits / weights

    def machine(self, paths: Sequence[Path], rows: int) -> tuple[int, int]:
        """Cycles of BitX, with waits for DRAM and on chip; of the unpruned machine, if nothing is pruned."""
        total = on_chip = 0
        for path, network in zip(paths, self.networks, strict=True):
            with bx.open_dump(path) as dump:
                machine = hw.accelerator("bitx", rows=min(rows or FREE, WINDOW), pack_zeros=False)
                found = hw.simulate_network(machine, network, dump=dump).totals[0]
            total += found.cycles if rows else found.unpruned_cycles
            on_chip += found.on_chip_cycles if rows else found.on_chip_unpruned_cycles
        return total, on_chip


def prepared(subject: Subject, folder: Path, budget: Any, changed: bool = False) -> list[Path]:
    """Prepare all models of a task; `changed`: channels scaled and reordered before."""
    paths = []
    for at, (path, batches) in enumerate(subject.batches.items()):
        source = path
        if changed:
            source = folder / f"{at}-equivalent.onnx"
            write_equivalent(path, batches, source, Budget(ones=1))
        given = budget(source, batches) if callable(budget) else budget
        paths.append(folder / f"{at}.onnx")
        prepare_model(source, batches, paths[-1], given)
    return paths


FEWER = ("ocr", "pages")
"""Tasks whose larger models get fewer rows."""
FEW = {
    "unpruned", "truncated, 10 rows", "truncated, 6 rows", "truncated, 4 rows", "2 ones, nearest",
    "2 ones, reconstructed", "3 ones, reconstructed", "4 ones, reconstructed",
}  # fmt: skip


LEFT_OUT = {
    "crops": {"3 cycles, budgets by tensor"}, "pages": {"3 ones, reconstructed", "4 ones, reconstructed"},
}  # fmt: skip
"""Rows that take long and show nothing new."""


def rows_of(subject: Subject, folder: Path) -> Iterator[tuple[str, Any]]:
    """Give the label of each row that a task has, and how to make it."""
    for label, make in all_rows_of(subject, folder):
        if label in LEFT_OUT.get(subject.task.name, ()):
            continue
        if subject.task.name not in FEWER or label in FEW:
            yield label, make


def all_rows_of(subject: Subject, folder: Path) -> Iterator[tuple[str, Any]]:
    """Give the label of each row, and how to make it: paths, rows of the pruner, budget."""
    models = list(subject.task.models)
    plain = Budget(rows=6)
    yield "unpruned", lambda: (models, 0, plain)

    def truncated(rows: int) -> Any:
        paths = [folder / f"{at}.onnx" for at in range(len(models))]
        for path, out in zip(models, paths, strict=True):
            with bx.open_dump(path) as dump:
                prune_dump(dump, out, rows=rows)
        return paths, rows, plain

    for rows in (10, 6, 4):
        yield f"truncated, {rows} rows", lambda rows=rows: truncated(rows)
    for name, options in STEPS.items():
        yield f"2 ones, {name}", lambda o=options: (prepared(subject, folder, Budget(2, **o)), FREE, plain)
    yield "2 ones, reconstructed, channels changed", lambda: (
        prepared(subject, folder, Budget(2), changed=True), FREE, plain,
    )  # fmt: skip
    for ones in (4, 3, 1):
        yield (
            f"{ones} ones, nearest",
            lambda n=ones: (prepared(subject, folder, Budget(n, **NEAREST)), FREE, plain),
        )
        yield (
            f"{ones} ones, reconstructed",
            lambda n=ones: (prepared(subject, folder, Budget(n)), FREE, plain),
        )

    def searched(cycles: float) -> Any:
        def found(path: Path, batches: Any) -> Any:
            some = [Budget(ones) for ones in (1, 2, 3, 4, 5, 6)]
            return search_budgets(path, batches, some, cycles=cycles).budgets.get

        return prepared(subject, folder, found), FREE, plain

    for cycles in (4.0, 3.0, 2.0):
        yield f"{cycles:.0f} cycles, budgets by tensor", lambda c=cycles: searched(c)
    yield "2 ones and 6 rows, reconstructed", lambda: (prepared(subject, folder, Budget(2, 6)), 6, plain)


def measured_rows(subject: Subject) -> dict[str, dict[str, Any]]:
    """Measure all rows of a task that are not kept."""
    kept = STORE / f"{subject.task.name}.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}

    def keep(label: str, row: dict[str, Any]) -> None:
        found[label] = row
        print(subject.task.name, label, row, flush=True)
        kept.write_text(json.dumps(found, indent=1))

    with TemporaryDirectory() as name:
        folder = Path(name)
        for label, make in rows_of(subject, folder):
            if label not in found:
                paths, rows, budget = make()
                cycles, ones, bits = subject.costs(paths, rows, budget)
                total, on_chip = subject.machine(paths, rows)
                row = {"scores": subject.scores(paths), "cycles": cycles, "ones": ones, "bits": bits}
                keep(label, row | {"machine": total, "on_chip": on_chip})
        for label, way in AT_BITS.items():
            if label in found:
                continue
            if isinstance(way, Budget):
                paths = prepared(subject, folder, way)
                keep(
                    label,
                    {"scores": subject.scores(paths), "bits": subject.costs(paths, way.rows or 0, way)[2]},
                )
                continue
            paths, bits = [], []
            for at, (path, batches) in enumerate(subject.batches.items()):
                paths.append(folder / f"{at}.onnx")
                bits.append(write_integers(path, batches, paths[-1], way))
            keep(label, {"scores": subject.scores(paths), "bits": max(bits)})
    return found


def cells_of(subject: Subject, row: dict[str, Any]) -> list[str]:
    """Write scores, shares in percent."""
    names = (subject.task.metrics[0], subject.task.metrics[-1])
    return [
        f"{100 * value:.2f}" if metric(n).is_share else f"{value:.4f}"
        for n, value in zip(names, row["scores"], strict=True)
    ]


def measured(name: str) -> str:
    """Write the two tables of one task."""
    subject = Subject(CropsOfOthers() if name == "crops" else task(name), SAMPLES[name])
    rows = measured_rows(subject)
    names = (subject.task.metrics[0], subject.task.metrics[-1])
    heads = " | ".join(f"{n}, %" if metric(n).is_share else n for n in names)
    whole = rows["unpruned"]
    lines = [
        f"### {name}\n\n{subject.task.title}; prepared on {SAMPLES[name]} others.\n",
        f"| weights | {heads} | cycles per group | ones per weight | cycles | gain on chip | bits |",
        "|---|" + "---:|" * 7,
    ]
    for label, _ in rows_of(subject, Path()):
        row = rows[label]
        if "cycles" in row:
            cells = [
                *cells_of(subject, row),
                f"{row['cycles']:.2f}",
                f"{row['ones']:.2f}",
                f"{row['machine']:,}",
            ]
            cells += [f"{whole['on_chip'] / row['on_chip']:.2f}", f"{row['bits']:.2f}"]
            lines.append(f"| {label.replace('1 ones', '1 one')} | {' | '.join(cells)} |")
    lines += ["", f"| at equal bits | {heads} | bits |", "|---|---:|---:|---:|"]
    for label in AT_BITS:
        lines.append(
            f"| {label} | {' | '.join(cells_of(subject, rows[label]))} | {rows[label]['bits']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and write if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(SAMPLES))
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.write and set(given.tasks.split(",")) != set(SAMPLES):
        parser.error("--write writes all tasks; what is measured is kept, so measure the others first")
    np.seterr(all="raise", under="ignore")
    STORE.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(measured(name) for name in given.tasks.split(","))
    if not given.write:
        return
    write_part(PAGE, MARK, text)


if __name__ == "__main__":
    main()
