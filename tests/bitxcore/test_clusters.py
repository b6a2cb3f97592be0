"""Units on the workers of a Dask scheduler, which die, are others than here, or lose the scheduler."""

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from bitxcore import clusters
from bitxcore.batch.runs.executing import execute
from bitxcore.clusters import ClusterError, dask_workers
from bitxcore.errors import MissingExtraError, OptionError
from tests.bitxcore.batch.test_executing import die_sometimes

ROOT = Path(__file__).parents[2]


def where(job):
    """Say in which folder and with how many threads a unit is done."""
    return os.getcwd(), os.environ["BITX_THREADS"]


def fail(job):
    raise ValueError(f"no {job}")


def wait_for(path):
    """Say that the unit has begun, and wait for the end."""
    with open(path, "w", encoding="utf-8") as file:
        file.write("begun")
    time.sleep(600)


@pytest.fixture(scope="module")
def workers(scheduler):
    with dask_workers(scheduler) as found:
        yield found


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bitx\[distributed\]'"), dask_workers("local"):
        pass


@pytest.mark.parametrize(
    ("status", "page", "shown"),
    [
        (200, b"<html>Bokeh", True),
        (200, b"<p>Dask needs bokeh!=3.0.*,>=3.1.0 for the dashboard.</p>", False),
        (404, b"Not Found", False),
        (401, b"who?", True),
    ],
)
def test_a_dashboard_is_shown_where_one_answers(status, page, shown):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        address = f"http://127.0.0.1:{server.server_port}/status"
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert clusters._shows(address) is shown
    assert not clusters._shows(address)  # nobody listens
    assert not clusters._shows("")
    assert clusters._shows("https://hub/proxy/8787/status")


@pytest.mark.skipif(find_spec("bokeh") is not None, reason="bokeh is installed: there is a dashboard")
def test_no_dashboard_without_bokeh(scheduler):
    said = []
    with dask_workers(scheduler, say=said.append) as workers:
        assert workers.dashboard is None
    assert said[0].endswith("; no dashboard answers (it needs bokeh)")


@pytest.mark.parametrize(
    ("scheduler", "jobs", "error", "message"),
    [
        ("tcp://127.0.0.1:1", None, ClusterError, "no Dask scheduler can be reached at tcp://127.0.0.1:1"),
        ("nowhere://x", None, OptionError, "'local' or an address like tcp://HOST:8786, got 'nowhere://x'"),
        ("tcp://127.0.0.1:1", 2, OptionError, "number of workers of scheduler 'local', at least 1, got 2"),
        ("local", 0, OptionError, "at least 1, got 0"),
    ],
)
def test_no_scheduler(monkeypatch, scheduler, jobs, error, message):
    pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "CONNECTING_SECONDS", 1)
    with pytest.raises(error) as raised, dask_workers(scheduler, jobs):
        pass
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_units_are_done_as_here(workers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [outcome.data for outcome in execute(where, iter(range(6)), workers)]
    assert found == [(str(tmp_path), "1")] * 6
    assert workers.size == 2
    assert workers.address.startswith("tcp://127.0.0.1:")
    with pytest.raises(ValueError, match="no 0"):
        list(execute(fail, iter([0]), workers))


@pytest.mark.slow
def test_workers_that_die_are_replaced(tmp_path):
    pytest.importorskip("distributed")
    said = []
    jobs = [(n, str(tmp_path), {2: 1, 5: 2}.get(n, 0)) for n in range(8)]
    with dask_workers("local", 2, say=said.append) as workers:
        found = [outcome.data for outcome in execute(die_sometimes, iter(jobs), workers)]
    assert sorted(found) == [b"%d" % n for n in range(8)]
    assert said[0].startswith("Dask: 2 workers of tcp://127.0.0.1:")


def test_a_unit_that_ended_its_workers_is_told_from_other_errors(workers):
    from distributed import KilledWorker

    assert workers.is_death(KilledWorker("unit", None, 3))
    assert not workers.is_death(ClusterError("the Dask scheduler is gone"))


def test_another_bitx_is_refused(workers, monkeypatch):
    monkeypatch.setattr(workers, "_code", "other")
    with pytest.raises(ClusterError, match="another one than here; install the same release"):
        workers._check()
    with pytest.raises(ClusterError, match="another one than here"):
        workers.start().submit(where, 0).result()


def test_a_folder_that_workers_do_not_see(workers, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path / "gone")
        units = workers.start()
        (tmp_path / "gone").rmdir()
    with pytest.raises(ClusterError, match="can't enter the folder: No such file or directory; workers need"):
        units.submit(where, 0).result()


@pytest.mark.slow
def test_a_scheduler_that_goes_away(tmp_path):
    pytest.importorskip("distributed")
    code = f"""
import time
from distributed import LocalCluster
options = {{"processes": False, "protocol": "tcp://", "dashboard_address": "127.0.0.1:0"}}
with LocalCluster(n_workers=1, threads_per_worker=2, **options) as cluster:
    open({str(tmp_path / "at")!r}, "w").write(cluster.scheduler_address + "\\n")
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            address = until(tmp_path / "at").strip()
            with dask_workers(address) as workers:
                begun = tmp_path / "begun"
                future = workers.start().submit(wait_for, str(begun))
                until(begun)
                process.send_signal(signal.SIGKILL)
                with pytest.raises(ClusterError, match=f"the Dask scheduler {address} is gone"):
                    future.result(timeout=60)
                assert workers.size == 1
        finally:
            process.kill()


def until(path):
    """Text of a file, as soon as it has some."""
    deadline = time.monotonic() + 240
    while not (path.exists() and path.read_text("utf-8")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text("utf-8")
