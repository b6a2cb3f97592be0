"""The device's kernel runs in Numba's simulator, which must be chosen before Numba is loaded."""

import os
import subprocess
import sys
from pathlib import Path


def test_device_in_the_simulator() -> None:
    tests = Path(__file__).with_name("simulated_device.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
