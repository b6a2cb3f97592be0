"""The cache of compiled kernels: an upgraded kernel is never served from an old one."""

import gc
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numba
import pytest

from bitxcore import jit

ROOT = Path(__file__).parents[2]
PRUNE = "import numpy as np, bitxcore as bx; print(bx.prune(np.full(16, 1.75, np.float32), rows=2).values[0])"
BEFORE = "    kept = present ^ reverse_bits(left)\n"
AFTER = "    kept = reverse_bits(left)\n"  # keeps the other rows


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


@pytest.mark.slow
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


# -- files that can't be trusted ---------------------------------------------------------------

FILES = {".nbi": "index", ".nbc": "code"}
DAMAGES = {
    "empty": lambda raw: b"",
    "one byte": lambda raw: raw[:1],
    "a seal alone": lambda raw: raw[:32],
    "cut in half": lambda raw: raw[: len(raw) // 2],
    "last byte lost": lambda raw: raw[:-1],
    "longer": lambda raw: raw + b"\0",
    "garbage": lambda raw: bytes(range(256)) * 8,
    "one bit": lambda raw: raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :],
    "a pickle": lambda raw: pickle.dumps("other"),
    "a sealed pickle": lambda raw: (lambda p: hashlib.sha256(p).digest() + p)(pickle.dumps(("a", "b", "c"))),
}
KEPT = """
from bitxcore.jit import kernel

@kernel
def add(x):
    return x + 1

def misses():
    assert add(1) == 2
    return sum(add.stats.cache_misses.values())
"""


@pytest.fixture
def declare(monkeypatch, tmp_path):
    """Declare the kernel anew, as another process would, and return how often it had to be compiled."""
    (tmp_path / "kept.py").write_text(KEPT)
    monkeypatch.setenv("BITX_CACHE_DIR", str(tmp_path / "cache"))
    jit.cache_directory.cache_clear()

    def again():
        namespace = {"__name__": "kept"}
        exec(compile(KEPT, str(tmp_path / "kept.py"), "exec"), namespace)
        return namespace["misses"]()

    yield again
    jit.cache_directory.cache_clear()


def stored(tmp_path, suffix):
    found = sorted((tmp_path / "cache").rglob(f"*{suffix}"))
    assert found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FILES, ids=FILES.values())
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_made_anew(tmp_path, declare, suffix, damage):
    assert (declare(), declare()) == (1, 0)
    for path in stored(tmp_path, suffix):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert (declare(), declare()) == (1, 0)


@pytest.mark.parametrize("suffix", FILES, ids=FILES.values())
@pytest.mark.parametrize("other", ["missing", "a folder", "a link to nowhere", "a link to itself"])
def test_what_is_no_file_is_no_obstacle(tmp_path, declare, suffix, other):
    assert declare() == 1
    for path in stored(tmp_path, suffix):
        path.unlink()
        if other == "a folder":
            path.mkdir()
            (path / "kept").touch()
        elif other != "missing":
            path.symlink_to(path if "itself" in other else path.with_name("nowhere"))
    assert declare() == 1


def test_code_of_another_signature_is_not_run(tmp_path, declare):
    """Two processes can number their code alike, and then the index of one names the code of the other."""
    namespace = {}
    declare()
    exec(compile(KEPT, str(tmp_path / "kept.py"), "exec"), namespace)
    (index,), (code,) = stored(tmp_path, ".nbi"), stored(tmp_path, ".nbc")
    kept = code.read_bytes()
    for path in (index, code):
        path.unlink()
    assert namespace["add"](0.5) == 1.5
    code.write_bytes(kept)
    exec(compile(KEPT, str(tmp_path / "kept.py"), "exec"), namespace)
    assert namespace["add"](0.5) == 1.5


@pytest.mark.slow
def test_empty_files_of_all_kernels(tmp_path):
    """In a process of its own: damaged code could end it."""
    cache = tmp_path / "cache"
    assert run(ROOT, cache) == 1.5
    for suffix in (*FILES, "*"):
        for path in cache.rglob(f"*{suffix}"):
            if path.is_file():
                os.truncate(path, 0)
        assert run(ROOT, cache) == 1.5


# -- places that can't be used -----------------------------------------------------------------

# Permissions do not bind the superuser, as whom tests may run: what writes below the folder is refused here.
READ_ONLY = """
import os, sys
def guard(event, arguments, folder=os.environ["BITX_CACHE_DIR"]):
    if event == "open":
        writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    else:
        writes = event in ("os.mkdir", "os.rename", "os.remove", "os.truncate")
    if writes and str(arguments[0]).startswith(folder):
        raise PermissionError(13, "Permission denied", str(arguments[0]))
sys.addaudithook(guard)
"""
COUNTED = (
    "import numpy as np, bitxcore as bx; from bitxcore.pruning import plan_of;"
    "x = np.full(16, 1.75, np.float32); assert bx.prune(x, rows=2).values[0] == 1.5;"
    "plan = plan_of(x, 2, 8, None, None, 'topn', 'truncate', 'flat', None, None, None);"
    "print(sum(plan.prune_groups.kernel.stats.cache_misses.values()))"
)
SMALL = "import kept; print(kept.misses())"


def compiled(code, **changes):
    """Run code elsewhere in a changed environment; return the number that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **changes}
    environment = {name: value for name, value in environment.items() if value is not None}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_a_cache_that_may_be_read_but_not_written_is_used(tmp_path):
    (tmp_path / "kept.py").write_text(KEPT)
    cache = tmp_path / "cache"
    place = {"BITX_CACHE_DIR": str(cache), "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    assert compiled(READ_ONLY + SMALL, **place) == 1
    assert not cache.exists()
    assert compiled(SMALL, **place) == 1
    before = sorted(cache.rglob("*"))
    assert compiled(READ_ONLY + SMALL, **place) == 0
    for path in stored(tmp_path, ".nbc"):
        os.truncate(path, 0)
    assert compiled(READ_ONLY + SMALL, **place) == 1
    assert sorted(cache.rglob("*")) == before


def test_kernels_of_pruning_are_found_again(tmp_path):
    code = (
        "import numpy as np, bitxcore as bx\n"
        "from bitxcore import kernel_cache\n"
        "kept, load = [], kernel_cache.KernelCache.load_overload\n"
        "def watched(self, *key):\n"
        "    kept.append(load(self, *key)); return kept[-1]\n"
        "kernel_cache.KernelCache.load_overload = watched\n"
        "x = np.ones((2, 8, 3, 3), np.float32)\n"
        "bx.prune(x); bx.prune(x, grouping='channel'); bx.prune(x.astype(np.int8))\n"
        "bx.prune(x, format='fixed8'); bx.statistics(x); bx.unpack(bx.pack(bx.prune(x)))\n"
        "print(sum(one is None for one in kept))\n"
    )
    assert compiled(code, BITX_CACHE_DIR=str(tmp_path)) > 5
    assert compiled(code, BITX_CACHE_DIR=str(tmp_path)) == 0


@pytest.mark.slow
def test_a_full_disk_is_no_obstacle(tmp_path):
    cache = tmp_path / "cache"
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
    assert compiled(full + COUNTED, BITX_CACHE_DIR=str(cache)) == 1
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("place", ["file", "file/below", "loop", "/proc/none", "long" * 100, "~nobody/none"])
def test_a_place_that_can_not_be_is_none(monkeypatch, tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~nobody").touch()
    monkeypatch.setenv("BITX_CACHE_DIR", place)
    jit.cache_directory.cache_clear()
    try:
        assert jit.cache_directory() is None
        assert not jit.cache_writable()
    finally:
        jit.cache_directory.cache_clear()


def test_no_home_directory(monkeypatch, tmp_path):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    for name in ("BITX_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    jit.cache_directory.cache_clear()
    try:
        assert jit.cache_directory() is None
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored
        jit.cache_directory.cache_clear()
        assert jit.cache_directory() is None
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        jit.cache_directory.cache_clear()
        assert jit.cache_directory().parent == tmp_path / "bitx"
        assert jit.cache_writable()
    finally:
        jit.cache_directory.cache_clear()


@pytest.mark.slow
def test_kernels_work_where_nothing_can_be_kept():
    assert compiled(COUNTED, BITX_CACHE_DIR=None, XDG_CACHE_HOME=None, HOME="/dev/null") == 1


def test_a_kernel_that_no_file_defines():
    namespace = {}
    exec("from bitxcore.jit import kernel\n@kernel\ndef add(x):\n    return x + 1\n", namespace)
    assert namespace["add"](1) == 2


# -- forks and threads -------------------------------------------------------------------------

FORKED = """
import os, sys, threading, time
import numpy as np, bitxcore as bx
x = np.full(4096, 1.75, np.float32)
first = threading.Thread(target=bx.prune, args=(x,), kwargs={"rows": 2})
first.start()
children = []
for moment in range(MOMENTS):
    time.sleep(WAIT)
    child = os.fork()
    if not child:
        os._exit(0 if bx.prune(x, rows=2).values[0] == 1.5 else 1)
    children.append(child)
first.join()
print(sum(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moments", "wait"), [(3, 0.02), (1, 0), pytest.param(4, 0.4, marks=pytest.mark.slow)]
)
def test_a_fork_during_the_first_call_of_another_thread(tmp_path, moments, wait):
    """The child would wait for ever for what the thread held that it does not have."""
    code = FORKED.replace("MOMENTS", str(moments)).replace("WAIT", str(wait))
    assert compiled(code, BITX_CACHE_DIR=str(tmp_path), PYTHONWARNINGS="ignore") == 0


def pool_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("bitx")]


def test_threads_do_not_pile_up(monkeypatch):
    for setting in (*range(2, 9), 2):
        monkeypatch.setenv("BITX_THREADS", str(setting))
        for chunks in range(1, 10):
            assert jit.parallel(lambda start, stop: stop - start, chunks, 1) == [1] * chunks
    deadline = time.monotonic() + 10
    while len(pool_threads()) > 1 and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert len(pool_threads()) <= 1


def test_tasks_may_have_tasks(monkeypatch):
    """All threads of the pool may wait for tasks that only they could do."""
    monkeypatch.setenv("BITX_THREADS", "3")

    def outer(start, stop):
        return sum(jit.parallel(lambda a, b: time.sleep(0.001) or b - a, 6, 1))

    assert jit.parallel(outer, 6, 1) == [6] * 6
