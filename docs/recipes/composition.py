"""Software pruning and run-time pruning together: the measured part of docs/software-pruning.md.

``python docs/recipes/composition.py --write`` scores and simulates some tasks' models, plain and pruned by
software, with and without BitX's run-time pruning; it needs the extra ``models``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from marked_parts import write_part

import bitxcore as bx
from bitxcore.batch import Selection
from bitxcore.data import data_folder
from bitxcore.dumps import save
from hwmodel.evaluation import Task, metric, task
from hwmodel.preparation import Budget, prepare_model
from hwmodel.studies.composition import ComposedRow, Composition, MachineRow, PreparedModel, compose
from hwmodel.studies.composition.weight_files import share_of_zeros

PAGE = Path(__file__).parents[1] / "software-pruning.md"
MARK = "<!-- composed -->\n"
SLIMMED = data_folder("samples") / "digit_detector_slimmed.onnx"
BUDGET = Budget(ones=3, rows=6)
FEW_ZEROS = 0.01
NEAREST = Budget(ones=3, rows=6, compensates=False, corrects_bias=False)


@dataclass(frozen=True)
class Case:
    """A task, and how its model was pruned by software.

    Parameters
    ----------
    task : str
    words : str
    make : callable
        Given the plain model and a free path, gives the path of the pruned one.
    calibration : int
        Samples that weights are prepared on; 0: they are not.
    """

    task: str
    words: str
    make: Callable[[Path, Path], Path]
    calibration: int = 0


def masked(share: float) -> Callable[[Path, Path], Path]:
    """Make a function that writes zeros in place of the smallest weights of all tensors together."""

    def make(model: Path, out: Path) -> Path:
        with bx.open_dump(model) as dump:
            weights = {t.name: t.read() for t in Selection().choose(dump).tensors}
            every = np.concatenate([np.abs(x).reshape(-1) for x in weights.values()])
            least = np.quantile(every, share)

            def replaced(tensor: Any) -> Any:
                x = weights.get(tensor.name)
                return None if x is None else np.where(np.abs(x) < least, x.dtype.type(0), x)

            save(dump, out, replaced)
        return out

    return make


CASES = {
    "digits-50": Case("digits", "zeros in place of the smallest 50 % of the weights", masked(0.5), 256),
    "digits-70": Case("digits", "zeros in place of the smallest 70 % of the weights", masked(0.7), 256),
    "crops-50": Case("crops", "zeros in place of the smallest 50 % of the weights", masked(0.5)),
}
if SLIMMED.exists():
    CASES["detector"] = Case("detector", f"channels removed: `{SLIMMED.name}`", lambda *_: SLIMMED, 64)


def prepared(made: Task, software: Path, count: int, folder: Path) -> Iterator[PreparedModel]:
    """Prepare the weights of both models within a budget of ones."""
    if not count:
        return
    batches = [part.feeds for part in made.calibration(count)]
    prepare_model(made.model, batches, folder / "prepared.onnx", BUDGET)
    yield PreparedModel(path=folder / "prepared.onnx", rows=6, label="plain, prepared")
    # Making up for errors would fill zeros in.
    budget = NEAREST if share_of_zeros(software) > FEW_ZEROS else BUDGET
    prepare_model(software, batches, folder / "both.onnx", budget)
    yield PreparedModel(path=folder / "both.onnx", rows=6, label="software-pruned, prepared")


def measured(case: Case, resamples: int) -> str:
    """Compose one case, and lay it out."""
    made = task(case.task)
    with TemporaryDirectory() as folder:
        software = case.make(made.model, Path(folder) / "software.onnx")
        found = compose(
            made,
            software,
            prepared=list(prepared(made, software, case.calibration, Path(folder))),
            resamples=resamples,
            progress=lambda step: print(f"{case.task}: {step}", flush=True),
        )
    macs = found.macs["plain"] / found.macs["software-pruned"]
    kept = "as many multiply-accumulates" if macs == 1 else f"{macs:.2f} times fewer multiply-accumulates"
    return "\n".join(
        [
            f"### {case.task}: {case.words}\n",
            f"{made.title}; {kept}.\n",
            *bitx_table(found),
            f"\nBeside other machines, activations {found.activations}:\n",
            *machine_table(found),
        ]
    )


def bitx_table(found: Composition) -> Iterator[str]:
    """Lay out the rows of BitX: gains, and in brackets over the product of both alone."""
    names = (found.metrics[0], found.metrics[-1])
    heads = [f"{name}, %" if metric(name).is_share else name for name in names]
    yield (
        f"| weights | run time | groups | zeros, % | {' | '.join(heads)} | cycles | gain | gain on chip"
        " | gain in work |"
    )
    yield "|---|---|---|---:|---:|---:|---:|---:|---:|---:|"
    for row in found.bitx:
        scores = (row.scores[name].value for name in names)
        shown = [
            f"{100 * value:.2f}" if metric(name).is_share else f"{value:.4f}"
            for name, value in zip(names, scores, strict=True)
        ]
        cells = [
            row.weights,
            _run_time(row),
            "without zeros" if row.packed else "of neighbours",
            f"{100 * row.zeros:.1f}",
            *shown,
            f"{row.cycles:,}",
            _gain(row.gain, row.product),
            _gain(row.on_chip_gain, row.on_chip_product),
            _gain(row.work_gain, row.work_product),
        ]
        yield f"| {' | '.join(cells)} |"


def _run_time(row: ComposedRow) -> str:
    return row.instance if row.instance != "prepared" else f"{row.rows} rows"


def _gain(gain: float, product: float | None) -> str:
    return f"{gain:.2f}" if product is None else f"{gain:.2f} ({product:.2f})"


def machine_table(found: Composition) -> Iterator[str]:
    """Lay out the other machines: gains over their own plain runs, DRAM included and on chip."""
    yield (
        "| machine | layers | cycles, plain | plain, mild | plain, wild | software-pruned | and mild"
        " | and wild |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    yield _bitx_line(found)
    by_machine: dict[str, list[MachineRow]] = {}
    for row in found.machines:
        by_machine.setdefault(row.accelerator, []).append(row)
    for name, rows in by_machine.items():
        first = rows[0]
        layers = f"{first.layers} of {first.layers + first.not_applicable}"
        if first.cycles is None:
            yield f"| {name} | {layers} | {first.reason} | – | – | – | – | – |"
            continue
        gains = (f"{row.gain:.2f} / {row.on_chip_gain:.2f}" for row in rows[1:])
        yield f"| {name} | {layers} | {first.cycles:,} | {' | '.join(gains)} |"


def _bitx_line(found: Composition) -> str:
    """BitX as one of the machines; zeros left out where there are some."""
    packed = any(row.packed for row in found.bitx)
    rows = [found.row("plain", name) for name in ("unpruned", "mild", "wild")]
    rows += [found.row("software-pruned", name, packed=packed) for name in ("unpruned", "mild", "wild")]
    gains = (f"{row.gain:.2f} / {row.on_chip_gain:.2f}" for row in rows[1:])
    return f"| bitx{', zeros left out' * packed} | all | {rows[0].cycles:,} | {' | '.join(gains)} |"


def main() -> None:
    """Measure, and write if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default=",".join(CASES), help="by default all")
    parser.add_argument("--resamples", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.write and set(given.cases.split(",")) != set(CASES):
        parser.error("--write writes all cases")
    text = "\n\n".join(measured(CASES[name], given.resamples) for name in given.cases.split(","))
    print(text)
    if not given.write:
        return
    write_part(PAGE, MARK, text)


if __name__ == "__main__":
    main()
