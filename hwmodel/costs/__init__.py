"""Energy and area: figures with sources, components built from them, and machines built from components.

`figures` reads ``data/costs``, `components` builds adder trees, shifters and the like, `area_energy` adds up
the parts of a machine.
"""

from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.figures import BASES, Cost, Costs, Figure, Sram

__all__ = ["BASES", "Cost", "Costs", "Figure", "Part", "Sram", "Work"]
