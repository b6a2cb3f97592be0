"""Compile the engines of accelerators ahead of use, by letting each simulate a few small layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bitxcore.warming import in_processes
from hwmodel.accelerators.registry import accelerator, accelerator_class, accelerator_names
from hwmodel.networks.layers import Conv, Linear, MatMul
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.simulation.run import simulate_network

LAYERS = (
    Conv("conv", in_channels=16, out_channels=32, in_size=(6, 6), kernel=3, padding=1, stride=2),
    Conv("depthwise", in_channels=16, out_channels=16, in_size=(6, 6), kernel=3, groups=16),
    Linear("vector", in_features=64, out_features=32),
    Linear("matrix", in_features=64, out_features=32, positions=4),
    MatMul("scores", rows=4, inner=16, columns=4, batch=2),
)


def warm(name: str, options: Mapping[str, Any]) -> str:
    """Compile, or load from the cache, what one accelerator needs, its memory included."""
    network = Network(
        "warmup", tuple(NetworkLayer(layer) for layer in LAYERS), source="hwmodel.simulation.warmup"
    )
    machine = accelerator(name, **options)
    simulate_network(machine, network, weights="normal", activations="relu-normal")
    return machine.label


def tasks() -> list[tuple[str, dict[str, Any]]]:
    """List accelerators, with the options of the variants that a comparison has."""
    return [
        (name, dict(options)) for name in accelerator_names() for options in accelerator_class(name).variants
    ]


def warmup() -> Iterator[str]:
    """Compile the engines of all accelerators into the cache, in as many processes as there are threads.

    Yields
    ------
    str
        Label of the accelerator that was made ready.
    """
    yield from in_processes(warm, tasks())
