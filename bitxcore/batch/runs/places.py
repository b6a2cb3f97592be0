"""Where a batch writes, and what it must not replace."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bitxcore.batch.runs.planning import BatchPlan
from bitxcore.batch.runs.timings import timings_path
from bitxcore.errors import BitxError
from bitxcore.files import check_target
from bitxcore.remote.urls import is_url


@dataclass(frozen=True)
class Places:
    """Where a batch writes.

    Parameters
    ----------
    output : pathlib.Path
        The store.
    each : pathlib.Path, optional
        The folder in which every dump has its own results.
    """

    output: Path
    each: Path | None = None

    def check(self, plan: BatchPlan, files: Sequence[Path]) -> None:
        """Raise if a result can't be written where it is to be, or would replace an input."""
        from bitxcore.store.writer import check_name

        for place in (self.output, self.each):
            if place is not None and is_url(str(place)):
                raise BitxError(
                    "a batch keeps what is done beside its output: name one on this machine", path=place
                )
        check_name(self.output)
        read = [os.path.realpath(path) for dump in plan.dumps for path in (dump.path, *dump.files)]
        read += [os.path.realpath(path) for path in files]
        for path in (self.output, timings_path(self.output)):
            check_target(path, read)
        if self.each is None:
            _refuse_parts(plan)
        else:
            known = set(read)
            for dump in plan.dumps:
                for name in (dump.store, dump.out):
                    if name and os.path.realpath(self.each / name) in known:
                        raise BitxError("is the input; choose another folder", path=self.each / name)


def _refuse_parts(plan: BatchPlan) -> None:
    """Raise if a dump is part of a folder that is one, too: their tensors have the same names."""
    dumps = {str(dump.path) for dump in plan.dumps}
    for dump in plan.dumps:
        whole = next((str(folder) for folder in dump.path.parents if str(folder) in dumps), None)
        if whole is not None:
            raise BitxError(
                f"is part of {whole}, which is a dump of this batch, too",
                path=dump.path,
                hint="leave one of them out, or use --each",
            )
