import h5py
import numpy as np
import pytest
import safetensors.numpy

import bitxcore as bx
from bitxcore.store import Store


def test_rows_are_the_librarys(bitx, dump):
    (found,) = bitx.json("inspect", dump)["dumps"]
    assert found["path"] == str(dump)
    with bx.open_dump(dump) as opened:
        for row in found["tensors"]:
            tensor = opened[row["tensor"]]
            s = bx.statistics(tensor.layout.turn(tensor.read()))
            assert row["shape"] == list(tensor.shape)
            assert row["values"] == s.values == tensor.size
            assert row["zeros"] == s.zeros
            assert row["essential_bits"] == s.essential_bits
            assert row["bit_sparsity"] == s.bit_sparsity
            assert row["ones_per_row"] == s.row_ones.tolist()
            assert row["nonempty_rows_histogram"] == s.nonempty_rows_histogram.tolist()
            assert row["window_rows"] == 32
        names = [row["tensor"] for row in found["tensors"]]
        assert sorted([*names, *found["left_out"]]) == sorted([*opened, *opened.ignored])


@pytest.mark.parametrize("args", [[], ["--grouping", "channel"], ["--preset", "mild"]])
def test_a_kernel_of_keras_is_counted_as_the_same_kernel_of_torch(bitx, tmp_path, args):
    kernel = np.random.default_rng(3).normal(size=(3, 5, 8, 16)).astype("f4")
    np.savez(tmp_path / "hwio.npz", w=kernel)
    np.savez(tmp_path / "oihw.npz", w=kernel.transpose(3, 2, 0, 1))
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file.attrs["layer_names"] = [b"w"]
        file["w/w/kernel:0"] = kernel
    expected = bitx.json("inspect", tmp_path / "oihw.npz", *args)["dumps"][0]["totals"]
    for named in (["hwio.npz", "--layout", "hwio"], ["k.h5"], ["oihw.npz", "--layout", "oihw"]):
        found = bitx.json("inspect", tmp_path / named[0], *named[1:], *args)["dumps"][0]["totals"]
        assert found == expected
    assert bitx.json("inspect", tmp_path / "hwio.npz", *args)["dumps"][0]["totals"] != expected


def test_totals_are_sums(bitx, write, values):
    path = write("safetensors")
    (found,) = bitx.json("inspect", path)["dumps"]
    total, rows = found["totals"], found["tensors"]
    assert total["tensors"] == len(rows) == 2
    for name in ("values", "zeros", "essential_bits", "groups", "zero_groups"):
        assert total[name] == sum(row[name] for row in rows)
    bits = 24 * (total["values"] - total["zeros"])
    assert total["bit_sparsity"] == pytest.approx(1 - total["essential_bits"] / bits, abs=1e-15)
    assert total["nonempty_rows_max"] == max(row["nonempty_rows_max"] for row in rows)
    assert found["left_out"] == {
        "bias": "fewer than 2 dimensions",
        "steps": "fewer than 2 dimensions",
    }


def test_arithmetic_by_hand(bitx, tmp_path):
    """0.75 is 1.1b, two ones in rows 0 and 1; 0.5 and 0.25 have one each, in rows 0 and 1."""
    np.save(tmp_path / "w.npy", np.array([[0.75, 0.5, 0.25, 0.0]], "f4"))
    (row,) = bitx.json("inspect", tmp_path / "w.npy", "--group", 4)["dumps"][0]["tensors"]
    assert row["zeros"] == 1
    assert row["value_sparsity"] == 0.25
    assert row["essential_bits"] == 4
    assert row["essential_bits_per_nonzero"] == 4 / 3
    assert row["bit_sparsity"] == 1 - 4 / (3 * 24)
    assert row["ones_per_row"] == [2, 2] + [0] * 30
    assert (row["nonempty_rows_mean"], row["nonempty_rows_max"]) == (2, 2)


def test_the_text_says_the_same(bitx, write):
    path = write("npz")
    text = bitx("inspect", path, "--rows").stdout
    assert f"{path}: groups of 8, 32 rows of float32" in text
    assert "8x4x3x3" in text
    assert "left out: 2 tensors: fewer than 2 dimensions: bias, steps" in text
    assert text.splitlines()[-1] == "nothing written; -o STORE.h5 keeps these results"
    bars = next(line for line in text.splitlines() if line.rstrip().endswith("|"))
    assert len(bars.rstrip().rstrip("|").split(maxsplit=1)[1]) <= 32


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["conv", "fc"]),
        (["--min-dims", 3], ["conv"]),
        (["--min-dims", 1], ["conv", "fc", "bias"]),
        (["--include", "b*"], ["bias"]),
        (["--include", "*", "--exclude", "c*"], ["fc", "bias"]),
        (["--exclude", "fc", "--exclude", "b*"], ["conv"]),
    ],
)
def test_selection(bitx, write, options, expected):
    (found,) = bitx.json("inspect", write("npz"), *options)["dumps"]
    assert [row["tensor"] for row in found["tensors"]] == expected


def test_onnx_knows_its_weights(bitx, sample):
    (found,) = bitx.json("inspect", sample)["dumps"]
    assert found["totals"]["tensors"] == 13
    assert set(found["left_out"].values()) == {"no layer multiplies by it"}
    (found,) = bitx.json("inspect", sample, "--include", "stem.bias")["dumps"]
    assert [row["tensor"] for row in found["tensors"]] == ["stem.bias"]


@pytest.mark.parametrize("name", ["mild", "wild"])
def test_a_preset_also_counts_ones_before_and_after(bitx, write, values, out, name):
    path = write("safetensors")
    run = ["inspect", path, "--preset", name]
    (found,) = bitx.json(*run)["dumps"]
    want = {
        row["tensor"]: bx.weight_ones(values[row["tensor"]], **bx.preset(name)) for row in found["tensors"]
    }
    for row in found["tensors"]:
        ones = want[row["tensor"]]
        assert (row["ones_mean"], row["pruned_ones_mean"]) == (ones.before.mean, ones.after.mean)
        assert row["ones_largest_mean"] == ones.before.largest
        assert row["pruned_ones_largest_mean"] == ones.after.largest
        assert row["sparsity_increment"] == pytest.approx(ones.sparsity_increment, rel=1e-14)
        assert row["window_limited_groups"] == ones.window_limited_groups
    weights = sum(ones.weights for ones in want.values())
    mean = sum(ones.after.mean * ones.weights for ones in want.values()) / weights
    assert found["totals"]["pruned_ones_mean"] == pytest.approx(mean)
    assert f"pruned to {bx.preset(name)['rows']} rows per group" in bitx(*run, "-o", out / "s.h5").stdout
    with Store.open(out / "s.h5") as store:
        assert store.table("statistics")["pruned_ones_mean"].tolist() == [w.after.mean for w in want.values()]


def test_without_a_preset_nothing_is_pruned(bitx, write, out):
    path = write("npz")
    (found,) = bitx.json("inspect", path)["dumps"]
    assert found["totals"]["ones_mean"] is found["tensors"][0]["window_limited_groups"] is None
    assert "pruned to" not in bitx("inspect", path, "-o", out / "s.h5").stdout
    with Store.open(out / "s.h5") as store:
        assert np.isnan(store.table("statistics")["sparsity_increment"]).all()


def test_whole_kernels(bitx, write):
    path = write("npz")
    run = ["inspect", path, "--group", "whole"]
    assert "needs --grouping kernel, not flat" in bitx(*run, code=2).stderr
    assert "needs --grouping kernel, not channel" in bitx(*run, "--grouping", "channel", code=2).stderr
    assert f"{path}: groups of whole kernels, 32 rows" in bitx(*run, "--grouping", "kernel").stdout
    (found,) = bitx.json(*run, "--grouping", "kernel")["dumps"]
    assert [row["groups"] for row in found["tensors"]] == [
        row["values"] // (9 if row["tensor"] == "conv" else 1) for row in found["tensors"]
    ]
    assert "settles --group" in bitx("inspect", path, "--preset", "wild", "--group", 4, code=2).stderr


def test_nothing_left(bitx, write):
    path = write("npz")
    assert bitx.error("inspect", path, "--exclude", "*") == (
        f"{path}: has no tensor to work on (4 x excluded)"
    )
    assert "no tensor is named like 'x*'" in bitx.error("inspect", path, "--include", "x*")
    message = bitx.error("inspect", path, "--include", "steps")
    assert message == f"{path}: tensor 'steps': dtype int64 has no number format"


def test_several_dumps_and_a_store(bitx, write, tmp_path, out):
    paths = [write("npz"), write("npy")]
    store = out / "s.h5"
    result = bitx("inspect", *paths, "-o", store, "--format", "fixed8", "--grouping", "channel", "--group", 8)
    assert result.stdout.splitlines()[-1].startswith(f"wrote {store} (")
    with Store.open(store) as opened:
        table = opened.table("statistics")
        assert table["tensor"].tolist() == [f"{paths[0]}/conv", f"{paths[0]}/fc", f"{paths[1]}/w"]
        assert table["dump"].tolist() == [str(paths[0])] * 2 + [str(paths[1])]
        assert table["format"].tolist() == ["int8"] * 3
        assert opened.units("statistics")["essential_bits"] == "bit"
        provenance = opened.provenance
        assert [item.path for item in provenance.inputs] == [str(path) for path in paths]
        assert provenance.parameters["format"] == "fixed8"
        assert provenance.command_line[:2] == ("bitx", "inspect")
        ones = opened.tensors[f"{paths[1]}/w"]["ones_per_row"]
        x = np.load(paths[1])
        expected = bx.statistics(x, format="fixed8", grouping="channel", group=8).row_ones
        assert ones.tolist() == expected.tolist()


def test_of_one_dump_the_store_has_plain_names(bitx, write, out):
    bitx("inspect", write("safetensors"), "-o", out / "s.h5")
    with h5py.File(out / "s.h5") as file:
        assert list(file["tensors"]) == ["conv", "fc"]


def test_directories(bitx, tmp_path, values):
    (tmp_path / "d").mkdir()
    np.save(tmp_path / "d" / "a.npy", values["conv"])
    safetensors.numpy.save_file(values, tmp_path / "d" / "b.safetensors")
    (found,) = bitx.json("inspect", tmp_path / "d")["dumps"]
    names = [row["tensor"] for row in found["tensors"]]
    assert names == ["a", "b.safetensors/conv", "b.safetensors/fc"]


def test_zeros_and_a_lone_vector(bitx, tmp_path):
    np.save(tmp_path / "z.npy", np.zeros(20, "f4"))
    (found,) = bitx.json("inspect", tmp_path / "z.npy")["dumps"]
    (row,) = found["tensors"]
    assert (row["zeros"], row["zero_groups"], row["bit_sparsity"]) == (20, 3, None)
    assert "–" in bitx("inspect", tmp_path / "z.npy").stdout


def test_meta_tensors_do_not_end_commands(bitx, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"m": torch.empty(8, 64, device="meta"), "w": torch.randn(8, 64)}, tmp_path / "a.pt")
    document = bitx.json("inspect", tmp_path / "a.pt")["dumps"][0]
    assert [row["tensor"] for row in document["tensors"]] == ["w"]
    assert document["left_out"] == {"m": "meta tensor, without values"}
    assert "left out: 1 tensor" in bitx("prune", tmp_path / "a.pt", "-o", tmp_path / "b.pt").stdout
    assert torch.load(tmp_path / "b.pt", weights_only=True)["m"].is_meta
    bitx("simulate", tmp_path / "b.pt")
    torch.save({"m": torch.empty(8, 64, device="meta")}, tmp_path / "only.pt")
    assert "meta tensor, without values" in bitx.error("inspect", tmp_path / "only.pt")
