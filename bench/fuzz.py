"""Damaged files by the thousand: `make fuzz`.

Every mutant is opened and read as a whole in a child process with limits. It passes if there is a one-line
error or a dump that agrees with itself; a crash, a hang, an exception of another kind or too much memory is
a failure, and the mutant is kept. Those that crash or stop the process of HDF5 are errors as they should be;
they are counted apart and kept as well. Mutant `n` of a kind is always the same file, whoever makes it.
"""

from __future__ import annotations

import argparse
import io
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
from collections.abc import Callable
from pathlib import Path

import numpy as np

SUFFIXES = {"hdf5": ".h5", "npz": ".npz", "torch": ".pt", "safetensors": ".safetensors", "onnx": ".onnx"}
ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests/bitxcore/data/damaged"
COUNT = 50_000
SECONDS = 60  # for one mutant
KEPT = 20  # of those that crash or stop the process of HDF5
MEMORY = 1 << 30  # of address space beyond what the libraries take

_INTEGERS = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1]


def _values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2021)
    return {
        "a": rng.normal(size=(8, 16)).astype("f4"),
        "b": rng.integers(-99, 99, (3, 4, 5)).astype("i2"),
        "empty": np.zeros((0, 3), "f2"),
        "scalar": np.array(1.5, "f8"),
        "flags": np.array([True, False]),
    }


def _hdf5(libver: str) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        for name, value in _values().items():
            file[name] = value
        deflate = {"compression": "gzip", "shuffle": True, "fletcher32": True}
        file.create_dataset("g/packed", data=_values()["b"], chunks=(1, 4, 5), **deflate)
        file.create_dataset("g/grows", data=_values()["a"], chunks=(3, 5), maxshape=(None, None))
        file.create_dataset("g/scaled", data=_values()["b"], chunks=(3, 4, 5), scaleoffset=0)
        file.create_dataset("g/lzf", data=_values()["a"], chunks=(8, 4), compression="lzf")
        file.create_dataset("big", data=_values()["a"].astype(">f4"))
        layout = h5py.VirtualLayout((2, 8, 16), "f4")
        layout[0] = layout[1] = h5py.VirtualSource(".", "a", (8, 16))
        file.create_virtual_dataset("v", layout)
        file["alias"] = h5py.SoftLink("/g/packed")
        file["text"] = "words"
        file["pairs"] = np.zeros(3, [("x", "f4"), ("y", "i2")])
        file.attrs["layer_names"] = np.array([b"a"])
    return buffer.getvalue()


def _npz(save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **_values(), f=np.asfortranarray(_values()["a"]))
    return buffer.getvalue()


def _torch(legacy: bool) -> bytes:
    import torch

    state = {name: torch.tensor(value) for name, value in _values().items()}
    state["half"] = torch.tensor([1.0, -2.0, 3.5], dtype=torch.bfloat16)
    state["view"] = state["a"].T[2:5]
    buffer = io.BytesIO()
    torch.save(
        {"model": state, "epoch": 3, "list": [torch.ones(2)]},
        buffer,
        _use_new_zipfile_serialization=not legacy,
    )
    return buffer.getvalue()


def _safetensors() -> bytes:
    import safetensors.numpy

    data: bytes = safetensors.numpy.save(_values(), metadata={"k": "v"})
    return data


def _onnx() -> bytes:
    from onnx import helper, numpy_helper

    node, value = helper.make_node, helper.make_tensor_value_info
    tensors = {name: numpy_helper.from_array(array, name) for name, array in _values().items()}
    body = helper.make_graph(
        [node("MatMul", ["x", "inner"], ["z"])],
        "body",
        [],
        [value("z", 1, [2, 4])],
        [numpy_helper.from_array(np.ones((8, 4), "f4"), "inner")],
    )
    graph = helper.make_graph(
        [
            node("Constant", [], ["floats"], value_floats=[1.0, 2.0]),
            node("Constant", [], ["axes"], value_ints=[0]),
            node("Unsqueeze", ["a", "axes"], ["a3"]),
            node("Transpose", ["a3"], ["at"], perm=[0, 2, 1]),
            node("MatMul", ["x", "at"], ["y"]),
            node("If", ["flags"], ["z"], name="if", then_branch=body, else_branch=body),
        ],
        "net",
        [value("x", 1, [2, 16])],
        [value("y", 1, [1, 2, 8])],
        [*tensors.values(), helper.make_tensor("halves", 10, [3], [0.5, 1.0, -2.0])],
    )
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


def seeds(kind: str) -> list[bytes]:
    """Return the files that mutants of a kind are made of: of their libraries, and what once fell."""
    made = {
        "hdf5": lambda: [_hdf5("earliest"), _hdf5("latest")],
        "npz": lambda: [_npz(np.savez), _npz(np.savez_compressed)],
        "torch": lambda: [_torch(False), _torch(True)],
        "safetensors": lambda: [_safetensors()],
        "onnx": lambda: [_onnx()],
    }[kind]()
    fell = sorted(CORPUS.glob(f"*{SUFFIXES[kind]}"))
    # Mutants of a file on which libhdf5 loops would mostly take all of their time.
    return [*made, *(path.read_bytes() for path in fell if not path.name.startswith("loops"))]


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


def mutant(kind: str, seeds: list[bytes], number: int) -> bytes:
    """Return one damaged file of a kind."""
    rng = random.Random(f"{kind} {number}")
    data = rng.choice(seeds)
    if kind in {"npz", "torch"} and rng.random() < 0.5:
        try:
            return _repacked(data, rng)
        except Exception:  # not an archive, or one that fell
            pass
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
            for tensor in dump.values():
                value = tensor.read()
                assert (value.shape, value.dtype) == (tensor.shape, tensor.dtype)
                rows = sum(len(block) for block in tensor.blocks(1 << 22, views=True) if block.ndim)
                assert rows == (tensor.shape[0] if tensor.shape else 0)
            return "whole"
    except BitxError as error:
        text = str(error)
    assert text.startswith(str(path.parent))
    assert "\n" not in text
    return next(
        (f"refused: {word}" for word in ("crash", "took more", "MiB of memory") if word in text), "refused"
    )


def work(kind: str, start: int, stop: int, folder: Path) -> None:
    """Read mutants, telling before each which it is; for a process that may end at any."""
    import bitxcore.dumps.hdf5_process as hdf5

    made = seeds(kind)
    hdf5.SECONDS = 1.0
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    path = folder / f"x{SUFFIXES[kind]}"
    found: Counter[str] = Counter()
    for number in range(start, stop):
        path.write_bytes(mutant(kind, made, number))
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


def campaign(kind: str, count: int, keep: Path) -> Counter[str]:
    """Read `count` mutants of a kind in child processes; failures are kept in the folder `keep`."""
    totals: Counter[str] = Counter()
    number = 0
    made = seeds(kind)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        folder = Path(name)
        while number < count:
            (folder / "number").write_text(str(number))
            with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
                command = [sys.executable, "-m", "bench.fuzz", "--work", kind, str(number), str(count), name]
                child = subprocess.Popen(command, stdout=out, stderr=err, cwd=ROOT)
                ended = _wait(child, folder / "number")
            for line in (folder / "out").read_text().splitlines():
                outcome_name, _, value = line.partition("\t")
                if outcome_name == "peak":
                    totals["peak MiB"] = max(totals["peak MiB"], int(value))
                elif outcome_name == "kept":
                    if totals["kept"] < KEPT:
                        totals["kept"] += 1
                        _keep(keep, kind, int(value), made)
                else:
                    totals[outcome_name] += int(value)
            if ended == "0":
                break
            at = int((folder / "number").read_text())
            totals[f"FAILED ({ended})"] += 1
            _keep(keep, kind, at, made)
            last = (folder / "err").read_text(errors="replace").strip().splitlines()[-1:]
            print(f"{kind} mutant {at}: {ended}: {''.join(last)[:200]}", flush=True)
            number = at + 1
    del totals["kept"]
    return totals


def _keep(folder: Path, kind: str, number: int, made: list[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{kind}-{number}{SUFFIXES[kind]}").write_bytes(mutant(kind, made, number))


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
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz"))
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kind, start, stop, folder = options.work
        work(kind, int(start), int(stop), Path(folder))
        return
    failed = 0
    for kind in options.kinds:
        since = time.monotonic()
        totals = campaign(kind, options.count, options.keep)
        failed += sum(count for name, count in totals.items() if name.startswith("FAILED"))
        listed = ", ".join(f"{name} {count}" for name, count in sorted(totals.items()))
        print(f"{kind}: {options.count} mutants in {time.monotonic() - since:.0f} s: {listed}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
