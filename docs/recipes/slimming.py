"""Slim the sample detector of data/samples: Network Slimming, then fine-tuning, on training scenes alone.

    python docs/recipes/slimming.py --output data/samples
    python docs/recipes/slimming.py --write

Network Slimming (Liu et al., ICCV 2017) trains with the L1 norm of the batch norms' scales in the loss,
removes the channels with the smallest scales, whatever their layer, and trains on what is left; here by two
turns, and trained on once more. The BitX paper combines its run-time pruning with it (Table 6). Each scale
counts in the loss by the cycles that its channel takes, as in MorphNet (Gordon et al., CVPR 2018): channels
of small maps are cheap. The held-out digits take no part in training, nor in choosing anything.

It needs the extra ``software-pruning``, and takes half an hour on one core. With the same seed, on
one thread and with the same versions of PyTorch and CPU, the weights come out the same, bit for bit.
``--write`` trains nothing: it measures the sample with run-time pruning, and writes its part of
docs/software-pruning.md.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import digit_detector
from digit_detector import BATCH, HELD_OUT_SCENES, OUTPUTS, SEED, SIDE
from marked_parts import write_part
from onnx_graph import write

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import prune_dump
from hwmodel.evaluation import metric, task
from hwmodel.evaluation.model_runs import run
from hwmodel.evaluation.runners import OnnxRunner
from hwmodel.preparation import Budget, prepare_model

if TYPE_CHECKING:
    import torch

    from hwmodel.simulation.results import NetworkResult

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "software-pruning.md"
MARK = "<!-- slimmed -->\n"
SAMPLES = DOCS.parent / "data" / "samples"
PLAIN = SAMPLES / "digit_detector.onnx"
NAME = "digit_detector_slimmed"
STEPS = 1200
FINE_STEPS = 2400
SPARSITY = 3e-3
"""Weight of the L1 norm of all scales in the loss."""
RATIOS = (0.5, 0.32, 0.0)
"""Share of the channels to remove, by turns, each before training on; the last turn only trains on."""
ROWS = (10, 6)
ONES = (4, 3, 2)
CALIBRATION = 64
"""Training scenes that weights are prepared on."""
LEAST = 0.15
"""Share of each layer's channels that stays at least."""

Importance = Callable[[Any], "torch.Tensor"]


def whole(model: torch.nn.ModuleDict) -> torch.nn.Module:
    """Make one module of the detector, for torch-pruning."""
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = model

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return digit_detector.detector(digit_detector.TorchGraph(self.layers), x)

    return Whole().eval()


def pruner(model: torch.nn.ModuleDict, importance: Importance, ratio: float) -> Any:
    """Of torch-pruning: channels that are added to each other go together, by the mean of their scales."""
    import torch
    import torch_pruning

    return torch_pruning.pruner.BNScalePruner(
        whole(model),
        torch.zeros(1, 1, SIDE, SIDE),
        importance,
        global_pruning=True,
        pruning_ratio=ratio,
        ignored_layers=[model[name.replace(".", "-")] for name in OUTPUTS],
    )


def slim(model: torch.nn.ModuleDict, ratio: float) -> None:
    """Remove the channels with the smallest scales, with all that makes and takes them.

    A scale counts in relation to the mean of its layer's: what all of a layer's scales lack, the weights that
    follow make up for.
    """
    import torch
    import torch_pruning

    scale = torch_pruning.importance.BNScaleImportance(normalizer="mean")

    def importance(group: Any) -> torch.Tensor:
        found = scale(group)
        found[found.topk(math.ceil(LEAST * len(found))).indices] = torch.inf  # no layer goes as a whole
        return found

    pruner(model, importance, ratio).step()


def cycles(path: Path, **options: Any) -> NetworkResult:
    """Simulate BitX on one scene."""
    with bx.open_dump(path) as dump:
        machine = hw.accelerator("bitx", pack_zeros=False, **options)
        return hw.simulate_network(machine, hw.load_network(path, sizes={"N": 1}), dump=dump)


def costs(model: torch.nn.ModuleDict) -> list[tuple[torch.Tensor, float]]:
    """Scales of each batch norm, and what a channel of it costs; a scale costs 1 on average.

    A channel costs cycles of all layers that make or take it, on BitX that prunes nothing, with the weights
    of the plain detector. Batch norms of channels that go together share the cost.
    """
    import torch
    import torch_pruning

    rows = {row.layer: row.unpruned_cycles for row in cycles(PLAIN).layers}
    per_layer = {layer[0]: rows[name.replace("-", ".")] for name, layer in model.items()}
    found = {}
    made = pruner(model, torch_pruning.importance.BNScaleImportance(), 0)
    for group in made.DG.get_all_groups(ignored_layers=made.ignored_layers):
        parts = {(dep.layer, dep.pruning_fn) for dep, _ in group}
        norms = [layer for layer, _ in parts if isinstance(layer, torch.nn.BatchNorm2d)]
        cost = math.fsum(per_layer[layer] / norms[0].num_features for layer, _ in parts if layer in per_layer)
        found.update(dict.fromkeys(norms, cost / len(norms)))
    norms = [layer[1] for layer in model.values() if len(layer) > 1]
    mean = math.fsum(n.num_features * found[n] for n in norms) / sum(n.num_features for n in norms)
    return [(norm.weight, found[norm] / mean) for norm in norms]


def train_sparsely(seed: int, steps: int, sparsity: float) -> torch.nn.ModuleDict:
    """Train the detector as its recipe does, with the L1 norm of the scales in the loss, by their costs."""
    digit_detector.fix(seed)
    model = digit_detector.build()
    scales = costs(model)

    def penalty(*_: torch.Tensor) -> torch.Tensor:
        return sparsity * sum(cost * scale.abs().sum() for scale, cost in scales)

    return digit_detector.fit(model, seed, steps, more=penalty)


def make(output: Path, *, seed: int = SEED, steps: int = STEPS, fine_steps: int = FINE_STEPS) -> Path:
    """Train, slim, train on, check, and write ``digit_detector_slimmed.onnx`` with its recipe."""
    begin = time.perf_counter()
    model = train_sparsely(seed, steps, SPARSITY)
    for turn, ratio in enumerate(RATIOS):
        slim(model, ratio)
        digit_detector.fit(model, seed, fine_steps, first=(steps + turn * fine_steps) * BATCH)
    return finish(model, output, seed, steps, fine_steps, time.perf_counter() - begin)


def finish(
    model: torch.nn.ModuleDict, output: Path, seed: int, steps: int, fine_steps: int, seconds: float
) -> Path:
    """Score a slimmed model and write it."""
    proto = digit_detector.to_onnx(model, NAME)
    recipe = {
        "recipe": "docs/recipes/slimming.py",
        "data": "hwmodel.evaluation.datasets.digit_scenes of sklearn.datasets.load_digits",
        "split": "the last 360 digits are in held-out scenes only",
        "seed": str(seed),
        "steps": str(steps),
        "sparsity": f"{SPARSITY:g}",
        "ratios": ", ".join(f"{ratio:g}" for ratio in RATIOS),
        "fine_steps": str(fine_steps),
        "train_scenes": str((steps + len(RATIOS) * fine_steps) * BATCH),
        **digit_detector.figures(proto.SerializeToString(), HELD_OUT_SCENES),
    }
    path = output / f"{NAME}.onnx"
    write(proto, recipe, path)
    print(f"{path}: {path.stat().st_size} bytes, mAP {recipe['held_out_map_50']} at 0.5, {seconds:.0f} s")
    return path


def ways(plain: Path, folder: Path) -> Iterator[tuple[str, Path, int]]:
    """Give each run-time pruning of a detector, the file with what it leaves, and the machine's rows."""
    yield "–", plain, 32
    for rows in ROWS:
        with bx.open_dump(plain) as dump:
            prune_dump(dump, folder / "pruned.onnx", rows=rows)
        yield f"{rows} rows", folder / "pruned.onnx", rows
    batches = [part.feeds for part in task("detector").calibration(CALIBRATION)]
    for ones in ONES:
        prepare_model(plain, batches, folder / "prepared.onnx", Budget(ones=ones, rows=6))
        yield f"6 rows, prepared with {ones} ones", folder / "prepared.onnx", 6


def measured() -> str:
    """Both detectors with run-time pruning: cycles of a scene, and precision."""
    scenes, scorer = task("detector"), metric("map50")
    lines = [
        "## With training: the sample detector\n",
        "The plain sample detector and the slimmed one, unpruned and with BitX's run-time pruning, on",
        "the 500 held-out scenes. *Prepared*: weights within a budget of ones",
        f"([prepare.md](prepare.md)), on {CALIBRATION} training scenes. Gains and points are relative to",
        "the plain detector on the machine that prunes nothing; zeros are not packed. The slimmed one saw",
        "seven times as many scenes in training; training the plain one on as many might raise its",
        "score too.\n",
        "| detector | run-time pruning | cycles on chip | gain | with DRAM waits | gain "
        "| mAP at 0.5, % | points |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    first: tuple[int, int, float] | None = None
    with TemporaryDirectory() as folder:
        for name, plain in (("plain", PLAIN), ("slimmed", SAMPLES / f"{NAME}.onnx")):
            for way, path, rows in ways(plain, Path(folder)):
                total = cycles(path, rows=rows).totals[0]
                found = run(scenes, OnnxRunner(path, named=plain))
                value = 100 * scorer.total(scorer.records(found.outputs, found.labels))
                now = (total.on_chip_cycles, total.cycles, value)
                if way == "–":
                    now = (total.on_chip_unpruned_cycles, total.unpruned_cycles, value)
                first = first or now
                lines.append(
                    f"| {name} | {way} | {now[0]:,} | {first[0] / now[0]:.2f} × | {now[1]:,} "
                    f"| {first[1] / now[1]:.2f} × | {value:.2f} | {value - first[2]:+.2f} |"
                )
                print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Slim the sample detector of data/samples.")
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder to write into")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS, help="of training before channels are removed")
    parser.add_argument("--fine-steps", type=int, default=FINE_STEPS, help="of training after each removal")
    parser.add_argument("--write", action="store_true", help="measure the sample and write the page instead")
    given = parser.parse_args()
    if given.write:
        write_part(PAGE, MARK, measured())
    else:
        make(given.output, seed=given.seed, steps=given.steps, fine_steps=given.fine_steps)


if __name__ == "__main__":
    main()
