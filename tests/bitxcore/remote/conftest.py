"""A store like S3 and a web server, for the tests of this folder."""

import pytest

from tests.remote_servers import SETTINGS, s3_server, s3_store, web_server


@pytest.fixture(scope="session")
def s3_running():
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    with s3_server() as running:
        yield running


@pytest.fixture
def s3(s3_running, monkeypatch):
    with s3_store(*s3_running, monkeypatch) as store:
        yield store


@pytest.fixture
def web(monkeypatch):
    pytest.importorskip("aiohttp")
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    with web_server() as running:
        yield running
