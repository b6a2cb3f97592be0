"""The cache of compiled kernels: an upgraded kernel is never served from an old one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from bitxcore import jit

ROOT = Path(__file__).parents[2]
PRUNE = "import numpy as np, bitxcore as bx; print(bx.prune(np.full(16, 1.75, np.float32), rows=2).values[0])"
BEFORE = "    kept = present & (left ^ -1)\n"
AFTER = "    kept = present & left\n"  # keeps the other rows


def run(place, cache):
    environment = {**os.environ, "PYTHONPATH": str(place), "BITX_CACHE_DIR": str(cache)}
    code = f"import bitxcore; assert bitxcore.__file__.startswith({str(place)!r}); {PRUNE}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/", env=environment
    )
    return float(done.stdout)


def folders(cache):
    return {path.name for path in cache.iterdir()}


@pytest.mark.slow
def test_a_changed_kernel_has_a_cache_of_its_own(tmp_path):
    """Size and time of the changed file stay as they were, which Numba's own check would not notice."""
    place, cache = tmp_path / "place", tmp_path / "cache"
    shutil.copytree(ROOT / "bitxcore", place / "bitxcore", ignore=shutil.ignore_patterns("__pycache__"))
    assert run(place, cache) == 1.5
    assert run(place, cache) == 1.5
    assert len(folders(cache)) == 1
    source = place / "bitxcore" / "kernels" / "rows.py"
    text, stat = source.read_text(), source.stat()
    assert text.count(BEFORE) == 1
    source.write_text(text.replace(BEFORE, AFTER + " " * (len(BEFORE) - len(AFTER) - 1) + "\n"))
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert source.stat().st_size == stat.st_size
    assert run(place, cache) == 0.25
    assert len(folders(cache)) == 2


@pytest.mark.slow
def test_an_upgrade_by_wheel(tmp_path):
    cache, results = tmp_path / "cache", []
    for version in ("old", "new"):
        source = tmp_path / version
        ignore = shutil.ignore_patterns("__pycache__", ".*", "build", "*.egg-info", "out", "tests", "docs")
        shutil.copytree(ROOT, source, ignore=ignore)
        if version == "new":
            rows = source / "bitxcore" / "kernels" / "rows.py"
            rows.write_text(rows.read_text().replace(BEFORE, AFTER))
        pip = [sys.executable, "-m", "pip", "--quiet"]
        subprocess.run([*pip, "wheel", "--no-deps", "-w", source / "dist", source], check=True)
        (wheel,) = (source / "dist").glob("*.whl")
        place = tmp_path / f"{version}-installed"
        subprocess.run([*pip, "install", "--no-deps", "--target", place, wheel], check=True)
        assert not (place / "data").exists()
        results += [run(place, cache), run(place, cache)]
    assert results == [1.5, 1.5, 0.25, 0.25]


def test_the_folder_names_what_it_depends_on(monkeypatch, tmp_path):
    monkeypatch.setenv("BITX_CACHE_DIR", str(tmp_path))
    jit.cache_directory.cache_clear()
    try:
        before = jit.cache_directory()
        assert before.parent == tmp_path
        monkeypatch.setattr(numba, "__version__", "0")
        jit.cache_directory.cache_clear()
        assert jit.cache_directory() != before
    finally:
        jit.cache_directory.cache_clear()


def test_a_changed_kernel_of_another_package_has_a_cache_of_its_own(tmp_path):
    cache, module = tmp_path / "cache", tmp_path / "elsewhere.py"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "BITX_CACHE_DIR": str(cache)}
    code = "import elsewhere; print(elsewhere.add(2))"
    for constant in "13":
        module.write_text(
            f"from bitxcore.jit import kernel\n\n\n@kernel\ndef add(x):\n    return x + {constant}\n"
        )
        os.utime(module, ns=(0, 0))
        done = subprocess.run(
            [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        assert done.stdout.strip() == str(2 + int(constant))
