"""A user's own model on a user's own data: a folder of pictures by class, a table, or arrays."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bitxcore.dumps import open_dump
from bitxcore.dumps.trust import parsing
from bitxcore.errors import DumpError, OptionError, TensorError
from hwmodel.evaluation.tasks.task_base import Array, Samples, Task, in_batches
from hwmodel.operands.traces.model_inputs import ModelInput, model_inputs
from hwmodel.operands.traces.pictures import IMAGES, Scaling, read_picture

LABELS = ("labels", "label", "y", "targets")
"""Names of an array that holds the labels."""

BATCH = 16
MOST_TABLE_BYTES = 256 << 20
_LARGEST_CLASS = (1 << 63) - 1


class Labelled(Task):
    """A model, and data with labels.

    Parameters
    ----------
    model : pathlib.Path
        ONNX.
    data : pathlib.Path
        A folder with a folder of pictures for each class, which count in alphabetical order (or are numbers);
        a ``.csv`` with a path and a label in each line, paths relative to it; or a dump of arrays (``.npz``),
        one for each input, and `LABELS`.
    scaling : Scaling
        Of pictures.
    metrics : tuple of str, optional
        By default top-1, agreement and cosine; the last two without labels.
    scored : str, optional
        Name of the output that is scored; by default the model's first.

    Raises
    ------
    DumpError, OptionError
        For data that do not fit the model.
    """

    name: ClassVar[str] = "own"

    def __init__(
        self,
        model: Path,
        data: Path,
        scaling: Scaling | None = None,
        metrics: tuple[str, ...] = (),
        scored: str | None = None,
    ) -> None:
        self.model = model
        self._scaling = scaling or Scaling()
        self._inputs = model_inputs(model, None, {})
        self._feeds: dict[str, Array] = {}
        self._pictures: list[Path] = []
        self._labels: Array | None = None
        self.files = (data,) if data.is_file() else ()
        if data.is_dir():
            self._pictures, self._labels = _by_folder(data)
        elif data.suffix == ".csv":
            self._pictures, self._labels = _by_table(data)
        else:
            of_classes = not metrics or bool({"top1", "top5"} & {*metrics})
            self._feeds, self._labels = _arrays(data, self._inputs, of_classes)
        if self._pictures and (len(self._inputs) != 1 or len(self._inputs[0].sizes) != 4):
            shapes = ", ".join(f"{item.name} {item.shape_text}" for item in self._inputs)
            raise OptionError(
                f"pictures are for a model of one input with 4 axes, the batch first; this has {shapes}",
                path=model,
                hint="give arrays",
            )
        usual = ("agreement", "cosine") if self._labels is None else ("top1", "agreement", "cosine")
        self.metrics = metrics or usual
        self._place, told = _scored_output(model, scored)
        self.title = f"{model}{told} on {self.count} samples of {data}"

    @property
    def inputs_read(self) -> tuple[Path, ...]:
        """The model, the data and all pictures."""
        return (*super().inputs_read, *self._pictures)

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self._pictures) or len(next(iter(self._feeds.values())))

    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give the samples; quickly every fifth, so that each class has its share."""
        chosen = self._chosen(quick)
        labels = None if self._labels is None else self._labels[chosen]
        if self._feeds:
            yield from in_batches({k: x[chosen] for k, x in self._feeds.items()}, labels, BATCH)
            return
        (item,) = self._inputs
        single = ModelInput(item.name, (1, *item.sizes[1:]), item.dtype)
        for start in range(0, len(chosen), BATCH):
            part = chosen[start : start + BATCH]
            read = [read_picture(self._pictures[i], single, self._scaling) for i in part]
            if len(sizes := {picture.shape[1:] for picture in read}) > 1:
                shown = " and ".join("x".join(map(str, size)) for size in sorted(sizes)[:2])
                raise OptionError(
                    f"pictures differ in size ({shown}), and the model leaves the size of its input open",
                    path=self._pictures[part[0]].parent,
                    hint="resize them to one size",
                )
            yield Samples(
                {item.name: np.concatenate(read)},
                None if labels is None else labels[start : start + len(part)],
            )

    def origin(self, sample: int, quick: bool) -> Path:
        """Give a sample's picture, or the file of all arrays."""
        return self._pictures[self._chosen(quick)[sample]] if self._pictures else self.files[0]

    def _chosen(self, quick: bool) -> Array:
        return np.arange(0, self.count, 5 if quick else 1)

    def scored(self, outputs: list[Array]) -> Array:
        """Choose an output; of ``(samples, classes, 1, 1)`` the axes of one entry behind are left out."""
        found = outputs[self._place]
        while found.ndim > 2 and found.shape[-1] == 1:
            found = found[..., 0]
        return found


def _scored_output(model: Path, name: str | None) -> tuple[int, str]:
    """Find an output's place among the model's, and what the title says of it if there are several."""
    from hwmodel.networks.onnx import read_model

    names = [value.name for value in read_model(model).graph.output]
    if name is not None and name not in names:
        raise OptionError(
            f"has no output {name!r}; its outputs are {', '.join(names)}", path=model, value=name
        )
    place = 0 if name is None else names.index(name)
    return place, f" (output {names[place]})" if len(names) > 1 else ""


def _by_folder(folder: Path) -> tuple[list[Path], Array]:
    """List pictures by class; if all names are whole numbers these are the classes, else they count in order.

    Raises
    ------
    DumpError
        If there is no picture, or only some of the names are numbers.
    """
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = [(p, sorted(f for f in p.iterdir() if f.suffix.lower() in IMAGES)) for p in classes]
    pictures = [picture for _, some in found for picture in some]
    if not pictures:
        raise DumpError(
            "has no pictures: it needs a folder for each class, with .png or .jpg files in it", path=folder
        )
    named = [p for p in classes if not _is_class(p.name)]
    if named and len(named) < len(classes):
        other = next(p.name for p in classes if p not in named)
        raise DumpError(
            f"has folders that are class numbers ({other!r}) and others ({named[0].name!r})",
            path=folder,
            hint="name all of them by numbers, or none",
        )
    numbers = {p: i if named else int(p.name) for i, p in enumerate(classes)}
    return pictures, np.array([numbers[p] for p, some in found for _ in some], np.int64)


def _is_class(text: str) -> bool:
    """Whether a text is a class number: digits, as many as a 64-bit integer holds."""
    return text.isascii() and text.isdecimal() and int(text) <= _LARGEST_CLASS if len(text) < 20 else False


def _by_table(path: Path) -> tuple[list[Path], Array]:
    """Read ``path,label`` lines; a first line whose label is no number is a heading."""
    from bitxcore.dumps.trust import read_small

    pictures: list[Path] = []
    labels: list[int] = []
    with parsing(path):
        lines = read_small(path, "a table of labels", MOST_TABLE_BYTES).decode("utf-8-sig").splitlines()
        for number, row in enumerate(csv.reader(lines), 1):
            if not row or not any(cell.strip() for cell in row):
                continue
            if len(row) < 2:
                raise DumpError(f"line {number}: needs a path and a label, got {row[0]!r}", path=path)
            if not _is_class(row[1].strip()):
                if number == 1 and not row[1].strip().isdecimal():
                    continue
                raise DumpError(f"line {number}: the label must be a class number, got {row[1]!r}", path=path)
            picture = path.parent / row[0].strip()
            if not picture.is_file():
                raise DumpError(f"line {number}: there is no picture {str(picture)!r}", path=path)
            pictures.append(picture)
            labels.append(int(row[1]))
    if not pictures:
        raise DumpError("has no lines with a path and a label", path=path)
    return pictures, np.array(labels, np.int64)


def _arrays(path: Path, inputs: list[ModelInput], of_classes: bool) -> tuple[dict[str, Array], Array | None]:
    """Read an array for each input, and labels, if there are some; of classes, they must be class numbers."""
    with open_dump(path) as dump:
        stored: dict[str, Any] = {name: tensor.read() for name, tensor in dump.items()}
    names = [item.name for item in inputs]
    # An input that is called like labels is an input.
    labels = next((stored.pop(name) for name in LABELS if name in stored and name not in names), None)
    if len(inputs) == 1 and len(stored) == 1:
        stored = {names[0]: next(iter(stored.values()))}
    if missing := [name for name in names if name not in stored]:
        raise OptionError(
            f"has no array for the model's input {missing[0]!r}; it has {', '.join(stored) or 'none'}",
            path=path,
            hint=f"name the arrays {', '.join(names)}, and labels",
        )
    feeds = {item.name: _as_input(stored[item.name], item, path) for item in inputs}
    counts = {name: len(array) if array.ndim else 0 for name, array in feeds.items()}
    if labels is not None:
        counts["labels"] = len(labels) if labels.ndim else 0
    if len(set(counts.values())) > 1 or 0 in counts.values():
        text = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise OptionError(f"needs as many samples in every array, at least one: {text}", path=path)
    if labels is None or not of_classes:
        return feeds, labels
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise OptionError(
            f"labels must be class numbers, one per sample; got {labels.dtype} of shape {labels.shape}",
            path=path,
        )
    wrong = np.flatnonzero((labels < 0) | (labels > _LARGEST_CLASS))
    if wrong.size:
        at = int(wrong[0])
        raise OptionError(f"label {labels[at]} of sample {at} is no class number", path=path, index=at)
    return feeds, labels.astype(np.int64)


def _as_input(array: Array, item: ModelInput, path: Path) -> Array:
    """Give an array the input's dtype, if that changes it by rounding of floats at most.

    Raises
    ------
    TensorError
        If values would be cut.
    """
    if array.dtype.kind not in "biuf" and array.dtype.newbyteorder("=") != item.dtype:
        raise TensorError(f"is {array.dtype}; the model's input is {item.dtype}", path=path, tensor=item.name)
    with np.errstate(invalid="ignore", over="ignore"):
        given = array.astype(item.dtype, copy=False)
    if item.dtype.kind in "biu" and (changed := np.flatnonzero(given != array)).size:
        at = int(changed[0])
        raise TensorError(
            f"value {array.reshape(-1)[at]} is none of {item.dtype}, which the model's input is",
            path=path,
            tensor=item.name,
            index=at,
        )
    return given
