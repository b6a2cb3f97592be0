"""Safetensors in several files, tied together by ``*.safetensors.index.json``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bitxcore.dumps.base import Dump, Replace, Tensor, TensorProgress
from bitxcore.dumps.safetensors import SafetensorsDump, open_safetensors
from bitxcore.dumps.safetensors_header import MAX_HEADER_BYTES, load_json
from bitxcore.dumps.trust import Place, Source, inside, reading
from bitxcore.dumps.writing import copy_into
from bitxcore.errors import DumpError
from bitxcore.files import atomic_directory

INDEX_SUFFIX = ".safetensors.index.json"


def open_shards(path: Path) -> ShardsDump:
    """Open a sharded dump by its index; tensors come shard by shard.

    Tensors of a shard that the index leaves out, or places in another shard, are ignored.

    Raises
    ------
    DumpError
        If a shard's name is not that of a file beside the index, or lacks a tensor of the index.
    """
    source = Source.of(path)
    if source.size > MAX_HEADER_BYTES:
        raise DumpError(f"the index has {source.size} bytes, more than {MAX_HEADER_BYTES}", path=path)
    weight_map = load_json(source.start(source.size), path).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise DumpError("weight_map is not a map from tensor to file name", path=path)
    shards = []
    for name in dict.fromkeys(weight_map.values()):
        with reading(Place(path, part=f"shard {name!r}")):
            if not name.endswith(".safetensors") or "/" in name or "\\" in name:
                raise DumpError("is not the name of a .safetensors file beside the index")
            file = inside(path.parent, name, path)
        shards.append(open_safetensors(file))
    tensors: dict[str, Tensor] = {}
    ignored: dict[str, str] = {}
    for shard in shards:
        for name, tensor in shard.items():
            if weight_map.get(name) == shard.path.name:
                tensors[name] = tensor
            elif name in weight_map:
                ignored[f"{shard.path.name}/{name}"] = f"{path.name} places it in {weight_map[name]}"
            else:
                ignored[f"{shard.path.name}/{name}"] = f"not in {path.name}"
    for name, shard_name in weight_map.items():
        if name not in tensors:
            raise DumpError(f"is not in {shard_name}", path=path, tensor=name)
    dump = ShardsDump(path, shards, tensors)
    dump.ignored = ignored
    return dump


class ShardsDump(Dump):
    """A sharded dump; it is written again as a new directory.

    Attributes
    ----------
    metadata : dict of str to str
        Of the first shard.
    """

    def __init__(self, path: Path, shards: list[SafetensorsDump], tensors: dict[str, Tensor]) -> None:
        super().__init__(path, "shards", tensors)
        self.metadata = shards[0].metadata if shards else {}
        self._shards = shards

    def files(self) -> list[Path]:
        """Return the index, then the shards."""
        return [self.path, *(shard.path for shard in self._shards)]

    def rewrite(self, out: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Write shards under their own headers, and the index as it is, into the new directory `out`."""
        with atomic_directory(out) as folder:
            self.rewrite_into(folder, replace, progress)
            for name, path in self.beside.items():
                copy_into(folder, name, path)

    def rewrite_into(self, folder: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Write shards and index into an existing folder."""
        listed = {id(tensor) for tensor in self.values()}

        def replace_listed(tensor: Tensor) -> npt.NDArray[Any] | Iterable[npt.NDArray[Any]] | None:
            return replace(tensor) if id(tensor) in listed else None

        def progress_listed(tensor: Tensor) -> None:
            if progress and id(tensor) in listed:
                progress(tensor)

        for shard in self._shards:
            shard.rewrite(folder / shard.path.name, replace_listed, progress_listed)
        copy_into(folder, self.path.name, self.path)
