"""Dumps as an action of a batch sees them: some tensors, of which a bad one does not stop the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bitxcore.batch.runs.clock import Clock
from bitxcore.batch.runs.parts import BatchFailure
from bitxcore.batch.runs.units import raise_if_full, reason_of
from bitxcore.dumps import Dump, Tensor, TensorProgress
from bitxcore.dumps.base import Replace


class TolerantDump(Dump):
    """Some tensors of a dump; what can't be replaced is noted and stays as it is.

    Parameters
    ----------
    dump : Dump
    tensors : sequence of Tensor
        The others are listed as ignored, unless the dump is written.
    clock : Clock
    writes : bool
        Whether `rewrite` writes a dump. Otherwise new values are made and dropped.

    Attributes
    ----------
    tensors : tuple of Tensor
    failures : list of BatchFailure
    """

    def __init__(self, dump: Dump, tensors: Sequence[Tensor], clock: Clock, *, writes: bool) -> None:
        shown = dump.values() if writes else tensors
        super().__init__(dump.path, dump.container, {tensor.name: tensor for tensor in shown})
        self.ignored = dump.ignored | {name: "of another unit" for name in dump if name not in self}
        self.tensors = tuple(tensors)
        self.failures: list[BatchFailure] = []
        self._dump = dump
        self._clock = clock
        self._writes = writes

    def files(self) -> list[Path]:
        """Return every file of the dump."""
        return self._dump.files()

    def place(self, out: str | None) -> Path:
        """Return where `bitxcore.dumps.save` is to write; without a place one that leads it to `rewrite`."""
        if out is not None:
            return Path(out)
        return Path("unwritten") if self.container in ("directory", "shards") else self.path

    def rewrite(self, out: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Replace the tensors, and write the dump again if that is wanted."""

        def replaced(tensor: Tensor) -> object:
            with self._clock.stage("compute"):
                try:
                    new = replace(tensor)
                    if not isinstance(new, Iterable) or hasattr(new, "dtype"):
                        return new
                    return self._made(new)
                except Exception as error:
                    self._note(tensor, error)
                    return None

        if self._writes:
            with self._clock.stage("write"):
                self._dump.rewrite(out, replaced, progress)  # type: ignore[arg-type]
            return
        for tensor in self.values():
            replaced(tensor)
            if progress:
                progress(tensor)

    def _made(self, blocks: Iterable[object]) -> Iterable[object] | None:
        """Make the blocks of a tensor: to be written one by one, or to be dropped."""
        if self._writes:
            return blocks
        for _ in blocks:
            pass
        return None

    def _note(self, tensor: Tensor, error: Exception) -> None:
        raise_if_full(error)
        self.failures.append(BatchFailure(tensor.name, reason_of(error, str(self.path))))
