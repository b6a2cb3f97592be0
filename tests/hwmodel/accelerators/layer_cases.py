"""Layers and operands that tests of several machines draw."""

import numpy as np
from hypothesis import strategies as st

import hwmodel as hw


def conv(name, channels, filters, size, kernel, **options):
    return hw.Conv(
        name, in_channels=channels, out_channels=filters, in_size=(size, size), kernel=kernel, **options
    )


DNNSIM_LAYERS = {
    "conv1": conv("conv1", 64, 64, 56, 3, padding=1),
    "conv2": conv("conv2", 128, 256, 28, 3, padding=1, stride=2),
    "conv3": conv("conv3", 512, 256, 14, 1),
    "fc1": hw.Linear("fc1", in_features=512, out_features=1000),
}
"""Layers that the public simulator DNNsim (4748a60) has run."""


@st.composite
def layers(draw):
    """Convolutions of one to three dimensions, grouped, depthwise and dilated, and linear layers."""
    kind = draw(
        st.sampled_from(["conv", "conv", "first", "depthwise", "grouped", "linear", "tokens", "recurrent"])
    )
    if kind in ("linear", "tokens", "recurrent"):
        positions = {"linear": 1, "tokens": draw(st.integers(2, 7)), "recurrent": 4}[kind]
        steps = draw(st.sampled_from([2, 4])) if kind == "recurrent" else 1
        return hw.Linear(
            kind, draw(st.integers(1, 40)), draw(st.integers(1, 14)), positions=positions, steps=steps
        )
    dims = draw(st.sampled_from([1, 2, 2, 2, 3]))
    groups = {
        "conv": 1,
        "first": 1,
        "depthwise": draw(st.integers(2, 9)),
        "grouped": draw(st.integers(2, 3)),
    }[kind]
    channels = {"first": 3, "depthwise": 1}.get(kind) or draw(st.integers(1, 9))
    filters = draw(st.integers(1, 9 // groups + 1)) * groups

    def sizes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel, dilation = sizes(1, 3), sizes(1, 2) if draw(st.booleans()) else (1,) * dims
    stride = sizes(1, 3)
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(dims))
    in_size = tuple(d * (k - 1) + draw(st.integers(1, 5)) for k, d in zip(kernel, dilation, strict=True))
    return hw.Conv(
        kind,
        in_channels=channels * groups,
        out_channels=filters,
        in_size=in_size,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        batch=draw(st.sampled_from([1, 1, 2])),
    )


@st.composite
def integers(draw, count, bits, signed):
    """Random integers of a precision, many of them 0 or small."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    values = rng.integers(low, high, count) >> rng.integers(0, bits, count)
    values[rng.random(count) < draw(st.sampled_from([0, 0.5, 0.9, 1]))] = 0
    return values
