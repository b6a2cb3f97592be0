"""Which operands machines say that they look at."""

import hwmodel as hw


def test_by_default_weights_decide():
    assert hw.Reads() == hw.Reads(weights=True, activations=False, float_activations=False)


def test_a_machine_that_reads_nothing_needs_nothing():
    layer = hw.Linear("f", 32, 8, positions=4)
    for name in hw.accelerator_names():
        machine = hw.accelerator(name)
        assert isinstance(machine.reads, hw.Reads), name
        if not (machine.reads.weights or machine.reads.activations):
            assert hw.simulate(machine, layer, hw.Operands()).cycles > 0, name


def test_an_option_may_change_what_is_read():
    assert not hw.accelerator("bitx").reads.activations
    assert hw.accelerator("bitx", serial="activations").reads == hw.Reads(
        weights=True, activations=True, float_activations=True
    )
