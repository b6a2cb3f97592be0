"""Properties that are worked out once, by threads and forks that need not wait for one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class lazy_property(Generic[Value]):  # noqa: N801
    """Property that is worked out when it is first asked for, and kept in the object's ``__dict__``.

    As `functools.cached_property`, but for its lock in Python 3.11: a child that was forked while another
    thread held it would wait for ever. Threads that ask at once may all work it out, to the same value.

    Parameters
    ----------
    function : callable
        From the object to the value.
    """

    def __init__(self, function: Callable[[Any], Value]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> lazy_property[Value]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Value: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> lazy_property[Value] | Value:
        """Work it out, unless it is there already."""
        if instance is None:
            return self
        value: Value = instance.__dict__.setdefault(self.name, self.function(instance))
        return value
