"""The defaults, and the settings that the paper names."""

import inspect

import numpy as np
import pytest

import bitxcore as bx


def test_presets_are_the_papers():
    assert bx.preset("mild") == {"rows": 10, "group": 8}
    assert bx.preset("wild") == {"rows": 6, "group": 8}
    assert list(bx.PRESETS) == ["mild", "wild"]
    with pytest.raises(bx.OptionError, match="preset must be one of mild, wild, got 'medium'") as caught:
        bx.preset("medium")
    assert caught.value.value == "medium"


@pytest.mark.parametrize("function", [bx.prune, bx.weight_ones])
def test_the_default_is_wild(function):
    parameters = inspect.signature(function).parameters
    assert {name: parameters[name].default for name in ("rows", "group")} == bx.preset("wild")


def test_statistics_groups_as_pruning_does():
    x = np.ones((4, 16), np.float32)
    assert bx.statistics(x).group == bx.prune(x).group == 8
    assert bx.statistics(x).ones is None
    mild = bx.statistics(x, **bx.preset("mild"))
    assert mild.ones.groups == mild.groups == 8


def test_a_preset_can_not_be_changed():
    with pytest.raises(TypeError):
        bx.PRESETS["wild"]["rows"] = 5
    bx.preset("wild")["rows"] = 5
    assert bx.preset("wild")["rows"] == 6
