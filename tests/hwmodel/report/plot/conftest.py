from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import hwmodel as hw
from hwmodel.evaluation import Setting
from hwmodel.evaluation.evaluated import Evaluation, Point, write_evaluation
from hwmodel.evaluation.intervals import Estimate
from hwmodel.evaluation.machine_gain import MachineGain
from hwmodel.report.figure_sources import tables_of

SAMPLE = Path(__file__).parents[4] / "data/samples/digits_resnet.onnx"


@dataclass(frozen=True)
class Kept:
    """A result, and the store that its run wrote."""

    result: Any
    path: Path

    @property
    def tables(self) -> Any:
        return tables_of(self.path)


def evaluated() -> Evaluation:
    """An evaluation as a run would find it."""
    settings = {
        Setting(): (0.99, 10_000),
        Setting(rows=4): (0.96, 6281),
        Setting(rows=6): (0.99, 6730),
        Setting(rows=6, format="fixed8"): (0.95, None),
    }
    points = [
        Point(setting, {"top1": estimate(score)}, 100, machine=MachineGain(cycles=cycles))
        for setting, (score, cycles) in settings.items()
    ]
    return Evaluation("digits", ("top1",), {"top1": "labels"}, points)


def estimate(score: float) -> Estimate:
    less = score - 0.99
    return Estimate(score, score - 0.02, score + 0.01, less, less - 0.02, less + 0.02, 0.5)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kept]:
    """One small result of each kind, with its store."""
    folder = tmp_path_factory.mktemp("figures")

    def path(name: str) -> Path:
        return folder / f"{name}.h5"

    run = hw.simulate_network(["bitx", "dadiannao"], SAMPLE, store=path("run"))
    machines = ["dadiannao", "bitx", "eie", "bit_tactical"]
    comparison = hw.compare(SAMPLE, accelerators=machines, store=path("comparison"))
    space = {"rows": [3, 6], "lane_fifo_depth": [0, 2, None]}
    sweep = hw.sweep(SAMPLE, space, jobs=1, store=path("sweep"))
    evaluation = evaluated()
    write_evaluation(path("evaluation"), evaluation, [], {})
    reproduction = hw.reproduction.reproduce(["Table 3"], accuracy=False, store=path("reproduction"))
    results = {
        "run": run,
        "comparison": comparison,
        "sweep": sweep,
        "evaluation": evaluation,
        "reproduction": reproduction,
    }
    return {name: Kept(result, path(name)) for name, result in results.items()}
