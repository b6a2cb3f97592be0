"""Models whose channels are scaled and reordered before their weights are prepared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.engine import locate_nonfinite
from bitxcore.errors import BitxError, DumpError, MissingExtraError, error_context
from bitxcore.files import atomic_file
from bitxcore.formats import format_of
from hwmodel.networks.onnx import read_model
from hwmodel.preparation.budget import Budget
from hwmodel.preparation.channel_spaces import OutputError, SpaceChange, equalised, float_error, permuted
from hwmodel.preparation.samples import check_samples, in_model_batches, inputs_of

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Equivalent:
    """A model that computes the same in other channels.

    Attributes
    ----------
    changes : list of SpaceChange
        Of each channel space, first those of scaling, then those of reordering.
    errors : dict of str to OutputError
        How far the outputs moved in float arithmetic, by name.
    """

    changes: list[SpaceChange]
    errors: dict[str, OutputError]


def write_equivalent(
    model: str | os.PathLike[str],
    batches: Sequence[Mapping[str, Array]],
    out: str | os.PathLike[str],
    budget: Budget,
    *,
    equalise: bool = True,
    permute: bool = True,
) -> Equivalent:
    """Write a model whose groups of weights lose fewer bits when they are aligned.

    Parameters
    ----------
    model : path-like
        ONNX, with its tensors in the one file.
    batches : sequence of mapping of str to ndarray
        Samples on which the two are compared.
    out : path-like
    budget : Budget
        Whose groups count.
    equalise : bool
        Scale channels by powers of two, as of `equalised`.
    permute : bool
        Reorder channels, as of `permuted`.

    Raises
    ------
    DumpError
        If the model can't be read, or its tensors lie in other files.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from hwmodel.evaluation import task
    >>> digits = task("digits")
    >>> batches = [part.feeds for part in digits.calibration(16)]
    >>> with TemporaryDirectory() as folder:
    ...     found = write_equivalent(digits.model, batches, f"{folder}/e.onnx", Budget(ones=2))
    >>> found.errors["logits"].relative < 1e-5
    True
    """
    import onnx

    path = Path(model)
    before = read_model(path)
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in before.graph.initializer):
        raise DumpError("its channels can't be changed: its tensors lie in other files", path=path)
    _check_numbers(before, path)
    after, changes = before, []
    for wanted, change in ((equalise, equalised), (permute, permuted)):
        if wanted:
            after, more = change(after, budget.group, budget.grouping)
            changes += more
    with atomic_file(Path(out)) as file:
        file.write_bytes(after.SerializeToString())
    inputs = inputs_of(before)
    feeds = in_model_batches([{name: np.asarray(x) for name, x in part.items()} for part in batches], inputs)
    check_samples(feeds, inputs, path)
    try:
        return Equivalent(changes, float_error(before, after, feeds))
    except (BitxError, MissingExtraError):
        raise
    except Exception as error:  # ONNX Runtime's errors share no base but Exception.
        text = shorten(str(error), 200, placeholder=" …")
        raise DumpError(f"does not run on the samples: {text}", path=path) from error


def _check_numbers(model: Any, path: Path) -> None:
    """Raise at the first stored value that is none, before channels move."""
    import onnx

    for tensor in model.graph.initializer:
        x = np.asarray(onnx.numpy_helper.to_array(tensor))
        if x.dtype.kind in "fV" and not np.isfinite(x).all():  # V: bfloat16
            with error_context(path=path, tensor=tensor.name):
                raise locate_nonfinite(np.ascontiguousarray(x), format_of(x.dtype, None))
