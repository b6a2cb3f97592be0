"""The peers that claim to compute what `prune` does are held to it, bit for bit."""

import numpy as np
import pytest

import bitxcore as bx
from bench import peers
from bench.peers import PEERS, MissingPeerError, numpy_prune
from bench.peers.cpp_prune import CppPrune, build
from tests.bitxcore.oracle import sample


def weights(kind, group):
    """Float32 groups: of trained weights' kind, of any code, of subnormals, of zeros."""
    rng = np.random.default_rng(7)
    size = 512 * group
    if kind == "near":
        return sample("float32", (size,), rng)
    if kind == "any":
        return sample("float32", (size,), rng, uniform=True)
    codes = rng.integers(0, 1 << 23, size, np.uint32) >> rng.integers(0, 24, size, np.uint32)
    if kind == "around the smallest normal":
        codes |= rng.integers(0, 4, size, np.uint32) << 23
    codes |= rng.integers(0, 2, size, np.uint32) << 31
    codes[: 4 * group] &= 1 << 31
    return codes.view(np.float32)


KINDS = ("near", "any", "subnormal", "around the smallest normal")


def check(result, x, rows, group):
    p = bx.prune(x, rows=rows, group=group)
    assert result.values.tobytes() == p.values.tobytes()
    np.testing.assert_array_equal(result.masks, p.row_masks.reshape(-1))
    np.testing.assert_array_equal(result.exponents, p.exponents.reshape(-1))
    np.testing.assert_array_equal(result.kept, p.kept_rows.reshape(-1))


@pytest.fixture(params=[4, 8, 16, 64])
def cpp(request):
    try:
        return CppPrune(request.param)
    except MissingPeerError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("rows", [1, 3, 5, 8, 32])
@pytest.mark.parametrize("kind", KINDS)
class TestEqualsPrune:
    @pytest.mark.parametrize("group", [4, 8, 16, 64])
    def test_numpy(self, kind, rows, group):
        x = weights(kind, group)
        check(numpy_prune.prune(x, rows, group), x, rows, group)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_cpp(self, kind, rows, threads, cpp):
        x = weights(kind, cpp.group)
        result = cpp.empty(x)
        assert cpp(x, rows, threads, result) == 0
        check(result, x, rows, cpp.group)


def test_numpy_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="finite"):
        numpy_prune.prune(np.array([1, np.inf] * 8, np.float32), 5)


def test_cpp_copies_groups_that_are_not_finite(cpp):
    x = weights("near", cpp.group)
    x[3] = np.nan
    x[-1] = -np.inf
    result = cpp.empty(x)
    assert cpp(x, 5, 2, result) == 2
    p = bx.prune(x, rows=5, group=cpp.group, nonfinite="keep")
    assert result.values.tobytes() == p.values.tobytes()
    np.testing.assert_array_equal(result.masks, p.row_masks.reshape(-1))


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_results_do_not_depend_on_threads(peer):
    x = weights("near", 16)
    try:
        one, two = peer.make(x, 1)(), peer.make(x, 2)()
    except MissingPeerError as error:
        pytest.skip(str(error))
    if peer.returns_new:
        assert len(two) == 2
        assert one[0].tobytes() == b"".join(part.tobytes() for part in two)


def test_plain_numpy_takes_whole_chunks_and_what_is_left(monkeypatch):
    monkeypatch.setattr(numpy_prune, "CHUNK", 64)
    x = weights("near", 16)[: 16 * 37]
    parts = peers.plain_numpy(x, 2)()
    assert len(parts) == 2
    assert np.concatenate(parts).tobytes() == bx.prune(x, rows=peers.ROWS, group=peers.GROUP).values.tobytes()


def test_bitround_keeps_five_bits():
    pytest.importorskip("numcodecs")
    x = weights("near", 16)
    codes = peers.bitround(x, 1)()[0].view(np.uint32)
    assert not (codes & ((1 << 18) - 1)).any()
    np.testing.assert_allclose(codes.view(np.float32), x, rtol=2.0**-6)


class TestMissing:
    @pytest.fixture(autouse=True)
    def no_library_yet(self):
        build.cache_clear()
        yield
        build.cache_clear()

    def test_without_a_compiler(self, monkeypatch):
        monkeypatch.setattr("shutil.which", lambda name: None)
        with pytest.raises(MissingPeerError, match=r"^no g\+\+$"):
            CppPrune(16)

    def test_with_a_compiler_that_fails(self, monkeypatch, tmp_path):
        compiler = tmp_path / "g++"
        compiler.write_text("#!/bin/sh\necho 'cannot find -lgomp' >&2\nexit 1\n")
        compiler.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        with pytest.raises(MissingPeerError, match=r"^g\+\+ failed: cannot find -lgomp$"):
            CppPrune(16)
