import h5py
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import bitxcore as bx
from bitxcore.store import Store


def target(dump, out):
    """Where a dump can be written: in its own kind, or as .npz."""
    return out / (f"p{dump.suffix}" if dump.suffix in {".npy", ".npz", ".safetensors", ".onnx"} else "p.npz")


def arrays(path):
    with np.load(path) as file:
        return dict(file)


def by_hand(tensor, **options):
    """Prune with the output channel first, and turn back."""
    return tensor.layout.restore(bx.prune(tensor.layout.turn(tensor.read()), **options).values)


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ([], {}),
        ([], {"rows": 6, "group": 8}),
        (["--preset", "mild"], {"rows": 10, "group": 8}),
        (["--grouping", "kernel", "--group", "whole"], {"grouping": "kernel", "group": None}),
        (["--rows", 3, "--rounding", "nearest"], {"rows": 3, "rounding": "nearest"}),
        (["--criterion", "energy", "--budget", 0.1], {"criterion": "energy", "budget": 0.1}),
        (["--criterion", "threshold", "--threshold", 0.2, "--rows", 4],
         {"criterion": "threshold", "threshold": 0.2, "rows": 4}),
        (["--criterion", "threshold", "--threshold", 0.01, "--rows", "none"],
         {"criterion": "threshold", "threshold": 0.01, "rows": None}),
        (["--format", "fixed16", "--rows", 4, "--group", 16], {"format": "fixed16", "rows": 4, "group": 16}),
        (["--grouping", "channel", "--window", 24], {"grouping": "channel", "window": 24}),
    ],
)  # fmt: skip
def test_values_are_the_librarys(bitx, dump, out, args, options):
    path = target(dump, out)
    document = bitx.json("prune", dump, "-o", path, *args)
    assert document["written"] == [str(path)]
    rows = {row["tensor"]: row for row in document["tensors"]}
    with bx.open_dump(dump) as before, bx.open_dump(path) as after:
        # A lone array is named like its file.
        names = dict(zip(before, after, strict=True))
        for name, tensor in before.items():
            new = after[names[name]].read()
            if name not in rows:
                assert new.tobytes() == tensor.read().tobytes()
                continue
            assert new.tobytes() == by_hand(tensor, **options).tobytes()
            check_row(rows[name], tensor, new, options)


def check_row(row, tensor, new, options):
    old = tensor.read()
    pruned = bx.prune(tensor.layout.turn(old), **options)
    assert row["kept_rows_histogram"] == pruned.kept_rows_histogram().tolist()
    assert row["changed_values"] == np.count_nonzero(old != new)
    assert (row["zeros_before"], row["zeros_after"]) == (np.sum(old == 0), np.sum(new == 0))
    assert row["packed_bits"] == bx.pack(pruned).bits
    assert row["window_limited_groups"] == pruned.window_limited_groups
    exact = np.linalg.norm((old - new).astype("f8")) / np.linalg.norm(old.astype("f8"))
    assert row["relative_error"] == pytest.approx(exact, rel=1e-6)


def test_totals(bitx, write, out):
    document = bitx.json("prune", write("npz"), "-o", out / "p.npz")
    total, rows = document["totals"], document["tensors"]
    columns = ("values", "groups", "changed_values", "zeros_after", "packed_bits", "window_limited_groups")
    for name in columns:
        assert total[name] == sum(row[name] for row in rows)
    errors = [row["relative_error"] * row["norm"] for row in rows]
    norm = np.linalg.norm([row["norm"] for row in rows])
    assert total["relative_error"] == pytest.approx(np.linalg.norm(errors) / norm)
    assert total["stored_bits"] == 32 * total["values"]


def test_text_ends_with_what_was_written(bitx, write, out):
    lines = bitx("prune", write("npz"), "-o", out / "p.npz", "--store", out / "p.h5").stdout.splitlines()
    assert lines[-1].startswith(f"wrote {out / 'p.npz'} (")
    assert f", {out / 'p.h5'} (" in lines[-1]
    assert any(line.startswith("packed: ") for line in lines)


def test_store(bitx, write, out, values):
    path = write("safetensors")
    bitx("prune", path, "-o", out / "p.safetensors", "--store", out / "p.h5", "--masks", "--rows", 4)
    pruned = bx.prune(values["fc"], rows=4)
    with Store.open(out / "p.h5") as store:
        table = store.table("pruning")
        assert table["tensor"].tolist() == ["conv", "fc"]
        assert table["kept_rows_max"].tolist() == [4, 4]
        assert np.isnan(table["scale"].astype(float)).all()
        arrays = store.tensors["fc"]
        for name in ("row_masks", "exponents", "kept_rows"):
            assert np.array_equal(arrays[name], getattr(pruned, name))
        assert arrays["kept_rows_histogram"].tolist() == pruned.kept_rows_histogram().tolist()
        assert store.provenance.parameters["rows"] == 4
        assert store.provenance.inputs[0].path == str(path)


def test_usage(bitx, write, out):
    path = write("npz")
    assert "--masks needs --store" in bitx("prune", path, "-o", out / "p.npz", "--masks", code=2).stderr
    same = ["prune", path, "-o", out / "p.npz", "--store", out / "p.npz"]
    assert "the same file" in bitx(*same, code=2).stderr
    assert "takes no threshold" in bitx.error("prune", path, "-o", out / "p.npz", "--threshold", 0.5)
    assert "needs rows" in bitx.error("prune", path, "-o", out / "p.npz", "--rows", "none")
    for args, message in (
        (["--preset", "mild", "--rows", 5, "--group", 4], "--preset mild settles --rows and --group"),
        (["--preset", "wild", "--group", "8"], "--preset wild settles --group: give one or the other"),
        (["--preset", "wilder"], "'wilder' is none of mild, wild"),
        (
            ["--group", "whole"],
            "--group whole stands for whole kernels, and needs --grouping kernel, not flat",
        ),
        (["--group", "4097"], "'4097' is neither an integer from 1 to 4096 nor whole"),
        (["--rows", "0"], "'0' is neither an integer from 1 nor none"),
    ):
        assert message in bitx("prune", path, "-o", out / "p.npz", *args, code=2).stderr
    assert "needs budget" in bitx.error("prune", path, "-o", out / "p.npz", "--criterion", "energy")
    assert list(out.iterdir()) == []


def test_selection(bitx, write, out, values):
    bitx("prune", write("safetensors"), "-o", out / "p.safetensors", "--include", "bias", "--include", "f*")
    new = safetensors.numpy.load_file(out / "p.safetensors")
    assert np.array_equal(new["bias"], bx.prune(values["bias"]).values)
    assert np.array_equal(new["conv"], values["conv"])


def test_directories_keep_their_shape(bitx, tmp_path, out, values):
    (tmp_path / "d" / "sub").mkdir(parents=True)
    np.save(tmp_path / "d" / "sub" / "a.npy", values["conv"])
    np.savez(tmp_path / "d" / "b.npz", **values)
    bitx("prune", tmp_path / "d", "-o", out / "d")
    expected = bx.prune(values["conv"]).values
    assert np.array_equal(np.load(out / "d" / "sub" / "a.npy"), expected)
    assert np.array_equal(np.load(out / "d" / "b.npz")["conv"], expected)


def test_one_tensor_is_in_memory_at_a_time(tmp_path):
    import tracemalloc

    from bitxcore.batch import prune_dump

    rng = np.random.default_rng(0)
    one = rng.normal(size=(512, 1024)).astype("f4")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for i in range(12):
            file[f"w{i}"] = one
    with bx.open_dump(tmp_path / "w.h5") as dump:
        prune_dump(dump, tmp_path / "warm.npz", (dump["w0"],), rows=5)
        tracemalloc.start()
        rows = prune_dump(dump, tmp_path / "p.npz", rows=5)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(rows) == 12
    assert peak < 6 * one.nbytes


def test_the_error_of_huge_and_tiny_values(bitx, tmp_path, out):
    for scale in (1e300, 1e-300):
        x = np.random.default_rng(0).normal(size=(4, 64)) * scale
        np.save(tmp_path / "w.npy", x)
        (row,) = bitx.json("prune", tmp_path / "w.npy", "-o", out / "p.npy")["tensors"]
        unit = x / scale
        y = np.load(out / "p.npy") / scale
        assert row["relative_error"] == pytest.approx(
            np.linalg.norm(unit - y) / np.linalg.norm(unit), rel=1e-9
        )


def test_groups_that_the_window_limits_are_told(bitx, tmp_path, out):
    x = np.zeros((4, 16), "f4")
    x[:, 0], x[1:, 1] = 1.0, 2.0**-40
    np.save(tmp_path / "w.npy", x)
    run = ["prune", tmp_path / "w.npy", "-o", out / "p.npy"]
    assert bitx.json(*run)["totals"]["window_limited_groups"] == 3
    assert bitx.json(*run, "--window", 64)["totals"]["window_limited_groups"] == 0
    bitx(*run, "--store", out / "s.h5")
    with Store.open(out / "s.h5") as store:
        assert store.table("pruning")["window_limited_groups"].tolist() == [3]


def test_nothing_but_zeros(bitx, tmp_path, out):
    np.save(tmp_path / "z.npy", np.zeros((3, 20), "f4"))
    (row,) = bitx.json("prune", tmp_path / "z.npy", "-o", out / "p.npy")["tensors"]
    assert (row["relative_error"], row["changed_values"], row["kept_rows_max"]) == (0, 0, 0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("form", ["fixed2", "fixed4"])
def test_fixed_point_at_the_end_of_a_dtype(bitx, tmp_path, dtype, form):
    top = 60000 if dtype == "float16" else float(np.finfo(dtype).max)
    np.savez(tmp_path / "x.npz", w=np.array([[top, -top], [top / 2, 0]], dtype))
    document = bitx.json("prune", tmp_path / "x.npz", "-o", tmp_path / "y.npz", "--format", form)
    assert np.isfinite(arrays(tmp_path / "y.npz")["w"]).all()
    assert 0 < document["totals"]["relative_error"] < 0.6
    assert "nan" not in bitx("prune", tmp_path / "x.npz", "-o", tmp_path / "y.npz", "--format", form).stdout


AXES = {"oihw": (0, 1, 2, 3), "ohwi": (0, 3, 1, 2), "hwio": (3, 2, 0, 1)}


@pytest.mark.parametrize("layout", AXES)
@pytest.mark.parametrize(
    "args", [[], ["--grouping", "channel"], ["--grouping", "kernel", "--group", "whole"]]
)
def test_layouts_by_name(bitx, tmp_path, layout, args):
    rng = np.random.default_rng(3)
    first = {
        "conv": rng.normal(size=(16, 8, 3, 5)).astype("f4"),
        "fc": rng.normal(size=(10, 24)).astype("f4"),
    }
    stored = {
        "conv": first["conv"].transpose(np.argsort(AXES[layout])),
        "fc": first["fc"].T if layout == "hwio" else first["fc"],
    }
    np.savez(tmp_path / "x.npz", **stored)
    np.savez(tmp_path / "first.npz", **first)
    asked = ["--rows", 3, *args]
    document = bitx.json("prune", tmp_path / "x.npz", "-o", tmp_path / "y.npz", *asked, "--layout", layout)
    expected = bitx.json("prune", tmp_path / "first.npz", "-o", tmp_path / "z.npz", *asked)
    assert document["parameters"]["layout"] == layout
    assert document["totals"] == pytest.approx(expected["totals"], rel=1e-12)
    new, right = arrays(tmp_path / "y.npz"), arrays(tmp_path / "z.npz")
    assert np.array_equal(new["conv"].transpose(AXES[layout]), right["conv"])
    assert np.array_equal(new["fc"].T if layout == "hwio" else new["fc"], right["fc"])


@pytest.mark.parametrize(
    ("name", "form"),
    [("bfloat16", "bfloat16"), ("float8_e4m3fn", "float8_e4m3fn"), ("float8_e5m2", "float8_e5m2")],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_raw_bytes_are_read_in_the_format_that_is_named(bitx, tmp_path, name, form, suffix):
    values = np.random.default_rng(1).normal(size=(8, 32)).astype(getattr(ml_dtypes, name))
    path = tmp_path / f"x{suffix}"
    np.save(path, values) if suffix == ".npy" else np.savez(path, x=values)
    document = bitx.json("prune", path, "-o", tmp_path / f"y{suffix}", "--format", form, "--rows", 2)
    (row,) = document["tensors"]
    assert row["format"] == form
    assert row["relative_error"] > 0
    with bx.open_dump(tmp_path / f"y{suffix}") as dump:
        (tensor,) = dump.values()
        assert tensor.read().tobytes() == bx.prune(values, rows=2).values.tobytes()
    inspected = bitx.json("inspect", path, "--format", form)["dumps"][0]["tensors"][0]
    assert inspected["essential_bits"] == bx.statistics(values).essential_bits


def test_raw_bytes_of_another_size_are_refused(bitx, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 2), "V2"))
    for args in ([], ["--format", "float32"], ["--format", "fixed8"]):
        assert "V2" in bitx.error("prune", tmp_path / "x.npy", "-o", tmp_path / "y.npy", *args)


def test_what_is_no_tensor_is_named_when_included(bitx, tmp_path):
    np.savez(tmp_path / "x.npz", w=np.ones((2, 8), "f4"), note=np.array([None]))
    bitx("prune", tmp_path / "x.npz", "-o", tmp_path / "y.npz")
    bitx("prune", tmp_path / "x.npz", "-o", tmp_path / "y.npz", "--exclude", "note")
    assert "Python objects" in bitx.error(
        "prune", tmp_path / "x.npz", "-o", tmp_path / "y.npz", "--include", "note"
    )
