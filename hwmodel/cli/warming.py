"""``bitx warmup``: compile the kernels before they are needed."""

from __future__ import annotations

from itertools import chain
from time import perf_counter

import click


@click.command(name="warmup")
@click.option(
    "--accelerators",
    is_flag=True,
    help="Also the engines of every accelerator, for bitx simulate -a all.",
)
def command(accelerators: bool) -> None:
    """Compile the usual kernels into the cache, once per release."""
    import numpy as np

    from bitxcore.engine import FAST_GROUPS
    from bitxcore.jit import cache_directory
    from bitxcore.warming import WARM_FORMATS, warmup
    from hwmodel.accelerators.engines.skewed_fifo import skewed_fifo
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress
    from hwmodel.simulation import warmup as machines

    start = perf_counter()
    steps = len(WARM_FORMATS) * len(FAST_GROUPS) + accelerators * len(machines.tasks())
    with progress(steps, "warmup", patience_s=0) as bar:
        for done in chain(warmup(), machines.warmup() if accelerators else ()):
            bar.advance(1, done)
        skewed_fifo(np.ones((1, 1), np.int64), fifo_depth=0)
    folder = cache_directory()
    place = f"wrote the kernels to {folder}" if folder else "nothing written: no cache folder is writable"
    out.say(f"ready after {perf_counter() - start:.1f} s; {place}")
