"""What a module's tensors are, by the types of the layers that hold them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bitxcore.dumps.pytorch import import_torch
from bitxcore.groups import Layout

_MADE = ("g", "v", "orig", "mask", "u")
"""Endings of tensors that a layer's weight is made of, by the older ways of PyTorch: weight_norm,
spectral_norm and its own pruning."""

_PARAMETRISED = (
    "a layer's weight is made of it at every run: "
    "remove the parametrisation first, with torch.nn.utils.parametrize.remove_parametrizations"
)
_HOOKED = (
    "a layer's weight is made of it at every run: "
    "remove that first, with torch.nn.utils.remove_weight_norm, remove_spectral_norm or prune.remove"
)


@dataclass
class Owners:
    """Which layers hold a module's tensors.

    Attributes
    ----------
    values : list of torch.Tensor
        All parameters and buffers.
    of : dict
        From the identity of a tensor to the layers that hold it, each with the attribute's name.
    parametrised : set of int
        Identities of those that belong to a parametrisation.
    """

    values: list[Any] = field(default_factory=list)
    of: dict[int, list[tuple[Any, str]]] = field(default_factory=dict)
    parametrised: set[int] = field(default_factory=set)


def owners(module: Any) -> Owners:
    """Find the layers that hold a module's parameters and buffers."""
    from torch.nn.utils.parametrize import ParametrizationList

    found = Owners()
    for layer in module.modules():
        for attribute, value in _own(layer):
            found.values.append(value)
            found.of.setdefault(id(value), []).append((layer, attribute))
        if isinstance(layer, ParametrizationList):
            found.parametrised |= {id(value) for part in layer.modules() for _, value in _own(part)}
    return found


def _own(layer: Any) -> list[tuple[str, Any]]:
    return [
        *layer.named_parameters(recurse=False, remove_duplicate=False),
        *layer.named_buffers(recurse=False, remove_duplicate=False),
    ]


def made_of(found: Owners, value: Any) -> str:
    """Say that a weight is computed from a tensor whenever the module runs; "" if none is known to be."""
    if id(value) in found.parametrised:
        return _PARAMETRISED
    for layer, attribute in found.of.get(id(value), []):
        base, _, ending = attribute.rpartition("_")
        if base and ending in _MADE and _computed(layer, base):
            return _HOOKED
    return ""


def _computed(layer: Any, attribute: str) -> bool:
    """Whether a layer has a tensor of that name that is neither a parameter nor a buffer."""
    made = getattr(layer, attribute, None)
    held = {name for name, _ in _own(layer)}
    return isinstance(made, import_torch().Tensor) and attribute not in held


def weighs(layer: Any, attribute: str) -> bool:
    """Whether a layer of PyTorch itself multiplies by what it has under that name."""
    nn = import_torch().nn
    known = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase)
    # A layer of another package may hold something else there, several codes in an element.
    ours = type(layer).__module__.startswith("torch.nn.modules.")
    return ours and isinstance(layer, known) and attribute.startswith("weight")


def typed_layout(layer: Any, attribute: str) -> Layout:
    """Return where a layer's output channel sits: only transposed convolutions have it on axis 1."""
    if attribute == "weight" and isinstance(layer, import_torch().nn.modules.conv._ConvTransposeNd):
        return Layout(filter_axis=1, conv_groups=int(layer.groups))
    return Layout()
