"""Policies: how each weight tensor is pruned, by name, and the files that hold them."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, NoReturn

from bitxcore.checks import check_one_of, checked_integer, shown
from bitxcore.criteria import ROUNDINGS
from bitxcore.dumps.trust import parse_json, read_small
from bitxcore.engine import MAX_WINDOW
from bitxcore.errors import DumpError, OptionError, error_context
from bitxcore.files import atomic_file
from bitxcore.groups import GROUPINGS, MAX_GROUP, Grouping
from bitxcore.remote.remote_path import as_path
from bitxcore.showing import record_repr

POLICY_VERSION = 1

POLICY_CRITERIA = ("topn", "msb")
"""Criteria of a policy: those that need nothing but the number of rows."""

MAX_POLICY_BYTES = 16 << 20
"""Of a file; a model of ten thousand tensors takes some 2 MB."""

_PARTS = ("version", "origin", "default", "tensors")
_ROWS_MISSING = "rows is missing: give the number of rows to keep, or null to leave it unpruned"


@dataclass(frozen=True, slots=True)
class PruningOptions:
    """How one tensor is pruned.

    Parameters
    ----------
    rows : int or None
        Rows that a group keeps, 1 to 64. None: the tensor is not pruned.
    group : int or None
        Weights of a group, 1 to 64. None: whole kernels, with ``grouping="kernel"``.
    grouping : {"flat", "channel", "kernel"}
    window : int, optional
        Rows of the alignment window, 1 to 64; None: the format's own.
    rounding : {"truncate", "nearest"}
    criterion : {"topn", "msb"}
        All as in `bitxcore.prune`.

    Raises
    ------
    OptionError
        If one of them is of another type or out of range.

    Examples
    --------
    >>> PruningOptions(rows=6)
    PruningOptions(rows=6, group=8, grouping='flat', window=None, rounding='truncate', criterion='topn')
    """

    rows: int | None
    group: int | None = 8
    grouping: Grouping = "flat"
    window: int | None = None
    rounding: str = "truncate"
    criterion: str = "topn"

    def __post_init__(self) -> None:
        for name, most in (("rows", MAX_WINDOW), ("group", MAX_GROUP), ("window", MAX_WINDOW)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked_integer(most, name, value))
        check_one_of(GROUPINGS, "grouping", self.grouping)
        check_one_of(ROUNDINGS, "rounding", self.rounding)
        check_one_of(POLICY_CRITERIA, "criterion", self.criterion)
        if self.group is None and self.grouping != "kernel":
            raise OptionError(
                f"group null stands for whole kernels, and needs grouping 'kernel', got {self.grouping!r}",
                value=self.grouping,
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the options by name; where `rows` is a number, `bitxcore.prune` takes them."""
        return {option.name: getattr(self, option.name) for option in fields(self)}

    def changed_from(self, other: PruningOptions) -> dict[str, Any]:
        """Return the options that differ from another record's, and the rows."""
        values = self.as_dict().items()
        return {name: value for name, value in values if name == "rows" or value != getattr(other, name)}


_KNOWN = tuple(option.name for option in fields(PruningOptions))
_UNPRUNED = PruningOptions(rows=None)


@dataclass(frozen=True, repr=False)
class Policy:
    """How each weight tensor is pruned.

    Parameters
    ----------
    tensors : mapping of str to (PruningOptions or mapping)
        By the tensor's name. Options that a mapping leaves out are those of `default`.
    default : PruningOptions or mapping, optional
        For weights that `tensors` does not name. None: they are not pruned.
    origin : mapping of str to str, int, float, bool or None
        Where the policy comes from, for example the digest of the model, the task, the loss or a program's
        version. It is free text for readers: policies that differ only in it are equal.
    path : str, optional
        File that it was read from. It is used in messages and in the provenance of results.

    Raises
    ------
    OptionError
        With the fields `tensor` and `value`, or the part ``default`` or ``origin``.

    Examples
    --------
    >>> policy = Policy({"conv1.weight": {"rows": None}, "fc.weight": {"rows": 9}}, {"rows": 6, "group": 16})
    >>> policy.options_for("conv1.weight")["rows"], policy.options_for("fc.weight")["group"]
    (None, 16)
    >>> policy.options_for("conv2.weight")["rows"]
    6
    """

    tensors: Mapping[str, PruningOptions] = field(default_factory=dict)
    default: PruningOptions = _UNPRUNED
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)
    path: str | None = field(default=None, compare=False)

    def __init__(
        self,
        tensors: Mapping[str, PruningOptions | Mapping[str, Any]] | None = None,
        default: PruningOptions | Mapping[str, Any] | None = None,
        origin: Mapping[str, Any] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        with error_context(path=path):
            with error_context(part="default"):
                usual = _UNPRUNED if default is None else _options(default, None)
            found = {}
            for name, given in _mapping(tensors or {}, "tensors").items():
                _check_text(name, "the name of a tensor")
                with error_context(tensor=name):
                    found[name] = _options(given, None if default is None else usual)
            with error_context(part="origin"):
                source = _checked_origin(origin or {})
        values = {
            "tensors": MappingProxyType(found),
            "default": usual,
            "origin": MappingProxyType(source),
            "path": None if path is None else os.fspath(path),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __hash__(self) -> int:
        return hash((self.default, frozenset(self.tensors.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self.tensors), self.default, dict(self.origin), self.path)

    def __repr__(self) -> str:
        return record_repr(self)

    # -- what it says --------------------------------------------------------------------------

    def of(self, name: str) -> PruningOptions:
        """Return how the tensor of a name is pruned."""
        return self.tensors.get(name, self.default)

    def options_for(self, name: str) -> dict[str, Any]:
        """Return how the tensor of a name is pruned, as a new dict.

        Parameters
        ----------
        name : str

        Returns
        -------
        dict
            ``rows``, ``group``, ``grouping``, ``window``, ``rounding`` and ``criterion``. Rows of None: the
            tensor is not pruned; else `bitxcore.prune` takes them as they are.
        """
        return self.of(name).as_dict()

    def check_names(self, names: Collection[str], where: str | os.PathLike[str]) -> None:
        """Refuse a policy that names a tensor that a model lacks: it is another model's.

        Parameters
        ----------
        names : collection of str
            Of the model's tensors.
        where : path-like
            The model, for the message.

        Raises
        ------
        OptionError
            With the field `tensor`.
        """
        lacking = [name for name in self.tensors if name not in names]
        if lacking:
            more = f", nor {len(lacking) - 1} more of the policy" if len(lacking) > 1 else ""
            raise OptionError(
                f"is named in the policy, but {os.fspath(where)} has no such tensor{more}",
                path=self.path,
                tensor=lacking[0],
                hint="a policy for another model?",
            )

    # -- others like it ------------------------------------------------------------------------

    def with_options(self, name: str, **changes: Any) -> Policy:
        """Return a policy with other options of one tensor.

        Parameters
        ----------
        name : str
        **changes
            Of `PruningOptions`; those left out stay.

        Examples
        --------
        >>> Policy(default={"rows": 6}).with_options("fc.weight", rows=9).options_for("fc.weight")["rows"]
        9
        """
        with error_context(tensor=name):
            changed = _options(changes, self.of(name))
        return Policy({**self.tensors, name: changed}, self.default, self.origin)

    def with_origin(self, **origin: Any) -> Policy:
        """Return the same policy with more text of where it comes from."""
        return Policy(self.tensors, self.default, {**self.origin, **origin}, self.path)

    # -- files ---------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """Return the JSON object that a file holds; options of the default are left out of tensors."""
        return {
            "version": POLICY_VERSION,
            "origin": dict(self.origin),
            "default": self.default.changed_from(_UNPRUNED),
            "tensors": {name: own.changed_from(self.default) for name, own in self.tensors.items()},
        }

    def record(self) -> dict[str, Any]:
        """Return what provenance keeps: the file, if there is one, and all that it says."""
        return {"path": self.path, **self.document()}

    def text(self) -> str:
        """Return a file's text: one line per tensor, for readable differences."""
        document = self.document()
        rows = [f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in document["tensors"].items()]
        origin = json.dumps(document["origin"], indent=2).replace("\n", "\n  ")
        tensors = "{\n" + ",\n".join(rows) + "\n  }" if rows else "{}"
        return (
            f'{{\n  "version": {POLICY_VERSION},\n  "origin": {origin},\n'
            f'  "default": {json.dumps(document["default"])},\n  "tensors": {tensors}\n}}\n'
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file, which appears whole or not at all.

        Parameters
        ----------
        path : path-like
            An existing file is replaced.

        Raises
        ------
        BitxError
            If it can't be written, or is larger than what `load_policy` reads.
        """
        data = self.text().encode()
        if len(data) > MAX_POLICY_BYTES:
            raise OptionError(f"a policy has at most {MAX_POLICY_BYTES} bytes, got {len(data)}", path=path)
        with atomic_file(path) as temporary:
            temporary.write_bytes(data)


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """Read a policy file.

    Parameters
    ----------
    path : path-like
        JSON, as `Policy.save` writes it; a URL of an object too.

    Returns
    -------
    Policy

    Raises
    ------
    DumpError
        If the file is missing, too large, not JSON, of another version, or has unknown parts.
    OptionError
        If an option of a tensor is unknown, of another type or out of range.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Policy({"fc.weight": {"rows": 9}}, {"rows": 6}).save(f"{folder}/policy.json")
    ...     load_policy(f"{folder}/policy.json").options_for("fc.weight")["rows"]
    9
    """
    place = as_path(path)
    data = read_small(place, "a policy", MAX_POLICY_BYTES)
    try:
        found = parse_json(data, _decode)
    except ValueError as error:
        raise DumpError(f"is not JSON: {error}", path=place) from error
    with error_context(path=place):
        parts = _unique(found, "a policy")
        # The version comes first: another one may have other parts.
        version = parts.get("version")
        if type(version) is not int or version != POLICY_VERSION:
            told = f"got {shown(version)}" if "version" in parts else "it has none"
            raise DumpError(f"this release reads policies of version {POLICY_VERSION}, {told}", value=version)
        for key in parts:
            if key not in _PARTS:
                raise DumpError(f"key {shown(key)} is not known; known: {', '.join(_PARTS)}", value=key)
        if "tensors" not in parts:
            raise DumpError("a policy has 'tensors', which may be empty")
        default = None
        if "default" in parts:
            with error_context(part="default"):
                default = _unique(parts["default"], "default")
        with error_context(part="origin"):
            origin = _unique(parts.get("origin", _Object()), "origin")
        tensors = {}
        with error_context(part="tensors"):
            rows = _unique(parts["tensors"], "tensors")
        for name, row in rows.items():
            with error_context(tensor=name):
                tensors[name] = _unique(row, "what is said of a tensor")
        return Policy(tensors, default, origin, place)


def as_policy(policy: Policy | str | os.PathLike[str]) -> Policy:
    """Return a policy as it is; read one of which the path is given.

    Raises
    ------
    OptionError
        If it is neither.
    """
    if isinstance(policy, (str, os.PathLike)):
        return load_policy(policy)
    if not isinstance(policy, Policy):
        raise OptionError(f"a policy or the path of one is needed, got {shown(policy)}", value=policy)
    return policy


# -- checks ------------------------------------------------------------------------------------


class _Object(list[tuple[str, Any]]):
    """A JSON object as it stands in the file: a key may be there twice."""


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _decode(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_Object, parse_constant=_constant)


def _unique(value: Any, what: str) -> dict[str, Any]:
    """Return a JSON object as a dict."""
    if not isinstance(value, _Object):
        raise DumpError(f"{what} must be an object, got {_json(value)}", value=value)
    found = dict(value)
    if len(found) < len(value):
        seen: set[str] = set()
        for key, _ in value:
            if key in seen:
                raise DumpError(f"key {shown(key)} is there twice", value=key)
            seen.add(key)
    return found


def _json(value: Any) -> str:
    """Write a value for a message: null, and the kind of what may be long."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list):
        return "an object" if isinstance(value, _Object) else "a list"
    return shown(value)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise OptionError(f"{what} must be a mapping, got {shown(value)}", value=value)
    return value


def _check_text(value: Any, what: str) -> None:
    if not isinstance(value, str):
        raise OptionError(f"{what} must be text, got {shown(value)}", value=value)
    try:
        value.encode()
    except UnicodeEncodeError:
        rule = f"{what} has half of a pair of surrogates, which is no character"
        raise OptionError(f"{rule}: {shown(value)}") from None


def _options(given: Any, usual: PruningOptions | None) -> PruningOptions:
    """Make a record of options; those left out are the usual ones, of which the rows must be given."""
    if isinstance(given, PruningOptions):
        return given
    options = _mapping(given, "what is said of a tensor")
    for name in options:
        if name not in _KNOWN:
            raise OptionError(f"key {shown(name)} is not known; known: {', '.join(_KNOWN)}", value=name)
    if usual is not None:
        return replace(usual, **options)
    if "rows" not in options:
        raise OptionError(_ROWS_MISSING)
    return PruningOptions(**options)


def _checked_origin(origin: Any) -> dict[str, Any]:
    found = dict(_mapping(origin, "origin"))
    for key, value in found.items():
        _check_text(key, "a key")
        if isinstance(value, str):
            _check_text(value, f"key {shown(key)}")
        elif value is not None and not isinstance(value, (bool, int, float)):
            raise OptionError(f"key {shown(key)} must be text or a number, got {_json(value)}", value=value)
        elif isinstance(value, float) and not abs(value) < float("inf"):
            raise OptionError(f"key {shown(key)} must be finite, got {shown(value)}", value=value)
    return found
