"""Reversible escapes: any Python string as an HDF5 link name, or as an HDF5 string."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

MISSING = "\x10"
"""A missing string: a data link escape (DLE) that nothing follows."""

_UNSAFE_IN_NAMES = re.compile(r"[%/\x00-\x1f\x7f\ud800-\udfff]|^\.")
_UNSAFE_IN_TEXT = re.compile(r"[\x00\x10\ud800-\udfff]")
_ESCAPED_TEXT = re.compile(r"\x10([0-9a-f]{4})")


def escape_name(name: str) -> str:
    """Turn any string into the name of an HDF5 link.

    ``%``, ``/``, control characters, lone surrogates and a leading ``.`` become ``%XX``, byte by
    byte of their UTF-8; the empty string becomes a lone ``%``. Everything else stays readable.

    Parameters
    ----------
    name : str
        Any string, e.g. a tensor's name.

    Returns
    -------
    str
        Never empty, ``.`` or a path; different for different names.
    """
    if not name:
        return "%"
    return _UNSAFE_IN_NAMES.sub(
        lambda m: "".join(f"%{byte:02X}" for byte in m[0].encode("utf-8", "surrogatepass")), name
    )


def unescape_name(link: str) -> str:
    """Undo `escape_name`; a ``UnicodeDecodeError`` says that `link` is not an escaped name."""
    return "" if link == "%" else unquote_to_bytes(link).decode("utf-8", "surrogatepass")


def escape_text(text: str) -> str:
    """Turn any string into one that HDF5 can hold: no NUL, valid UTF-8.

    NUL, lone surrogates and DLE itself become DLE and four hexadecimal digits; all other text,
    which is to say all usual text, stays as it is.
    """
    return _UNSAFE_IN_TEXT.sub(lambda m: f"\x10{ord(m[0]):04x}", text)


def unescape_text(text: str) -> str:
    """Undo `escape_text`."""
    return _ESCAPED_TEXT.sub(lambda m: chr(int(m[1], 16)), text) if MISSING in text else text
