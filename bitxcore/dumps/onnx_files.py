"""Which files of a folder belong to an ONNX model that is about to be replaced."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from bitxcore.dumps.trust import reading
from bitxcore.dumps.writing import COPY_BYTES
from bitxcore.errors import BitxError, DumpError


def own_names(out: Path, names: Iterable[str], inputs: list[Path]) -> dict[str, str]:
    """Choose names of external data files, relative to the folder of `out`.

    A model that is written beside the one that is read must not take its data files' names.

    Parameters
    ----------
    out : pathlib.Path
        The new model.
    names : iterable of str
        Of the data files of the model that is read.
    inputs : list of pathlib.Path
        Its files, the model first.
    """
    same = {name: name for name in names}
    if not any(_is_one_of(out.parent / name, inputs) for name in same):
        return same
    several = len(same) > 1
    return {name: f"{out.name}{f'.{i}' if several else ''}.data" for i, name in enumerate(same)}


def refuse_foreign(
    out: Path, targets: Iterable[Path], inputs: list[Path], files_of: Callable[[Path], list[Path]]
) -> None:
    """Raise if an external data file that is to be written belongs to another model than that at `out`.

    Parameters
    ----------
    out : pathlib.Path
        The new model; one that it replaces gives its data files away with it.
    targets : iterable of pathlib.Path
        Where data files are to be written: in the folder of `out`, or below.
    inputs : list of pathlib.Path
        Files being read; whoever writes names them as such.
    files_of : callable
        From a model's path to its files.
    """
    taken = [path for path in targets if os.path.lexists(path)]
    own: set[Path] = set()
    if taken and out.exists():
        taken = [path for path in taken if not _is_one_of(path, inputs)]
        with suppress(BitxError):
            own = {_place(path) for path in files_of(out)}
    for target in taken:
        if _place(target) not in own:
            raise DumpError("exists and may belong to another model; choose another folder", path=target)
        for model in _models(out, target):
            if _names(model, target.name.encode()):
                raise DumpError(f"belongs to {model.name}, too; choose another folder", path=target)


def _is_one_of(path: Path, others: list[Path]) -> bool:
    return path.exists() and any(other.exists() and os.path.samefile(path, other) for other in others)


def _place(path: Path) -> Path:
    """Return where a name stands, and not what it leads to: a rename replaces a link itself."""
    return path.parent.resolve() / path.name


def _models(out: Path, target: Path) -> list[Path]:
    """List other models that can name `target`: a model's data lie in its own folder or below."""
    folders = [folder for folder in target.parents if folder == out.parent or out.parent in folder.parents]
    return sorted(
        path
        for folder in folders
        for path in folder.iterdir()
        if path.suffix.lower() == ".onnx" and path.is_file() and _place(path) != _place(out)
    )


def _names(model: Path, name: bytes) -> bool:
    """Whether `name` is somewhere in a model, where names of files stand as they are."""
    tail = b""
    with reading(model), model.open("rb") as file:
        while chunk := file.read(COPY_BYTES):
            if name in tail + chunk:
                return True
            tail = (tail + chunk)[-len(name) :]
    return False
