"""Web servers: ranges of what they give, each held against the answer's own description."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from bitxcore.errors import DumpError
from bitxcore.remote.object_facts import ObjectFacts, number_of
from bitxcore.remote.remote_path import RemotePath
from bitxcore.remote.store_errors import asking, changed, short_answer
from bitxcore.remote.stores import ObjectStore
from bitxcore.remote.urls import secret_url

TRIES = 3
"""How often a request is made, where the server is busy or the connection breaks."""

_AGAIN = (429, 500, 502, 503, 504)
_PIECE = 1 << 20
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class WebStore(ObjectStore):
    """What web servers give, by ``http`` and ``https``; nothing is written or listed there."""

    def facts(self, path: RemotePath) -> ObjectFacts:
        """Ask for the first byte: the answer tells the size, and whether ranges are given.

        A signed URL often allows no other request.
        """
        return self._ask(path, 0, memoryview(bytearray(1)), None)

    def read_into(self, path: RemotePath, offset: int, target: memoryview, facts: ObjectFacts) -> None:
        """Fill `target` from one range."""
        self._ask(path, offset, target, facts)

    def download(self, path: RemotePath, facts: ObjectFacts, copy: Any) -> None:
        """Write the whole object into a new file, by one request."""
        with copy.open("wb") as file:
            self._ask(path, 0, file, facts)

    def check_writable(self, path: RemotePath) -> None:
        """Raise: a web server is only read."""
        raise DumpError(f"can't be written: {path.protocol} only reads; name an object of a store", path=path)

    def below(self, folder: RemotePath) -> list[RemotePath]:
        """Raise: a web server lists nothing."""
        raise DumpError(f"a folder can't be listed by {folder.protocol}; name its files", path=folder)

    def fitting(self, pattern: RemotePath) -> list[RemotePath]:
        """Raise, as `below`."""
        return self.below(pattern)

    def _ask(self, path: RemotePath, offset: int, target: Any, facts: ObjectFacts | None) -> ObjectFacts:
        from fsspec.asyn import sync

        with asking(path):
            found: ObjectFacts = sync(self.files.loop, self._tried, path, offset, target, facts)
        return found

    async def _tried(
        self, path: RemotePath, offset: int, target: Any, facts: ObjectFacts | None
    ) -> ObjectFacts:
        import aiohttp

        for tries in range(TRIES):
            try:
                return await self._request(path, offset, target, facts, last=tries == TRIES - 1)
            except (_BusyError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError):
                if tries == TRIES - 1:
                    raise
            await asyncio.sleep(0.1 * 3**tries)
        raise AssertionError

    async def _request(
        self, path: RemotePath, offset: int, target: Any, facts: ObjectFacts | None, *, last: bool
    ) -> ObjectFacts:
        """Make one request.

        Parameters
        ----------
        target : memoryview or file
            A file takes the whole object.
        facts : ObjectFacts or None
            None: only the beginning of the answer is of interest.
        """
        session = await self.files.set_session()
        headers = {"Accept-Encoding": "identity"}
        whole = not isinstance(target, memoryview)
        if not whole:
            headers["Range"] = f"bytes={offset}-{offset + len(target) - 1}"
        async with session.get(self.files.encode_url(secret_url(str(path))), headers=headers) as answer:
            if path.protocol == "https" and answer.url.scheme != "https":
                raise DumpError("leads to a server without encryption", path=path)
            _check_status(path, answer.status)
            found, begin = _described(path, answer)
            if facts is None:
                if (answer.content_length or 0) > _PIECE:
                    answer.close()  # of a server without ranges, all of it would come
                return found
            if found.size != facts.size or found.number != facts.number:
                raise changed(path)
            wanted = facts.size if whole else len(target)
            some = not whole and len(target) < facts.size
            if begin != (0 if whole else offset) or (some and not found.ranged):
                answer.close()
                raise DumpError(
                    f"the server gave bytes from {begin} on, {wanted} from byte {offset} on were asked for",
                    path=path,
                )
            await _taken(path, answer, offset, target, wanted, last=last)
            return found


class _BusyError(Exception):
    """The server asks to be asked again."""


def _check_status(path: RemotePath, status: int) -> None:
    if status in (404, 410):
        raise FileNotFoundError(path)
    if status in (401, 403, 407):
        raise PermissionError(f"status {status}")
    if status in _AGAIN:
        raise _BusyError(f"the server answers with status {status}")
    if status not in (200, 206, 416):
        raise DumpError(f"can't be read: the server answers with status {status}", path=path)


def _described(path: RemotePath, answer: Any) -> tuple[ObjectFacts, int]:
    """Return what an answer says of the object, and where the bytes begin that it gives."""
    number = number_of(answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
    encoded = answer.headers.get("Content-Encoding", "identity") not in ("identity", "")
    if answer.status == 200:
        length = answer.headers.get("Content-Length", "")
        if not length.isdecimal() or encoded:
            raise DumpError("can't be read: the server does not tell its size", path=path)
        return ObjectFacts(int(length), number, ranged=False), 0
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if found is None or found[3] == "*" or encoded:
        raise DumpError("can't be read: the server does not tell which bytes it gives", path=path)
    return ObjectFacts(int(found[3]), number), int(found[1] or 0)


async def _taken(path: RemotePath, answer: Any, offset: int, target: Any, wanted: int, *, last: bool) -> None:
    """Take exactly so many bytes from an answer into memory or a file."""
    import aiohttp

    done = 0
    if not isinstance(target, memoryview):
        target.seek(0)
    try:
        async for piece in answer.content.iter_chunked(_PIECE):
            if done + len(piece) > wanted:
                answer.close()
                raise short_answer(path, offset, done + len(piece), wanted)
            if isinstance(target, memoryview):
                target[done : done + len(piece)] = piece
            else:
                target.write(piece)
            done += len(piece)
    except aiohttp.ClientPayloadError as error:
        if not last:
            raise
        raise short_answer(path, offset, done, wanted) from error
    if done != wanted:
        raise short_answer(path, offset, done, wanted)
