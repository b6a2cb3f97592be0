"""Which tensor of a dump is which layer's weights, when the names are not the table's.

Three rules, each for what the ones before left over: the same name; the same name once written alike
(prefixes of frameworks, case and punctuation gone; or one the end of the other); the same shape in the same
order, where that leaves no choice. A tensor always has to fit its layer. What is ambiguous is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from math import prod
from typing import Any

from bitxcore.dumps.roles import no_weights
from bitxcore.errors import TensorError
from bitxcore.groups import Layout
from bitxcore.showing import record_repr
from hwmodel.networks.network import Network, NetworkLayer

RULES = ("by name", "by normalised name", "by shape")
UNMATCHED = "no weights matched"
MATCH_NOTE = "weights: "
"""How the note begins that names the tensor of a layer."""

_PREFIXES = frozenset(["module", "model", "net", "network", "orig", "mod", "backbone"])

_Key = tuple[str, int | None]
"""A tensor's name in the table, and which matrix of it."""


@dataclass(frozen=True)
class Match:
    """A layer and its tensor.

    Parameters
    ----------
    layer : str
    tensor : str
    rule : str
        One of `RULES`.
    """

    layer: str
    tensor: str
    rule: str


@dataclass(frozen=True)
class Matching:
    """What `match_weights` found.

    Attributes
    ----------
    network : Network
        The same layers, with the dump's names.
    matches : tuple of Match
    unmatched : dict of str to str
        Layers without a tensor, and why.
    unused : tuple of str
        Tensors of two or more dimensions that no layer has.
    """

    __repr__ = record_repr

    network: Network
    matches: tuple[Match, ...]
    unmatched: dict[str, str]
    unused: tuple[str, ...]

    @property
    def note(self) -> str:
        """One line: how many layers by which rule, and what was left over."""
        counts = Counter(match.rule for match in self.matches)
        by = ", ".join(f"{counts[rule]} {rule}" for rule in RULES if counts[rule])
        total = len(self.matches) + len(self.unmatched)
        text = f"weights of {len(self.matches)} of {total} layers matched ({by})"
        if self.unmatched:
            text += f"; not matched: {_some(list(self.unmatched))}"
        if self.unused:
            text += f"; tensors not used: {_some(self.unused)}"
        return text


def match_weights(network: Network, dump: Mapping[str, Any]) -> Matching:
    """Match a network's layers to the tensors of a dump.

    Parameters
    ----------
    network : Network
        Usually a table's.
    dump : Dump or mapping of str to array
        Only names, shapes and order are looked at.

    Returns
    -------
    Matching

    Notes
    -----
    The state of optimisers and the scales of quantised weights are ignored unless a layer names them.

    Raises
    ------
    TensorError
        If layers and tensors of one shape can be paired in several ways (both are listed), or no tensor
        matches any layer.

    Examples
    --------
    >>> import numpy as np
    >>> from hwmodel import load_network
    >>> dump = {"module.stem.weight": np.zeros((64, 3, 7, 7)), "module.fc.weight": np.zeros((1000, 512))}
    >>> matching = match_weights(load_network("resnet18"), dump)
    >>> [(match.layer, match.tensor, match.rule) for match in matching.matches]
    [('conv1', 'module.stem.weight', 'by shape'), ('fc', 'module.fc.weight', 'by normalised name')]
    """
    wanted: dict[_Key, list[NetworkLayer]] = {}
    for entry in network.layers:
        own = entry.weight is not None or network.path is None
        if entry.layer.has_weights and own and entry.recipe is None:
            wanted.setdefault((_name(entry), entry.index), []).append(entry)
    named = {entry.weight for entry in network.layers}
    shapes = {
        name: tuple(dump[name].shape) for name in dump if name in named or no_weights(name, dump) is None
    }
    found: dict[_Key, tuple[str, str]] = {}
    for rule, alike in _NAME_RULES:
        layers, names = _left(wanted, shapes, found)
        for key, tensor in _only_pairs(layers, {n: shapes[n] for n in names}, alike):
            found[key] = (tensor, rule)
    layers, names = _left(wanted, shapes, found)
    where = f"network {network.name!r} and {getattr(dump, 'path', 'the dump')}"
    for key, tensor in _by_shape(where, layers, {n: shapes[n] for n in _in_order(names)}):
        found[key] = (tensor, RULES[2])
    if wanted and not found:
        raise TensorError(
            f"{where}: no tensor matches any layer, neither by name nor by shape; layers"
            f" {_some([e[0].layer.name for e in wanted.values()])}; tensors {_some(list(shapes))}"
        )
    return _matching(network, wanted, found, shapes)


def _left(
    wanted: Mapping[_Key, Sequence[NetworkLayer]],
    shapes: Mapping[str, tuple[int, ...]],
    found: Mapping[_Key, tuple[str, str]],
) -> tuple[dict[_Key, Sequence[NetworkLayer]], list[str]]:
    """Layers without a tensor yet, and tensors without a layer."""
    taken = {tensor for tensor, _ in found.values()}
    layers = {key: entries for key, entries in wanted.items() if key not in found}
    return layers, [name for name in shapes if name not in taken]


def _matching(
    network: Network,
    wanted: Mapping[_Key, Sequence[NetworkLayer]],
    found: Mapping[_Key, tuple[str, str]],
    shapes: Mapping[str, tuple[int, ...]],
) -> Matching:
    keys = {entry.layer.name: key for key, entries in wanted.items() for entry in entries}
    entries: list[NetworkLayer] = []
    matches: list[Match] = []
    unmatched: dict[str, str] = {}
    for entry in network.layers:
        key = keys.get(entry.layer.name)
        if entry.recipe is not None and all(name in shapes for name in entry.tensors):
            # What is made of several tensors, or of codes, is found by its names or not at all.
            entries.append(entry)
            matches.append(Match(entry.layer.name, entry.tensors[0], RULES[0]))
        elif entry.recipe is not None:
            unmatched[entry.layer.name] = UNMATCHED
            entries.append(replace(entry, weight=None, recipe=None, weight_missing=UNMATCHED))
        elif key is None:
            entries.append(entry)
        elif key in found:
            tensor, rule = found[key]
            matches.append(Match(entry.layer.name, tensor, rule))
            notes = entry.notes if rule == RULES[0] else (*entry.notes, f"{MATCH_NOTE}{tensor}, {rule}")
            entries.append(replace(entry, weight=tensor, weight_missing=None, notes=notes))
        else:
            reason = UNMATCHED
            if key[0] in shapes:
                reason += (
                    f": tensor {key[0]!r} has shape {shapes[key[0]]}, {entry.layer.weight_shape} is needed"
                )
            unmatched[entry.layer.name] = reason
            entries.append(replace(entry, weight=None, weight_missing=reason))
    used = {match.tensor for match in matches} | {name for e in entries for name in e.tensors}
    unused = tuple(name for name, shape in shapes.items() if len(shape) > 1 and name not in used)
    result = Matching(network, tuple(matches), unmatched, unused)
    matched = replace(network, layers=tuple(entries), notes=(*network.notes, result.note))
    return replace(result, network=matched)


def _name(entry: NetworkLayer) -> str:
    return entry.weight or f"{entry.layer.name}.weight"


def _fits(entry: NetworkLayer, shape: tuple[int, ...]) -> bool:
    """Whether a tensor of `shape` can be the weights, without its values."""
    return _shape_fits(entry.layer.operation, entry.layer.weight_shape, entry.layout, entry.index, shape)


@lru_cache(maxsize=1 << 16)
def _shape_fits(
    operation: str, needed: tuple[int, ...], layout: Layout, index: int | None, shape: tuple[int, ...]
) -> bool:
    if index is not None:
        if len(shape) < 3 or prod(shape[:-2]) <= index:
            return False
        shape = shape[-2:]
    if layout.conv_groups > 1:
        if len(shape) < 2 or shape[0] % layout.conv_groups:
            return False
        turned = (shape[1] * layout.conv_groups, shape[0] // layout.conv_groups, *shape[2:])
    elif len(shape) < 2:
        turned = (1, *shape) if shape else ()
    elif layout.filter_axis >= len(shape):
        return False
    else:
        axis = layout.filter_axis
        turned = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    flat = operation == "linear" and turned[:1] == needed[:1] and prod(turned) == prod(needed)
    return turned == needed or flat


def _only_pairs(
    layers: Mapping[_Key, Sequence[NetworkLayer]],
    shapes: Mapping[str, tuple[int, ...]],
    alike: Callable[[str, str], bool],
) -> list[tuple[_Key, str]]:
    """Pair each layer with the only tensor that is alike and fits, if it is that tensor's only layer."""
    claims = {
        key: [
            name
            for name, shape in shapes.items()
            if alike(key[0], name) and all(_fits(entry, shape) for entry in entries)
        ]
        for key, entries in layers.items()
    }
    claimed = Counter(name for names in claims.values() for name in names)
    return [(key, names[0]) for key, names in claims.items() if len(names) == 1 and claimed[names[0]] == 1]


@cache
def _words(name: str) -> tuple[str, ...]:
    """Words of a name: lower case, without framework prefixes and a last ``weight`` or ``kernel``."""
    words = [word for word in re.split(r"[^0-9a-z]+", name.lower()) if word]
    while len(words) > 1 and words[0] in _PREFIXES:
        words = words[1:]
    if len(words) > 1 and words[-1] in ("weight", "kernel"):
        words = words[:-1]
    return tuple(words)


def _one_ends_in_the_other(first: str, second: str) -> bool:
    short, long = sorted((_words(first), _words(second)), key=len)
    return len(short) > 1 and long[-len(short) :] == short


_NAME_RULES: tuple[tuple[str, Callable[[str, str], bool]], ...] = (
    (RULES[0], lambda layer, tensor: layer == tensor),
    (RULES[1], lambda layer, tensor: _words(layer) == _words(tensor)),
    (RULES[1], _one_ends_in_the_other),
)


def _in_order(names: list[str]) -> list[str]:
    """Names in the dump's order; where that is alphabetical (safetensors), 10 comes after 9."""
    if names != sorted(names):
        return names

    def natural(name: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", name)
        return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]

    return sorted(names, key=natural)


def _by_shape(
    where: str, layers: Mapping[_Key, Sequence[NetworkLayer]], shapes: Mapping[str, tuple[int, ...]]
) -> list[tuple[_Key, str]]:
    """Pair what has the same shape, in order, if the order leaves no choice."""
    fitting = {
        key: [n for n, shape in shapes.items() if len(shape) > 1 and all(_fits(e, shape) for e in entries)]
        for key, entries in layers.items()
        if key[1] is None
    }
    fitting = {key: names for key, names in fitting.items() if names}
    claimed = Counter(name for names in fitting.values() for name in names)
    used = [name for name in shapes if claimed[name]]
    if len(fitting) == len(used) and all(
        name in names for names, name in zip(fitting.values(), used, strict=True)
    ):
        return list(zip(fitting, used, strict=True))
    pairs = [(key, names[0]) for key, names in fitting.items() if len(names) == claimed[names[0]] == 1]
    doubtful = [key for key in fitting if key not in dict(pairs)]
    if doubtful:
        names = list(dict.fromkeys(name for key in doubtful for name in fitting[key]))
        raise TensorError(
            f"{where}: {len(doubtful)} layers and {len(names)} tensors have the same shapes, but not in the"
            f" same order: layers {_some([layers[key][0].layer.name for key in doubtful], 12)};"
            f" tensors {_some(names, 12)}"
        )
    return pairs


def _some(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return f"{shown}, … ({len(names)} in all)" if len(names) > most else shown
