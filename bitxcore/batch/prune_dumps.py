"""Pruning of whole dumps, one tensor at a time, and of large ones one piece at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy.typing as npt

from bitxcore.batch.memory import memory_budget
from bitxcore.batch.piecewise import DEFAULT_GROUP, Piecewise
from bitxcore.batch.prune_tensors import prune_in_pieces, prune_whole
from bitxcore.batch.pruned_rows import PrunedTensor
from bitxcore.batch.selection import LEFT_OUT_BY_NAME, Chosen, Selection
from bitxcore.dumps import Dump, Tensor, TensorProgress, save
from bitxcore.engine import MAX_WINDOW
from bitxcore.errors import OptionError, TensorError, error_context
from bitxcore.formats import fixed_width
from bitxcore.policy import Policy, as_policy
from bitxcore.pruned import Pruned

POLICY_OPTIONS = {"rows", "group", "grouping", "window", "rounding", "criterion", "threshold", "budget"}
"""Parameters of `prune` that a policy sets."""

Array = npt.NDArray[Any]
Each = Callable[[PrunedTensor, Pruned], None]


def prune_dump(
    dump: Dump,
    out: str | os.PathLike[str],
    tensors: tuple[Tensor, ...] | None = None,
    *,
    policy: Policy | str | os.PathLike[str] | None = None,
    layout: str | None = None,
    each: Each | None = None,
    progress: TensorProgress | None = None,
    norms: Mapping[str, npt.ArrayLike] | None = None,
    memory_bytes: int | None = None,
    **options: Any,
) -> list[PrunedTensor]:
    """Prune a dump's weights and write the dump again, all else in it unchanged.

    Each tensor is read, pruned and written before the next one is read; a large one piece by piece, cut
    between groups. The results do not depend on the pieces.

    Parameters
    ----------
    dump : Dump
    out : path-like
        As in `bitxcore.dumps.save`: the dump's own container, or ``.npz`` or ``.safetensors``. Appears
        whole or not at all.
    tensors : tuple of Tensor, optional
        Those to prune; by default `Selection` chooses.
    policy : Policy or path, optional
        How each of them is pruned. One that it does not prune stays as it is, bit for bit, and has no row;
        with ``fixed<N>`` it is rounded to N bits, and keeps all rows.
    layout : {"oihw", "ohwi", "hwio"}, optional
        Where output and input channel sit in tensors of two or more dimensions, in place of what the
        container tells.
    each : callable, optional
        Called with the row and the `Pruned` of each tensor; the latter has the output channel first. Of a
        tensor that outgrows `memory_bytes` it lacks the values and codes; its other parts are held in memory
        as a whole, which takes up to a quarter of a float32 tensor in groups of 8.
    progress : callable, optional
        Called with each tensor after it was written or copied.
    norms : mapping of str to array_like, optional
        Of ``criterion="calibrated"``: for each tensor by its name, as `prune` takes them, of the tensor with
        its output channel first. There may be others.
    memory_bytes : int, optional
        What the work on one tensor may take, besides what the process takes anyway; by default a quarter of
        the memory that the machine or its control group has. A tensor that would take more although it is
        cut, such as one that its container hands out as a whole, says so in `PrunedTensor.note`.
    **options
        All other parameters of `prune` but ``out``; with a policy those that it does not set: ``format``,
        ``nonfinite`` and ``statistics``.

    Returns
    -------
    list of PrunedTensor
        In the order of the dump.

    Raises
    ------
    TensorError
        With the fields path, tensor, index and value.
    OptionError
        If a parameter is out of range or set by the policy, if the policy names a tensor that the dump
        lacks, or if a tensor has no norms.
    BitxError
        If `out` can't be written.

    Examples
    --------
    >>> import tempfile
    >>> import bitxcore as bx
    >>> from bitxcore.data import data_folder
    >>> folder = tempfile.TemporaryDirectory()
    >>> with bx.open_dump(data_folder("samples") / "digits_resnet.onnx") as dump:
    ...     rows = prune_dump(dump, f"{folder.name}/pruned.onnx", rows=6)
    >>> rows[0].tensor, rows[0].kept_rows_max
    ('stem.weight', 6)
    >>> folder.cleanup()
    """
    policy = None if policy is None else as_policy(policy)
    if policy is not None and (clash := POLICY_OPTIONS & options.keys()):
        name = sorted(clash)[0]
        raise OptionError(f"the policy sets {name} for each tensor: {name} can't be given besides")
    if tensors is None:
        found = Selection().choose(dump, options.get("format"))
        tensors = found.tensors
        if policy is not None:
            check_policy(policy, dump, found)
    elif policy is not None:
        policy.check_names({*dump, *dump.ignored}, dump.path)
    chosen = {tensor.name for tensor in tensors}
    if norms is not None:
        check_norms(dump, tensors, norms)
    memory = memory_budget(memory_bytes)
    rows: list[PrunedTensor] = []

    def done(row: PrunedTensor, pruned: Pruned | None) -> None:
        rows.append(row)
        if each and pruned is not None:
            each(row, pruned)

    def pruned_values(tensor: Tensor) -> Array | Iterator[Array] | None:
        if tensor.name not in chosen:
            return None
        own = options if policy is None else _by_policy(policy, tensor.name, options)
        if own is None:
            return None
        cut: dict[str, Any] = {"group": DEFAULT_GROUP, "grouping": "flat"}
        cut |= {name: own[name] for name in cut if name in own}
        own = own | {"norms": None if norms is None else norms[tensor.name]}
        with error_context(path=dump.path, tensor=tensor.name):
            work = Piecewise.of(
                dump,
                tensor,
                memory,
                layout=layout,
                format=options.get("format"),
                parts=each is not None,
                **cut,
            )
        if work.whole:
            return prune_whole(work, own, layout, done)
        return prune_in_pieces(work, own, done, parts=each is not None)

    save(dump, out, pruned_values, progress=progress)
    return rows


def _by_policy(policy: Policy, name: str, options: dict[str, Any]) -> dict[str, Any] | None:
    """Return how a tensor is pruned, or None where it stays as it is."""
    own = policy.of(name)
    if own.rows is not None:
        return options | own.as_dict()
    return options | {"rows": MAX_WINDOW} if fixed_width(options.get("format")) else None


def check_policy(policy: Policy, dump: Dump, chosen: Chosen) -> None:
    """Refuse a policy that prunes what is not there, or what can't be pruned.

    Parameters
    ----------
    policy : Policy
    dump : Dump
    chosen : Chosen
        Tensors that are pruned. Tensors that a pattern leaves out are not reported as errors.

    Raises
    ------
    OptionError, TensorError
        With the field `tensor`.

    Examples
    --------
    >>> import bitxcore as bx
    >>> from bitxcore.batch import Selection
    >>> from bitxcore.data import data_folder
    >>> with bx.open_dump(data_folder("samples") / "digits_resnet.onnx") as dump:
    ...     check_policy(bx.Policy({"head.weight": {"rows": 6}}), dump, Selection().choose(dump))
    """
    policy.check_names({*dump, *dump.ignored}, dump.path)
    for name, options in policy.tensors.items():
        reason = chosen.left_out.get(name)
        if options.rows is not None and reason not in (None, *LEFT_OUT_BY_NAME):
            raise TensorError(f"the policy prunes it, but it can't be: {reason}", path=dump.path, tensor=name)


def check_norms(dump: Dump, tensors: tuple[Tensor, ...], norms: Mapping[str, npt.ArrayLike]) -> None:
    """Raise `OptionError`, before anything is written, if a tensor has no norms.

    Examples
    --------
    >>> import bitxcore as bx
    >>> from bitxcore.data import data_folder
    >>> with bx.open_dump(data_folder("samples") / "digits_resnet.onnx") as dump:
    ...     check_norms(dump, (dump["head.weight"],), {"head.weight": [1.0] * 64})
    """
    lacking = [tensor.name for tensor in tensors if tensor.name not in norms]
    if lacking:
        more = f", nor {len(lacking) - 1} more: {', '.join(lacking[1:])}" if len(lacking) > 1 else ""
        raise OptionError(
            f"has no norms{more}",
            path=dump.path,
            tensor=lacking[0],
            hint="exclude what no layer of the calibrated model multiplies by",
        )
