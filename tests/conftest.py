"""What holds for all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Processes of pytest-xdist share the cores already; tests of threads set their number themselves.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("BITX_THREADS", "1")

# First calls compile kernels and load PyTorch; that says nothing about the case.
settings.register_profile("hwmodel", deadline=None)
settings.load_profile("hwmodel")

_KERNEL_TESTS = (
    "test_exhaustive", "test_properties", "test_pruning", "test_random", "test_shape", "test_weight_ones",
    "test_window_limited",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, and in one those that compile the same kernels."""
    for item in items:
        group = "kernels" if item.path.stem in _KERNEL_TESTS else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
