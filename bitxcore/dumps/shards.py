"""Safetensors in several files, tied together by ``*.safetensors.index.json``."""

from __future__ import annotations

import shutil
from pathlib import Path

from bitxcore.dumps.base import Dump, Replace, Tensor, TensorProgress
from bitxcore.dumps.safetensors import MAX_HEADER_BYTES, SafetensorsDump, load_json, open_safetensors
from bitxcore.dumps.trust import Place, Source, inside, reading
from bitxcore.errors import DumpError
from bitxcore.files import atomic_directory

INDEX_SUFFIX = ".safetensors.index.json"


def open_shards(path: Path) -> ShardsDump:
    """Open a sharded dump by its index; tensors come shard by shard.

    Raises
    ------
    DumpError
        If a shard's name is not that of a file beside the index, or index and shards disagree.
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
            file = inside(path.parent, name)
        shards.append(open_safetensors(file))
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        for name, tensor in shard.items():
            if weight_map.get(name) != shard.path.name:
                raise DumpError(f"{path.name} does not place it here", path=shard.path, tensor=name)
            tensors[name] = tensor
    for name, shard_name in weight_map.items():
        if name not in tensors:
            raise DumpError(f"is not in {shard_name}", path=path, tensor=name)
    return ShardsDump(path, shards, tensors)


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

    def rewrite_into(self, folder: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Write shards and index into an existing folder."""
        for shard in self._shards:
            shard.rewrite(folder / shard.path.name, replace, progress)
        shutil.copyfile(self.path, folder / self.path.name)
