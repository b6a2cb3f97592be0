"""Where the operands of ``bitx simulate`` come from: dumps, traces, distributions, precisions."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bitxcore.dumps import Dump
    from hwmodel.networks.matching import Matching
    from hwmodel.networks.network import Network
    from hwmodel.operands.distributions import Distribution
    from hwmodel.operands.traces import Traces

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Wanted:
    """The options ``--weights --traces --activations --precisions``.

    Attributes
    ----------
    dump_path : str or None
        A dump whose tensors are to be matched to the layers.
    synthetic : Distribution or None
        Draw the weights.
    traces_path, precisions : str or None
    activations : Distribution
    """

    dump_path: str | None
    synthetic: Distribution | None
    traces_path: str | None
    activations: Distribution
    precisions: str | None

    @classmethod
    def of(
        cls, weights: str | None, traces: str | None, activations: str | None, precisions: str | None
    ) -> Wanted:
        """Read the options' texts."""
        from hwmodel.operands.distributions import DEFAULT_ACTIVATIONS, DEFAULT_WEIGHTS, distribution

        drawn = None
        if weights is not None and weights.partition(":")[0] == SYNTHETIC:
            drawn, weights = distribution(weights.partition(":")[2] or DEFAULT_WEIGHTS), None
        return cls(weights, drawn, traces, distribution(activations or DEFAULT_ACTIVATIONS), precisions)

    @property
    def elsewhere(self) -> bool:
        """Whether MODEL gives the layers only."""
        return self.dump_path is not None or self.synthetic is not None

    @property
    def parameters(self) -> dict[str, Any]:
        """What a store records of them."""
        return asdict(self)

    def files(self) -> list[str]:
        """Files besides the weights."""
        paths = (self.traces_path, self.precisions)
        return [path for path in paths if path is not None and Path(path).is_file()]

    def open_weights(self, opened: ExitStack) -> Dump | None:
        """Open the dump of ``--weights``."""
        from bitxcore.dumps import open_dump

        return None if self.dump_path is None else opened.enter_context(open_dump(self.dump_path))

    def open_traces(self, opened: ExitStack) -> Traces | None:
        """Open the traces."""
        from hwmodel.operands.traces import open_traces

        return None if self.traces_path is None else opened.enter_context(open_traces(self.traces_path))

    def match(self, network: Network, dump: Dump | None) -> Matching | None:
        """Match the dump of ``--weights`` to the layers."""
        from hwmodel.networks.matching import match_weights

        return None if self.dump_path is None or dump is None else match_weights(network, dump)

    def check(self, network: str | None) -> None:
        """Refuse options that do not go together."""
        if self.elsewhere and network is not None:
            raise click.UsageError("--weights and --network both say what MODEL is not: give one of them")

    def weights_anywhere(self, network: Network, dump: Dump | None) -> Any:
        """Give the weights as other functions take them: the dump, or drawn ones as a mapping."""
        from hwmodel.operands.sources import synthetic_weights

        return dump if self.synthetic is None else synthetic_weights(network, self.synthetic)


def matching_document(matching: Matching | None) -> dict[str, Any] | None:
    """Return the JSON of a matching; None if nothing was matched."""
    if matching is None:
        return None
    return {
        "matches": [asdict(match) for match in matching.matches],
        "unmatched": matching.unmatched,
        "unused": matching.unused,
    }


def is_of_one_layer(note: str) -> bool:
    """Whether a row's note tells what only that layer has: for ``--json`` and stores, not for the text."""
    from hwmodel.networks.matching import MATCH_NOTE
    from hwmodel.operands.precisions import PRECISION_NOTE

    return note.startswith((MATCH_NOTE, PRECISION_NOTE))
