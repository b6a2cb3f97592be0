"""All codes of every 8- and 16-bit format against the definition."""

import numpy as np
import pytest

import bitxcore as bx
from bitxcore import reference
from bitxcore.formats import number_format

from .oracle import all_codes, check_prune, codes_of

NAMES = (
    "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2",
    "int8", "int16", "int8-twos", "int16-twos", "uint8", "int4", "int12",
)  # fmt: skip
RARE_NAMES = ("int16-twos", "int12")
"""Formats of 16 bits that share their kernels with int16."""

OPTIONS = (
    {"criterion": "topn", "rows": 3},
    {"criterion": "msb", "rows": 2},
    {"criterion": "threshold", "threshold": 0.2},
    {"criterion": "energy", "budget": 0.1},
    {"criterion": "topn", "rows": 2, "rounding": "nearest"},
)


def option_names(options):
    return "-".join(str(value) for value in options.values())


@pytest.mark.parametrize("name", NAMES)
def test_decompose_and_essential_bits(name):
    fmt, x = number_format(name), all_codes(name)
    want = [reference.decode(int(c), fmt) for c in codes_of(x, fmt)]
    sign, exponent, significand = bx.decompose(x, name)
    assert sign.tolist() == [v.sign for v in want]
    assert exponent.tolist() == [v.exponent for v in want]
    assert significand.tolist() == [v.significand for v in want]
    assert bx.essential_bits(x, name).tolist() == [v.significand.bit_count() for v in want]


@pytest.mark.parametrize("name", NAMES)
def test_decomposed_fields_give_the_value(name):
    fmt, x = number_format(name), all_codes(name)
    sign, exponent, significand = (field.astype(np.float64) for field in bx.decompose(x, name))
    value = significand * 2.0 ** (exponent - fmt.bias - (fmt.significand_bits - 1))
    if fmt.encoding == "twos-complement":
        value -= (significand >= 2.0 ** (fmt.significand_bits - 1)) * 2.0**fmt.significand_bits
    np.testing.assert_array_equal((-1) ** sign * value, x.astype(np.float64))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(
            name,
            options,
            id=f"{option_names(options)}-{name}",
            marks=[pytest.mark.slow] * (number_format(name).storage_bits == 16 and options != OPTIONS[0]),
        )
        for options in OPTIONS
        for name in NAMES
        if name not in RARE_NAMES
    ],
)
def test_prune(name, options):
    check_all_codes(name, options)


@pytest.mark.slow
@pytest.mark.parametrize("name", RARE_NAMES)
@pytest.mark.parametrize("options", OPTIONS, ids=option_names)
def test_prune_rare_formats(name, options):
    check_all_codes(name, options)


def check_all_codes(name, options):
    x = all_codes(name)
    check_prune(np.random.default_rng(7).permutation(x), name, **options)
    if options["criterion"] == "topn":
        check_prune(x, name, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_group_of_one_keeps_its_own_highest_bits(name):
    check_prune(all_codes(name).reshape(-1, 1), name, group=1, rows=2)


@pytest.mark.parametrize("name", NAMES)
def test_pack(name):
    p = bx.prune(all_codes(name), format=name, rows=4)
    np.testing.assert_array_equal(bx.unpack(bx.pack(p)).view(np.uint8), p.values.view(np.uint8))
