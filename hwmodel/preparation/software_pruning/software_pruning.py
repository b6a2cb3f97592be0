"""A model without some of its channels or weights, chosen without training."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch import Selection, grouped
from bitxcore.batch.selection import Chosen, channel_first
from bitxcore.checks import check_one_of
from bitxcore.dumps import Dump, Tensor, open_dump, save
from bitxcore.errors import DumpError, OptionError, TensorError, error_context
from bitxcore.progress import Progress
from hwmodel.networks.onnx import read_model
from hwmodel.preparation.samples import in_model_batches, inputs_of
from hwmodel.preparation.software_pruning.channel_candidates import ChannelCandidate
from hwmodel.preparation.software_pruning.found_channels import find_candidates, written_without
from hwmodel.preparation.software_pruning.pruned_tensors import (
    SoftwarePrunedTensor,
    SoftwareReport,
    macs_by_tensor,
)
from hwmodel.preparation.software_pruning.shares import check_ratio
from hwmodel.preparation.software_pruning.software_method import (
    ChannelChoice,
    ChannelMethod,
    ChannelWork,
    SoftwareMethod,
    WeightChoice,
    software_method,
)

Array = npt.NDArray[Any]

FORMS = ("removal", "mask")
"""What is written: a smaller model, or zeros in tensors of the same shapes."""


def software_prune(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    method: str | SoftwareMethod,
    ratio: float,
    form: str | None = None,
    scope: str | None = None,
    batches: Sequence[dict[str, Array]] = (),
    selection: Selection | None = None,
    progress: Progress | None = None,
) -> SoftwareReport:
    """Write a model without some of its channels, or with zeros in place of some of its weights.

    Parameters
    ----------
    model : path-like
        ONNX; methods on weights take any dump.
    out : path-like
        As of `bitxcore.dumps.save`.
    method : str or SoftwareMethod
        Of `method_names`, with the options that it has by default; or one that `software_method` made.
    ratio : float
        Share of the channels, of methods on weights of the weights, that is taken away: rounded down, from 0
        to below 1. At least one channel stays of each space.
    form : {"removal", "mask"}, optional
        Channels are removed with all that is stored of them; or the weights of the same channels become
        zeros, and their biases, so that outputs are the same. By default methods on channels remove. Those on
        weights have masks only.
    scope : {"layer", "global"}, optional
        Whether the ratio holds in each layer, or over all together; by default the method's own.
    batches : sequence of dict of str to ndarray
        Calibration samples, as the model takes them; for methods that need some.
    selection : Selection, optional
        Which tensors are weights. Of channels all layers that write them must be among them, and none that
        reads them may be excluded.
    progress : callable, optional
        ``progress(done, total, tensor)``.

    Returns
    -------
    SoftwareReport
        A row for each weight tensor, in their order.

    Raises
    ------
    OptionError
        If there is no such method, scope or form, the ratio is out of range, or samples are missing.
    DumpError
        If the model can't be read or run, or does not take the samples.
    TensorError
        If there is nothing to prune.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from hwmodel.evaluation import task
    >>> with TemporaryDirectory() as folder:
    ...     report = software_prune(task("digits").model, f"{folder}/p.onnx", method="l1", ratio=0.5)
    >>> row = next(row for row in report if row.tensor == "stage1.block1.conv1.weight")
    >>> row.filters_before, row.filters_after, row.channels_after
    (16, 8, 8)
    """
    path, out = Path(model), Path(out)
    check_ratio(ratio)
    way = software_method(method) if isinstance(method, str) else method
    scope = way.check_scope(scope)
    if form is not None:
        check_one_of(FORMS, "form", form)
    if way.needs_data and not batches:
        raise OptionError(
            f"method {way.name} looks at activations, and there are no calibration samples",
            path=path,
        )
    if way.needs_data:
        batches = in_model_batches([dict(part) for part in batches], inputs_of(read_model(path)))
    with open_dump(path) as dump:
        chosen = (selection or Selection()).choose(dump)
        if isinstance(way, WeightChoice):
            if form == "removal":
                raise OptionError(f"method {way.name} chooses single weights, which can't be removed")
            stays, reasons = _weights(dump, chosen, way, ratio, scope)
            _report_progress(progress, len(stays))
            save(dump, out, lambda tensor: _masked(tensor, stays))
        elif isinstance(way, ChannelMethod):
            if dump.container != "onnx":
                raise DumpError(
                    f"method {way.name} follows channels through a graph; this is no ONNX",
                    path=path,
                )
            candidates, reasons = find_candidates(dump, chosen)
            _need_some(candidates, reasons, path)
            with error_context(path=path):
                choice = way.choose(ChannelWork(path, candidates, batches, progress), ratio, scope)
            reasons |= _by_tensor(candidates, choice.reasons)
            _need_some(choice.kept, reasons, path)
            stays = _channel_masks(chosen, candidates, choice)
            _report_progress(progress, len(stays))
            if form == "mask":
                zeroed = _zeroed(dump, candidates, choice)
                save(dump, out, lambda tensor: zeroed.get(tensor.name))
            else:
                written_without(dump, out, choice)
        else:
            raise OptionError(f"{way!r} is no method of software pruning")
        macs = macs_by_tensor(path, batches[0] if batches else None)
        return SoftwareReport(
            SoftwarePrunedTensor.of_mask(
                tensor.name,
                _turned(tensor, stays.get(tensor.name)),
                macs.get(tensor.name),
                reasons.get(tensor.name),
            )
            for tensor in chosen.tensors
        )


def _report_progress(progress: Progress | None, count: int) -> None:
    if progress is not None:
        progress(count, count, "")


def _turned(tensor: Tensor, stays: Array | None) -> Array:
    whole = np.ones(tensor.shape, bool) if stays is None else stays
    return channel_first(tensor).turn(whole)


def _need_some(found: Collection[object], reasons: Mapping[str, str], path: Path) -> None:
    if not found:
        most = list(grouped(dict(reasons)).items())
        counted = "; ".join(f"{len(names)} x {why}" for why, names in most[:3])
        counted += f"; and {len(most) - 3} other reasons" if len(most) > 3 else ""
        raise TensorError(f"has nothing to prune ({counted or 'no channels are followed'})", path=path)


# -- weights -----------------------------------------------------------------------------------


def _weights(
    dump: Dump, chosen: Chosen, method: WeightChoice, ratio: float, scope: str
) -> tuple[dict[str, Array], dict[str, str]]:
    """Give which stored values stay, by tensor, and the reasons of tensors that are left alone."""
    reasons = {t.name: why for t in chosen.tensors if (why := _no_floats(t)) is not None}
    weights = {
        tensor.name: channel_first(tensor).turn(_finite(tensor, dump))
        for tensor in chosen.tensors
        if tensor.name not in reasons
    }
    _need_some(weights, reasons, dump.path)
    masks = method.masks(weights, ratio, scope)
    stays: dict[str, Array] = {}
    for tensor in chosen.tensors:
        mask = masks.get(tensor.name)
        if isinstance(mask, str):
            reasons[tensor.name] = mask
        elif mask is not None:
            stays[tensor.name] = channel_first(tensor).restore(mask)
    _need_some(stays, reasons, dump.path)
    return stays, reasons


def _no_floats(tensor: Tensor) -> str | None:
    if tensor.encoding is not None or tensor.dtype.kind in "iub":
        return "integers stand for its weights: prune before quantising"
    return None


def _finite(tensor: Tensor, dump: Dump) -> Array:
    values = tensor.read()
    wide = values.astype(np.float64).reshape(-1)
    if (bad := np.flatnonzero(~np.isfinite(wide))).size:
        at = int(bad[0])
        raise TensorError(
            f"value {wide[at]} at flat index {at} must be finite",
            path=dump.path,
            tensor=tensor.name,
            index=at,
        )
    return values


def _masked(tensor: Tensor, stays: Mapping[str, Array]) -> Array | None:
    if tensor.name not in stays:
        return None
    values = tensor.read()
    values[~stays[tensor.name]] = 0
    return values


# -- channels ----------------------------------------------------------------------------------


def _by_tensor(candidates: Sequence[ChannelCandidate], reasons: Mapping[str, str]) -> dict[str, str]:
    """Give the reasons of spaces to the weights that write them."""
    return {
        held.tensor: reasons[channels.name]
        for channels in candidates
        if channels.name in reasons
        for held in channels.of_role("writer")
    }


def _channel_masks(
    chosen: Chosen, candidates: Sequence[ChannelCandidate], choice: ChannelChoice
) -> dict[str, Array]:
    """Give which stored weights stay, by tensor."""
    stays = {tensor.name: np.ones(tensor.shape, bool) for tensor in chosen.tensors}
    for channels in candidates:
        if channels.name in choice.kept:
            for held in channels.stored:
                if held.tensor in stays:
                    stays[held.tensor] = held.zeroed(stays[held.tensor], choice.kept[channels.name])
    return stays


def _zeroed(dump: Dump, candidates: Sequence[ChannelCandidate], choice: ChannelChoice) -> dict[str, Array]:
    """Put zeros into all that is stored of channels that go, but what a normalisation divides by."""
    found = dict(choice.replaced)
    for channels in candidates:
        kept = choice.kept.get(channels.name)
        if kept is None or len(kept) == channels.count:
            continue
        for held in channels.stored:
            if held.role != "other":
                values = found[held.tensor] if held.tensor in found else dump[held.tensor].read()
                found[held.tensor] = held.zeroed(values, kept)
    return found
