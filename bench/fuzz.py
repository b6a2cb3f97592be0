"""Damaged files by the hundred thousand: `make fuzz`.

Every mutant is opened and read as a whole in a child process with limits. It passes if there is a one-line
error or a dump that agrees with itself; a crash, a hang, an exception of another kind or too much memory is
a failure, and the mutant is kept. Those that crash or stop the process of HDF5 are errors as they should be;
they are counted apart and kept as well. Mutant `n` of a kind and a `--seed` is always the same file, whoever
makes it, as long as the files that mutants are made of are the same.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

from bench.fuzz_seeds import CORPUS, OUTSIDE, SUFFIXES, seeds, write_shards

__all__ = ["CORPUS", "SUFFIXES", "campaign", "mutant", "outcome", "seeds"]

ROOT = Path(__file__).parents[1]
COUNT = 100_000
SECONDS = 60  # for one mutant
KEPT = 20  # of those that crash or stop the process of HDF5
MEMORY = 1 << 30  # of address space beyond what the libraries take

_INTEGERS = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1]


def _damaged(data: bytes, rng: random.Random) -> bytes:
    """Change some bits, numbers or runs of bytes, or cut the end off."""
    new = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        if len(new) < 16:
            break
        # Headers are at the start and, of zip archives, at the end.
        reach = rng.choice([len(new), min(len(new), 2000), min(len(new), 300)])
        at = rng.randrange(reach) if rng.random() < 0.9 else len(new) - 1 - rng.randrange(reach)
        kind = rng.random()
        if kind < 0.4:
            new[at] ^= 1 << rng.randrange(8)
        elif kind < 0.55:
            new[at] = rng.randrange(256)
        elif kind < 0.8:
            width = rng.choice([1, 2, 4, 8])
            number = rng.choice(_INTEGERS) & ((1 << 8 * width) - 1)
            new[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))
        elif kind < 0.9:
            length, source = rng.randrange(1, 64), rng.randrange(len(new))
            new[at : at + length] = new[source : source + length]
        elif kind < 0.95:
            del new[at : at + rng.randrange(1, 32)]
        elif kind < 0.98:
            new[at:at] = new[at : at + rng.randrange(1, 64)]
        else:
            del new[at:]
    return bytes(new)


def _repacked(data: bytes, rng: random.Random) -> bytes:
    """Damage one member of an archive, whose checksums stay right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(buffer, "w") as new:
        infos = archive.infolist()
        chosen = rng.randrange(len(infos))
        for number, info in enumerate(infos):
            content = archive.read(info)
            new.writestr(info, _damaged(content, rng) if number == chosen else content)
    return buffer.getvalue()


def _misled(data: bytes, rng: random.Random) -> bytes:
    """Change what an index says of a tensor, in JSON that stays right."""
    index = json.loads(data)
    placed = index["weight_map"]
    name = rng.choice([*placed, f"../{OUTSIDE}", OUTSIDE, ""])
    outside = f"{OUTSIDE}.safetensors"
    places = [*placed.values(), f"../{outside}", f"..\\{outside}", f"/{outside}", outside, "", ".", "\0", 7]
    placed[name] = rng.choice([*places, None, [], {}, True, "x" * 300, "one.safetensors/"])
    if rng.random() < 0.2:
        index["weight_map"] = rng.choice([None, [], "one.safetensors", {"": placed}, [placed]])
    return json.dumps(index).encode()


def mutant(kind: str, seeds: list[bytes], number: int, seed: int = 0) -> bytes:
    """Return one damaged file of a kind; another `seed` gives others."""
    rng = random.Random(f"{kind} {number} {seed}" if seed else f"{kind} {number}")
    data = rng.choice(seeds)
    if kind in {"npz", "torch"} and rng.random() < 0.5:
        try:
            return _repacked(data, rng)
        except Exception:  # not an archive, or one that fell
            pass
    if kind == "index" and rng.random() < 0.5:
        return _misled(data, rng)
    if kind == "safetensors" and rng.random() < 0.5:
        end = 8 + int.from_bytes(data[:8], "little")
        header = _damaged(data[8:end], rng)
        return struct.pack("<Q", len(header)) + header + data[end:]
    return _damaged(data, rng)


def outcome(path: Path) -> str:
    """Read a file as a whole; ``whole``, or ``refused``. Whatever else happens is a failure."""
    from bitxcore.dumps import open_dump
    from bitxcore.errors import BitxError

    try:
        with open_dump(path) as dump:
            assert OUTSIDE not in dump
            for tensor in dump.values():
                value = tensor.read()
                assert (value.shape, value.dtype) == (tensor.shape, tensor.dtype)
                rows = sum(len(block) for block in tensor.blocks(1 << 22, views=True) if block.ndim)
                assert rows == (tensor.shape[0] if tensor.shape else 0)
            return "whole"
    except BitxError as error:
        text = str(error)
    assert text.startswith(str(path.parent)), text
    assert "\n" not in text
    return next(
        (f"refused: {word}" for word in ("crash", "took more", "MiB of memory") if word in text), "refused"
    )


def work(kind: str, start: int, stop: int, folder: Path, seed: int = 0) -> None:
    """Read mutants, telling before each which it is; for a process that may end at any."""
    import bitxcore.dumps.hdf5_process as hdf5

    made = seeds(kind)
    hdf5.SECONDS = 1.0
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    (folder / "dumps").mkdir(exist_ok=True)
    path = folder / "dumps" / f"x{SUFFIXES[kind]}"
    if kind == "index":
        write_shards(path.parent)
    found: Counter[str] = Counter()
    for number in range(start, stop):
        path.write_bytes(mutant(kind, made, number, seed))
        (folder / "number").write_text(str(number))
        found[told := outcome(path)] += 1
        if told.startswith("refused: "):
            print(f"kept\t{number}", flush=True)
        if number % 100 == 99 or number == stop - 1:
            for name, count in found.items():
                print(f"{name}\t{count}", flush=True)
            found.clear()
    # Unlike ru_maxrss, without what the process that started this one had.
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    print(f"peak\t{int(peak) >> 10}", flush=True)


def campaign(kind: str, count: int, keep: Path, seed: int = 0) -> Counter[str]:
    """Read `count` mutants of a kind in child processes; failures are kept in the folder `keep`."""
    totals: Counter[str] = Counter()
    number = 0
    made = seeds(kind)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        folder = Path(name)
        while number < count:
            (folder / "number").write_text(str(number))
            with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
                job = [kind, str(number), str(count), name]
                command = [sys.executable, "-m", "bench.fuzz", "--seed", str(seed), "--work", *job]
                child = subprocess.Popen(command, stdout=out, stderr=err, cwd=ROOT)
                ended = _wait(child, folder / "number")
            for line in (folder / "out").read_text().splitlines():
                outcome_name, _, value = line.partition("\t")
                if outcome_name == "peak":
                    totals["peak MiB"] = max(totals["peak MiB"], int(value))
                elif outcome_name == "kept":
                    if totals["kept"] < KEPT:
                        totals["kept"] += 1
                        _keep(keep, kind, int(value), made, seed)
                else:
                    totals[outcome_name] += int(value)
            if ended == "0":
                break
            at = int((folder / "number").read_text())
            totals[f"FAILED ({ended})"] += 1
            _keep(keep, kind, at, made, seed)
            last = (folder / "err").read_text(errors="replace").strip().splitlines()[-1:]
            print(f"{kind} mutant {at}: {ended}: {''.join(last)[:200]}", flush=True)
            number = at + 1
    del totals["kept"]
    return totals


def _keep(folder: Path, kind: str, number: int, made: list[bytes], seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{kind}-{seed}-{number}" if seed else f"{kind}-{number}"
    (folder / f"{name}{SUFFIXES[kind]}").write_bytes(mutant(kind, made, number, seed))


def _wait(child: subprocess.Popen[bytes], number: Path) -> str:
    """Return how a child ended: its status, or ``hang`` if it was ended for one."""
    seen, since = "", time.monotonic()
    while True:
        try:
            return str(child.wait(1))
        except subprocess.TimeoutExpired:
            now = number.read_text()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > SECONDS:
                child.kill()
                child.wait()
                return "hang"


def main() -> None:
    """Run the campaign of the command line; exit 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=[*SUFFIXES], metavar="kind")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=0, help="other numbers give other mutants [default: 0]")
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz"))
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kind, start, stop, folder = options.work
        work(kind, int(start), int(stop), Path(folder), options.seed)
        return
    failed = 0
    for kind in options.kinds:
        since = time.monotonic()
        totals = campaign(kind, options.count, options.keep, options.seed)
        failed += sum(count for name, count in totals.items() if name.startswith("FAILED"))
        listed = ", ".join(f"{name} {count}" for name, count in sorted(totals.items()))
        print(f"{kind}: {options.count} mutants in {time.monotonic() - since:.0f} s: {listed}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
