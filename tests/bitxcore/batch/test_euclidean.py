"""Errors between tensors as they were and as they are."""

import numpy as np
import pytest

from bitxcore.batch.euclidean import compared_block


@pytest.mark.parametrize(("dtype", "code"), [("f2", 0x7C01), ("f4", 0x7F800001), ("f8", 0x7FF0 << 48 | 1)])
def test_signalling_nans_are_no_error(dtype, code):
    x = np.array([code, 0], f"u{dtype[1]}").view(dtype)
    found = compared_block(x, x, finite=False)
    assert (found.error[0], found.changed, found.zeros_before) == (0, 0, 1)
