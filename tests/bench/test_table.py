"""The tables say what the run says, losses and gaps included."""

from dataclasses import replace

import pytest

from bench import table
from bench.results import Case, Run

from .test_compare import case, run


def example():
    rows = "`prune` float32, group 8, worst of 3 and 5 rows"
    ours = {"kernel": "float32 and its peers"}
    peer = {**ours, "peer": True}
    return run(
        case(0.7, kernel="groups", name="group 8, 3 rows", row=rows),
        case(0.4, kernel="groups", name="group 8, 5 rows", row=rows),
        case(0.9, kernel="not in the README", name="int8"),
        case(0.5, name="`prune`", threads=1, **ours),
        case(0.8, name="`prune`", **ours),
        replace(case(0.1, name="theirs", threads=1, **peer), prune_seconds=[1e-2] * 5),
        replace(case(0.2, name="theirs", **peer), prune_seconds=[5e-3] * 5),
        Case("float32 and its peers", "C++", 1, peer=True, missing="no g++"),
        Case("float32 and its peers", "C++", 2, peer=True, missing="no g++"),
        case(0.3, kernel="start", name="first", values=None, row="first `prune` of a process"),
    )


def test_summary_shows_the_worst_of_a_row():
    text = table.summary(example())
    assert "| `prune` float32, group 8, worst of 3 and 5 rows | 0.14 | 0.35 | 0.40 |" in text
    assert "0.70" not in text
    assert "int8" not in text


def test_summary_shows_peers_and_gaps():
    lines = table.summary(example()).splitlines()
    assert (
        "| float32 and its peers | 1 thread, G values/s | 2 threads, G values/s | `prune` is times as fast |"
        in lines
    )
    assert "| C++ | no g++ | no g++ |  |" in lines
    theirs = example().cases[5]
    assert f"| theirs | {theirs.rate() / 1e9:.3f} | 0.070 | 3.0, 3.0 |" in lines


def test_summary_shows_losses():
    """A peer that is faster gets its number below 1."""
    lost = replace(case(0.5, name="theirs", kernel="peers", peer=True), prune_seconds=[1.0] * 5)
    assert "| theirs | 0.175 | 0.0 |" in table.summary(run(lost))


def test_short_shows_few_rows_and_losses():
    main = case(0.7, kernel="groups", name="float32", row=table.README_ROWS[0])
    other = case(0.6, kernel="groups", name="int8", row="`prune` int8")
    lost = case(0.5, name="`ml_dtypes` cast to bfloat16 and back", kernel="peers", peer=True)
    text = table.short(run(main, other, replace(lost, prune_seconds=[1.0] * 5)))
    assert "| `prune` float32, group 8, 6 rows | 0.24 | 0.70 | |" in text
    assert "| `ml_dtypes` cast to bfloat16 and back | 0.17 | 0.50 | 0.0 |" in text
    assert "int8" not in text


def test_full_lists_every_case():
    text = table.full(example())
    assert table.main_cases(example()) in text
    for c in example().cases:
        assert f"| {c.case} | {c.threads} |" in text
    assert "| C++ | 1 | no g++ | | | | |" in text
    assert "0.396 – 0.404 | 5 |" in text
    assert "## Not in the README" in text


def test_head_names_the_machine():
    words = " ".join(table.head(example()).split())  # it is wrapped
    assert "2025-01-01 on Some CPU, L1 32K, AVX2, 2 threads, Python 3.12.1, NumPy 2.0" in words


def test_put_replaces_what_stands_between_the_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.START}\nold\n{table.END}\nafter\n")
    table.put(page, "new")
    assert page.read_text() == f"before\n{table.START}\nnew\n{table.END}\nafter\n"


@pytest.mark.parametrize("name", ["README.md", "docs/speed.md"])
def test_pages_have_one_place_for_it(name):
    text = (table.ROOT / name).read_text("utf-8")
    assert text.count(table.START) == text.count(table.END) == 1
    assert text.index(table.START) < text.index(table.END)


def test_earlier_run_is_printed_without_running(tmp_path, monkeypatch, capsys):
    example().save(tmp_path / "run.json")
    monkeypatch.setattr("sys.argv", ["table", "--json", str(tmp_path / "run.json")])
    monkeypatch.setattr(table, "run", lambda: pytest.fail("ran"))
    table.main()
    assert "theirs" in capsys.readouterr().out


def test_new_run_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["table", "--all", "--json", str(tmp_path / "run.json")])
    monkeypatch.setattr(table, "run", example)
    table.main()
    assert "quartiles" in capsys.readouterr().out
    assert Run.load(tmp_path / "run.json").machine == example().machine


def test_what_pytest_benchmark_wrote_is_taken_over():
    c = example().cases[0]
    info = {"case": c.case, "values": c.values, "row": c.row, "threads": 2, "peer": False}
    info |= {"seconds": c.seconds, "yardstick_seconds": c.yardstick_seconds, "prune_seconds": []}
    raw = {
        "datetime": "2025-01-01T00:00:00.123456+00:00",
        "commit_info": {"id": "abc", "dirty": True},
        "benchmarks": [{"group": c.kernel, "extra_info": info}],
    }
    taken = Run.of_pytest(raw, {})
    assert taken.cases[0].share == c.share
    assert (taken.datetime, taken.commit) == ("2025-01-01T00:00:00Z", "abc+")
