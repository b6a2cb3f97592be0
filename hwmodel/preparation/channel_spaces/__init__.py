"""Which channels of a network belong together, and changes to them that do not change its outputs."""

from hwmodel.preparation.channel_spaces.equivalence import (
    OutputError,
    SpaceChange,
    equalised,
    float_error,
    permuted,
)
from hwmodel.preparation.channel_spaces.permuting import permute_channels
from hwmodel.preparation.channel_spaces.reading_layers import mean_shift
from hwmodel.preparation.channel_spaces.removal import remove_channels
from hwmodel.preparation.channel_spaces.scaling import scale_channels
from hwmodel.preparation.channel_spaces.spaces import ChannelSpace, Holder, SizeHolder, find_spaces

__all__ = [
    "ChannelSpace",
    "Holder",
    "OutputError",
    "SizeHolder",
    "SpaceChange",
    "equalised",
    "find_spaces",
    "float_error",
    "mean_shift",
    "permute_channels",
    "permuted",
    "remove_channels",
    "scale_channels",
]
