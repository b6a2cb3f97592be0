"""Design-space sweeps: one machine at every combination of option values, on all cores, resumable."""

from hwmodel.studies.sweeps.points import Sweep
from hwmodel.studies.sweeps.running import sweep

__all__ = ["Sweep", "sweep"]
