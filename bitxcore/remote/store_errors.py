"""Errors of stores and of the network, in one line that names the object."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitxcore.errors import BitxError, DumpError
from bitxcore.remote.urls import public

_KINDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        (
            "NoCredentialsError",
            "PartialCredentialsError",
            "DefaultCredentialsError",
            "CredentialRetrievalError",
        ),
        "no credentials were found (of S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile,"
        " or FSSPEC_S3_ANON=true for a public bucket)",
    ),
    (("ProxyConnectionError", "ClientProxyConnectionError"), "the proxy can't be reached"),
    (("TimeoutError", "ConnectTimeoutError", "ReadTimeoutError", "FSTimeoutError"), "no answer in time"),
    (
        ("SSLError", "ClientConnectorCertificateError", "SSLCertVerificationError"),
        "its certificate is refused",
    ),
    (
        ("EndpointConnectionError", "ClientConnectorError", "ConnectionError", "HTTPClientError"),
        "its server can't be reached",
    ),
)
"""Names of errors, which are those of packages that may not be there, and what they say."""


@contextmanager
def asking(path: Path, what: str = "read") -> Iterator[None]:
    """Turn whatever a store raises into a `DumpError`, but for an object that is not there.

    Parameters
    ----------
    path : Path
    what : str
        What can't be done with it.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    """
    try:
        yield
    except (BitxError, MemoryError):
        raise
    except FileNotFoundError as error:
        if "bucket does not exist" in str(error).lower():
            raise DumpError("its bucket does not exist", path=path) from error
        raise FileNotFoundError(errno.ENOENT, "does not exist", str(path)) from error
    except Exception as error:
        raise DumpError(f"can't be {what}: {_reason(error)}", path=path) from error


def _reason(error: BaseException) -> str:
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, PermissionError):
        return f"no permission ({_text(error)})"
    for kinds, reason in _KINDS:
        if names.intersection(kinds):
            return reason
    return _text(error)


def _text(error: BaseException) -> str:
    """Return the first line of an error's text, without secrets."""
    strerror = getattr(error, "strerror", None)
    text = next((line.strip() for line in str(strerror or error).splitlines() if line.strip()), "")
    return public("".join(c for c in text[:300] if c.isprintable())) or type(error).__name__


def short_answer(path: Path, offset: int, got: int, wanted: int) -> DumpError:
    """Return the error of a store that gives fewer or more bytes than it was asked for."""
    return DumpError(f"the store gave {got} bytes from byte {offset} on, {wanted} were asked for", path=path)


def changed(path: Path) -> DumpError:
    """Return the error of an object that is no longer the one that was opened."""
    return DumpError("has changed since it was opened", path=path)
