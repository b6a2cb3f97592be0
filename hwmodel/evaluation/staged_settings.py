"""What of a setting happens while a model runs: activations pruned, rows chosen by products."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from bitxcore.errors import OptionError
from bitxcore.formats import FLOATS
from hwmodel.evaluation.runners import OnnxRunner, Runner, StagedRunner
from hwmodel.evaluation.runners.activation_pruning import ActivationPruning
from hwmodel.evaluation.runners.product_alignment import ProductAlignment, ProductOnes
from hwmodel.evaluation.settings import Setting


def runner_of(
    model: Path, setting: Setting, tensors: Collection[str], named: Path
) -> tuple[Runner, tuple[ProductOnes, ...]]:
    """Make a runner that does what a setting says of run time.

    Parameters
    ----------
    model : pathlib.Path
        With weights as they are stored.
    setting : Setting
    tensors : collection of str
        Weights of the layers that are changed.
    named : pathlib.Path
        The file that errors name.

    Returns
    -------
    Runner
        One that runs the model whole, where nothing is done at run time.
    tuple of ProductOnes
        What it counts while it runs, if rows are chosen by products.

    Raises
    ------
    OptionError
        If products are asked for in a way that they can't be aligned.
    """
    if not setting.aligns_products and setting.activation_rows is None:
        return OnnxRunner(model, named=named), ()
    prunes = compute = None
    if setting.activation_rows is not None:
        how = setting.activations
        assert how.rows is not None
        assert how.group is not None
        prunes = ActivationPruning(
            how.rows,
            how.group,
            window=how.window,
            format=how.format,
            criterion=how.criterion,
            rounding=how.rounding,
        )
    if setting.aligns_products:
        compute = _alignment(setting)
    runner = StagedRunner(model, prunes, compute=compute, tensors=tensors, named=named)
    return runner, (compute.counts,) if compute else ()


def _alignment(setting: Setting) -> ProductAlignment:
    assert setting.rows is not None
    if setting.format is not None and setting.format not in FLOATS:
        raise OptionError(
            "criterion 'products' aligns exponents: it needs a float format", value=setting.format
        )
    if setting.rounding != "truncate":
        raise OptionError(
            "criterion 'products' chooses rows at run time: it needs rounding 'truncate'",
            value=setting.rounding,
        )
    return ProductAlignment(
        setting.rows,
        setting.group,
        grouping=setting.grouping,
        window=setting.window,
        format=setting.format,
    )
