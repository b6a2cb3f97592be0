"""One layer on one accelerator."""

from __future__ import annotations

from bitxcore.errors import TensorError, error_context
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.registry import as_accelerator
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import Operands
from hwmodel.simulation.joining import join, not_run
from hwmodel.simulation.results import LayerResult

NO_SECOND = "both operands are activations: the second one is pruned as it arrives, which needs a trace of it"
"""Reason why a machine does not run a product of activations without a second operand."""


def simulate(accelerator: Accelerator | str, layer: Layer, operands: Operands | None = None) -> LayerResult:
    """Simulate one layer on one accelerator.

    Parameters
    ----------
    accelerator : Accelerator or str
        From `hwmodel.accelerator`, or the name of one.
    layer : Layer
    operands : Operands, optional
        May be left out if the accelerator's cycles don't depend on values.

    Returns
    -------
    LayerResult
        What `Accelerator.run` counts on the chip, and the parts of the buffers and the DRAM. If the
        accelerator does not run such layers, a `reason` and no numbers.

    Raises
    ------
    TensorError
        If operands are missing or do not fit the layer, or a buffer is too small for it.

    Examples
    --------
    >>> import hwmodel as hw
    >>> layer = hw.Linear("fc", in_features=64, out_features=32, positions=16)
    >>> hw.simulate("dadiannao", layer).on_chip_cycles
    64
    """
    machine, operands = as_accelerator(accelerator), operands or Operands()
    operands.check(layer)
    if (reason := machine.not_applicable(layer)) is not None:
        return not_run(machine, layer, reason)
    if machine.reads.second and not layer.has_weights and operands.weights is None:
        return not_run(machine, layer, NO_SECOND)
    if machine.reads.weights and layer.has_weights and operands.weights is None:
        raise TensorError(f"{machine.name} needs weights, none were given", layer=layer.name)
    if machine.reads.activations and operands.activations is None:
        raise TensorError(f"{machine.name} needs activations, none were given", layer=layer.name)
    with error_context(layer=layer.name):
        chip = machine.run(layer, operands)
        traffic = machine.memory.move(layer, machine.stored_bits(layer, operands, chip), chip.cycles)
    return join(machine, layer, chip, traffic)
