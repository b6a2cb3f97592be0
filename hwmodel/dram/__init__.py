"""DRAM: what each memory is, what a trace costs bank by bank, and a closed form for whole networks.

`DramPart` describes a memory; `simulate_trace` follows every command that a controller sends to it;
`StreamModel` gives seconds and joules of regular streams at once, fitted by `simulate_trace`;
`write_stl` exports a trace for DRAMSys. Names are loaded when first used.
"""

import lazy_loader  # type: ignore[import-untyped]

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
