"""The text of Python's own help topics (`pydoc_data.topics`), as characters for a language model.

Nothing of the text is shipped: it comes with every Python. It differs between Python's versions, so that
figures of one version are those of another only if `TopicText.fingerprint` is the same.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError

ALPHABET = "\n" + "".join(map(chr, range(32, 127))) + "°ß–—‘’“”…"
"""Characters with a code of their own, 1 and up; code 0 is every other character."""
VOCABULARY = len(ALPHABET) + 1
HELD_OUT_BELOW = 32
"""A topic is held out if the first byte of its name's SHA-256 is below this: an eighth of the names."""
TRAINED_ON = {
    "train": "14092ca7759f5733b4fc7df48df0d8c29bb22a58febad526f2459bbebe92044f",
    "held_out": "9cc3c2d2784d1e49b3c7ce6c262cab15b396a827a58916b81a4dad60037000e6",
}
"""SHA-256 of the two texts, in UTF-8, that the sample transformer is of (Python 3.11.7)."""

_PARAGRAPHS = re.compile(r"\n\s*\n")
# Shorter ones ("For example:") recur in unlike topics; as a repeat they are not worth a gap in the text.
_REPEAT_CHARACTERS = 40

Codes = npt.NDArray[np.int64]


class TextWindows(NamedTuple):
    """Stretches of text for a model of fixed length, every array ``(windows, context)``.

    Attributes
    ----------
    inputs, targets : int64 arrays
        Codes of characters, and of those that follow them.
    scored : bool array
        Which targets count. Each character of the text but the first counts once.
    """

    inputs: Codes
    targets: Codes
    scored: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TopicText:
    """The two parts of the text; no paragraph of 40 characters or more stands in both, nor twice in one.

    Attributes
    ----------
    train, held_out : str
        Topics in the order of their names, a blank line between paragraphs.
    """

    train: str
    held_out: str

    @property
    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of the two parts, to be compared with `TRAINED_ON`."""
        parts = {"train": self.train, "held_out": self.held_out}
        return {name: hashlib.sha256(part.encode()).hexdigest() for name, part in parts.items()}

    @property
    def remark(self) -> str | None:
        """What a reader must know if this Python's text is not the one of `TRAINED_ON`; else None.

        With another text, characters that are scored may have been seen in training.
        """
        if self.fingerprint == TRAINED_ON:
            return None
        return (
            f"Python {platform.python_version()} has another pydoc_data.topics than the one that the sample "
            "transformer was trained on (Python 3.11.7): figures can't be compared with the recorded ones, "
            "and some of the held-out text may have been trained on"
        )


def is_held_out(topic: str) -> bool:
    """Whether a topic of this name belongs to the held-out part, whatever other topics there are.

    Examples
    --------
    >>> is_held_out("while"), is_held_out("lambda")
    (True, False)
    """
    return hashlib.sha256(topic.encode()).digest()[0] < HELD_OUT_BELOW


def _without_repeats(topics: Iterable[str], seen: set[str]) -> str:
    """Join the topics' paragraphs, less those of `seen`, to which what is kept is added."""
    kept = []
    for paragraph in (p for topic in topics for p in _PARAGRAPHS.split(topic)):
        words = " ".join(paragraph.split())  # the same paragraph is indented otherwise elsewhere
        if len(words) >= _REPEAT_CHARACTERS:
            if words in seen:
                continue
            seen.add(words)
        if words:
            kept.append(paragraph.strip("\n"))
    return "\n\n".join(kept)


def split_topics(topics: Mapping[str, str]) -> TopicText:
    r"""Split topics by name into the part to train on and the held-out part.

    Chapters of Python's reference are topics as a whole and in pieces. What is held out is therefore taken
    out of the training text paragraph by paragraph, and repeats within a part are left out.

    Parameters
    ----------
    topics : mapping of str to str
        Texts by name.

    Examples
    --------
    >>> shared = "Repeats a suite while a condition holds, as often as it takes."
    >>> split_topics({"while": shared, "lambda": "A function.\n\n" + shared}).train
    'A function.'
    """
    seen: set[str] = set()
    held_out = _without_repeats((topics[name] for name in sorted(topics) if is_held_out(name)), seen)
    train = _without_repeats((topics[name] for name in sorted(topics) if not is_held_out(name)), seen)
    return TopicText(train, held_out)


def pydoc_text() -> TopicText:
    """Read and split the help topics of the Python that runs.

    Raises
    ------
    OptionError
        If this Python was installed without its help topics.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise OptionError(
            "this Python has no module pydoc_data.topics: install Python's help topics"
        ) from error
    return split_topics(topics)


def encode(text: str) -> Codes:
    r"""Codes of a text's characters, int64, one dimension.

    Examples
    --------
    >>> encode("\n !☃")
    array([1, 2, 3, 0])
    """
    code = {character: index for index, character in enumerate(ALPHABET, start=1)}
    return np.array([code.get(character, 0) for character in text], np.int64)


def held_out_windows(codes: Codes, context: int) -> TextWindows:
    """Cut text into windows that overlap by half, so that what counts has half a context before it.

    Every window but the first counts in its second half only. The last one is moved back to end with the
    text, and counts what no other has counted.

    Parameters
    ----------
    codes : int64 array
        Of `encode`, more than `context` of them.
    context : int
        Characters that the model reads at once, an even number.

    Raises
    ------
    OptionError
        If the text is too short or the context is odd.

    Examples
    --------
    >>> windows = held_out_windows(np.arange(8), context=4)
    >>> windows.inputs.tolist(), windows.scored.sum()
    ([[0, 1, 2, 3], [2, 3, 4, 5], [3, 4, 5, 6]], np.int64(7))
    """
    if context < 2 or context % 2:
        raise OptionError(f"context must be even and 2 or more, not {context}")
    targets = len(codes) - 1
    if targets < context:
        raise OptionError(f"the text has {len(codes)} characters; a context of {context} needs more")
    starts = [*range(0, targets - context, context // 2), targets - context]
    places = np.array(starts)[:, None] + np.arange(context)
    counted = np.concatenate([[-1], places[:-1, -1]])  # the last target that an earlier window has counted
    return TextWindows(codes[places], codes[places + 1], places > counted[:, None])
