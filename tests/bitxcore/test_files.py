import os
import resource
import stat
import subprocess
import sys

import pytest

from bitxcore import files
from bitxcore.errors import BitxError
from bitxcore.files import atomic_directory, atomic_file, atomic_files, together


def write_half(context, error):
    """Write something into whatever `context` gives, then fail."""
    with context as place:
        first = place[0] if isinstance(place, list) else place
        (first / "part" if first.is_dir() else first).write_bytes(b"half")
        raise error("x")


def test_appears_whole_and_with_the_usual_mode(tmp_path):
    out = tmp_path / "out.bin"
    with atomic_file(out) as temporary:
        temporary.write_bytes(b"abc")
        assert temporary.parent == tmp_path
        assert not out.exists()
    assert out.read_bytes() == b"abc"
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.bin", "plain"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, BitxError])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    out = tmp_path / "out.bin"
    out.write_bytes(b"old")
    with pytest.raises(error):
        write_half(atomic_file(out), error)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("missing/out", "not an existing folder"),
        ("file/out", "not an existing folder"),
        ("folder", "not a regular file"),
        ("x" * 300, "name too long"),
    ],
)
def test_unwritable_places_are_named(tmp_path, place, reason):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BitxError, match=reason) as caught, atomic_file(tmp_path / place) as temporary:
        temporary.write_bytes(b"x")
    assert str(caught.value).startswith(str(tmp_path / place))
    assert "\n" not in str(caught.value)


def test_devices_are_never_replaced():
    with pytest.raises(BitxError, match="not a regular file"), atomic_file("/dev/full"):
        pass
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_a_read_only_file_system():
    with pytest.raises(BitxError, match=r"/proc/out\.npz: can't be written: "), atomic_file("/proc/out.npz"):
        pass


def test_a_full_disk(tmp_path):
    code = f"""
import resource, signal
from bitxcore.files import atomic_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_file({str(tmp_path / "out")!r}) as temporary:
        temporary.write_bytes(bytes(5000))
except Exception as error:
    print(type(error).__name__, error)
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"BitxError {tmp_path / 'out'}: can't be written: File too large\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_the_input_is_never_the_output(tmp_path, link):
    source = tmp_path / "in.bin"
    source.write_bytes(b"in")
    out = source
    if link:
        out = tmp_path / "out.bin"
        link(source, out)
    with pytest.raises(BitxError, match="is the input"), atomic_file(out, inputs=[source]):
        pass
    assert source.read_bytes() == b"in"


def test_several_files_come_together(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    with pytest.raises(BitxError):
        write_half(atomic_files([first, second]), BitxError)
    assert list(tmp_path.iterdir()) == []
    with atomic_files([first, second]) as (one, two):
        one.write_bytes(b"1")
        two.write_bytes(b"2")
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")


def test_a_directory_appears_whole(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ZeroDivisionError):
        write_half(atomic_directory(out), ZeroDivisionError)
    assert list(tmp_path.iterdir()) == []
    with atomic_directory(out) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_bytes(b"1")
    assert (out / "sub" / "a").read_bytes() == b"1"
    with pytest.raises(BitxError, match="must be new or empty"), atomic_directory(out):
        pass
    with pytest.raises(BitxError, match="not an existing folder"), atomic_directory(tmp_path / "no" / "out"):
        pass
    (tmp_path / "empty").mkdir()
    with atomic_directory(tmp_path / "empty") as folder:
        (folder / "a").write_bytes(b"1")
    assert [p.name for p in (tmp_path / "empty").iterdir()] == ["a"]


def raise_within(context, error):
    """Raise what `error` makes of the temporary path."""
    with context as place:
        raise error(place[-1] if isinstance(place, list) else place)


@pytest.mark.parametrize(
    "error",
    [
        lambda path: BitxError("is bad", path=path),
        lambda path: BitxError("is bad", path=str(path), hint=f"see {path}"),
        lambda path: BitxError(f"bad: {path.name}, or {path}", part=f"file {path}"),
        lambda path: OSError(f"unable to open {path}, [errno 5]"),
        lambda path: OSError(5, f"no {path}", str(path)),
        lambda path: OSError(5, "Input/output error", str(path), None, str(path)),
    ],
)
@pytest.mark.parametrize(
    "how", [atomic_file, atomic_directory, lambda path: atomic_files([path.parent / "b", path])]
)
def test_messages_have_the_final_name(tmp_path, how, error):
    out = tmp_path / "out.bin"
    with pytest.raises(BitxError) as caught:
        raise_within(how(out), error)
    shown = f"{caught.value} {caught.value.path} {caught.value.__cause__}"
    assert ".bitx" not in shown
    assert ".tmp" not in shown
    assert str(out) in shown
    assert list(tmp_path.iterdir()) == []


def test_messages_from_a_folder_have_the_final_name(tmp_path):
    out = tmp_path / "out"

    def deep(path):
        with atomic_file(path / "sub" / "a.npz"):
            pass

    with pytest.raises(BitxError) as caught:
        raise_within(atomic_directory(out), deep)
    assert str(caught.value) == f"{out}/sub/a.npz: can't be written: {out}/sub is not an existing folder"

    def within(path):
        with atomic_file(path / "a.npz") as temporary:
            raise BitxError("is bad", path=temporary)

    with pytest.raises(BitxError) as caught:
        raise_within(atomic_directory(out), within)
    assert str(caught.value) == f"{out}/a.npz: is bad"


# -- several outputs at once -------------------------------------------------------------------


def test_outputs_appear_together(tmp_path):
    (tmp_path / "b").write_bytes(b"old")
    with together():
        with atomic_file(tmp_path / "a") as one:
            one.write_bytes(b"1")
        with atomic_file(tmp_path / "b") as two:
            two.write_bytes(b"2")
        with atomic_directory(tmp_path / "c") as folder, atomic_file(folder / "d") as within:
            within.write_bytes(b"3")
        assert not (tmp_path / "a").exists()
        assert not (tmp_path / "c").exists()
        assert (tmp_path / "b").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}
    assert (tmp_path / "b").read_bytes() == b"2"
    assert (tmp_path / "c" / "d").read_bytes() == b"3"


def test_none_appears_if_one_fails(tmp_path):
    (tmp_path / "b").write_bytes(b"old")

    def write():
        with together():
            for name in ("a", "b"):
                with atomic_file(tmp_path / name) as temporary:
                    temporary.write_bytes(b"new")
            raise BitxError("x")

    with pytest.raises(BitxError):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").read_bytes() == b"old"


def no_links(*_):
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("last", ["file", "directory"])
def test_a_name_that_can_not_be_had_takes_the_others_back(tmp_path, monkeypatch, last, links):
    (tmp_path / "new").mkdir()
    (tmp_path / "b").write_bytes(b"old")
    if not links:
        monkeypatch.setattr(os, "link", no_links)

    def write():
        with together():
            for name in ("a", "b"):
                with atomic_file(tmp_path / name) as temporary:
                    temporary.write_bytes(b"new")
            with atomic_directory(tmp_path / "new") as folder:
                (folder / "x").write_bytes(b"new")
            with atomic_file(tmp_path / "last") as temporary:
                temporary.write_bytes(b"new")
            blocked = tmp_path / ("last" if last == "file" else "new")
            blocked.mkdir(exist_ok=True)
            (blocked / "in the way").write_bytes(b"")

    with pytest.raises(BitxError, match=r"(last|new): can't be written: "):
        write()
    assert not (tmp_path / "a").exists()
    if links:
        assert (tmp_path / "b").read_bytes() == b"old"
    assert not list(tmp_path.glob(".bitx*"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == (
        ["in the way"] if last == "directory" else []
    )


# -- what killed runs leave --------------------------------------------------------------------

KILLED = """
import os, signal, sys
from bitxcore.files import atomic_directory, atomic_file
kind = atomic_directory if sys.argv[2] == "folder" else atomic_file
with kind(sys.argv[1]) as path:
    (path / "part" if path.is_dir() else path).write_bytes(b"half")
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    """Start processes that write, and keep at it."""
    running = []

    def begin(name, kind):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, tmp_path / name, kind],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_the_next_run_clears_what_a_killed_one_left(tmp_path, start, monkeypatch):
    monkeypatch.setattr(files, "_cleared", set())
    processes = [start("a", "file"), start("b", "folder"), start("c", "file"), start("d", "folder")]
    assert len(list(tmp_path.iterdir())) == 4
    for process in processes[:2]:
        process.kill()
        process.wait()
    (tmp_path / ".bitx-0123456789abcdef.tmp").symlink_to(tmp_path)
    (tmp_path / ".bitx-mine.tmp").write_bytes(b"")
    with atomic_file(tmp_path / "out") as temporary:
        temporary.write_bytes(b"whole")
        assert temporary.exists()
    # Those of the living stay, and what has only a similar name.
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 5
    assert {"out", ".bitx-0123456789abcdef.tmp", ".bitx-mine.tmp"} < names
    for process in processes[2:]:
        process.stdin.close()
        assert process.wait() == 0
    assert (tmp_path / "c").read_bytes() == (tmp_path / "d" / "part").read_bytes() == b"half"


@pytest.mark.slow
def test_runs_beside_each_other_keep_their_files(tmp_path):
    code = """
import sys
from bitxcore import files
for number in range(300):
    files._cleared.clear()
    with files.atomic_file(f"{sys.argv[1]}-{number}") as path:
        path.write_bytes(b"whole")
    files._cleared.clear()
    with files.atomic_directory(f"{sys.argv[1]}-{number}.d") as path:
        (path / "x").write_bytes(b"whole")
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, tmp_path / str(i)]) for i in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert len(list(tmp_path.iterdir())) == 4 * 600


def test_a_scratch_folder_goes_with_its_block_or_the_process():
    with files.scratch_folder() as folder:
        (folder / "a").write_text("b")
        files.remove_unfinished()  # as a signal does
        assert not folder.exists()
    with files.scratch_folder() as folder:
        assert folder.is_dir()
    assert not folder.exists()
