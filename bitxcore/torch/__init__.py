"""Prune the weights of PyTorch modules in place, and restore them.

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
