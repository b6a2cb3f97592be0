"""``bitx report``: what it refuses, and what it says."""

import pytest


@pytest.mark.parametrize("name", ["other.h5", "model.onnx", "page"])
def test_nothing_but_a_page_is_written_over(bitx, tmp_path, name):
    (other := tmp_path / name).write_bytes(b"results")
    done = bitx("report", "run.h5", "-o", other, code=2)
    assert "-o must end in .html" in done.stderr
    assert other.read_bytes() == b"results"


def test_a_machine_with_other_options_is_the_same_machine(bitx, tmp_path):
    pytest.importorskip("vl_convert")
    runs = tmp_path / "before.h5", tmp_path / "after.h5"
    for path, machine in zip(runs, ("stripes", "stripes:rows=4"), strict=True):
        bitx("simulate", "resnet20-cifar10", "-a", machine, "--precisions", 8, "-o", path)
    bitx("report", *runs, "-o", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "accelerators.stripes.rows" in page
    assert "stripes → stripes(rows=4)" in page
    assert "No machine is in both" not in page
