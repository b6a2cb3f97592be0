"""Energy and area: figures with their sources, components made of them, and machines made of components.

`figures` reads ``data/costs``, `components` builds adder trees, shifters and the like, `area_energy` adds up
the parts of a machine.
"""

from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.figures import BASES, Cost, Costs, Figure, Sram

__all__ = ["BASES", "Cost", "Costs", "Figure", "Part", "Sram", "Work"]
