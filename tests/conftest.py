"""What holds for all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Processes of pytest-xdist share the cores already; tests of threads set their number themselves.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("BITX_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# First calls compile kernels and load PyTorch; that says nothing about the case.
settings.register_profile("hwmodel", deadline=None)
settings.load_profile("hwmodel")

_SHARE = 1.0 if "BITX_THOROUGH" in os.environ else 0.2
"""Of the examples that a property asks for: all of them in the slow tests, and fewer in the usual run."""


def _settle_examples(item: pytest.Item) -> None:
    """Let a property draw its share of examples."""
    test = getattr(item, "obj", None)
    own = getattr(test, "_hypothesis_internal_use_settings", None)
    if own is not None:
        most = max(5, round(own.max_examples * _SHARE))
        test._hypothesis_internal_use_settings = settings(own, max_examples=most)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Settle how many examples properties draw."""
    for item in items:
        _settle_examples(item)


@pytest.fixture(scope="module")
def scheduler():
    """Address of a Dask scheduler with two workers, which are in this process: they begin at once."""
    distributed = pytest.importorskip("distributed")
    with (
        pytest.MonkeyPatch.context() as patch,
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=False,
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        ) as cluster,
    ):
        patch.setenv("BITX_THREADS", "1")
        yield cluster.scheduler_address
