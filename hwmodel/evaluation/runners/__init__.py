"""Runners: run a model on samples."""

from hwmodel.evaluation.runners.onnx_runner import OnnxRunner
from hwmodel.evaluation.runners.runner import Runner
from hwmodel.evaluation.runners.staged import StagedRunner

__all__ = ["OnnxRunner", "Runner", "StagedRunner"]
