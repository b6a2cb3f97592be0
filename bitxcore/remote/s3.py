"""S3: ranges of the object that has the ETag of the one that was opened."""

from __future__ import annotations

from typing import Any

from bitxcore.remote.object_facts import ObjectFacts, number_of
from bitxcore.remote.remote_path import RemotePath
from bitxcore.remote.store_errors import asking, changed, short_answer
from bitxcore.remote.stores import ObjectStore

TRIES = 3
"""How often a range is asked for, where the connection breaks."""

_PIECE = 1 << 20
_BROKEN = ("ClientPayloadError", "ResponseStreamingError", "ReadTimeoutError", "IncompleteReadError")


class S3Store(ObjectStore):
    """Objects of S3 and of servers like it; `AWS_ENDPOINT_URL` and other settings are those of boto."""

    def read_into(self, path: RemotePath, offset: int, target: memoryview, facts: ObjectFacts) -> None:
        """Fill `target` by one request, whose answer tells the ETag of what it is from."""
        from fsspec.asyn import sync

        with asking(path):
            for tries in range(TRIES):
                try:
                    done = sync(self.files.loop, self._taken, path, offset, target, facts)
                except Exception as error:
                    if type(error).__name__ not in _BROKEN or tries == TRIES - 1:
                        raise
                    continue
                if done != len(target):
                    raise short_answer(path, offset, done, len(target))
                return

    async def _taken(self, path: RemotePath, offset: int, target: memoryview, facts: ObjectFacts) -> int:
        bucket, key = path.parts[1], "/".join(path.parts[2:])
        last = offset + len(target) - 1
        answer: dict[str, Any] = await self.files._call_s3(
            "get_object", Bucket=bucket, Key=key, Range=f"bytes={offset}-{last}"
        )
        done = 0
        async with answer["Body"] as body:
            if facts.number not in (0, number_of(answer.get("ETag"))):
                raise changed(path)
            while piece := await body.read(_PIECE):
                if done + len(piece) > len(target):
                    return done + len(piece)
                target[done : done + len(piece)] = piece
                done += len(piece)
        return done
