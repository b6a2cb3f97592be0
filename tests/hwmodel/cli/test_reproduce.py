"""``bitx reproduce``: the numbers of the BitX paper, ours beside them."""

import sys

import pytest

from bitxcore.store import Store
from hwmodel.studies.reproduction import PLACES

MODULE = "hwmodel.studies.reproduction.reproduction"


@pytest.fixture
def only_table_3(monkeypatch):
    """Let Table 3 be all that there is."""
    __import__(MODULE)
    module = sys.modules[MODULE]
    monkeypatch.setattr(module, "PLACES", ("Table 3",))
    monkeypatch.setattr(module, "SECTIONS", [s for s in module.SECTIONS if s.module != "accuracy"])


def test_one_table(bitx):
    printed = bitx("reproduce", "--only", "Table 3", "--no-accuracy", "--notes").stdout
    assert "published" in printed
    assert "Table 2" not in printed
    (row,) = (x for x in printed.splitlines() if x.startswith(" ResNet50 ") and "N=6" in x)
    assert row.split()[3:12] == ["zero", "bits", "over", "those", "before", "x", "1.67", "1.675", "1.003"]
    assert "1. [fits] Each k x k kernel is a group" in printed
    assert "[fits] the paper does not say it" in printed
    assert printed.endswith("nothing written; -o STORE.h5 keeps these lines\n")


def test_document_and_store(bitx, out):
    document = bitx.json(
        "reproduce", "--no-accuracy", "--only", "Table 3", "--only", "Contradictions", "-o", out / "r.h5"
    )
    places = [line["place"] for line in document["lines"]]
    assert set(places) == {"Table 3", "Contradictions"}
    assert places == sorted(places, key=PLACES.index)
    assert document["written"] == [str(out / "r.h5")]
    assert document["lines"][0] == {
        "place": "Table 3", "network": "DenseNet121", "setting": "fp32, N=10",
        "quantity": "zero bits over those before", "unit": "x", "published": 1.34,
        "ours": pytest.approx(1.34, abs=0.02), "ratio": pytest.approx(1, abs=0.02),
        "weights": "synthetic: normal, seeds 1 and 9 (weights of a kernel); table densenet121",
        "why": document["lines"][0]["why"], "mark": "fits", "detail": False, "alike": True,
    }  # fmt: skip
    with Store.open(out / "r.h5") as store:
        assert list(store.table("reproduction")["place"]) == places


@pytest.mark.usefixtures("only_table_3")
def test_page(bitx, out):
    printed = bitx("reproduce", "--write", out / "page.md").stdout
    text = (out / "page.md").read_text("utf-8")
    assert text.startswith("# The BitX paper, reproduced\n")
    assert "| Table 3 | [fits] | 52 |" in text
    assert "\n## Table 3\n" in text
    assert f"wrote {out / 'page.md'}" in printed


def test_bad_usage(bitx, out):
    assert "no lines of 'Table 9'; there are Table 1" in bitx.error("reproduce", "--only", "Table 9")
    refused = bitx("reproduce", "--only", "Table 3", "--write", out / "page.md", code=2)
    assert "--write is for all places" in refused.stderr
    assert "page.md" in bitx.error("reproduce", "--write", out / "nowhere" / "page.md")
    assert not list(out.iterdir())
