"""What holds for all tests."""

from __future__ import annotations

import os

# Processes of pytest-xdist share the cores already; tests of threads set their number themselves.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("BITX_THREADS", "1")
