"""The sample detectors and the sample transformer are what their recipes say, and reach their figures."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

import bitxcore as bx
import hwmodel as hw
from hwmodel.evaluation.average_precision import mean_average_precision
from hwmodel.evaluation.datasets.digit_scenes import digit_scenes
from hwmodel.evaluation.datasets.pydoc_text import (
    ALPHABET,
    TRAINED_ON,
    TextWindows,
    encode,
    held_out_windows,
    pydoc_text,
)
from hwmodel.evaluation.detections import decode_centres

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "data" / "samples"
RECIPES = ROOT / "docs" / "recipes"
DETECTORS = ("digit_detector", "digit_detector_slimmed")
NAMES = (*DETECTORS, "pydoc_transformer")
SCRIPTS = {name: name for name in NAMES} | {"digit_detector_slimmed": "slimming"}
ROUNDED = 0.5001e-4  # figures are recorded with four digits


@pytest.fixture(scope="module")
def recipes() -> Iterator[dict[str, ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES))
        yield {name: importlib.import_module(script) for name, script in SCRIPTS.items()}
    for name in (*SCRIPTS.values(), "marked_parts", "onnx_graph"):
        del sys.modules[name]


def sample(name: str) -> Path:
    return SAMPLES / f"{name}.onnx"


def properties(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def held_out(windows: int | None = None) -> TextWindows:
    text = pydoc_text()
    if text.remark:
        pytest.skip(text.remark)
    return TextWindows(*(array[:windows] for array in held_out_windows(encode(text.held_out), 128)))


def bits(recipe: ModuleType, windows: TextWindows) -> float:
    (logits,) = recipe.outputs_of(sample("pydoc_transformer").read_bytes(), windows.inputs)
    return float(recipe.bits_per_character(logits, windows))


@pytest.mark.parametrize("name", DETECTORS)
def test_detector_finds_digits_as_recorded(name: str, recipes: dict[str, ModuleType]) -> None:
    recorded = properties(sample(name))
    scenes = digit_scenes("held_out", int(recorded["quick_scenes"]))
    (found,) = recipes["digit_detector"].precisions(sample(name).read_bytes(), scenes)
    assert found == pytest.approx(float(recorded["quick_map_50"]), abs=ROUNDED)
    assert found > 0.85


def test_transformer_predicts_text_as_recorded(recipes: dict[str, ModuleType]) -> None:
    recorded = properties(sample("pydoc_transformer"))
    found = bits(recipes["pydoc_transformer"], held_out(int(recorded["quick_windows"])))
    assert found == pytest.approx(float(recorded["quick_bits_per_character"]), abs=ROUNDED)


@pytest.mark.slow
def test_whole_figures_are_the_recorded_ones(recipes: dict[str, ModuleType]) -> None:
    for name in DETECTORS:
        recorded = properties(sample(name))
        scenes = digit_scenes("held_out", int(recorded["held_out_scenes"]))
        overlaps = [0.5 + 0.05 * i for i in range(10)]
        found = recipes["digit_detector"].precisions(sample(name).read_bytes(), scenes, overlaps)
        assert found[0] == pytest.approx(float(recorded["held_out_map_50"]), abs=ROUNDED)
        assert found[0] > 0.85
        assert np.mean(found) == pytest.approx(float(recorded["held_out_map_50_95"]), abs=ROUNDED)
    recorded, windows = properties(sample("pydoc_transformer")), held_out()
    bits_found = bits(recipes["pydoc_transformer"], windows)
    assert windows.scored.sum() == int(recorded["held_out_characters"])
    assert bits_found == pytest.approx(float(recorded["held_out_bits_per_character"]), abs=ROUNDED)
    assert bits_found < 2.2


def test_the_slimmed_detector_takes_a_third_of_the_cycles(recipes: dict[str, ModuleType]) -> None:
    plain, slimmed = (recipes["digit_detector_slimmed"].cycles(sample(name)).totals[0] for name in DETECTORS)
    assert plain.on_chip_unpruned_cycles > 3 * slimmed.on_chip_unpruned_cycles
    assert plain.unpruned_cycles > 3 * slimmed.unpruned_cycles
    lost = [float(properties(sample(name))["held_out_map_50"]) for name in DETECTORS]
    assert lost[0] - lost[1] < 0.01


def test_targets_of_the_detector_decode_to_the_truth(recipes: dict[str, ModuleType]) -> None:
    """A network that learnt its targets exactly would find nearly every digit."""
    scenes = digit_scenes("held_out", 20)
    centres, edges, _ = recipes["digit_detector"].targets(scenes)
    logits = np.log(centres.clip(1e-4, 1 - 1e-4) / (1 - centres.clip(1e-4, 1 - 1e-4)))
    truths = [(scene.boxes, scene.classes) for scene in scenes]
    assert mean_average_precision(decode_centres(logits, edges, stride=4), truths, 0.9) > 0.97


def test_transformer_sees_no_character_to_come(recipes: dict[str, ModuleType]) -> None:
    ids = np.random.default_rng(0).integers(0, 105, (1, 128))
    changed = ids.copy()
    changed[:, 70:] = 5
    content = sample("pydoc_transformer").read_bytes()
    (one,), (other,) = (recipes["pydoc_transformer"].outputs_of(content, x) for x in (ids, changed))
    np.testing.assert_allclose(one[:, :70], other[:, :70], atol=1e-4)
    assert not np.allclose(one[:, 70:], other[:, 70:], atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_whole_and_small(name: str) -> None:
    model = onnx.load(sample(name))
    onnx.checker.check_model(model, full_check=True)
    assert sum(sample(n).stat().st_size for n in NAMES) <= 4_000_000
    layers = {node.name for node in model.graph.node}
    for tensor in model.graph.initializer:
        layer, _, part = tensor.name.rpartition(".")
        assert part not in ("weight", "bias") or layer in layers, tensor.name
        assert tensor.data_type == onnx.TensorProto.FLOAT or part == "shape"


def test_transformer_says_what_it_was_trained_on() -> None:
    recorded = properties(sample("pydoc_transformer"))
    assert {part: recorded[f"{part}_sha256"] for part in TRAINED_ON} == TRAINED_ON
    assert recorded["alphabet"] == ALPHABET


@pytest.mark.parametrize("name", NAMES)
def test_files_are_networks_and_dumps(name: str) -> None:
    network = hw.load_network(sample(name), sizes={"N": 1})
    with bx.open_dump(sample(name)) as dump:
        tensors = set(dump)
    weighted = [layer for layer in network if layer.parameters]
    assert len(weighted) == {"pydoc_transformer": 25}.get(name, 22)
    own = {f"{layer.name}.weight" for layer in weighted}
    assert own - tensors == ({"head.weight"} if name == "pydoc_transformer" else set())  # tied
    result = hw.simulate_network(hw.accelerator("bitx"), network)
    assert result.totals[0].layers == len(weighted)
    assert result.totals[0].cycles > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_the_same(name: str) -> None:
    recorded, model = properties(sample(name)), onnx.load(sample(name))
    page = (SAMPLES / "README.md").read_text("utf-8").split(f"## {name}.onnx\n")[1].split("\n## ")[0]
    parameters = sum(
        int(np.prod(t.dims)) for t in model.graph.initializer if t.name.endswith(("weight", "bias"))
    )
    facts = [
        f"{parameters:,} parameters",
        f"{sample(name).stat().st_size:,} bytes",
        f"seed {recorded['seed']}",
        f"{int(recorded['steps']):,} steps",
        recorded["recipe"],
        recorded["date"],
        *(f"{package} {found}" for package, found in json.loads(recorded["versions"]).items()),
        *(v for k, v in recorded.items() if k.startswith("held_out_map") or k.endswith("per_character")),
    ]
    assert not [fact for fact in facts if fact not in page]


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_scripts_train_the_same_twice(name: str, tmp_path: Path) -> None:
    if name == "digit_detector_slimmed":
        pytest.importorskip("torch_pruning")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for folder in ("a", "b"):
        command = [
            sys.executable,
            str(RECIPES / f"{SCRIPTS[name]}.py"),
            "--steps",
            "3",
            *(["--fine-steps", "3"] if name == "digit_detector_slimmed" else []),
            "--output",
            str(tmp_path / folder),
        ]
        subprocess.run(command, check=True, capture_output=True, env=environment)
    models = [onnx.load(tmp_path / folder / f"{name}.onnx") for folder in ("a", "b")]
    assert models[0].graph == models[1].graph
    assert properties(tmp_path / "a" / f"{name}.onnx")["steps"] == "3"
