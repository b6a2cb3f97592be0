"""Software pruning with training on the digits network, method by method: a part of docs/software-pruning.md.

``python docs/recipes/trained_pruning.py --write`` trains, prunes, trains on, and writes the table, in some
minutes on one core; ``--save FOLDER`` keeps the networks, ``--methods none,l1`` runs some only. It needs the
extra ``software-pruning``. One seed, one run a method, its last step; the 360 test images choose nothing. On
one thread and with the same versions of PyTorch and CPU, the numbers come out the same.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import digits_resnet
import torch
import torch_pruning
from digits_resnet import EPOCHS, SEED, correct, test_split, to_onnx, train_split
from marked_parts import write_part
from onnx_graph import write

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import prune_dump
from hwmodel.preparation import Budget, prepare_model

PAGE = Path(__file__).parents[1] / "software-pruning.md"
MARK = "<!-- trained -->\n"

RATIO = 0.7
"""Share of the channels that is removed, of each layer or of all: with l1, a third of the cycles is left."""
LEAST = 0.15
"""Share of each layer's channels that stays at least, where all layers are ranked together."""
FINE_EPOCHS = 30
ROUNDS = 3
"""Of methods that prune and train by turns."""
SCALES = 3e-3
"""Weight of the L1 norm of the batch norms' scales in slimming's loss."""
LASSO = 5e-5
"""Weight of the group lasso in the loss."""
SPARSITY = 0.8
"""Weights that magnitude masks set to zero in the end, of each layer."""
STRIDE = 2
"""Of the weights that strided masks keep in a kernel."""
ROWS = (10, 6)
ONES = (3, 2)
CALIBRATION = 256
"""Training images that weights are prepared on."""
BINS = 20
LOCATIONS = 4096
"""Output values that ThiNet looks at."""

Model = torch.nn.ModuleDict
Scores = Mapping[str, torch.Tensor]
"""Of a convolution's output channels, by its name; those with low ones go."""


def convs(model: Model) -> dict[str, torch.nn.Conv2d]:
    """Convolutions by the names of their layers."""
    modules = model.named_modules()
    return {name[:-2]: module for name, module in modules if isinstance(module, torch.nn.Conv2d)}


class Whole(torch.nn.Module):
    """The network as one module, for torch-pruning."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return digits_resnet.forward(self.model, x)


def by_scores(scores: Scores, model: Model) -> Callable[[Any], torch.Tensor]:
    """Importance of channels that go together: the mean of the scores of their convolutions."""
    found = {conv: scores[name] for name, conv in convs(model).items() if name in scores}

    def importance(group: Any) -> torch.Tensor | None:
        channels = [found[dep.layer] for dep, _ in group if dep.layer in found and _makes(dep)]
        return torch.stack(channels).mean(dim=0) if channels else None

    return importance


def _makes(dep: Any) -> bool:
    outward = (torch_pruning.prune_conv_out_channels, torch_pruning.prune_depthwise_conv_out_channels)
    return dep.pruning_fn in outward


def pruner(model: Model, importance: Callable[[Any], Any], **how: Any) -> Any:
    """Of torch-pruning: each step removes channels in place, with all that makes and takes them."""
    return torch_pruning.pruner.BasePruner(
        Whole(model).eval(),
        torch.zeros(1, 1, 8, 8),
        importance,
        pruning_ratio=RATIO,
        ignored_layers=[model["head"]],
        **how,
    )


def remove(model: Model, importance: Callable[[Any], Any]) -> None:
    """Remove channels of each layer in one step."""
    pruner(model, importance).step()


def remove_of_all(model: Model, importance: Callable[[Any], Any]) -> None:
    """Remove channels of all layers together, in one step; no layer goes as a whole."""

    def kept(group: Any) -> torch.Tensor:
        found = importance(group)
        found[found.topk(math.ceil(LEAST * len(found))).indices] = torch.inf
        return found

    pruner(model, kept, global_pruning=True).step()


def fine_tuned(model: Model, epochs: int = FINE_EPOCHS, after: Callable[[], None] | None = None) -> Model:
    """Train on, with half the first rate at most."""
    return digits_resnet.fit(model, SEED, epochs, rate=digits_resnet.RATE / 2, after=after)


@torch.no_grad()
def activations(model: Model) -> dict[str, torch.Tensor]:
    """What each convolution's ReLU gives for the training images, ``(n, channels, height, width)``."""
    found: dict[str, torch.Tensor] = {}
    images = torch.from_numpy(train_split()[0])
    digits_resnet.forward(
        model.eval(), images, lambda names, x: found.update(dict.fromkeys(names, x.clone()))
    )
    return found


# Each method prunes a trained model in place and returns what to call after each later step, if anything.


def l1(model: Model) -> None:
    """Of each layer, the filters with the smallest L1 norm (Li et al., ICLR 2017)."""
    remove(
        model,
        by_scores({n: c.weight.detach().abs().sum(dim=(1, 2, 3)) for n, c in convs(model).items()}, model),
    )


def slimming(model: Model) -> None:
    """Trained with the L1 norm of the scales; of all layers, the smallest scales (Liu et al., ICCV 2017)."""
    remove_of_all(model, torch_pruning.importance.BNScaleImportance(normalizer=None))


def positive_share(model: Model) -> dict[str, torch.Tensor]:
    """Share of activations that are not zero: 1 − APoZ."""
    return {name: (x > 0).float().mean(dim=(0, 2, 3)) for name, x in activations(model).items()}


def apoz(model: Model) -> None:
    """By turns, the channels that are zero most often (APoZ: Hu et al., 2016), then training."""
    scores: dict[str, torch.Tensor] = {}
    made = pruner(model, lambda group: by_scores(scores, model)(group), iterative_steps=ROUNDS)
    for turn in range(1, ROUNDS + 1):
        scores.update(positive_share(model))
        made.step()
        if turn < ROUNDS:
            fine_tuned(model, FINE_EPOCHS // ROUNDS)


def entropy(model: Model) -> None:
    """Of each layer, the channels whose means over images vary least, by entropy (Luo and Wu, 2017)."""
    scores = {}
    for name, x in activations(model).items():
        means = x.mean(dim=(2, 3))
        low, high = means.amin(dim=0), means.amax(dim=0)
        bins = ((means - low) / (high - low).clamp(min=1e-12) * BINS).long().clamp(max=BINS - 1)
        shares = torch.nn.functional.one_hot(bins, BINS).float().mean(dim=0)
        scores[name] = torch.special.entr(shares).sum(dim=1)
    remove(model, by_scores(scores, model))


CONSUMERS = {
    "stage1.block1.conv1": "stage1.block1.conv2",
    "stage2.block1.conv1": "stage2.block1.conv2",
    "stage2.block2.conv2": "stage2.block2.conv3",
    "stage3.block1.conv1": "stage3.block1.conv2",
}
"""Layers within a block, and the one that takes their channels."""


def thinet(model: Model) -> None:
    """Within blocks, the channels that the next layer's outputs miss least (Luo et al., ICCV 2017)."""
    generator = torch.Generator().manual_seed(SEED)
    for name, consumer in CONSUMERS.items():
        scores = _missed(activations(model)[name], convs(model)[consumer], generator)
        remove(model, by_scores({name: scores}, model))


@torch.no_grad()
def _missed(x: torch.Tensor, conv: torch.nn.Conv2d, generator: torch.Generator) -> torch.Tensor:
    """Give 0 to channels that go, 1 to those that stay, which are scaled by least squares."""
    patches = torch.nn.functional.unfold(x, conv.kernel_size, padding=conv.padding, stride=conv.stride)
    patches = patches.unflatten(1, (x.shape[1], -1)).permute(0, 3, 1, 2).flatten(0, 1)
    places = torch.randint(len(patches), (LOCATIONS,), generator=generator)
    filters = torch.randint(conv.out_channels, (LOCATIONS,), generator=generator)
    parts = (patches[places] * conv.weight[filters].flatten(2)).sum(dim=2).double()  # (place, channel)
    scores = torch.ones(parts.shape[1])
    scores[_least(parts, round(RATIO * parts.shape[1]))] = 0
    kept = scores.nonzero()[:, 0]
    factors = torch.linalg.lstsq(parts[:, kept], parts.sum(dim=1)).solution
    conv.weight[:, kept] *= factors.float()[:, None, None]
    return scores


def _least(parts: torch.Tensor, count: int) -> list[int]:
    """Choose channels one by one so that the square of the sum of their parts stays least."""
    gone: list[int] = []
    total = torch.zeros(len(parts), dtype=parts.dtype)
    for _ in range(count):
        errors = (total[:, None] + parts).square().sum(dim=0)
        errors[gone] = torch.inf
        gone.append(int(errors.argmin()))
        total = total + parts[:, gone[-1]]
    return gone


def group_lasso(model: Model) -> None:
    """Trained with group lasso over filters and channels; the smallest of all (Wen et al., NeurIPS 2016)."""
    norms = {n: c.weight.detach().square().mean(dim=(1, 2, 3)).sqrt() for n, c in convs(model).items()}
    remove_of_all(model, by_scores(norms, model))


def lasso(model: Model) -> torch.Tensor:
    """L2 norms of all filters and of all input channels, each times the root of its size."""
    weights = [conv.weight for conv in convs(model).values()]
    sides = [w.flatten(1) for w in weights] + [
        w.transpose(0, 1).flatten(1) for w in weights if w.shape[1] > 1
    ]
    return LASSO * sum((s.square().sum(dim=1) + 1e-12).sqrt().sum() * s.shape[1] ** 0.5 for s in sides)


def scales(model: Model) -> torch.Tensor:
    """L1 norm of all batch norms' scales."""
    norms = [m.weight for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    return SCALES * sum(scale.abs().sum() for scale in norms)


Masks = dict[torch.nn.Module, torch.Tensor]


def masking(masks: Masks) -> Callable[[], None]:
    """Zero what is masked, now and after every step."""

    @torch.no_grad()
    def apply() -> None:
        for layer, mask in masks.items():
            layer.weight *= mask

    apply()
    return apply


def strided(model: Model) -> Callable[[], None]:
    """Every other weight of a kernel; kernels on one input channel share the offset (Anwar et al., 2017)."""
    masks = {}
    for conv in convs(model).values():
        weight = conv.weight.detach().flatten(2)
        if weight.shape[2] == 1:
            continue  # a kernel of one weight has no stride
        places = torch.arange(weight.shape[2]) % STRIDE == torch.arange(STRIDE)[:, None]  # (offset, place)
        kept = (weight.abs().sum(dim=0)[:, None] * places).sum(dim=2)  # (input channel, offset)
        if conv.groups > 1:  # each input channel has the one kernel
            kept = (weight.abs() * places).sum(dim=2)
            masks[conv] = places[kept.argmax(dim=1)].unflatten(1, conv.kernel_size)[:, None]
        else:
            masks[conv] = places[kept.argmax(dim=1)].unflatten(1, conv.kernel_size)[None]
    return masking(masks)


def magnitude(model: Model) -> Callable[[], None]:
    """By turns, the smallest weights of each layer, then training (Han et al., NeurIPS 2015)."""
    layers = [*convs(model).values(), model["head"]]
    for turn in range(1, ROUNDS + 1):
        share = SPARSITY * turn / ROUNDS
        masks: Masks = {}
        for layer in layers:
            sizes = layer.weight.detach().abs()
            masks[layer] = sizes > sizes.flatten().kthvalue(round(share * sizes.numel())).values
        after = masking(masks)
        if turn < ROUNDS:
            fine_tuned(model, FINE_EPOCHS // ROUNDS, after)
    return after


@dataclass(frozen=True)
class Method:
    """How to prune, and what stands in the loss of the training before that."""

    prune: Callable[[Model], Callable[[], None] | None]
    penalty: digits_resnet.Addend | None = None


METHODS = {
    "none": Method(lambda _: None),
    "l1": Method(l1),
    "slimming": Method(slimming, scales),
    "apoz": Method(apoz),
    "entropy": Method(entropy),
    "thinet": Method(thinet),
    "group-lasso": Method(group_lasso, lasso),
    "strided": Method(strided),
    "magnitude": Method(magnitude),
}


@dataclass(frozen=True)
class Result:
    """What a network takes for one image on BitX, and test images that it has right."""

    on_chip: int
    cycles: int
    right: int

    @staticmethod
    def of(path: Path, rows: int | None = None) -> Result:
        """Simulate and score; `rows` of weights that are pruned already, None for no run-time pruning."""
        with bx.open_dump(path) as dump:
            machine = hw.accelerator("bitx", pack_zeros=False, **({"rows": rows} if rows else {}))
            total = hw.simulate_network(machine, hw.load_network(path, sizes={"N": 1}), dump=dump).totals[0]
        found = (total.on_chip_cycles, total.cycles)
        if rows is None:
            found = (total.on_chip_unpruned_cycles, total.unpruned_cycles)
        return Result(*cast(tuple[int, int], found), correct(path.read_bytes(), *test_split()))

    def over(self, whole: Result) -> str:
        """Gains over another network: on chip, with DRAM waits."""
        return f"{whole.on_chip / self.on_chip:.2f} × | {whole.cycles / self.cycles:.2f} ×"

    @property
    def accuracy(self) -> str:
        """Of the test images, percent."""
        return f"{100 * self.right / len(test_split()[1]):.2f}"


def at_run_time(path: Path, folder: Path) -> list[Result]:
    """A network with BitX's pruning: truncated, and prepared within budgets of ones on training images."""
    out, found = folder / "bitx.onnx", []
    for rows in ROWS:
        with bx.open_dump(path) as dump:
            prune_dump(dump, out, rows=rows)
        found.append(Result.of(out, rows))
    for ones in ONES:
        images = {"image": train_split()[0][:CALIBRATION]}
        prepare_model(path, [images], out, Budget(ones=ones, rows=6))
        found.append(Result.of(out, 6))
    return found


def nonzero(path: Path) -> tuple[int, int]:
    """Count weights that are not zero, and their multiply-accumulates."""
    weights = works = 0
    with bx.open_dump(path) as dump:
        for entry in hw.load_network(path, sizes={"N": 1}).layers:
            values = entry.read(dump)
            if values is not None:
                weights += int((values != 0).sum())
                works += round(entry.layer.macs * float((values != 0).mean()))
    return weights, works


def pruned(name: str, method: Method, trained: Model, path: Path) -> str:
    """Prune one model, train it on, and write it; accuracy before that, percent."""
    model = copy.deepcopy(trained)
    images, labels = test_split()
    after = method.prune(model)
    before = correct(to_onnx(model.eval()).SerializeToString(), images, labels)
    content = to_onnx(fine_tuned(model, after=after))
    recipe = {
        "recipe": "docs/recipes/trained_pruning.py",
        "method": name,
        "seed": str(SEED),
        "epochs": str(EPOCHS),
        "fine_epochs": str(FINE_EPOCHS),
        "test_images": str(len(labels)),
        "test_correct": str(correct(content.SerializeToString(), images, labels)),
    }
    write(content, recipe, path)
    return f"{100 * before / len(labels):.2f}"


def table(names: list[str], folder: Path) -> str:
    """Rows of all methods; gains are over the first one's network without run-time pruning."""
    ways = [*(f"N = {rows}" for rows in ROWS), *(f"{ones} ones" for ones in ONES)]
    lines = [
        "## With training: the digits network\n",
        f"Each network was trained for {EPOCHS} epochs, pruned, and trained on for {FINE_EPOCHS}; `none`",
        "was trained on without pruning. One seed, one run per method; the 360 test images chose nothing.",
        "One image is 0.28 %.\n",
        f"- Of the channels {100 * RATIO:.0f} % are removed, chosen so that with l1 a third of the cycles",
        "is left. ThiNet removes channels within blocks only.",
        f"- In kernels larger than one, strided masks keep every {STRIDE}nd weight. Here they keep corners",
        "and centre of every kernel, so that the network sees every other pixel, as on a chessboard.",
        f"- Magnitude masks clear {100 * SPARSITY:.0f} % of the weights.",
        "- Weights are those that are not zero, MACs theirs.",
        "- Cycles are BitX's without run-time pruning and without packing zeros, for one image; masks save",
        "few of them.\n",
        "| method | weights | MACs | cycles on chip | with DRAM waits | gain on chip | with DRAM waits "
        "| accuracy before fine-tuning, % | after, % |",
        "|---|" + "---:|" * 8,
    ]
    others = [
        "With BitX's run-time pruning, after fine-tuning. *n ones*: weights within a budget of ones and",
        f"of 6 rows ([prepare.md](prepare.md)), on {CALIBRATION} training images. Gains are over `none`",
        "without run-time pruning, on chip and with DRAM waits; the accuracy in % follows.\n",
        "| method |" + "".join(f" {way} | with DRAM waits | % |" for way in ways),
        "|---|" + "---:|" * 3 * len(ways),
    ]
    trained: dict[object, Model] = {}
    whole: Result | None = None
    for name in names:
        begin, method = time.perf_counter(), METHODS[name]
        if method.penalty not in trained:
            trained[method.penalty] = digits_resnet.train(SEED, EPOCHS, method.penalty)
        path = folder / f"digits_{name.replace('-', '_')}.onnx"
        before = pruned(name, method, trained[method.penalty], path)
        found = Result.of(path)
        whole = whole or found
        weights, works = nonzero(path)
        lines.append(
            f"| {name} | {weights:,} | {works:,} | {found.on_chip:,} | {found.cycles:,} "
            f"| {found.over(whole)} | {before} | {found.accuracy} |"
        )
        with TemporaryDirectory() as scratch:
            cells = [f"{way.over(whole)} | {way.accuracy}" for way in at_run_time(path, Path(scratch))]
        others.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], others[-1], f"{time.perf_counter() - begin:.0f} s", sep="\n", flush=True)
    return "\n".join([*lines, "", *others])


def main() -> None:
    """Measure, and write if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--methods", default=",".join(METHODS), help="which, by commas; the first is the whole"
    )
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep the networks there")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = given.save or Path(scratch)
        text = table(given.methods.split(","), folder)
    if given.write:
        write_part(PAGE, MARK, text)


if __name__ == "__main__":
    main()
