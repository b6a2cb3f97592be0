"""ONNX models, by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

from bitxcore.errors import DumpError, MissingExtraError
from hwmodel.evaluation.runners.runner import Array, Runner


class OnnxRunner(Runner):
    """An ONNX model in a session of ONNX Runtime.

    Parameters
    ----------
    model : pathlib.Path
        What is run.
    named : pathlib.Path, optional
        The file that errors name, where `model` is a pruned copy of it.

    Raises
    ------
    DumpError
        If the model can't be loaded, or does not take what it is given.
    MissingExtraError
        If onnxruntime is missing.
    """

    def __init__(self, model: Path, named: Path | None = None) -> None:
        super().__init__()
        self.named = named or model
        self._session = _session(model, self.named)
        self._sizes = {item.name: item.shape for item in self._session.get_inputs()}
        fixed = [sizes[0] for sizes in self._sizes.values() if sizes and isinstance(sizes[0], int)]
        self.batch = fixed[0] if fixed else None

    def outputs(self, feeds: dict[str, Array]) -> list[Array]:
        """Run one batch; sizes and dtypes must be the model's."""
        try:
            found: list[Array] = self._session.run(None, feeds)
        except Exception as error:  # ONNX Runtime's errors share no base but Exception.
            given = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items())
            wanted = ", ".join(f"{item.name} {item.type} {item.shape}" for item in self._session.get_inputs())
            raise DumpError(
                f"does not take the samples: these are {given}; it takes {wanted}: {_one_line(error)}",
                path=self.named,
                hint="give arrays with the names, dtypes and sizes of its inputs",
            ) from error
        return found


def _session(model: Path, named: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DumpError(f"can't be run: {_one_line(error)}", path=named) from error


def _one_line(error: Exception) -> str:
    return shorten(str(error), 200, placeholder=" …")
