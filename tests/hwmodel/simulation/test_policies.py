"""Networks under a policy: every layer runs as if its options were those of all."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import OptionError
from bitxcore.policy import PruningOptions
from bitxcore.store import Store
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.simulation.policies import layer_options

RNG = np.random.default_rng(8)
LAYERS = (
    hw.Conv("conv", in_channels=8, out_channels=12, in_size=(6, 6), kernel=3),
    hw.Conv("depthwise", in_channels=8, out_channels=8, in_size=(6, 6), kernel=3, groups=8),
    hw.Linear("fc", in_features=60, out_features=20, positions=3),
    hw.Linear("head", in_features=20, out_features=9),
)
NETWORK = Network("four", [NetworkLayer(layer, f"{layer.name}.weight") for layer in LAYERS], source="test")
DUMP = {f"{x.name}.weight": RNG.standard_normal(x.weight_shape).astype(np.float32) for x in LAYERS}
DUMP["fc.weight"][RNG.random(DUMP["fc.weight"].shape) < 0.5] = 0  # packed away where it is pruned
POLICY = bx.Policy(
    {
        "conv.weight": {"rows": None},
        "depthwise.weight": {"rows": 9, "group": 16, "grouping": "channel"},
        "fc.weight": {"rows": 3, "rounding": "nearest", "window": 24},
    },
    {"rows": 6},
)
OF_THE_MACHINE = ("accelerator", "area_mm2", "notes")
MACHINES = [
    {},
    {"format": "fixed16"},
    {"weights_in_dram": "packed"},
    {"serial_unit": "row"},
    {"dram": None, "lane_fifo_depth": 1, "processing_elements": 8},
]


def same_columns(row, alone):
    mine, others = row.columns(), alone.columns()
    for name in OF_THE_MACHINE:
        del mine[name], others[name]
    assert mine == others
    assert row.energy_parts_j == alone.energy_parts_j
    assert row.kept_ones_histogram == alone.kept_ones_histogram


@pytest.mark.parametrize("options", MACHINES)
def test_each_layer_is_that_of_its_options_for_all(options):
    run = hw.simulate_network(hw.accelerator("bitx", **options), NETWORK, dump=DUMP, policy=POLICY)
    for row, layer in zip(run.layers, LAYERS, strict=True):
        own = POLICY.options_for(f"{layer.name}.weight")
        prunes = {"prunes": False} | {k: own[k] for k in ("group", "grouping", "window")}
        machine = hw.accelerator("bitx", **options, **(own if own["rows"] else prunes))
        alone = hw.simulate_network(machine, NETWORK, dump=DUMP)
        same_columns(row, next(other for other in alone.layers if other.layer == layer.name))
        if own["rows"] is None:
            unpruned = "unpruned_nonempty_rows_cycles" if "serial_unit" in options else "unpruned_cycles"
            assert row.cycles == getattr(row, unpruned)
            assert "by the policy: not pruned" in row.notes
    assert len({row.accelerator for row in run.layers}) == 1
    # The machine is built for its largest layer.
    assert {row.area_mm2 for row in run.layers} == {
        hw.accelerator("bitx", **options, **POLICY.options_for("depthwise.weight")).area_mm2
    }
    if "weights_in_dram" in options:
        total = run.totals[0]
        assert total.dram_weight_bytes < total.dram_weight_bytes_plain


OPTIONS = st.builds(
    dict,
    rows=st.none() | st.integers(1, 12),
    group=st.sampled_from([4, 8, 16]),
    grouping=st.sampled_from(["flat", "channel"]),
    rounding=st.sampled_from(["truncate", "nearest"]),
)


@settings(max_examples=10)
@given(st.lists(OPTIONS, min_size=2, max_size=2), st.none() | OPTIONS)
def test_layers_of_one_tensor_are_not_confused(told, default):
    """Two layers have the same weights, as one object, and other options."""
    layer = hw.Linear("a", in_features=40, out_features=8)
    w = RNG.standard_normal((8, 40)).astype(np.float32)
    network = Network(
        layers=[
            NetworkLayer(hw.Linear(name, in_features=40, out_features=8), f"{name}.weight")
            for name in ("a", "b", "c")
        ]
    )
    policy = bx.Policy({"a.weight": told[0], "b.weight": told[1]}, default)
    dump = dict.fromkeys(("a.weight", "b.weight", "c.weight"), w)
    run = hw.simulate_network("bitx", network, dump=dump, policy=policy)
    for row in run.layers:
        own = policy.options_for(f"{row.layer}.weight")
        how = own if own["rows"] else {"prunes": False, "group": own["group"], "grouping": own["grouping"]}
        alone = hw.simulate(hw.accelerator("bitx", **how), layer, hw.Operands(w))
        assert row.cycles == alone.cycles
        assert row.kept_rows_histogram == alone.kept_rows_histogram
        assert row.work_cycles == alone.work_cycles


def test_a_policy_that_is_the_same_for_all_is_the_machine_itself():
    told = {"rows": 4, "group": 16}
    run = hw.simulate_network("bitx", NETWORK, dump=DUMP, policy=bx.Policy(default=told))
    alone = hw.simulate_network(hw.accelerator("bitx", **told), NETWORK, dump=DUMP)
    for row, other in zip(run.layers, alone.layers, strict=True):
        same_columns(row, other)
    assert run.totals[0].area_mm2 == alone.totals[0].area_mm2
    # Without a default, tensors that are not named are not pruned.
    bare = hw.simulate_network("bitx", NETWORK, dump=DUMP, policy=bx.Policy())
    assert bare.totals[0].cycles == bare.totals[0].unpruned_cycles


def test_other_machines_run_as_they_are():
    machines = [hw.accelerator("bitx", serial="activations"), "bitlet", "dadiannao"]
    run = hw.simulate_network(machines, NETWORK, dump=DUMP, policy=POLICY)
    alone = hw.simulate_network(machines, NETWORK, dump=DUMP)
    assert run.layers == alone.layers
    for label in run.accelerators:
        assert f"{label}: does not prune by a policy's options, and runs as without one" in run.notes
    both = hw.simulate_network(["bitx", "dadiannao"], NETWORK, dump=DUMP, policy=POLICY)
    assert both.of("dadiannao") == alone.of("dadiannao")
    assert "bitx: weights pruned by the policy, in 3 of 4 layers" in both.notes


def test_of_several_tensors_the_least_pruned():
    class Made(NetworkLayer):
        tensors = ("a", "b", "c")

    policy = bx.Policy({"a": {"rows": 5}, "b": {"rows": 7, "group": 16}}, {"rows": 7, "group": 8})
    entry = Made(LAYERS[0], "a")
    assert layer_options(policy, entry) == PruningOptions(rows=7, group=8)
    unpruned = policy.with_options("a", rows=None)
    assert layer_options(unpruned, entry).rows is None
    nameless = NetworkLayer(LAYERS[0], weight_missing="no tensor")
    assert layer_options(policy, nameless) == policy.default


@pytest.mark.parametrize(
    ("machine", "policy", "told"),
    [
        ({"rows": 4}, POLICY, "the policy sets rows for each layer: rows=4 can't be given besides"),
        ({"preset": "mild"}, POLICY, "the policy sets rows for each layer: rows=10"),
        ({"prunes": False}, POLICY, "the policy sets prunes for each layer"),
        ({}, bx.Policy({"fc.bias": {"rows": 4}}), "tensor 'fc.bias': is named in the policy, but"),
        (
            {},
            bx.Policy(default={"rows": 4, "group": None, "grouping": "kernel"}),
            "tensor 'conv.weight': layer 'conv': accelerator 'bitx': no machine takes whole kernels",
        ),
        ({}, 5, "a policy or the path of one is needed, got 5"),
    ],
)
def test_what_a_policy_can_not_be(machine, policy, told):
    with pytest.raises(OptionError) as caught:
        hw.simulate_network(hw.accelerator("bitx", **machine), NETWORK, dump=DUMP, policy=policy)
    assert told in str(caught.value)


def test_weights_of_other_names():
    """A policy names the tensors of the dump, whatever the network calls them."""
    names = {f"{layer.name}.weight": f"model.{i}.w" for i, layer in enumerate(LAYERS)}
    renamed = {names[name]: w for name, w in DUMP.items()}
    policy = bx.Policy({names[name]: own for name, own in POLICY.tensors.items()}, POLICY.default)
    run = hw.simulate_network("bitx", NETWORK, weights=renamed, policy=policy)
    alone = hw.simulate_network("bitx", NETWORK, dump=DUMP, policy=POLICY)
    assert [row.cycles for row in run.layers] == [row.cycles for row in alone.layers]
    with pytest.raises(OptionError, match=r"'conv\.weight': is named in the policy"):
        hw.simulate_network("bitx", NETWORK, weights=renamed, policy=POLICY)


def test_weights_that_are_drawn():
    run = hw.simulate_network("bitx", NETWORK, weights="laplace", policy=POLICY)
    assert run.layers[0].cycles == run.layers[0].unpruned_cycles
    assert run.layers[2].kept_rows_mean < 3.01
    with pytest.raises(OptionError, match="'x': is named in the policy, but network 'four' has no such"):
        hw.simulate_network("bitx", NETWORK, weights="laplace", policy=bx.Policy({"x": {"rows": 1}}))


def test_the_store_keeps_the_policy(tmp_path):
    path, store = tmp_path / "policy.json", tmp_path / "run.h5"
    POLICY.with_origin(task="digits").save(path)
    hw.simulate_network("bitx", NETWORK, dump=DUMP, policy=path, store=store)
    with Store.open(store) as kept:
        provenance = kept.provenance
        recorded = dict(provenance.parameters["policy"])
        assert recorded.pop("path") == str(path)
        assert recorded == json.loads(path.read_text())
        assert [file.path for file in provenance.inputs] == [str(path)]
        options = provenance.parameters["accelerators"]["bitx"]
        assert "fifo_depth" in options
        assert "rows" not in options
        areas = kept.table("area")
        rows = kept.table("simulation")
    assert sum(areas["area_mm2"]) == pytest.approx(rows["area_mm2"][0])


def test_a_sweep_under_a_policy(tmp_path):
    path, store = tmp_path / "policy.json", tmp_path / "sweep.h5"
    POLICY.save(path)
    space = {"compute_units": [4, 16], "fifo_depth": [0, 2]}
    found = hw.sweep(NETWORK, space, dump=DUMP, policy=path, jobs=1, store=store)
    for i in range(len(found)):
        row = found.row(i)
        machine = hw.accelerator("bitx", **{name: row[name] for name in space})
        run = hw.simulate_network(machine, NETWORK, dump=DUMP, policy=POLICY)
        assert (row["cycles"], row["area_mm2"]) == (run.totals[0].cycles, run.totals[0].area_mm2)
    assert len(set(found.columns["relative_error"])) == 1
    assert 0 < found.columns["relative_error"][0] < 1
    errors, norms = [], []
    for name, w in DUMP.items():
        own = POLICY.options_for(name)
        pruned = w if own["rows"] is None else bx.prune(w, **own).values
        if name != "fc.weight":  # whose zeros are packed away, so that it has other groups
            errors.append(np.linalg.norm(w - pruned))
            norms.append(np.linalg.norm(w))
    only = NETWORK.layers[:2] + NETWORK.layers[3:]
    part = hw.sweep(
        Network("three", only), {"fifo_depth": [0]}, dump=DUMP, policy=POLICY, jobs=1
    )  # fmt: skip
    assert part.row(0)["relative_error"] == pytest.approx(np.hypot.reduce(errors) / np.hypot.reduce(norms))
    with Store.open(store) as kept:
        assert kept.provenance.parameters["policy"]["tensors"] == json.loads(path.read_text())["tensors"]
        assert [file.path for file in kept.provenance.inputs] == [str(path)]
    with pytest.raises(OptionError, match="option 'rows' is set by the policy, layer by layer"):
        hw.sweep(NETWORK, {"rows": [4, 6]}, dump=DUMP, policy=POLICY)
    with pytest.raises(OptionError, match="option 'group' is set by the policy"):
        hw.sweep(NETWORK, {"fifo_depth": [0]}, fixed={"group": 4}, dump=DUMP, policy=POLICY)
    with pytest.raises(OptionError, match="tensor 'x': is named in the policy"):
        hw.sweep(NETWORK, space, dump=DUMP, policy=bx.Policy({"x": {"rows": 3}}))
