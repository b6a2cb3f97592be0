"""Which texts are URLs, and what of a URL nobody else may see.

Credentials (``user:password@``) and queries, which hold signatures, are kept in this process by the URL
without them: it is what errors, tables and stores show.
"""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import unquote

from bitxcore.errors import DumpError

PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "memory": "fsspec",
}
"""The package that each protocol needs besides fsspec."""

WEB = ("http", "https")
"""Protocols that only read, and whose URLs have queries."""

_URL = re.compile(r"((?:[A-Za-z0-9+.-]+::)*)([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_SHOWN = re.compile(r"(?<![A-Za-z0-9+.-])(https?|s3|gs|gcs|az|abfs)://([^\s'\"<>]+)", re.IGNORECASE)

_users: dict[str, str] = {}  # by scheme://host
_queries: dict[str, str] = {}  # by URL


def is_url(text: str) -> bool:
    """Whether a text is a URL, and no path of this machine.

    Examples
    --------
    >>> is_url("s3://bucket/model.safetensors"), is_url("C:/model.npz"), is_url("a:b/model.npz")
    (True, False, False)
    """
    return _URL.fullmatch(text) is not None


def local_path(text: str) -> str | None:
    """Return the path in a URL of ``file``; None for a URL of another protocol.

    Raises
    ------
    DumpError
        If it names another machine.

    Examples
    --------
    >>> local_path("file:///tmp/model%201.npz")
    '/tmp/model 1.npz'
    """
    found = _URL.fullmatch(text)
    if found is None or found[1] or found[2].lower() != "file":
        return None
    host, slash, path = found[3].partition("/")
    if host not in ("", "localhost") or not slash or "\0" in path:
        raise DumpError("names a file of another machine, or no absolute path", path=text)
    return unquote(f"/{path}")


def split_url(text: str) -> tuple[str, ...]:
    """Return a URL's protocol with its colon, then what stands between slashes; secrets are kept aside.

    Raises
    ------
    DumpError
        If the protocol is not one of `PACKAGES`, or the URL names no object.

    Examples
    --------
    >>> split_url("https://host/models/a.npz?signature=123")
    ('https:', 'host', 'models', 'a.npz')
    """
    found = _URL.fullmatch(text)
    assert found is not None
    shown = public(text)
    scheme = found[2].lower()
    if found[1]:
        raise DumpError("chained URLs are not opened; name the object itself", path=shown)
    if scheme not in PACKAGES:
        known = ", ".join(("file", *PACKAGES))
        raise DumpError(f"protocol {scheme!r} is not opened, only {known}", path=shown)
    rest, query = found[3], ""
    if scheme in WEB:
        rest, _, query = rest.partition("#")[0].partition("?")
    host, _, path = rest.partition("/")
    user, at, host = host.rpartition("@")
    if at and scheme in ("az", "abfs"):
        user, host = "", f"{user}@{host}"  # a container and its account
    elif at and scheme not in WEB:
        raise DumpError(f"{scheme} takes no credentials in a URL; set them in the environment", path=shown)
    parts = path.removesuffix("/").split("/") if path else []
    if not host or any(part in ("", ".", "..") for part in parts) or not rest.isprintable():
        raise DumpError("names no object: parts of a URL are neither empty nor . nor ..", path=shown)
    public_url = "/".join((f"{scheme}:/", host, *parts))
    if user:
        _users[f"{scheme}://{host}"] = user
    if query and _queries.setdefault(public_url, query) != query:
        raise DumpError("is given twice, with different queries", path=shown)
    return (f"{scheme}:", host, *parts)


def secret_url(url: str) -> str:
    """Return a URL with the credentials and the query that it was given with."""
    scheme, _, rest = url.partition("://")
    user = _users.get(f"{scheme}://{rest.partition('/')[0]}")
    query = _queries.get(url)
    return f"{scheme}://{f'{user}@' if user else ''}{rest}{f'?{query}' if query else ''}"


def has_secret(url: str) -> bool:
    """Whether a URL was given with credentials or a query."""
    return secret_url(url) != url


def hide_secrets(text: str) -> str:
    """Return a text as `public` does, and keep what is left out of it for whoever opens the URLs."""
    if "://" in text:
        for found in _SHOWN.finditer(text):
            if found[1].lower() in WEB:
                with suppress(DumpError):  # which whoever opens it will say
                    split_url(found[0])
    return _SHOWN.sub(lambda found: public(found[0]) if found[1].lower() in WEB else found[0], text)


def public(text: str) -> str:
    """Return a text with what may be secret left out of the URLs in it.

    Examples
    --------
    >>> public("--weights=https://me:word@host/a.npz?signature=123")
    '--weights=https://host/a.npz'
    """

    def shown(found: re.Match[str]) -> str:
        scheme, rest = found[1], found[2]
        if scheme.lower() in WEB:
            rest = rest.partition("#")[0].partition("?")[0]
        if scheme.lower() not in ("az", "abfs"):
            host, slash, path = rest.partition("/")
            rest = f"{host.rpartition('@')[2]}{slash}{path}"
        return f"{scheme}://{rest}"

    return _SHOWN.sub(shown, text) if "://" in text else text
