"""The tool for moves that must not change a result sees every change of one."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

import hwmodel as hw
from tests.tools.compare_stores import differences, main


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "run.h5"
    hw.simulate_network(["bitx", "stripes"], "resnet20-cifar10", weights="normal", store=path)
    return path


def test_two_runs_are_equal(store: Path, tmp_path: Path) -> None:
    again = tmp_path / "run.h5"
    hw.simulate_network(["bitx", "stripes"], "resnet20-cifar10", weights="normal", store=again)
    assert not list(differences(store, again))
    assert main(str(store.parent), str(tmp_path)) == 0


def change_value(file: h5py.File) -> None:
    file["simulation/cycles"][3] += 1


def change_float(file: h5py.File) -> None:
    file["energy/energy_j"][0] *= 1 + 2**-50


def change_unit(file: h5py.File) -> None:
    file["simulation/cycles"].attrs["units"] = "s"


def drop_column(file: h5py.File) -> None:
    del file["area/part"]


def add_table(file: h5py.File) -> None:
    file.create_group("more")


@pytest.mark.parametrize("change", [change_value, change_float, change_unit, drop_column, add_table])
def test_a_change_is_seen(store: Path, tmp_path: Path, change: object) -> None:
    other = Path(shutil.copy(store, tmp_path / "other.h5"))
    with h5py.File(other, "r+") as file:
        change(file)  # type: ignore[operator]
    assert len(list(differences(store, other))) == 1
