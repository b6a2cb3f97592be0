"""A module of PyTorch on arrays of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bitxcore.checks import checked_integer
from bitxcore.errors import OptionError
from hwmodel.evaluation.tasks.task_base import Array, Samples, Task, in_batches

BATCH = 64
MOST_BATCH = 1 << 20


class ModuleTask(Task):
    """A module, its inputs, and labels if there are some.

    Parameters
    ----------
    module : torch.nn.Module
        Its weights are pruned in place while it is evaluated, and are put back bit for bit.
    inputs : ndarray or mapping of str to ndarray
        Samples along the first axis; of several inputs, in the order in which the module takes them.
    labels : ndarray, optional
        What the metrics ask for; class numbers for top-1.
    metrics : str or sequence of str, optional
        By default top-1, agreement and cosine; without labels the last two.
    scored : callable, optional
        Function from the module's outputs, a list of arrays, to the array that is scored; by default the
        first.
    batch : int
        Samples that are run at a time.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from hwmodel.evaluation import Setting, evaluate
    >>> module = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    >>> inputs = np.random.default_rng(1).standard_normal((100, 8)).astype("f4")
    >>> found = evaluate(ModuleTask(module, inputs), [Setting(rows=8)], resamples=50)
    >>> found.points[1].scores["agreement"].value > 0.8
    True
    """

    name: ClassVar[str] = "module"

    def __init__(
        self,
        module: Any,
        inputs: Array | Mapping[str, Array],
        labels: Array | None = None,
        *,
        metrics: str | Sequence[str] = (),
        scored: Callable[[list[Array]], Array] | None = None,
        batch: int = BATCH,
    ) -> None:
        self.module = module
        feeds = inputs if isinstance(inputs, Mapping) else {"input": inputs}
        self._feeds = {name: np.asarray(array) for name, array in feeds.items()}
        self._labels = None if labels is None else np.asarray(labels)
        self._scored, self._batch = scored, checked_integer(MOST_BATCH, "batch", batch)
        counts = {name: len(array) if array.ndim else 0 for name, array in self._feeds.items()}
        if not counts:
            raise OptionError("inputs are empty; give an array, or one for each input of the module")
        if self._labels is not None:
            counts["labels"] = len(self._labels) if self._labels.ndim else 0
        if len(set(counts.values())) != 1 or not next(iter(counts.values())):
            shown = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise OptionError(f"inputs and labels need as many samples, and one at least; there are {shown}")
        self.model = Path(type(module).__name__)
        usual = ("agreement", "cosine") if labels is None else ("top1", "agreement", "cosine")
        self.metrics = ((metrics,) if isinstance(metrics, str) else tuple(metrics)) or usual
        self.title = f"{self.model} on {next(iter(counts.values()))} samples"

    @property
    def models(self) -> tuple[Path, ...]:
        """No files."""
        return ()

    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give the samples; quickly every fifth."""
        step = 5 if quick else 1
        feeds = {name: array[::step] for name, array in self._feeds.items()}
        yield from in_batches(feeds, None if self._labels is None else self._labels[::step], self._batch)

    def scored(self, outputs: list[Array]) -> Array:
        """Choose what is scored."""
        return outputs[0] if self._scored is None else self._scored(outputs)
