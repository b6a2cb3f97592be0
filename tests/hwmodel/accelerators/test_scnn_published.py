"""SCNN beside its paper: ``python tests/hwmodel/accelerators/test_scnn_published.py`` prints the table.

Options of the machine may follow: ``queue_depth=8``. How ours is computed stands in
`hwmodel.studies.validation.scnn_paper`. The tests hold ours to what was found, so that a change is noticed.
"""

import sys

import pytest

from hwmodel.studies.validation.scnn_paper import TABLES, convolutions, densities, gain, rows, with_densities


def test_the_table_has_the_layers_of_the_paper():
    names = [name for network in TABLES for _, of in convolutions(network) for name in of]
    assert sorted(names) == sorted(densities())
    # With conv2 of AlexNet counted once.
    assert len(names) - 1 == 72


def test_alexnet_over_the_dense_machine():
    assert gain(with_densities("AlexNet")) == pytest.approx(2.32, abs=0.02)


@pytest.mark.slow
def test_gains_over_the_dense_machine():
    assert [row.ours for row in rows()] == pytest.approx([2.32, 2.10, 3.96, 0.72, 15.2], rel=0.01)


def main():
    # Options as arguments: ``queue_depth=8``.
    options = dict(argument.split("=") for argument in sys.argv[1:])
    options = {name: int(value) if value.isdigit() else value for name, value in options.items()}
    print(f"{'':62} {'published':>9} {'ours':>6} {'ratio':>6}")
    for row in rows(**options):
        print(f"{row.network:10} {row.what:51} {row.published:9.2f} {row.ours:6.2f} {row.ratio:6.2f}")


if __name__ == "__main__":
    sys.exit(main())
