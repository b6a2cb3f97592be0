"""Text to codes of word pieces, as BERT's uncased models read it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitxcore.errors import DumpError

_LONGEST_WORD = 100
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
# Punctuation stands alone, as BERT has it; so do symbols beyond ASCII, which BERT leaves in their words.
_WORDS = re.compile(r"\w+|[^\w\s]")

Codes = npt.NDArray[np.int64]


class WordPieces:
    """A vocabulary of word pieces.

    Parameters
    ----------
    path : pathlib.Path
        A ``vocab.txt``: one piece per line, its line's number is its code; ``##`` begins a piece that goes on
        within a word.

    Raises
    ------
    DumpError
        If the file can't be read or lacks a special piece.
    """

    def __init__(self, path: Path) -> None:
        try:
            pieces = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DumpError(f"can't be read: {error}", path=path) from error
        self._codes = {piece: code for code, piece in enumerate(pieces)}
        if missing := [piece for piece in _SPECIAL if piece not in self._codes]:
            raise DumpError(f"is no vocabulary of BERT: it lacks {', '.join(missing)}", path=path)
        self._pad, self._unknown, self._begin, self._end = (self._codes[piece] for piece in _SPECIAL)

    def encode(self, text: str) -> list[int]:
        """Give the codes of a text, between those of its begin and its end.

        Letters are made small and lose their accents; a word is cut into the longest pieces that there are,
        from its begin on, and is unknown as a whole if that fails. This is what BERT does with text in Latin
        letters; other scripts and control characters are not treated as it does.
        """
        plain = unicodedata.normalize("NFD", text.lower())
        plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
        words = _WORDS.findall(plain.replace("_", " _ "))
        return [self._begin, *(code for word in words for code in self._word(word)), self._end]

    def _word(self, word: str) -> list[int]:
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                code = self._codes.get(("##" if start else "") + word[start:end])
                if code is not None:
                    break
            if code is None or len(word) > _LONGEST_WORD:
                return [self._unknown]
            found.append(code)
            start = end
        return found

    def batch(self, texts: Iterable[str], length: int) -> tuple[Codes, Codes]:
        """Give codes and masks of texts, both ``(texts, length)``; short texts are filled up and masked.

        Of longer texts the begin is kept, and the last code is that of the end.
        """
        rows = [self.encode(text) for text in texts]
        codes = np.full((len(rows), length), self._pad, np.int64)
        mask = np.zeros_like(codes)
        for row, found in enumerate(rows):
            cut = found if len(found) <= length else [*found[: length - 1], self._end]
            codes[row, : len(cut)], mask[row, : len(cut)] = cut, 1
        return codes, mask
