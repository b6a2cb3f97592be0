"""Bits of a layer in DRAM, by hand."""

import pytest

import hwmodel as hw
from hwmodel.memory.stored import StoredBits, dense_bits, whole_words


@pytest.mark.parametrize(
    ("bits", "word", "whole"), [(0, 16, 0), (1, 16, 16), (16, 16, 16), (17, 16, 32), (9, 1, 9)]
)
def test_whole_words(bits, word, whole):
    assert whole_words(bits, word) == whole


def test_convolution():
    layer = hw.Conv("c", in_channels=4, out_channels=6, in_size=(5, 7), kernel=3, groups=2, batch=3)
    # 6 filters of 2 channels x 9; 3 images of 4 x 5 x 7 in and 6 x 3 x 5 out, which have the inputs' width.
    assert dense_bits(layer, 8, 5) == StoredBits(6 * 18 * 8, 3 * 140 * 5, 3 * 90 * 5)


def test_transposed_convolution():
    layer = hw.ConvTranspose("t", in_channels=2, out_channels=3, in_size=4, kernel=2, stride=2)
    assert dense_bits(layer, 16, 16) == StoredBits(12 * 16, 8 * 16, 24 * 16)


def test_matrix_product():
    layer = hw.Linear("f", in_features=10, out_features=4, positions=6, steps=2)
    assert dense_bits(layer, 3, 7) == StoredBits(40 * 3, 60 * 7, 24 * 7)


def test_the_second_operand_of_a_product_takes_the_place_of_weights():
    layer = hw.MatMul("m", rows=3, inner=4, columns=5, batch=2)
    # 2 x (4 x 5) and 2 x (3 x 4) in, 2 x (3 x 5) out, all of the activations' width.
    assert dense_bits(layer, 99, 8) == StoredBits(40 * 8, 24 * 8, 30 * 8)


def test_weights_are_plain_unless_said():
    assert StoredBits(1, 2, 3).plain_weights is None
