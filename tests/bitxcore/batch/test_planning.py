"""What a batch says beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from bitxcore.batch.runs.dump_actions import InspectAction, PruneAction
from bitxcore.batch.runs.expecting import expected_seconds
from bitxcore.batch.runs.planning import PARENT_BYTES, PROCESS_BYTES, plan_batch

MIB = 1 << 20


@pytest.fixture
def large(tmp_path):
    """A tensor of 512 MiB that takes no room on the disk."""
    path = tmp_path / "w.npy"
    np.lib.format.open_memmap(path, "w+", "f4", (8192, 16384)).flush()
    return path


def work(action, *paths, jobs=1):
    """Bytes of memory besides those of the processes."""
    return plan_batch(action, paths).memory(jobs) - PROCESS_BYTES * jobs - PARENT_BYTES * (jobs > 1)


def pruning(memory_bytes, **options):
    return PruneAction(options={"rows": 6, "memory_bytes": memory_bytes}, **options)


def test_the_memory_of_a_large_tensor_is_that_of_its_pieces(large):
    assert work(pruning(64 * MIB), large) == 64 * MIB
    assert work(pruning(1 << 40), large) == 27 * 8 * MIB  # bytes per value, values of the longest piece
    assert work(pruning(1), large) == 27 * 131072  # but not less than some rows take
    assert work(InspectAction(options={"memory_bytes": 64 * MIB}), large) == (64 + 64) * MIB


def test_kept_masks_are_held_whole(large):
    masks = 3 * 11 * (128 << 20) // 8
    assert work(pruning(64 * MIB, masks=True), large) == 64 * MIB + masks
    assert work(pruning(1 << 40, masks=True), large) == 12 * (128 << 20) + masks


def test_a_tensor_that_its_reader_hands_out_whole_is_in_memory(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.zeros(1024, 1024)}, tmp_path / "w.pt")
    np.save(tmp_path / "w.npy", np.zeros((1024, 1024), "f4"))
    read, mapped = (work(pruning(1 << 30), tmp_path / name) for name in ("w.pt", "w.npy"))
    assert read == mapped + 4 * MIB


def test_units_of_one_dump_are_at_work_at_once(tmp_path):
    arrays = {f"t{n}": np.zeros((1 << 12, 1 << 12), "f4") for n in range(5)}  # 64 MiB each
    np.savez(tmp_path / "m.npz", **arrays)
    one, two = (work(pruning(32 * MIB), tmp_path / "m.npz", jobs=jobs) for jobs in (1, 2))
    assert two == 2 * one == 64 * MIB


def test_a_tensor_that_can_not_be_grouped_does_not_stop_the_plan(tmp_path):
    np.savez(tmp_path / "m.npz", a=np.zeros((4, 8), "f4"))
    action = PruneAction(options={"rows": 6, "group": None, "grouping": "kernel"})
    assert plan_batch(action, [tmp_path / "m.npz"]).dumps[0].reason is None


# -- time --------------------------------------------------------------------------------------


def test_the_time_is_estimated_from_a_part_of_a_tensor(large, tmp_path):
    np.savez(tmp_path / "small.npz", w=np.ones((64, 64), "f4"))
    for action in (pruning(None), InspectAction()):
        small, more = (
            expected_seconds(plan_batch(action, [path]), 1) for path in (tmp_path / "small.npz", large)
        )
        assert 0.01 < small < more, action.name


def test_policies_and_norms_need_none_of_a_part(large, tmp_path):
    (tmp_path / "p.json").write_text('{"version": 1, "tensors": {"w": {"rows": 4}}}')
    policy = PruneAction(policy=str(tmp_path / "p.json"))
    norms = pruning(None, norms=lambda: pytest.fail("are read"), norms_path="n")
    for action in (policy, norms):
        assert expected_seconds(plan_batch(action, [large]), 1)


def test_a_row_that_is_larger_than_the_part(tmp_path):
    np.save(tmp_path / "w.npy", np.ones((2, 1 << 20), "i1"))
    assert expected_seconds(plan_batch(pruning(None), [tmp_path / "w.npy"]), 1)


def test_where_nothing_can_be_tried_no_time_is_told(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK")
    np.save(tmp_path / "nan.npy", np.full((4, 8), np.nan, "f4"))
    for name in ("broken.npz", "nan.npy"):
        assert expected_seconds(plan_batch(pruning(None), [tmp_path / name]), 1) is None
