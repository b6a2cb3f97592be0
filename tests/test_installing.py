"""An installation from a checkout, as `make run` makes it: what it finds, and what type checkers find."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SCRIPT = """\
import bitxcore as bx
import hwmodel as hw

machine = hw.accelerators.BitX(rows=6)
depth: int | None = machine.lane_fifo_depth
hw.accelerators.BitX(rows="six")
network = hw.Network(layers=[hw.Linear("fc", 8, 4)])
reveal_type(hw.load_network("resnet18").macs)
reveal_type(bx.preset("mild"))
"""

# Nothing that a shell sets may show the way.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MYPYPATH", "VIRTUAL_ENV")}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)
    assert not done.stderr or done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a new environment with an editable installation, and what it depends on."""
    folder = tmp_path_factory.mktemp("installed")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in ("bitxcore", "hwmodel", "data", "pyproject.toml", "README.md", "LICENSE"):
        (checkout / name).symlink_to(ROOT / name)
    build = "import sys; from setuptools.build_meta import build_editable; build_editable(sys.argv[1])"
    run(sys.executable, "-c", build, folder, cwd=checkout)
    venv.create(folder / "venv")
    interpreter = folder / "venv" / "bin" / "python"
    site = Path(
        run(interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    # Found through a .pth file, whose own .pth files, those of this installation, do not count.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return interpreter


@pytest.mark.slow
def test_an_editable_installation_finds_its_data(installed: Path, tmp_path: Path) -> None:
    code = "import hwmodel as hw; print(hw.__file__); print(len(hw.network_names()))"
    place, names = run(installed, "-c", code, cwd=tmp_path).split()
    assert place == str(installed.parents[2] / "checkout/hwmodel/__init__.py")
    assert int(names) > 50


@pytest.mark.slow
def test_mypy_finds_the_packages_of_an_editable_installation(installed: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    options = ["--strict", "--python-executable", installed, "--cache-dir", tmp_path / "cache"]
    lines = run(sys.executable, "-m", "mypy", *options, script, cwd=tmp_path).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith('script.py:6: error: Argument "rows" to "BitX" has incompatible type "str"')
    assert lines[1] == 'script.py:8: note: Revealed type is "int"'
    assert lines[2] == 'script.py:9: note: Revealed type is "dict[str, int]"'
    assert lines[3] == "Found 1 error in 1 file (checked 1 source file)"


def test_editable_installations_are_paths() -> None:
    """Editors and type checkers follow a path in a .pth file, and no import hook."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["distutils"]["editable_wheel"]["mode"] == "compat"
    assert "install --editable" in (ROOT / "Makefile").read_text("utf-8")
