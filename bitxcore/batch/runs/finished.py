"""What an earlier run of a batch has finished, and whether that is still what it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitxcore.batch.runs.keys import Digests, key_of, nbytes_of
from bitxcore.batch.runs.planning import PlannedDump
from bitxcore.errors import BitxError
from bitxcore.tables import plain_columns


@dataclass(frozen=True)
class Written:
    """The dump that was made of one.

    Attributes
    ----------
    sha256 : str or None
        As of `Digests.of_path`; None where it was not recorded, or there is none.
    nbytes : int or None
    """

    sha256: str | None = None
    nbytes: int | None = None


@dataclass(frozen=True)
class Finished:
    """What a batch did to the end.

    Attributes
    ----------
    key : str
        Digest of all that it depended on.
    written : tuple of (Written or None)
        By dump; None where something failed.
    """

    key: str
    written: tuple[Written | None, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing failed."""
        return None not in self.written

    @classmethod
    def at(cls, output: Path) -> Finished | None:
        """Read the store of a batch; None if there is none."""
        from bitxcore.store import Store

        if not output.is_file():
            return None
        try:
            with Store.open(output) as store:
                key = store.provenance.parameters.get("key")
                if not isinstance(key, str) or "dumps" not in store.tables:
                    return None
                columns = plain_columns(store.table("dumps"))
        except BitxError:
            return None
        none: list[Any] = [None] * len(columns["path"])
        parts = (columns.get(name, none) for name in ("out_sha256", "out_bytes"))
        made = zip(columns["status"], *parts, strict=True)
        return cls(key, tuple(Written(*each) if status == "done" else None for status, *each in made))


def own_key(keys: Sequence[str]) -> str:
    """Digest of all that the store of one dump depends on."""
    return key_of({"keys": keys})


def is_intact(folder: Path, dump: PlannedDump, keys: Sequence[str], made: Written, digests: Digests) -> bool:
    """Whether the results of a dump in the folder of results are those that were written.

    Parameters
    ----------
    folder : pathlib.Path
    dump : PlannedDump
    keys : sequence of str
        Of its units.
    made : Written
        If it says nothing, the dump that was made need only be there.
    digests : Digests
    """
    from bitxcore.store import Store
    from bitxcore.store.seal import check_seal

    try:
        if dump.store is not None:
            if not check_seal(folder / dump.store):
                return False
            with Store.open(folder / dump.store, verify=False) as store:
                if store.provenance.parameters.get("key") != own_key(keys):
                    return False
        if dump.out is None:
            return True
        out = folder / dump.out
        if made.sha256 is None:
            return out.exists()
        return nbytes_of(out) == made.nbytes and digests.of_path(out) == made.sha256
    except (BitxError, OSError):
        return False
