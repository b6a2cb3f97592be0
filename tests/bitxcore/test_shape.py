"""The package's own shape: names that are told apart, and examples that run."""

import doctest
import importlib
import inspect
import pkgutil
from collections import Counter

import pytest

import bitxcore as bx

MODULES = [module.name for module in pkgutil.walk_packages(bx.__path__, "bitxcore.")]


def test_no_two_modules_have_one_name():
    names = Counter(name.rpartition(".")[2] for name in MODULES)
    assert [name for name, times in names.items() if times > 1] == []


def test_no_two_public_classes_have_one_name():
    found = Counter(
        value.__name__
        for name in MODULES
        for value in vars(importlib.import_module(name)).values()
        if inspect.isclass(value) and value.__module__ == name and not value.__name__.startswith("_")
    )
    assert [name for name, times in found.items() if times > 1] == []


@pytest.mark.parametrize(
    "name", [name for name in bx.__all__ if callable(getattr(bx, name)) and not name.endswith("Error")]
)
def test_public_names_have_an_example(name):
    assert "Examples\n" in getattr(bx, name).__doc__


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.IGNORE_EXCEPTION_DETAIL).failed == 0
