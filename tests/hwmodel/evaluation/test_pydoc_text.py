"""The text is split by name, and what is held out is in no other part."""

from __future__ import annotations

import hashlib
import platform
import sys

import numpy as np
import pytest

from bitxcore.errors import OptionError
from hwmodel.evaluation.datasets.pydoc_text import (
    ALPHABET,
    TRAINED_ON,
    VOCABULARY,
    TopicText,
    encode,
    held_out_windows,
    is_held_out,
    pydoc_text,
    split_topics,
)

LONG = "A paragraph of more than forty characters that stands in two topics."


@pytest.fixture(scope="module")
def text() -> TopicText:
    return pydoc_text()


def test_parts_share_no_paragraph(text: TopicText) -> None:
    assert len(text.train) > 200_000
    assert 10_000 < len(text.held_out) < len(text.train) / 5
    parts = [
        [" ".join(p.split()) for p in part.split("\n\n") if len(" ".join(p.split())) >= 40]
        for part in (text.train, text.held_out)
    ]
    assert not set(parts[0]) & set(parts[1])
    assert all(len(part) == len(set(part)) for part in parts)


def test_repeats_are_left_out_however_they_are_indented() -> None:
    assert is_held_out("while")
    assert not is_held_out("lambda")
    assert not is_held_out("async")
    topics = {
        "while": f"{LONG}\n\nNote:\n\n  Own.\n",
        "lambda": f"First.\n \n   {LONG.replace(' of', chr(10) + '   of')}\n\nNote:\n\n{LONG}x",
        "async": f"{LONG}x\n\nLast.",
    }
    assert split_topics(topics) == TopicText(
        f"{LONG}x\n\nLast.\n\nFirst.\n\nNote:", f"{LONG}\n\nNote:\n\n  Own."
    )
    assert split_topics(dict(reversed(topics.items()))) == split_topics(topics)


def test_a_text_says_whether_it_is_the_one_trained_on(text: TopicText) -> None:
    assert (text.remark is None) == (text.fingerprint == TRAINED_ON)
    if platform.python_version() == "3.11.7":
        assert text.fingerprint == TRAINED_ON
    other = TopicText(text.train + ".", text.held_out)
    assert other.remark
    assert platform.python_version() in other.remark
    assert "can't be compared" in other.remark


def test_windows_are_these(text: TopicText) -> None:
    if text.remark:
        pytest.skip(text.remark)
    windows = held_out_windows(encode(text.held_out), 128)
    digest = hashlib.sha256(b"".join(array[:16].astype("<i8").tobytes() for array in windows))
    assert digest.hexdigest() == "d8c0e52430dcf3b17bf305e37830b2803ed69d39989a8255687eaf7bed9aa716"
    assert not (windows.inputs == 0).any()


@pytest.mark.parametrize("length", [9, 10, 11, 12, 13, 16, 17, 40])
def test_every_character_counts_once(length: int) -> None:
    windows = held_out_windows(np.arange(length), 8)
    assert windows.inputs.shape == windows.targets.shape == windows.scored.shape
    assert sorted(windows.targets[windows.scored]) == list(range(1, length))
    np.testing.assert_array_equal(windows.targets, windows.inputs + 1)
    # But for the first window, at least half a context is before what counts.
    assert not windows.scored[1:, :3].any()


@pytest.mark.parametrize(("length", "context"), [(8, 8), (20, 7), (20, 0)])
def test_contexts_that_do_not_fit(length: int, context: int) -> None:
    with pytest.raises(OptionError, match="context"):
        held_out_windows(np.arange(length), context)


def test_codes() -> None:
    assert len(set(ALPHABET)) == len(ALPHABET) == VOCABULARY - 1
    np.testing.assert_array_equal(encode(ALPHABET), np.arange(1, VOCABULARY))
    assert encode("☃\t").tolist() == [0, 0]


def test_a_python_without_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(OptionError, match=r"no module pydoc_data\.topics"):
        pydoc_text()
