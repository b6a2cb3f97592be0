"""`bitx doctor` and `bitx --version`: what is right, missing and broken in an installation."""

from __future__ import annotations

import json
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from bitxcore.host import control_group_limits, memory_sizes
from hwmodel.cli import doctoring, installation, installed_extras, self_test
from hwmodel.cli.host import processor_model
from hwmodel.cli.installation import SECTIONS, Examined, Problem, examine
from hwmodel.cli.installed_extras import required


def look(name: str) -> Examined:
    (section,) = examine([name])
    return section


def shown(*sections: Examined, width: int = 80) -> str:
    return "\n".join(doctoring.lines(list(sections), width))


@pytest.fixture(scope="module")
def healthy() -> list[Examined]:
    return examine()


# -- versions ----------------------------------------------------------------------------------


def test_first_line_of_version_is_for_scripts(bitx) -> None:
    first, *others = bitx("--version").stdout.splitlines()
    assert first == f"bitx, version {version('bitx')}"
    found = dict(line.split(" ", 1) for line in others)
    assert found["python"].startswith(platform.python_version())
    assert found["platform"] == platform.platform()
    for package in ("numpy", "numba", "llvmlite", "scipy", "h5py", "ml_dtypes"):
        assert found[package] == version(package)


def test_version_of_what_is_missing(bitx, monkeypatch) -> None:
    monkeypatch.setattr("hwmodel.cli.versions.version_of", lambda name: None)
    assert "numba not installed" in bitx("--version").stdout.splitlines()


# -- an installation that works ----------------------------------------------------------------


def test_what_works_is_status_0(bitx, monkeypatch, healthy) -> None:
    monkeypatch.setattr(installation, "examine", lambda: healthy)
    document = bitx.json("doctor")
    assert list(document) == [*SECTIONS, "problems", "works"]
    assert document["works"]
    assert not [problem for problem in document["problems"] if problem["is_broken"]]
    assert set(document["self_test"]) == {what for what, _ in self_test.CHECKS.values()}
    assert all(check["passed"] for check in document["self_test"].values())
    assert document["versions"]["bitx"] == version("bitx")
    assert re.fullmatch(r"[\d.]+", document["versions"]["hdf5"])
    assert document["threads"]["threads"] >= 1
    assert document["threads"]["numba_threading_layer"] in ("tbb", "omp", "workqueue", None)
    assert document["cache"]["size_bytes"] > 0
    printed = bitx("doctor").stdout
    assert printed.splitlines()[0] == "versions"
    assert printed.splitlines()[-1] == "everything works"


@pytest.mark.parametrize("width", [80, 60, 40])
def test_it_fits(healthy, width: int) -> None:
    long = Problem("a problem of many words that has to be broken into lines: " + "do what it says " * 8)
    lines = shown(*healthy, Examined("long", {}, (long,)), width=width).splitlines()
    # A path may be longer than a line, and is not cut.
    assert max(len(line) for line in lines if " " in line.strip()) <= width
    text = " ".join(" ".join(lines).split())
    for section in healthy:
        assert all(name.replace("_bytes", "").replace("_", " ").removeprefix("is ") in text.replace("_", " ")
                   for name in section.facts if section.name != "settings")  # fmt: skip
    assert " ".join(long.text.split()) in text


def test_names_are_printed_harmlessly(monkeypatch) -> None:
    monkeypatch.setenv("BITX_EVIL", "\x1b[2J\n")
    printed = shown(look("settings"))
    assert r"BITX_EVIL=\x1b[2J\n" in printed
    assert "\x1b" not in printed


# -- what is missing or slow: told, and no error -----------------------------------------------


def test_missing_extra_says_how_to_install_it(monkeypatch) -> None:
    real = installed_extras.version_of
    monkeypatch.setattr(
        installed_extras, "version_of", lambda name: None if name == "onnxruntime" else real(name)
    )
    section = look("extras")
    assert section.facts["onnx"] == {
        "is_installed": False,
        "packages": {"onnx": version("onnx"), "onnxruntime": None},
        "install": "pip install 'bitx[onnx]'",
    }
    assert not section.problems
    assert "missing: onnxruntime: pip install 'bitx[onnx]'" in shown(section)


def test_extras_that_name_others_are_followed() -> None:
    names = {needed.name for needed in required(extra="evaluation")}
    assert {"onnx", "onnxruntime", "scikit-learn"} <= names
    assert "bitx" not in names
    assert "numpy" in {needed.name for needed in required()}
    assert not names & {needed.name for needed in required()}


def test_version_outside_its_bounds_is_a_note(monkeypatch) -> None:
    real = installed_extras.version_of
    monkeypatch.setattr(
        installed_extras, "version_of", lambda name: "0.1" if name == "pillow" else real(name)
    )
    (problem, *_) = look("extras").problems
    assert re.fullmatch(
        r"pillow 0\.1 is installed, >=\d+\.\d+ is needed: pip install 'bitx\[images\]'", problem.text
    )
    assert not problem.is_broken


def test_more_threads_than_cores_is_a_note(monkeypatch) -> None:
    monkeypatch.setenv("BITX_THREADS", "1000")
    monkeypatch.setattr(installation, "control_group_limits", lambda: (1.5, None))
    monkeypatch.setattr(installation, "threading_layer", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    section = look("threads")
    assert section.problems == (Problem("1000 threads have the time of 2 cores: set BITX_THREADS=2"),)
    assert section.facts["cores_by_control_group"] == 1.5


def test_settings_that_make_kernels_slow_are_a_note(monkeypatch) -> None:
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "0")
    (problem,) = look("settings").problems
    assert problem.text.startswith("NUMBA_CPU_NAME=generic can make the kernels slow: unset it")
    assert not problem.is_broken


def test_a_checkout_that_is_not_installed_is_a_note(monkeypatch) -> None:
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installed_extras, "metadata", missing)
    (problem,) = look("extras").problems
    assert problem.text.endswith("its extras are unknown: pip install --editable .")
    assert not problem.is_broken
    assert "known  no" in shown(look("extras"))


def test_cache_that_can_not_be_written_is_a_note(monkeypatch) -> None:
    monkeypatch.setattr("bitxcore.jit.cache_directory", lambda: None)
    section = look("cache")
    (problem,) = section.problems
    assert "set BITX_CACHE_DIR to a folder that can be written" in problem.text
    assert not problem.is_broken
    assert section.facts["folder"] is None
    assert section.facts["size_bytes"] == 0


def test_little_memory_is_a_note(monkeypatch) -> None:
    monkeypatch.setattr(installation, "control_group_limits", lambda: (None, 1 << 28))
    section = look("memory")
    assert section.problems[0].text.startswith("less than 1 GiB of memory is available")
    assert "control group limit  256 MiB" in shown(section)


# -- what is broken: status 1 ------------------------------------------------------------------


def failing(bitx, monkeypatch, name: str) -> list[str]:
    """Problems of one section, which end the command with status 1."""
    section = look(name)
    assert any(problem.is_broken for problem in section.problems)
    monkeypatch.setattr(installation, "examine", lambda: [section])
    document = json.loads(bitx("doctor", "--json", code=1).stdout)
    assert not document["works"]
    lines = bitx("doctor", code=1).stdout.splitlines()
    assert re.fullmatch(r"\d+ of these must be repaired", lines[-1])
    assert any(line.startswith("broken: ") for line in lines)
    return [problem["problem"] for problem in document["problems"]]


def test_kernels_that_differ_from_the_definition(bitx, monkeypatch) -> None:
    monkeypatch.setattr("bitxcore.reference.prune_group", lambda codes, *_, **__: (codes, 0, 0))
    (text,) = failing(bitx, monkeypatch, "self_test")
    assert text.startswith("not so: kernels equal the definition (ValueError: float32: ")
    assert "delete the cache folder" in text


def test_numba_that_does_not_compile(bitx, monkeypatch) -> None:
    def njit(*_):
        raise RuntimeError("no LLVM")

    monkeypatch.setattr("numba.njit", njit)
    (text,) = failing(bitx, monkeypatch, "self_test")
    assert "no LLVM" in text
    assert "pip install --upgrade numba llvmlite" in text


def test_kernels_that_are_not_compiled(bitx, monkeypatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert failing(bitx, monkeypatch, "settings") == [
        "NUMBA_DISABLE_JIT keeps kernels from being compiled: unset it"
    ]


def test_threads_that_are_no_number(bitx, monkeypatch) -> None:
    monkeypatch.setenv("BITX_THREADS", "many")
    monkeypatch.setattr(installation, "threading_layer", lambda: None)
    (text,) = failing(bitx, monkeypatch, "threads")
    assert text.startswith("BITX_THREADS must be a positive integer, got 'many'; unset it")


def test_no_temporary_folder(bitx, monkeypatch) -> None:
    def nowhere():
        raise FileNotFoundError("no usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    (text,) = failing(bitx, monkeypatch, "temporary_folder")
    assert "set TMPDIR" in text


def test_plugins_are_loaded(bitx, monkeypatch, tmp_path: Path) -> None:
    folder = tmp_path / "zoo-2.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo\nVersion: 2.1\n")
    (folder / "entry_points.txt").write_text(
        "[bitx.accelerators]\ngood = hwmodel:Accelerator\nno-machine = json:dumps\n"
        "[bitx.readers]\nraw = zoo_is_not_there:open\n"
        "[bitx.machines]\nunread = json:dumps\n"
        "[console_scripts]\nzoo = json:dumps\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    texts = failing(bitx, monkeypatch, "plugins")
    facts = look("plugins").facts
    own = {name: fact["loads"] for name, fact in facts.items() if fact["package"] == "zoo 2.1"}
    assert own == {
        "bitx.accelerators:good": True,
        "bitx.accelerators:no-machine": False,
        "bitx.readers:raw": False,
        "bitx.machines:unread": False,
    }
    assert len(texts) == 3
    assert any("json:dumps is no subclass of hwmodel.Accelerator" in text for text in texts)
    assert any("No module named 'zoo_is_not_there'" in text for text in texts)
    assert any("the group must be one of bitx.accelerators, bitx.metrics, " in text for text in texts)
    assert all(text.endswith(": update or uninstall that package") for text in texts)


def test_a_part_that_raises_is_broken(bitx, monkeypatch) -> None:
    def look_at_nothing():
        raise OSError("disk on fire")

    monkeypatch.setitem(SECTIONS, "memory", look_at_nothing)
    assert failing(bitx, monkeypatch, "memory") == ["OSError: disk on fire"]


# -- what the system tells ---------------------------------------------------------------------


def test_control_groups(tmp_path: Path) -> None:
    member = tmp_path / "cgroup"
    for name, text in {
        "v2/a/cpu.max": "250000 100000\n",
        "v2/a/b/cpu.max": "max 100000\n",
        "v2/a/b/memory.max": f"{1 << 30}\n",
        "v2/memory.max": "max\n",
        "v1/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
        "v1/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "v1/memory/box/memory.limit_in_bytes": f"{3 << 30}\n",
        "v1/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "free/cpu/cpu.cfs_quota_us": "-1\n",
        "free/cpu/cpu.cfs_period_us": "100000\n",
    }.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    member.write_text("0::/a/b\n")
    assert control_group_limits(member, tmp_path / "v2") == (2.5, 1 << 30)
    member.write_text("5:cpu,cpuacct:/gone\n4:memory:/box\nnonsense\n")
    assert control_group_limits(member, tmp_path / "v1") == (0.5, 3 << 30)
    member.write_text("2:cpu:/\n")
    assert control_group_limits(member, tmp_path / "free") == (None, None)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9654\n", "AMD EPYC 9654"),
        ("processor\t: 0\nBogoMIPS\t: 50\nHardware\t: BCM2835\n", "BCM2835"),
        ("processor\t: 0\nCPU part\t: 0xd0c\n", None),
    ],
)
def test_processor_model(tmp_path: Path, text: str, model: str | None) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert processor_model(tmp_path / "cpuinfo") == model


def test_memory_is_told() -> None:
    total, available = memory_sizes()
    if total is not None and available is not None:
        assert 0 < available <= total
