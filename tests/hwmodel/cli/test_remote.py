"""Commands on dumps that lie in a store, against the same commands on files."""

import hashlib
import json

import numpy as np
import pytest

from bitxcore.store import Store
from tests.bitxcore.remote.conftest import s3, s3_running, web  # noqa: F401
from tests.hwmodel.cli.conftest import write_npz, write_onnx, write_safetensors

# Settings of other fixtures would hide these.
pytestmark = pytest.mark.usefixtures("s3")


def without_place(document, *names):
    """A document without what tells where things are."""
    text = json.dumps(document)
    for name in names:
        text = text.replace(name, "PLACE")
    return json.loads(text)


@pytest.fixture
def both(s3, tmp_path):  # noqa: F811
    """Put a file into the store; its path and its URL."""

    def put(write):
        file = write(tmp_path / "net")
        return str(file), s3.put(f"m/{file.name}", file.read_bytes())

    return put


@pytest.mark.parametrize("write", [write_safetensors, write_npz, write_onnx], ids=lambda w: w.__name__)
def test_inspect(bitx, both, write):
    file, url = both(write)
    expected, found = bitx.json("inspect", file), json.loads(bitx("inspect", url, "--json").stdout)
    assert without_place(found, url) == without_place(expected, file)
    assert url in bitx("inspect", url).stdout


def test_prune(bitx, both, s3, tmp_path):  # noqa: F811
    file, url = both(write_safetensors)
    bitx("prune", file, "-o", tmp_path / "out.safetensors", "--store", tmp_path / "out.h5")
    done = bitx("prune", url, "-o", "s3://models/out.safetensors", "--store", "s3://models/out.h5")
    assert "wrote s3://models/out.safetensors (" in done.stdout
    assert s3.get("out.safetensors") == (tmp_path / "out.safetensors").read_bytes()
    with Store.open("s3://models/out.h5") as remote, Store.open(tmp_path / "out.h5") as local:
        assert [item.path for item in remote.provenance.inputs] == [url]
        assert remote.provenance.inputs[0].sha256 == local.provenance.inputs[0].sha256
        for name in local.tables:
            for column, values in local.table(name).items():
                np.testing.assert_array_equal(values, remote.table(name)[column])
    assert "s3://models/out.h5: sound" in bitx("verify", "s3://models/out.h5").stdout


def test_a_policy(bitx, both, s3, tmp_path):  # noqa: F811
    file, url = both(write_safetensors)
    (tmp_path / "policy.json").write_bytes(
        b'{"version": 1, "origin": {}, "default": {"rows": 3}, "tensors": {}}'
    )
    policy = s3.put("m/policy.json", (tmp_path / "policy.json").read_bytes())
    bitx("prune", file, "--policy", tmp_path / "policy.json", "-o", tmp_path / "out.safetensors")
    bitx("prune", url, "--policy", policy, "-o", "s3://models/out.safetensors")
    assert s3.get("out.safetensors") == (tmp_path / "out.safetensors").read_bytes()


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "--task", "digits", "--rows", "6"),
        ("prepare", "--task", "digits", "--ones", "2", "--rows", "6"),
        ("sweep", "alexnet", "--weights", "synthetic", "--vary", "rows=4"),
    ],
    ids=lambda command: command[0],
)
def test_what_can_be_continued_is_not_written_there(bitx, command):
    found = bitx.error(*command, "-o", "s3://models/a.h5")
    assert "s3://models/a.h5: can't be written: a run that can be continued writes on" in found


def test_nothing_is_sent_if_one_output_fails(bitx, both, s3, tmp_path):  # noqa: F811
    _, url = both(write_npz)
    bitx.error("prune", url, "-o", "s3://models/a.npz", "--store", "s3://no-such-bucket/a.h5")
    bitx.error("prune", url, "-o", "s3://models/a.npz", "--store", tmp_path / "none" / "a.h5")
    assert s3.names() == ["m/net.npz"]


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_safetensors, write_onnx], ids=lambda w: w.__name__)
def test_simulate(bitx, both, tmp_path, write):
    file, url = both(write)
    args = ("-a", "dadiannao", "-a", "bitx")
    expected = bitx.json("simulate", file, *args, "-o", tmp_path / "a.h5")
    found = json.loads(bitx("simulate", url, *args, "-o", tmp_path / "b.h5", "--json").stdout)
    places = (f"{tmp_path}/a.h5", f"{tmp_path}/b.h5")
    assert without_place(found, url, *places) == without_place(expected, file, *places)
    with Store.open(tmp_path / "b.h5") as store:
        assert {item.path for item in store.provenance.inputs} == {url}


def test_external_data_are_not_downloaded(bitx, both):
    _, url = both(lambda path: write_onnx(path, external="conv.bin"))
    done = bitx("inspect", url, code=1)
    assert done.stderr.splitlines()[-1] == (
        f"bitx: error: {url}: needs conv.bin beside it, which is not downloaded with it"
    )


@pytest.mark.slow
def test_weights_of_another_place(bitx, both):
    model, _ = both(write_onnx)
    file, url = both(write_npz)
    expected = bitx.json("simulate", model, "--weights", file, "-a", "bitx")
    assert without_place(bitx.json("simulate", model, "--weights", url, "-a", "bitx"), url) == without_place(
        expected, file
    )


def test_batch(bitx, both, s3, tmp_path):  # noqa: F811
    _, url = both(write_safetensors)
    both(write_npz)
    for given in (["s3://models/m/"], ["s3://models/m/*"], ["s3://models/m/net.npz", url]):
        output = tmp_path / f"{len(given[0])}.h5"
        document = bitx.json("batch", "inspect", *given, "-o", output, "-j", "1")
        assert sorted(row["path"] for row in document["dumps"]) == ["s3://models/m/net.npz", url]
        again = bitx.json("batch", "inspect", *given, "-o", output, "-j", "1")
        assert again["complete_before"]
    s3.put("m/net.npz", (tmp_path / "net.npz").read_bytes())  # the same content, at another time
    s3.put("m/net.safetensors", (tmp_path / "net.safetensors").read_bytes()[:-4])
    document = bitx("batch", "inspect", *given, "-o", output, "-j", "1", "--json", code=1)
    statuses = {row["path"]: row["status"] for row in json.loads(document.stdout)["dumps"]}
    assert statuses[url] == "failed"


def test_batch_of_pruned_dumps(bitx, both, tmp_path):
    file, _ = both(write_npz)
    bitx("prune", file, "-o", tmp_path / "out.npz")
    bitx("batch", "prune", "s3://models/m", "--each", tmp_path / "each", "-j", "1")
    (found,) = (tmp_path / "each").rglob("net.npz")
    assert found.read_bytes() == (tmp_path / "out.npz").read_bytes()


def test_a_batch_of_a_server_that_ignores_ranges(bitx, web, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    data = write_npz(tmp_path / "net").read_bytes()
    web.files["/net.npz"], web.lie = data, "whole"
    bitx("batch", "inspect", f"{web.url}/net.npz", "-o", "run.h5", "-j", "1")
    with Store.open("run.h5") as store:
        assert list(store.table("dumps")["sha256"]) == [hashlib.sha256(data).hexdigest()]
        assert len(store.table("statistics")["tensor"])
    web.files["/p.json"] = b'{"version": 1, "default": {"rows": 4}, "tensors": {}}'
    bitx("batch", "prune", "net.npz", "-o", "pruned_by.h5", "-j", "1", "--policy", f"{web.url}/p.json")
    bitx("inspect", f"{web.url}/net.npz", "-o", "own.h5")
    bitx("prune", f"{web.url}/net.npz", "-o", "pruned.npz", "--store", "pruned.h5")


def test_what_a_batch_refuses(bitx, both, web, tmp_path):  # noqa: F811
    _, url = both(write_npz)
    assert "name one on this machine" in bitx.error("batch", "inspect", url, "-o", "s3://models/a.h5")
    assert "fits the pattern" in bitx.error("batch", "inspect", "s3://models/x*", "-o", tmp_path / "a.h5")
    assert "does not exist" in bitx.error("batch", "inspect", "s3://models/x/", "-o", tmp_path / "a.h5")
    signed = f"{web.url}/a.npz?signature=123"
    assert "no URL with credentials" in bitx.error("batch", "inspect", signed, "-o", tmp_path / "a.h5")


def test_secrets_are_not_told(bitx, web, tmp_path):  # noqa: F811
    web.files["/net.npz"] = write_npz(tmp_path / "net").read_bytes()
    signed = f"{web.url.replace('//', '//me:word@')}/net.npz?signature=123"
    args = ("simulate", signed, "-a", "bitx", "-o", tmp_path / "a.h5")
    done = bitx(*args, "--json")
    for text in (done.stdout, done.stderr, (tmp_path / "a.h5").read_bytes().decode("latin-1")):
        assert "signature" not in text
        assert "word" not in text
    assert f"{web.url}/net.npz" in done.stdout
    web.lie = "forbidden"
    assert bitx.error(*args) == f"{web.url}/net.npz: can't be read: no permission (status 403)"


def test_errors_are_one_line(bitx, monkeypatch):
    assert bitx.error("inspect", "s3://models/none.npz") == "s3://models/none.npz: does not exist"
    assert "does not exist" in bitx.error("inspect", "s3://no-such-bucket/none.npz")
    assert "protocol 'ftp' is not opened" in bitx.error("inspect", "ftp://host/a.npz")
