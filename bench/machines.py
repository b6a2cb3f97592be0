"""How long the models take: every accelerator on one large layer, and the search for tiles.

``python -m bench.machines`` prints the fastest of a few runs after compilation, each machine at its defaults.
The last column compares with the public simulator DNNsim on the same shape of convolution; its times were
measured on a like machine, one core, and are not measured here. The last line is a comparison of all machines
on ResNet-50, as ``bitx simulate resnet50 --weights synthetic -a all`` makes it.
"""

from __future__ import annotations

from time import perf_counter, process_time

import numpy as np

import hwmodel as hw
from hwmodel.memory.nest import Nest
from hwmodel.memory.tile_search import best_tiling, equal_tilings
from hwmodel.memory.tiling import Buffers
from hwmodel.memory.widths import OperandWidths
from hwmodel.studies.comparison.contenders import entries

CONV = hw.Conv("conv", in_channels=256, out_channels=256, in_size=(56, 56), kernel=3, padding=1)
FC = hw.Linear("fc", in_features=4096, out_features=4096)
PEER_SECONDS = {
    "dadiannao": 9,
    "pragmatic": 11,
    "bit_tactical(back_end=p)": 17,
    "laconic": 22,
    "bit_tactical": 65,
    "scnn(rules=dnnsim)": 7,
}
ROUNDS = 3


def operands(layer: hw.Conv | hw.Linear) -> hw.Operands:
    """Make Laplace operands of 10 bits: half of the activations are 0, of FC's weights nine tenths."""
    rng = np.random.default_rng(0)
    a = np.clip(np.abs(rng.laplace(0, 60, layer.input_count)).round(), 0, 511).astype(np.int16)
    a[rng.random(a.shape) < 0.5] = 0
    w = np.clip(rng.laplace(0, 60, layer.weight_shape).round(), -511, 511).astype(np.int16)
    if layer is FC:
        w[rng.random(w.shape) >= 0.1] = 0
    return hw.Operands(w, a, 10, 10)


def fastest(machine: hw.Accelerator, layer: hw.Conv | hw.Linear, o: hw.Operands) -> float:
    """Seconds of `Accelerator.run`, compiled."""
    machine.run(layer, o)
    seconds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        machine.run(layer, hw.Operands(o.weights, o.activations, 10, 10))  # nothing is remembered
        seconds.append(perf_counter() - start)
    return min(seconds)


def search_seconds() -> float:
    """Search the tiles of all layers of ResNet-152, none of them seen before."""
    equal_tilings.cache_clear()
    buffers = Buffers(1 << 19, 1 << 19, 1 << 18)
    layers = list(hw.load_network("resnet152"))
    start = perf_counter()
    for layer in layers:
        bits = 16 * layer.parameters
        best_tiling(Nest.of(layer), OperandWidths(bits, bits, 16, 16, 512), buffers)
    return perf_counter() - start


def comparison_seconds() -> tuple[float, float]:
    """Compare all machines on ResNet-50, no tiles searched before: seconds, and seconds of CPU."""
    start, used = perf_counter(), process_time()
    hw.compare("resnet50", weights="normal")
    return perf_counter() - start, process_time() - used


def main() -> None:
    """Print one line per machine."""
    print(f"{'machine':44}{'layer':>6}{'ms':>10}{'GMAC/s':>9}{'DNNsim':>9}")
    inputs = {layer.name: operands(layer) for layer in (CONV, FC)}
    for name, options in (*entries(), ("scnn", {"rules": "dnnsim"})):
        machine = hw.accelerator(name, **options)
        layer = CONV if machine.not_applicable(CONV) is None else FC
        seconds = fastest(machine, layer, inputs[layer.name])
        rate = layer.macs / seconds / 1e9
        peer = PEER_SECONDS.get(machine.label)
        gain = f"{peer / seconds:,.0f}x" if peer else "–"
        print(f"{machine.label:44}{layer.name:>6}{seconds * 1e3:10.1f}{rate:9.1f}{gain:>9}")
    print(f"tiles of ResNet-152's layers: {search_seconds() * 1e3:.0f} ms")
    seconds, used = comparison_seconds()
    print(f"all machines on ResNet-50: {seconds:.1f} s, {used:.1f} s of CPU")


if __name__ == "__main__":
    main()
