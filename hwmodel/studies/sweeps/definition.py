"""What a sweep's results depend on: two sweeps of one definition can share finished points."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bitxcore.dumps import Dump
from bitxcore.policy import Policy
from hwmodel.accelerators.registry import accelerator
from hwmodel.networks.tables import network_to_table
from hwmodel.operands.traces import Traces
from hwmodel.operands.workload import Workload
from hwmodel.studies.sweeps.space import Space


def definition(
    space: Space, load: Workload, points: int, seed: int, policy: Policy | None = None
) -> dict[str, Any]:
    """Everything that the rows depend on, in JSON's types.

    Parameters
    ----------
    space : Space
    load : Workload
    points, seed : int
        How many points are visited, and how they were drawn.
    policy : Policy, optional
    """
    try:
        release = version("bitx")
    except PackageNotFoundError:
        release = "not installed"
    drawn = {"weights": load.synthetic_weights, "activations": load.stand_ins}
    return {
        "version": release,
        "accelerator": space.accelerator,
        "varied": {name: list(values) for name, values in space.varied.items()},
        "fixed": dict(space.fixed),
        "defaults": accelerator(space.accelerator).options,  # another release may have others
        "points": points,
        "seed": None if points == len(space) else seed,
        "network": load.network.name,
        "layers": _digest([json.dumps(network_to_table(load.network), sort_keys=True).encode()]),
        "dump": _digest_arrays(load.weights),
        "traces": _digest_arrays(load.traces),
        **{name: None if d is None else d.label for name, d in drawn.items()},
        "precisions": repr(load.precisions),
        "policy": None if policy is None else _without_origin(policy),
    }


def _without_origin(policy: Policy) -> dict[str, Any]:
    """All that a policy says; where it comes from changes no row."""
    document = policy.document()
    del document["origin"]
    return document


def _digest(parts: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _digest_arrays(arrays: Any) -> str | None:
    """Digest of a file's bytes, or of a mapping's arrays."""
    if arrays is None:
        return None
    if isinstance(arrays, Dump):
        return arrays.sha256()
    if isinstance(arrays, Traces):
        arrays = arrays.path
    if isinstance(arrays, (str, os.PathLike)):
        with Path(arrays).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    parts = []
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        parts += [f"{name} {array.dtype} {array.shape} ".encode(), array.tobytes()]
    return _digest(parts)
