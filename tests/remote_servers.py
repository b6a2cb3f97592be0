"""Servers on loopback that tests of remote dumps read from: a store like S3, and web servers that may lie."""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from bitxcore.remote.stores import forget_stores

SETTINGS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


@dataclass
class Traffic:
    """What was asked for: method, path and range of each request, and the bytes of each answer's body."""

    requests: list[tuple[str, str, str]] = field(default_factory=list)
    nbytes: int = 0

    def clear(self) -> None:
        self.requests.clear()
        self.nbytes = 0


@dataclass
class S3:
    """A running server; `put` stores an object."""

    endpoint: str
    traffic: Traffic
    client: Any

    def put(self, key: str, data: bytes) -> str:
        self.client.put_object(Bucket="models", Key=key, Body=data)
        return f"s3://models/{key}"

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket="models", Key=key)["Body"].read()

    def names(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket="models").get("Contents", ())
        return [each["Key"] for each in found]


def counted(inner: Any, traffic: Traffic) -> Callable[[Any, Any], Iterable[bytes]]:
    """Wrap an application of WSGI, to count what goes through."""

    def application(environ: Any, start: Any) -> Iterator[bytes]:
        known = (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE", ""))
        traffic.requests.append(known)
        for chunk in inner(environ, start):
            traffic.nbytes += len(chunk) if known[0] == "GET" else 0
            yield chunk

    return application


@contextmanager
def s3_server() -> Iterator[tuple[str, Traffic]]:
    """Run moto's server on a free port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    traffic = Traffic()
    running: Any = server._server
    running.app = counted(running.app, traffic)
    running.RequestHandlerClass.log_request = lambda *_: None
    try:
        yield f"http://127.0.0.1:{server.get_host_and_port()[1]}", traffic
    finally:
        server.stop()
        running.server_close()


@contextmanager
def s3_store(endpoint: str, traffic: Traffic, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """Make the empty bucket ``models``, and let all in this process use the server."""
    import boto3

    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of boto3, on some versions of Python
        client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    store = S3(endpoint, traffic, client)
    with stores_closed():
        traffic.clear()
        yield store
    for key in store.names():
        client.delete_object(Bucket="models", Key=key)
    client.delete_bucket(Bucket="models")
    client.close()


@contextmanager
def stores_closed() -> Iterator[None]:
    """Connect anew in the block, and close its connections at the end."""
    forget_stores()
    gc.freeze()  # what tests before this one left need not be gone through
    yield
    forget_stores()
    gc.collect()  # sessions are closed when nothing refers to them
    gc.unfreeze()


@dataclass
class Web:
    """A web server: files by path, and how it lies.

    `lie` is one of: "" (none), "whole" (ignores ranges), "short" (ends early), "shifted" (another range),
    "busy" (status 503 twice), "file" (redirects to a file of the client), "forbidden".
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lie: str = ""
    busy: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    queries: list[str] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)


@contextmanager
def web_server() -> Iterator[Web]:
    """Run a web server on a free port."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            target = urlsplit(self.path)
            asked = self.headers.get("Range", "")
            web.traffic.requests.append(("GET", target.path, asked))
            web.queries.append(target.query)
            web.authorization.append(self.headers.get("Authorization"))
            self.answer(target.path, asked)

        def answer(self, path: str, asked: str) -> None:
            data = web.files.get(path)
            if web.lie == "busy" and web.busy < 2:
                web.busy += 1
                self.head(503, 0)
            elif data is None or web.lie == "forbidden":
                self.head(403 if data is not None else 404, 0)
            elif web.lie == "file":
                self.head(302, 0, Location="file:///etc/hostname")
            else:
                self.give(data, asked, {"ETag": web.tags[path]} if path in web.tags else {})

        def give(self, data: bytes, asked: str, marks: dict[str, str]) -> None:
            marks["Last-Modified"] = formatdate(0, usegmt=True)
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
            if found is None or web.lie == "whole":
                self.head(200, len(data), **marks)
                self.send(data)
                return
            begin, last = int(found[1]), min(int(found[2]), len(data) - 1)
            if begin >= len(data):
                self.head(416, 0, **{"Content-Range": f"bytes */{len(data)}"}, **marks)
                return
            part = data[begin : last + 1]
            if web.lie == "shifted" and begin:
                begin, last = begin + 1, last + 1
            self.head(206, len(part), **{"Content-Range": f"bytes {begin}-{last}/{len(data)}"}, **marks)
            self.send(part[: len(part) // 2] if web.lie == "short" and len(part) > 100 else part)

        def head(self, status: int, length: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def send(self, data: bytes) -> None:
            web.traffic.nbytes += len(data)
            try:
                self.wfile.write(data)
            except ConnectionError:  # it has seen enough
                self.close_connection = True
            if web.lie == "short":
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with stores_closed():
            yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
