"""A directory of dumps, of any containers, read as one."""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bitxcore.dumps.base import Dump, Replace, Tensor, TensorProgress
from bitxcore.dumps.shards import INDEX_SUFFIX, ShardsDump
from bitxcore.dumps.trust import check_link, reading
from bitxcore.dumps.writing import copy_into
from bitxcore.errors import DumpError
from bitxcore.files import atomic_directory, is_temporary
from bitxcore.remote.remote_path import RemotePath, origin_of


def find_dumps(folder: Path, is_dump: Callable[[Path], bool]) -> list[Path]:
    """List the dumps below `folder`, sorted; hidden files, and folders that are links, are passed over.

    Raises
    ------
    DumpError
        If a symbolic link leads out of `folder`, other than into the cache that it is a part of.
    """
    if isinstance(folder, RemotePath):
        return [path for path in _objects_below(folder) if is_dump(path)]

    def fail(error: OSError) -> None:
        raise error

    found = []
    with reading(folder):
        for root, folders, names in os.walk(folder, onerror=fail):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in (*folders, *names):
                path = Path(root) / name
                if not name.startswith(".") and path.is_symlink():
                    check_link(folder, path)
            found += [
                Path(root) / name for name in names if not name.startswith(".") and is_dump(Path(root) / name)
            ]
    return sorted(found)


def find_beside(folder: Path, parts: Iterable[Path]) -> dict[str, Path]:
    """List the files below `folder` other than `parts`, by their relative names.

    Hidden folders, such as those of Git, and folders that are links are passed over.
    """
    known = {os.path.abspath(part) for part in parts}
    found: dict[str, Path] = {}
    if isinstance(folder, RemotePath):
        others = [path for path in _objects_below(folder) if os.path.abspath(path) not in known]
        return {path.relative_to(folder).as_posix(): path for path in others}
    with reading(folder):
        for root, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(root) / name
                if os.path.abspath(path) not in known and not is_temporary(name):
                    found[path.relative_to(folder).as_posix()] = path
    return found


def _objects_below(folder: RemotePath) -> list[Path]:
    """List the objects below a folder of a store, but for those that are hidden."""
    from bitxcore.remote.stores import store_of

    with reading(folder):
        found = store_of(folder).below(folder)
    return [
        path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def open_directory(folder: Path, paths: list[Path], open_one: Callable[[Path], Dump]) -> DirectoryDump:
    """Open dumps below a folder.

    Tensors are named ``relative/file.npz/name``, or ``relative/file`` for ``file.npy``; files whose names
    differ by the case of the suffix only, such as ``file.npy`` and ``file.NPY``, keep it.

    Parameters
    ----------
    folder : pathlib.Path
    paths : list of pathlib.Path
        As `find_dumps` lists them; shards are read through their index.
    open_one : callable
        Opens one of them.
    """
    with ExitStack() as opened:
        indices = [path for path in paths if path.name.endswith(INDEX_SUFFIX)]
        members = {path: opened.enter_context(open_one(path)) for path in indices}
        shards = {file for member in members.values() for file in member.files()}
        members |= {path: opened.enter_context(open_one(path)) for path in paths if path not in shards}
        if not members:
            raise DumpError("holds no dump", path=folder)
        opened.pop_all()
    return DirectoryDump(folder, [members[path] for path in sorted(members)])


class DirectoryDump(Dump):
    """The dumps of a directory."""

    def __init__(self, folder: Path, members: list[Dump]) -> None:
        self._members = members
        self._renamed: list[dict[str, Tensor]] = []  # of each member, by its own name of the tensor
        ignored: dict[str, str] = {}
        tensors: dict[str, Tensor] = {}
        short = {
            id(member): origin_of(member.path).relative_to(folder).with_suffix("").as_posix()
            for member in members
        }
        lone = Counter(short[id(member)] for member in members if member.container == "npy")
        for member in members:
            file = origin_of(member.path).relative_to(folder).as_posix()
            self._renamed.append({})
            for name, tensor in member.items():
                renamed = self._renamed[-1][name] = copy.copy(tensor)
                if member.container != "npy":
                    renamed.name = f"{file}/{name}"
                else:
                    renamed.name = short[id(member)] if lone[short[id(member)]] == 1 else file
                if renamed.name in tensors:
                    raise DumpError("two files give tensors of this name", path=folder, tensor=renamed.name)
                tensors[renamed.name] = renamed
            ignored |= {f"{file}/{name}": why for name, why in member.ignored.items()}
        super().__init__(folder, "directory", tensors)
        self.ignored = ignored

    def files(self) -> list[Path]:
        """Return every file of every dump."""
        return [file for member in self._members for file in member.files()]

    def close(self) -> None:
        """Close every dump."""
        for member in self._members:
            member.close()
        super().close()

    def rewrite(self, out: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Write every dump again, in its own container, under the same name in the new directory `out`."""
        for member in self._members:
            if type(member).rewrite is Dump.rewrite:
                member.rewrite(out, replace)  # says why it can't, before any work is done

        with atomic_directory(out) as folder:
            for member, renamed in zip(self._members, self._renamed, strict=True):
                target = folder / origin_of(member.path).relative_to(self.path)
                target.parent.mkdir(parents=True, exist_ok=True)

                def replace_renamed(
                    tensor: Tensor, renamed: dict[str, Tensor] = renamed
                ) -> npt.NDArray[Any] | Iterable[npt.NDArray[Any]] | None:
                    return replace(renamed[tensor.name])

                def progress_renamed(tensor: Tensor, renamed: dict[str, Tensor] = renamed) -> None:
                    if progress:
                        progress(renamed[tensor.name])

                if isinstance(member, ShardsDump):
                    member.rewrite_into(target.parent, replace_renamed, progress_renamed)
                else:
                    member.rewrite(target, replace_renamed, progress_renamed)
            for name, path in self.beside.items():
                copy_into(folder, name, path)
