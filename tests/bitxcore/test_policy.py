"""Policies: what they say of a tensor, and their files."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitxcore as bx
from bitxcore.criteria import ROUNDINGS
from bitxcore.errors import BitxError, DumpError, OptionError
from bitxcore.groups import GROUPINGS
from bitxcore.policy import MAX_POLICY_BYTES, POLICY_CRITERIA, PruningOptions

ROWS = st.integers(1, 64)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def options(draw: st.DrawFn) -> dict[str, object]:
    grouping = draw(st.sampled_from(GROUPINGS))
    group = draw(st.none() | ROWS) if grouping == "kernel" else draw(ROWS)
    return {
        "rows": draw(st.none() | ROWS),
        "group": group,
        "grouping": grouping,
        "window": draw(st.none() | ROWS),
        "rounding": draw(st.sampled_from(ROUNDINGS)),
        "criterion": draw(st.sampled_from(POLICY_CRITERIA)),
    }


ORIGINS = st.dictionaries(
    TEXTS, st.none() | st.booleans() | st.integers(-9, 9) | TEXTS | st.floats(allow_nan=False).filter(
        lambda x: abs(x) < float("inf")
    ), max_size=3,
)  # fmt: skip


@given(st.dictionaries(TEXTS, options(), max_size=4), st.none() | options(), ORIGINS)
def test_a_file_gives_back_what_was_written(tmp_path_factory, tensors, default, origin):
    policy = bx.Policy(tensors, default, origin)
    path = tmp_path_factory.mktemp("policy") / "policy.json"
    policy.save(path)
    read = bx.load_policy(path)
    assert read == policy
    assert hash(read) == hash(policy)
    assert read.origin == origin
    assert read.path == str(path)
    assert read.text() == policy.text() == path.read_text("utf-8")
    assert list(read.tensors) == list(tensors)
    for name, told in tensors.items():
        assert read.options_for(name) == told
    unnamed = "a tensor that no policy of this test names"
    assert read.options_for(unnamed) == (default or PruningOptions(rows=None).as_dict())
    assert pickle.loads(pickle.dumps(read)) == copy.deepcopy(read) == policy


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["version", "tensors", "default", "origin", "rows", "group", "w"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_policy_or_an_error_of_one_line(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "policy.json"
    if isinstance(value, dict):
        value.setdefault("version", 1)
        value.setdefault("tensors", {})
    path.write_text(json.dumps(value))
    told = f"{path}: "
    try:
        bx.load_policy(path)
    except BitxError as error:
        told = str(error)
    assert told.startswith(f"{path}: ")
    assert "\n" not in told


def test_a_file_has_one_line_per_tensor():
    policy = bx.Policy(
        {"conv1.weight": {"rows": None}, "fc.weight": {"rows": 9, "window": 32}},
        {"rows": 6, "group": 16},
        {"task": "digits", "loss": 0.5},
    )
    assert policy.text() == (
        '{\n  "version": 1,\n  "origin": {\n    "task": "digits",\n    "loss": 0.5\n  },\n'
        '  "default": {"rows": 6, "group": 16},\n  "tensors": {\n'
        '    "conv1.weight": {"rows": null},\n'
        '    "fc.weight": {"rows": 9, "window": 32}\n  }\n}\n'
    )


GOOD = '{"version": 1, "tensors": {%s}}'


FILE, OPTION = DumpError, OptionError


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("[", FILE, "is not JSON"),
        ("\xff", FILE, "is not JSON"),
        ("[]", FILE, "a policy must be an object, got a list"),
        ("{}", FILE, "this release reads policies of version 1, it has none"),
        ('{"version": 2, "x": 1}', FILE, "this release reads policies of version 1, got 2"),
        ('{"version": true, "tensors": {}}', FILE, "version 1, got True"),
        ('{"version": 1}', FILE, "a policy has 'tensors'"),
        ('{"version": 1, "version": 1, "tensors": {}}', FILE, "key 'version' is there twice"),
        ('{"version": 1, "tensors": {}, "rows": 6}', FILE, "key 'rows' is not known; known: version,"),
        ('{"version": 1, "tensors": []}', FILE, "tensors: tensors must be an object, got a list"),
        (GOOD % '"w": {"rows": 6}, "w": {"rows": 6}', FILE, "tensors: key 'w' is there twice"),
        (GOOD % '"w": {"rows": 6, "rows": 6}', FILE, "tensor 'w': key 'rows' is there twice"),
        (GOOD % '"w": null', FILE, "tensor 'w': what is said of a tensor must be an object, got null"),
        (GOOD % '"w": {}', OPTION, "tensor 'w': rows is missing"),
        (GOOD % '"w": {"rows": 0}', OPTION, "tensor 'w': rows must be an integer from 1 to 64, got 0"),
        (GOOD % '"w": {"rows": 65}', OPTION, "tensor 'w': rows must be an integer from 1 to 64, got 65"),
        (GOOD % '"w": {"rows": 6.0}', OPTION, "rows must be an integer from 1 to 64, got 6.0"),
        (GOOD % '"w": {"rows": true}', OPTION, "tensor 'w': rows must be"),
        (GOOD % '"w": {"rows": "6"}', OPTION, "rows must be an integer from 1 to 64, got '6"),
        (GOOD % '"w": {"rows": 1e999}', OPTION, "tensor 'w': rows must be"),
        (GOOD % '"w": {"rows": NaN}', FILE, "NaN is not JSON"),
        (GOOD % ('"w": {"rows": %s}' % ("9" * 5000)), FILE, "too many digits"),
        (GOOD % '"w": {"rows": 6, "group": 65}', OPTION, "tensor 'w': group must be an integer from 1 to"),
        (GOOD % '"w": {"rows": 6, "group": null}', OPTION, "tensor 'w': group null stands for whole"),
        (GOOD % '"w": {"rows": 6, "window": 0}', OPTION, "tensor 'w': window must be an integer from 1 to"),
        (GOOD % '"w": {"rows": 6, "grouping": "rows"}', OPTION, "grouping must be one of flat, channel,"),
        (GOOD % '"w": {"rows": 6, "grouping": [1]}', OPTION, "grouping must be one of flat, channel,"),
        (GOOD % '"w": {"rows": 6, "rounding": "up"}', OPTION, "rounding must be one of truncate, nearest"),
        (GOOD % '"w": {"rows": 6, "criterion": "energy"}', OPTION, "criterion must be one of topn, msb"),
        (GOOD % '"w": {"rows": 6, "row": 6}', OPTION, "tensor 'w': key 'row' is not known; known: rows,"),
        (GOOD % r'"\ud800": {"rows": 6}', OPTION, "half of a pair of surrogates"),
        ('{"version": 1, "tensors": {}, "default": {"group": 8}}', OPTION, "default: rows is missing"),
        ('{"version": 1, "tensors": {}, "default": 6}', FILE, "default: default must be an object, got 6"),
        ('{"version": 1, "tensors": {}, "origin": {"a": []}}', OPTION, "origin: key 'a' must be text or"),
        ('{"version": 1, "tensors": {}, "origin": {"a": 1e999}}', OPTION, "origin: key 'a' must be finite"),
    ],
)  # fmt: skip
def test_what_is_no_policy(tmp_path, text, kind, told):
    path = tmp_path / "policy.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BitxError) as caught:
        bx.load_policy(path)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none(tmp_path):
    path = tmp_path / "policy.json"
    with pytest.raises(DumpError, match="does not exist"):
        bx.load_policy(path)
    os.mkfifo(path)
    with pytest.raises(DumpError, match="is not a regular file"):
        bx.load_policy(path)
    path.unlink()
    path.touch()
    os.truncate(path, MAX_POLICY_BYTES + 1)
    with pytest.raises(DumpError, match=f"a policy has at most {MAX_POLICY_BYTES} bytes"):
        bx.load_policy(path)
    path.write_bytes(b'{"a":' * 100_000)
    with pytest.raises(DumpError, match="is not JSON: it is nested too deeply"):
        bx.load_policy(path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "policy.json"
    before = bx.Policy(default={"rows": 6})
    before.save(path)

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(BitxError, match="can't be written"):
        bx.Policy(default={"rows": 2}).save(path)
    assert bx.load_policy(path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["policy.json"]


def test_tensors_override_the_default():
    policy = bx.Policy({"a": {"rows": 3}, "b": PruningOptions(rows=4)}, {"rows": 6, "group": 16})
    assert policy.options_for("a")["group"] == 16
    assert policy.options_for("b")["group"] == 8
    assert policy.options_for("c") == {**policy.options_for("a"), "rows": 6}
    policy.options_for("a")["rows"] = 1  # a new dict each time
    assert policy.of("a").rows == 3
    with pytest.raises(TypeError):
        policy.tensors["a"] = PruningOptions(rows=1)
    # Without a default, weights that are not named are not pruned.
    assert bx.Policy({"a": {"rows": 3}}).of("c").rows is None


def test_equal_policies():
    one = bx.Policy({"a": {"rows": 3}, "b": {"rows": 4}}, {"rows": 6}, {"task": "digits"})
    other = bx.Policy({"b": {"rows": 4}, "a": {"rows": 3}}, {"rows": 6})
    assert one == other
    assert len({one, other}) == 1
    assert one.with_options("a", rows=5) != one
    assert one.with_options("a", rows=5).with_options("a", rows=3) == one
    assert one.with_options("a", rows=5).of("a") == PruningOptions(rows=5)
    assert one.with_origin(loss=0.5).origin == {"task": "digits", "loss": 0.5}
    with pytest.raises(OptionError, match="tensor 'a': rows must be an integer from 1 to 64, got 99"):
        one.with_options("a", rows=99)


def test_a_policy_of_another_model():
    policy = bx.Policy({"a": {"rows": 3}, "b": {"rows": 4}, "c": {"rows": 4}}, path="policy.json")
    policy.check_names({"a": 0, "b": 0, "c": 0, "d": 0}, "model.onnx")
    with pytest.raises(OptionError) as caught:
        policy.check_names(["a"], "model.onnx")
    assert str(caught.value) == (
        "policy.json: tensor 'b': is named in the policy, but model.onnx has no such tensor, nor 1 more of"
        " the policy; a policy for another model?"
    )
