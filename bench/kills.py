"""Kill a batch at random moments, again and again, and compare what it writes in the end.

``python -m bench.kills`` runs a batch of tiny dumps once undisturbed and once with SIGKILL at random moments,
and says what was lost, what was done twice, and whether the two stores are equal. With ``--dask`` it kills
only workers, which Dask replaces.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitxcore.store import Store

BITX = (sys.executable, "-m", "hwmodel.cli")
_SEAL_BYTES = 84


@dataclass(frozen=True)
class Campaign:
    """What kills did.

    Attributes
    ----------
    kills : int
        Of runs that were at work.
    runs : int
        In all, the last one included.
    lost : int
        Dumps without their rows in the store.
    duplicated : int
        Rows that are there more than once.
    done_twice : int
        Units that were finished, and done again by a later run.
    equal : bool
        Whether the store is that of the undisturbed run, byte for byte but for the time of its making.
    """

    kills: int
    runs: int
    lost: int
    duplicated: int
    done_twice: int
    equal: bool

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, and nothing done or counted twice."""
        return self.equal and not (self.lost or self.duplicated or self.done_twice)


def write_dumps(folder: Path, count: int, seed: int = 0) -> None:
    """Write tiny dumps of two tensors, each of another content."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(count):
        conv, fc = rng.normal(size=(4, 2, 3, 3)), rng.normal(size=(10, 16))
        np.savez(folder / f"d{number:04}.npz", conv=conv.astype("f4"), fc=fc.astype("f4"))


def without_time(store: Path) -> bytes:
    """Bytes of a store, without the time of its making and the digest that covers it."""
    with Store.open(store) as opened:
        created = opened.provenance.created.isoformat().encode()
    data = store.read_bytes()
    return data[:-_SEAL_BYTES].replace(created, b"-" * len(created))


def command(action: str, jobs: int, log: Path, *, dask: bool = False) -> list[str]:
    """Return the command of the batch, for the folder that holds the dumps in ``in``."""
    args = [*BITX, "batch", action, "in", "-o", "run.h5", "-j", str(jobs), "--log-json", str(log)]
    return [*args, "--scheduler", "local"] if dask else args


class _Forked:
    """A run in a copy of this process, which has compiled and loaded all: it is at work at once."""

    def __init__(self, folder: Path, args: list[str]) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            os.setsid()
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            _here(args)
            status = 0
        finally:
            os._exit(status)

    def poll(self) -> int | None:
        """Return the status of a run that has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self) -> int:
        """Wait for the end."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def _here(args: list[str]) -> None:
    """Run a command in this process."""
    from hwmodel.cli import group

    sys.argv = args
    group.main(args[len(BITX) :], prog_name="bitx", standalone_mode=False)


def _prepared(folder: Path, dumps: int, seed: int) -> tuple[Path, Path]:
    """Write the dumps; where the store of the batch goes, and its log."""
    write_dumps(folder / "in", dumps, seed)
    return folder / "run.h5", folder.with_name(f"{folder.name}.log")


def campaign(
    folder: Path,
    *,
    dumps: int,
    kills: int,
    jobs: int = 2,
    action: str = "prune",
    seed: int = 0,
    forked: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Campaign:
    """Run a batch once undisturbed and once with kills.

    Parameters
    ----------
    folder : pathlib.Path
        Empty.
    dumps, kills : int
    jobs : int
        Processes of a run.
    action : str
    seed : int
        Of the dumps and of the moments.
    forked : bool
        Whether runs are copies of this process, which begin at once. For one job only.
    say : callable
        Called after every kill.
    """
    draw = random.Random(seed)
    store, log = _prepared(folder, dumps, seed)
    args = command(action, jobs, log)
    if forked:
        with contextlib.chdir(folder), redirect_stdout(io.StringIO()):
            _here(args)  # which compiles and loads
    else:
        _ended(_begun(folder, args, forked))
    _anew(store, log)
    start = time.monotonic()
    _ended(_begun(folder, args, forked))
    whole = time.monotonic() - start
    store.rename(folder / "expected.h5")
    _anew(store, log)
    begin = _until_done(_begun(folder, args, forked), log)
    done = runs = 0
    while done < kills:
        runs += 1
        process = _begun(folder, args, forked)
        # Most kills come soon after work has begun, so that one batch is killed many times; some at any time.
        soon = 0.9 * begin + draw.random() * (2 * max(0.0, whole - begin) / kills + 0.3)
        time.sleep(soon if draw.random() < 0.75 else draw.random() * whole)
        if process.poll() is None:
            # Half of them hit the run alone, whose workers then end by themselves.
            (os.killpg if draw.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
            done += 1
            say(f"{done} of {kills} kills, {time.monotonic() - start:.0f} s")
        process.wait()
        if store.exists() and done < kills:
            _check_whole(store)
            _anew(store, log)  # the rest of the kills are to find work, too
    runs += 1
    _ended(_begun(folder, args, forked))
    return _compared(folder, log, dumps, done, runs)


def worker_campaign(
    folder: Path,
    *,
    dumps: int,
    kills: int,
    jobs: int = 2,
    action: str = "prune",
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Campaign:
    """Run a batch on Dask workers, once undisturbed and once while one after another of them is killed.

    Parameters
    ----------
    folder : pathlib.Path
        Empty.
    dumps, kills : int
    jobs : int
        Workers.
    action : str
    seed : int
        Of the dumps and of who is killed.
    say : callable
        Called after every kill.
    """
    draw = random.Random(seed)
    store, log = _prepared(folder, dumps, seed)
    args = command(action, jobs, log, dask=True)
    _ended(_begun(folder, args, False))
    store.rename(folder / "expected.h5")
    _anew(store, log)
    start = time.monotonic()
    process = _begun(folder, args, False)
    done = finished = 0
    while done < kills and process.poll() is None:
        time.sleep(0.01)
        now = log.read_text("utf-8").count('"done"') if log.exists() else 0
        # So that kills are spread over the units, and each finds a worker that has come back.
        if now <= finished or now < done * dumps // (kills + 1) or not (alive := _workers(process.pid)):
            continue
        with suppress(ProcessLookupError):
            os.kill(draw.choice(alive), signal.SIGKILL)
            done, finished = done + 1, now
            say(f"{done} of {kills} kills, {time.monotonic() - start:.0f} s")
    _ended(process)
    return _compared(folder, log, dumps, done, 1)


def _workers(parent: int) -> list[int]:
    """Find the processes that work for another one, without those that clean up for it."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (place / "stat").read_text("utf-8").rpartition(")")[2].split()
            if (
                state[0] != "Z"
                and int(state[1]) == parent
                and b"spawn_main" in (place / "cmdline").read_bytes()
            ):
                found.append(int(place.name))
    return sorted(found)


def _anew(store: Path, log: Path) -> None:
    """Forget a batch that was finished."""
    store.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    shutil.rmtree(store.with_name(f"{store.name}.parts"), ignore_errors=True)


def _begun(folder: Path, args: list[str], forked: bool) -> Any:
    if forked:
        return _Forked(folder, args)
    return subprocess.Popen(args, cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True)


def _ended(process: Any) -> None:
    if status := process.wait():
        raise RuntimeError(f"a run that was not killed ended with status {status}")


def _until_done(process: Any, log: Path) -> float:
    """Seconds from the start of a run, which is then killed, to its first finished unit."""
    start = time.monotonic()
    while process.poll() is None and not (log.exists() and '"done"' in log.read_text("utf-8")):
        time.sleep(0.01)
    seconds = time.monotonic() - start
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return seconds


def _check_whole(store: Path) -> None:
    with Store.open(store):
        pass


def _compared(folder: Path, log: Path, dumps: int, kills: int, runs: int) -> Campaign:
    with Store.open(folder / "run.h5") as store:
        table = next(store.table(name) for name in ("pruning", "statistics") if name in store.tables)
        rows = Counter(table["tensor"].tolist())
        named = set(table["dump"].tolist())
        listed = store.table("dumps")["path"].tolist()
    events = []
    for line in log.read_text("utf-8").splitlines():
        with suppress(ValueError):  # what a kill has left of a line
            events.append(json.loads(line))
    finished = Counter((e["dump"], e["unit"]) for e in events if e["event"] == "done")
    return Campaign(
        kills=kills,
        runs=runs,
        lost=dumps - len(named & set(listed)),
        duplicated=sum(count - 1 for count in rows.values()),
        done_twice=sum(count - 1 for count in finished.values()),
        equal=without_time(folder / "run.h5") == without_time(folder / "expected.h5"),
    )


def main() -> None:
    """Run the campaign of the command line; status 1 if it fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dumps", type=int, default=200)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--action", choices=("inspect", "prune"), default="prune")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forked", action="store_true", help="with --jobs 1: runs that begin at once")
    parser.add_argument("--dask", action="store_true", help="run on Dask workers, and kill only these")
    given = vars(parser.parse_args())
    run: Callable[..., Campaign] = campaign
    if given.pop("dask"):
        run = worker_campaign
        if given.pop("forked"):
            parser.error("--forked is not for --dask")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        work.mkdir()
        found = run(work, **given, say=lambda text: print(text, file=sys.stderr))
    print(found)
    sys.exit(not found.passed)


if __name__ == "__main__":
    main()
