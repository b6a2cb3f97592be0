"""A release: the same bytes for everyone, all that it needs and nothing else; it runs where nothing else is.

`make release-check` installs the wheel by pip, with every Python of `PYTHONS` that is there. Otherwise the
packages that pip would install are links to those of this environment, so no network is needed.
"""

from __future__ import annotations

import ast
import email
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PYTHONS = ("3.11", "3.12", "3.13")
BY_PIP = "BITX_RELEASE_CHECK" in os.environ
README = (ROOT / "README.md").read_text("utf-8")

needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a release is built of what git tracks")

# Nothing that a shell sets may show the way to this checkout.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))
}


def run(*command: str | Path, cwd: Path, status: int = 0, **environment: str) -> str:
    """Run a command and return what it prints, errors included where it must fail."""
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=ENVIRONMENT | environment, capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr if status else done.stdout


def build(root: Path, out: Path, **environment: str) -> tuple[Path, Path]:
    """Build what is in a checkout, committed or not."""
    script = root / ".ci" / "release.py"
    run(sys.executable, script, out, "--root", root, "--dirty", cwd=root, **environment)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Source distribution and wheel of this checkout."""
    return build(ROOT, tmp_path_factory.mktemp("built"))


def tracked(*folders: str) -> set[str]:
    return set(run("git", "ls-files", "-z", *folders, cwd=ROOT).split("\0")) - {""}


# -- the same bytes ----------------------------------------------------------------------------


@pytest.mark.slow
@needs_git
def test_two_builds_are_equal(tmp_path: Path) -> None:
    """In other folders, at other times, with other settings, and beside files that git does not track."""
    first, second = tmp_path / "a", tmp_path / "other" / "b"
    for place in (first, second):
        run("git", "clone", "-q", ROOT, place, cwd=tmp_path)
    for path in second.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            path.chmod(0o600)
            os.utime(path, (1_000_000_000, 1_000_000_000))
    for name in (
        "data/junk.json",
        "hwmodel/left.py",
        "build/lib/bitxcore/old.py",
        "bitx.egg-info/SOURCES.txt",
    ):
        (second / name).parent.mkdir(parents=True, exist_ok=True)
        (second / name).write_text("junk")
    one = build(first, tmp_path / "one")
    mask = os.umask(0o077)
    try:
        two = build(second, tmp_path / "two", TZ="Pacific/Auckland", LC_ALL="C", SOURCE_DATE_EPOCH="1")
    finally:
        os.umask(mask)
    for a, b in zip(one, two, strict=True):
        assert a.name == b.name
        assert a.read_bytes() == b.read_bytes()


@pytest.mark.slow
@needs_git
def test_what_is_not_committed_is_no_release(tmp_path: Path) -> None:
    run("git", "clone", "-q", ROOT, tmp_path / "a", cwd=tmp_path)
    script = tmp_path / "a" / ".ci" / "release.py"
    (tmp_path / "a" / "README.md").write_text("changed")
    said = run(sys.executable, script, tmp_path / "out", cwd=tmp_path, status=1)
    assert said.startswith("these changes are not committed")
    assert "README.md" in said
    assert not (tmp_path / "out").exists()


# -- what it holds -----------------------------------------------------------------------------


@pytest.mark.slow
@needs_git
def test_wheel_holds_the_packages_and_nothing_else(built: tuple[Path, Path]) -> None:
    folders = {"bitxcore": "bitxcore", "hwmodel": "hwmodel", "data": "bitxdata"}
    wanted = {re.sub(r"^\w+", lambda top: folders[top[0]], name): name for name in tracked(*folders)}
    info = f"bitx-{PROJECT['version']}.dist-info"
    made = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
    with zipfile.ZipFile(built[1]) as wheel:
        assert sorted(wheel.namelist()) == sorted([*wanted, *(f"{info}/{name}" for name in made)])
        for name, source in wanted.items():
            assert wheel.read(name) == (ROOT / source).read_bytes(), name
        assert {item.external_attr >> 16 & 0o777 for item in wheel.infolist()} <= {0o644, 0o664}
        assert wheel.read(f"{info}/entry_points.txt").decode().split() == [
            "[console_scripts]", "bitx", "=", "hwmodel.cli:main"
        ]  # fmt: skip
        assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert wheel.read(f"{info}/top_level.txt").decode().split() == ["bitxcore", "bitxdata", "hwmodel"]
        assert b"Root-Is-Purelib: true" in wheel.read(f"{info}/WHEEL")
    names = set(wanted)
    assert {"bitxcore/py.typed", "hwmodel/py.typed", "bitxdata/samples/digits_resnet.onnx"} <= names
    assert sum(name.endswith(".pyi") for name in names) >= 4


@pytest.mark.slow
@needs_git
def test_metadata_is_the_projects(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        said = email.message_from_bytes(wheel.read(name))
    assert (said["Name"], said["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert (said["Requires-Python"], said["License-Expression"]) == (PROJECT["requires-python"], "MIT")
    assert said.get_all("Provides-Extra") == list(PROJECT["optional-dependencies"])
    assert said.get_payload(decode=True) == (ROOT / "README.md").read_bytes()
    assert {f"Programming Language :: Python :: {python}" for python in PYTHONS} <= set(
        said.get_all("Classifier", [])
    )


@pytest.mark.slow
@needs_git
def test_source_distribution_holds_what_git_tracks(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        members = archive.getmembers()
        files = {m.name.partition("/")[2]: m for m in members if m.isfile()}
        made = {name for name in files if name.startswith("bitx.egg-info/")} | {"PKG-INFO", "setup.cfg"}
        assert set(files) - made == tracked()
        for name, member in files.items():  # in the archive's order: it can't be read backwards
            if name not in made:
                reader = archive.extractfile(member)
                assert reader is not None
                assert reader.read() == (ROOT / name).read_bytes(), name
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert len({m.mtime for m in members}) == 1
    assert {(m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, "", "")}
    assert files[".ci/run"].mode == 0o755


# -- versions of Python ------------------------------------------------------------------------


def interpreters() -> dict[str, Path | None]:
    """Where each of `PYTHONS` is; this one, on the path, or where pyenv keeps it."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found: dict[str, Path | None] = {}
    for version in PYTHONS:
        names = [f"{path}/bin/python" for path in sorted(kept.glob(f"{version}.*"))]
        here = sys.executable if sys.version.startswith(f"{version}.") else None
        places = [place for place in (here, shutil.which(f"python{version}"), *names) if place]
        code = f"import sys, venv, ensurepip; sys.exit(not sys.version.startswith('{version}.'))"
        works = (p for p in places if not subprocess.run([p, "-c", code], capture_output=True).returncode)
        found[version] = next((Path(place) for place in works), None)
    return found


def test_nothing_keeps_newer_pythons_out() -> None:
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert all(python in allowed for python in (*PYTHONS, "3.14"))
    assert "3.10" not in allowed
    named = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)}
    assert named == set(PYTHONS)


@pytest.mark.slow
def test_nothing_is_used_that_newer_pythons_lack() -> None:
    gone = {  # modules removed by 3.12 and 3.13, and setuptools' own that no longer comes with Python
        "aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr",
        "imp", "lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "pkg_resources",
        "smtpd", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib",
    }  # fmt: skip
    deprecated = {"utcnow", "utcfromtimestamp", "find_module", "load_module", "assertEquals"}
    found = []
    for path in [
        *ROOT.glob("bitxcore/**/*.py"),
        *ROOT.glob("hwmodel/**/*.py"),
        *ROOT.glob("docs/recipes/*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names} & gone
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").partition(".")[0]} & gone
            elif isinstance(node, ast.Attribute):
                names = {node.attr} & deprecated
                if isinstance(node.value, ast.Name) and node.value.id == "ast":
                    names |= {node.attr} & {"Num", "Str", "Bytes", "NameConstant", "Ellipsis", "Index"}
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names]
    assert not found


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_every_module_compiles_without_a_warning(python: str, tmp_path: Path) -> None:
    """Invalid escapes and the like, which each Python takes more seriously."""
    interpreter = interpreters()[python]
    if interpreter is None:
        pytest.skip(f"there is no Python {python} on this machine")
    for package in ("bitxcore", "hwmodel"):
        options = ("-W", "error", "-m", "compileall", "-q", "-f", ROOT / package)
        run(interpreter, *options, cwd=tmp_path, PYTHONPYCACHEPREFIX=str(tmp_path))


def test_lower_bounds_are_there() -> None:
    """Whoever installs the oldest versions that are allowed gets some that were meant."""
    texts = [*PROJECT["dependencies"], *(t for ts in PROJECT["optional-dependencies"].values() for t in ts)]
    for text in texts:
        needed = Requirement(text)
        assert needed.name == "bitx" or {s.operator for s in needed.specifier} & {">=", "=="}, text


# -- versions of the project -------------------------------------------------------------------


def test_citation_is_whole() -> None:
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    said = dict(re.findall(r"^([a-z-]+): *(.*)$", text, re.MULTILINE))
    assert {"cff-version", "message", "title", "type", "authors", "version", "license"} <= {*said}
    assert (said["cff-version"], said["type"], said["license"]) == ("1.2.0", "software", PROJECT["license"])
    assert said["version"] == PROJECT["version"]
    assert (
        re.findall(r"^  - ([a-z ]+)$", text.partition("references:")[0], re.MULTILINE) == PROJECT["keywords"]
    )
    released = re.search(rf"^## {re.escape(said['version'])} - (\S+)$", changes(), re.MULTILINE)
    assert said.get("date-released") == (released and released[1])
    assert released or said["version"].endswith(".dev0")


def changes() -> str:
    return (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_headings_of_the_changelog() -> None:
    headings = re.findall(r"^## (.*)$", changes(), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0].startswith(PROJECT["version"])
    released = [heading for heading in headings if heading != "Unreleased"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", heading) for heading in released)
    versions = [tuple(map(int, heading.split(" ")[0].split("."))) for heading in released]
    assert versions == sorted(versions, reverse=True)


# -- alone in an empty environment -------------------------------------------------------------


def by_links(interpreter: Path, wheel: Path, extra: str) -> None:
    """Install a wheel, and links to the packages that pip would install from elsewhere."""
    options = ("--no-deps", "--no-index", "-q", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", interpreter, "install", *options, wheel, cwd=wheel.parent)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(interpreter, "-c", code, cwd=wheel.parent).strip())
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        own = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    for package in sorted(needed_packages(own, extra)):
        found = distribution(package)
        tops = {path.parts[0] for path in found.files or []} - {"..", "__pycache__"}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))


def needed_packages(own: Sequence[str], extra: str) -> set[str]:
    """Names of all packages that a wheel with these requirements needs, directly or not."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()

    def follow(texts: Sequence[str], extra: str) -> None:
        for needed in map(Requirement, texts):
            if needed.marker is not None and not needed.marker.evaluate({"extra": extra}):
                continue
            for name in ("", *sorted(needed.extras)):
                if (needed.name, name) in seen:
                    continue
                seen.add((needed.name, name))
                if needed.name == PROJECT["name"]:
                    follow(own, name)
                    continue
                try:
                    installed = distribution(needed.name)
                except PackageNotFoundError:
                    pytest.skip(f"{needed.name}, which bitx[{extra}] needs, is not in this environment")
                found.add(needed.name)
                follow(installed.requires or [], name)

    follow(own, extra)
    return found


def by_pip(interpreter: Path, wheel: Path, extra: str) -> None:
    """Install a wheel as its users do."""
    what = f"{wheel}[{extra}]" if extra else wheel
    options = ("-q", "--disable-pip-version-check")
    run(interpreter, "-m", "pip", "install", *options, what, cwd=wheel.parent)


def places() -> Iterator[object]:
    """Environments to try: by pip, one of each Python; else one, by links."""
    if not BY_PIP:
        yield pytest.param(Path(sys.executable), by_links, id="by links")
        return
    for version, interpreter in interpreters().items():
        there = () if interpreter else pytest.mark.skip(reason=f"no Python {version} on this machine")
        yield pytest.param(interpreter, by_pip, id=f"by pip, Python {version}", marks=there)


def readme_example() -> str:
    """The first program of README.md."""
    found = re.search(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.mark.slow
@needs_git
@pytest.mark.parametrize(("python", "install"), list(places()))
def test_wheel_runs_alone(python: Path, install, built: tuple[Path, Path], tmp_path: Path) -> None:
    folder, work = tmp_path / "venv", tmp_path / "work"
    work.mkdir()
    if install is by_links:
        venv.create(folder)
        cache = {}
    else:
        run(python, "-m", "venv", folder, cwd=tmp_path)
        cache = {"BITX_CACHE_DIR": str(tmp_path / "cache")}  # where kernels are compiled as by a new user
    interpreter, command = folder / "bin" / "python", folder / "bin" / "bitx"

    def bitx(*arguments: str | Path, status: int = 0) -> str:
        return run(command, *arguments, cwd=work, status=status, **cache)

    def python_code(code: str, status: int = 0) -> str:
        (work / "script.py").write_text(code)
        return run(interpreter, "script.py", cwd=work, status=status, **cache)

    def doctor() -> dict[str, dict[str, dict[str, object]]]:
        found: dict[str, dict[str, dict[str, object]]] = json.loads(bitx("doctor", "--json"))
        assert found["works"], found["problems"]
        return found

    # With the dependencies alone.
    install(interpreter, built[1], "")
    assert bitx("--version").splitlines()[0] == f"bitx, version {PROJECT['version']}"
    versions = python_code("import bitxcore, hwmodel; print(bitxcore.__version__, hwmodel.__version__)")
    assert set(versions.split()) == {PROJECT["version"]}
    assert Path(python_code("import hwmodel; print(hwmodel.__file__)").strip()).is_relative_to(folder)
    for name in ("data", "tests", "bench", "onnx"):
        assert f"No module named '{name}'" in python_code(f"import {name}", status=1)
    assert "resnet50" in bitx("list", "networks")
    assert "bitx" in bitx("list", "accelerators")
    (sample,) = (
        Path(row["path"])
        for row in json.loads(bitx("list", "samples", "--json"))["samples"]
        if row["sample"] == "digits_resnet"
    )
    assert sample.is_relative_to(folder)
    code = "from bitxcore.data import sample_path; print(sample_path('digits_resnet'))"
    assert Path(python_code(code).strip()).samefile(sample)
    simulated = json.loads(bitx("simulate", "resnet50", "--weights", "synthetic", "--json"))
    assert simulated
    assert not doctor()["extras"]["onnx"]["is_installed"]
    assert python_code(readme_example())
    assert (
        bitx("inspect", sample, status=1) == "bitx: error: onnx is not installed: pip install 'bitx[onnx]'\n"
    )

    # As the message says.
    install(interpreter, built[1], "onnx")
    assert "stem.weight" in bitx("inspect", sample)
    assert doctor()["extras"]["onnx"]["is_installed"]

    if python.resolve() != Path(sys.executable).resolve():
        return
    install(interpreter, built[1], "report")
    assert doctor()["extras"]["report"]["is_installed"]
    python_code("import vl_convert, jinja2, matplotlib, hwmodel; hwmodel.report")
    bitx("simulate", sample, "--size", "N=1", "-o", "run.h5")
    if "  report " in bitx("--help"):
        bitx("report", "run.h5", "-o", "report.html")
        assert (work / "report.html").read_text("utf-8").lstrip().lower().startswith("<!doctype html>")


@pytest.mark.slow
@needs_git
@pytest.mark.skipif(not BY_PIP, reason="needs pip's network: make release-check")
def test_wheel_runs_with_the_oldest_dependencies(built: tuple[Path, Path], tmp_path: Path) -> None:
    """What `dependencies` allows at least, with the newest Python that is there."""
    python = next(path for path in reversed(interpreters().values()) if path is not None)
    bounds = (Requirement(text) for text in PROJECT["dependencies"])
    oldest = [f"{needed.name}{needed.specifier}".replace(">=", "==") for needed in bounds]
    run(python, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    here = tmp_path / "venv" / "bin"
    options = ("-q", "--disable-pip-version-check", "--only-binary", ":all:")
    run(here / "python", "-m", "pip", "install", *options, built[1], *oldest, cwd=tmp_path)
    environment = {"BITX_CACHE_DIR": str(tmp_path / "cache")}
    found = json.loads(run(here / "bitx", "doctor", "--json", cwd=tmp_path, **environment))
    assert found["works"], found["problems"]
    assert {f"{name}=={found['versions'][name]}" for name in ("scipy", "h5py")} <= set(oldest)
    run(here / "bitx", "simulate", "resnet50", "--weights", "synthetic", cwd=tmp_path, **environment)


@pytest.mark.slow
@needs_git
def test_record_is_right(built: tuple[Path, Path]) -> None:
    """Installers check it."""
    from base64 import urlsafe_b64encode

    with zipfile.ZipFile(built[1]) as wheel:
        (record,) = (name for name in wheel.namelist() if name.endswith("/RECORD"))
        lines = wheel.read(record).decode().splitlines()
        assert {line.split(",")[0] for line in lines} == set(wheel.namelist())
        for name, digest, size in (line.rsplit(",", 2) for line in lines):
            if name != record:
                content = wheel.read(name)
                found = urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
                assert (digest, int(size)) == (f"sha256={found}", len(content))
