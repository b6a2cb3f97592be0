"""Modules of PyTorch: their weights pruned where they lie, and put back.

PyTorch is imported when a function is called.
"""

from bitxcore.torch.module_dump import ModuleDump, ModuleTensor, open_module
from bitxcore.torch.module_pruning import prune_, pruned
from bitxcore.torch.module_report import MODULE_UNITS, PrunedModule, PrunedWeight

__all__ = [
    "MODULE_UNITS",
    "ModuleDump",
    "ModuleTensor",
    "PrunedModule",
    "PrunedWeight",
    "open_module",
    "prune_",
    "pruned",
]
