"""Pruning beside what a user would otherwise pick: same array, same rounds, thread for thread."""

import numpy as np
import pytest

import bitxcore as bx

from .measure import THREADS, against, copier, missing, weights
from .peers import GROUP, PEERS, ROWS, MissingPeerError

GROUP_NAME = f"float32, group {GROUP}, {ROWS} rows, and its peers"
COUNTS = sorted({1, THREADS})


def prunes(x):
    """Make the calls of `prune`: into an old array, and into a new one."""
    out = np.zeros_like(x)
    return lambda: bx.prune(x, rows=ROWS, group=GROUP, out=out), lambda: bx.prune(x, rows=ROWS, group=GROUP)


@pytest.mark.parametrize("threads", COUNTS)
@pytest.mark.parametrize("new", [False, True], ids=["old array", "new array"])
def test_ours(benchmark, new, threads, monkeypatch):
    benchmark.group = GROUP_NAME
    monkeypatch.setenv("BITX_THREADS", str(threads))
    x = weights("float32")
    case = "`prune`, to a new array" if new else "`prune`, `out=` an old array"
    against(benchmark, prunes(x)[new], copier(x), case=case, values=x.size, threads=threads)


@pytest.mark.parametrize("threads", COUNTS)
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_peer(benchmark, peer, threads, monkeypatch):
    benchmark.group = GROUP_NAME
    monkeypatch.setenv("BITX_THREADS", str(threads))
    x = weights("float32")
    of = {"case": peer.name, "threads": threads, "peer": True}
    try:
        call = peer.make(x, threads)
    except MissingPeerError as error:
        missing(benchmark, str(error), **of)
        return
    against(benchmark, call, copier(x), values=x.size, beside=prunes(x)[peer.returns_new], **of)
