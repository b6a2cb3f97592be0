"""Build the wheel and the source distribution of a commit, so that anyone gets the same bytes.

    python .ci/release.py dist

What a build takes from its surroundings is fixed: the files are those that git tracks, their modes are git's,
every time is that of the commit, and the order is that of the names. The wheel is built from the source
distribution, so what that lacks is missed at once. The bytes also depend on the version of setuptools, which
the file WHEEL names, and on zlib. Needs git and setuptools, and no network.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# No name of ours may be in the way of setuptools, so it runs in a process of its own.
BACKEND = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def git(root: Path, *arguments: str) -> str:
    """Run git in a folder and return what it prints."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"git {arguments[0]} fails: {done.stderr.strip()}")
    return done.stdout


def tracked(root: Path) -> dict[str, int]:
    """List the files that git tracks, with their modes: 0o644 or 0o755."""
    entries = git(root, "ls-files", "--stage", "-z").split("\0")
    found = (entry.partition("\t") for entry in entries if entry)
    return {name: int(facts[:6], 8) & 0o777 for facts, _, name in found}


def commit_time(root: Path) -> int:
    """Return when the commit that is checked out was made, in seconds since 1970."""
    return int(git(root, "show", "--no-patch", "--format=%ct", "HEAD"))


def copy_tracked(root: Path, target: Path) -> None:
    """Copy the files that git tracks, and nothing that lies beside them."""
    for name, mode in tracked(root).items():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, place)
        place.chmod(mode)


def call_backend(hook: str, source: Path, out: Path, epoch: int) -> Path:
    """Call `build_sdist` or `build_wheel` of setuptools in `source`, and return the file it writes."""
    out.mkdir()
    fixed = {"SOURCE_DATE_EPOCH": f"{epoch}", "TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", BACKEND, hook, str(out)],
        cwd=source, env=outside | fixed, umask=0o022, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{hook} fails:\n{done.stdout}{done.stderr}")
    (made,) = out.iterdir()
    return made


def repack(archive: Path, epoch: int) -> bytes:
    """Write a .tar.gz anew: without owners, with one time and one order."""
    packed = io.BytesIO()
    with (
        tarfile.open(archive) as old,
        gzip.GzipFile("", "wb", 9, packed, mtime=epoch) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            made = tarfile.TarInfo(member.name)
            made.type, made.size, made.mtime = member.type, member.size, epoch
            made.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(made, old.extractfile(member) if member.isfile() else None)
    return packed.getvalue()


def build(root: Path, out: Path) -> list[Path]:
    """Write a source distribution and a wheel of the tracked files as they are.

    Returns
    -------
    list of Path
        The source distribution, and the wheel.
    """
    epoch = commit_time(root)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        copy_tracked(root, source)
        made = call_backend("build_sdist", source, folder / "sdist", epoch)
        sdist = out / made.name
        sdist.write_bytes(repack(made, epoch))
        with tarfile.open(sdist) as archive:
            archive.extractall(folder / "unpacked", filter="data")
        (unpacked,) = (folder / "unpacked").iterdir()
        made = call_backend("build_wheel", unpacked, folder / "wheel", epoch)
        wheel = out / made.name
        shutil.copyfile(made, wheel)
    return [sdist, wheel]


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the two files")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout  [default: this one]")
    parser.add_argument("--dirty", action="store_true", help="also what is not committed; not for a release")
    options = parser.parse_args()
    changed = git(options.root, "status", "--porcelain", "--untracked-files=no")
    if changed and not options.dirty:
        sys.exit(f"these changes are not committed, so no commit has these files:\n{changed.rstrip()}")
    for path in build(options.root, options.out):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{digest}  {path} ({path.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
