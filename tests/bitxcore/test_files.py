import os
import resource
import stat
import subprocess
import sys

import pytest

from bitxcore.errors import BitxError
from bitxcore.files import atomic_directory, atomic_file, atomic_files


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
