"""Activations as a model really computes them: recording them, and reading them back a layer at a time."""

from hwmodel.operands.traces.recorded import Traces as Traces
from hwmodel.operands.traces.recorded import open_traces as open_traces
