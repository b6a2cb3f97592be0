"""Compile the engines of accelerators ahead of use, by letting each simulate a few small layers."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from threading import Thread
from typing import Any

from bitxcore.jit import cache_directory, cache_writable, threads
from bitxcore.warming import in_processes
from hwmodel.accelerators.registry import accelerator, accelerator_class, accelerator_names
from hwmodel.dram.closed_form import Stream, StreamModel
from hwmodel.dram.parts import load_part
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


MEMORY = "memory"
"""Stands for the name of an accelerator where memories are made ready, which all of them share."""

MOST_WORKERS = 8
"""Each needs some 300 MB."""

_READY = ".ready"
"""Ending of an empty file in the cache that is named after an accelerator whose kernels were compiled."""

Task = tuple[str, Mapping[str, Any]]


def warm(name: str, options: Mapping[str, Any]) -> str:
    """Compile, or load from the cache, what one accelerator needs, its memory included."""
    if name == MEMORY:
        StreamModel(load_part("DDR4-2400_x64_bgint")).cost(Stream(1))
        return name
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
    for name in (MEMORY, *accelerator_names()):
        _mark(name)


# -- ahead of a command ------------------------------------------------------------------------


@contextmanager
def warming(machines: Sequence[Task]) -> Iterator[Callable[[], None]]:
    """Compile what some accelerators need in other processes, if the cache has never seen them.

    One process alone compiles one kernel at a time. Nothing is done with one thread, or where compiled
    kernels can't be kept. What is not made ready is compiled when it is used; results do not depend on it.

    Parameters
    ----------
    machines : sequence of (str, mapping)
        Names and options.

    Yields
    ------
    callable
        Waits until all is compiled. Without it, the processes end with the block.
    """
    folder = cache_directory()
    seen = {path.stem for path in folder.glob(f"*{_READY}")} if folder else set()
    cold = [task for task in ((MEMORY, {}), *machines) if task[0] not in seen]
    count = min(threads(), len(cold), MOST_WORKERS)
    if count < 2 or not cache_writable():
        yield lambda: None
        return
    # Not by multiprocessing, which runs a script that calls the command line once more in each process.
    command = [sys.executable, "-P", "-c", f"from {__name__} import _work; _work()"]
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    environment = {**os.environ, "BITX_THREADS": "1", "PYTHONPATH": path}
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with ExitStack() as ends:
        workers = []
        for i in range(count):
            # In a session of its own, as signals of the terminal are for this process.
            worker: Any = subprocess.Popen(  # noqa: S603 - this interpreter
                command,
                bufsize=0,
                env=environment,
                stdin=pipe,
                stdout=nowhere,
                stderr=nowhere,
                start_new_session=True,
            )
            ends.enter_context(worker)
            ends.callback(worker.kill)
            workers.append(worker)
            with suppress(BrokenPipeError):
                worker.stdin.write(pickle.dumps(cold[i::count]))

        def until_compiled() -> None:
            for worker in workers:
                worker.wait()

        yield until_compiled


def _mark(name: str) -> None:
    """Remember in the cache that an accelerator was made ready."""
    if folder := cache_directory():
        with suppress(OSError):
            (folder / f"{name}{_READY}").touch()


def _work() -> None:
    """Compile what some machines need, in a process of `warming`."""
    gc.disable()
    some = pickle.load(sys.stdin.buffer)  # noqa: S301 - from `warming`
    Thread(target=_end_with_parent, daemon=True).start()
    for name, options in some:
        with suppress(Exception):  # whoever needs the machine will say what is wrong
            warm(name, options if name == MEMORY else {**options, "dram": None})
        _mark(name)
    os._exit(0)  # without clearing up what Numba made


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # ends with the parent, however that ends
    os._exit(1)
