"""Software pruning without training: channels removed or masked, and masks of single weights."""

from hwmodel.preparation.software_pruning.pruned_tensors import (
    SOFTWARE_UNITS,
    SoftwarePrunedTensor,
    SoftwareReport,
    total_of,
)
from hwmodel.preparation.software_pruning.software_method import (
    ChannelMethod,
    ChannelRanking,
    SoftwareMethod,
    WeightChoice,
    method_names,
    software_method,
)
from hwmodel.preparation.software_pruning.software_pruning import software_prune

__all__ = [
    "SOFTWARE_UNITS",
    "ChannelMethod",
    "ChannelRanking",
    "SoftwareMethod",
    "SoftwarePrunedTensor",
    "SoftwareReport",
    "WeightChoice",
    "method_names",
    "software_method",
    "software_prune",
    "total_of",
]
