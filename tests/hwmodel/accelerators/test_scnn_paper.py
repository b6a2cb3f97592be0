"""SCNN by the paper's rules: equal to a machine that moves single products cycle by cycle."""

from dataclasses import replace
from itertools import product
from math import ceil, prod
from random import Random

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import OptionError
from hwmodel.memory.stored import StoredBits

# The naive machine. It knows nothing of the engine: inputs are found by coordinate, outputs by their windows,
# and every product waits in a register, in a queue, or is added.


class NaiveAxis:
    """One axis: which inputs a tile has, which outputs it owns, which lie under its inputs."""

    def __init__(self, inputs, outputs, kernel, stride, dilation, padding, pes):
        self.inputs, self.outputs, self.pes, self.cuts = inputs, outputs, pes, 1
        self.reach = (kernel - 1) * dilation
        self.start = [o * stride - padding for o in range(outputs)]

    @property
    def tile(self):
        return ceil(self.inputs / (self.pes * self.cuts))

    def members(self, t):
        return [x for x in range(self.inputs) if x // self.tile == t]

    def owned(self, t):
        return [o for o in range(self.outputs) if o // ceil(self.outputs / (self.pes * self.cuts)) == t]

    def reached(self, t):
        xs = self.members(t)
        return [
            o for o, start in enumerate(self.start) if xs and start <= xs[-1] and start + self.reach >= xs[0]
        ]

    def directions(self, t):
        """Count the outputs under the tile's inputs that tiles before it, itself, and behind it own."""
        found = [0, 0, 0]
        for o in self.reached(t):
            owner = o // ceil(self.outputs / (self.pes * self.cuts))
            found[(owner > t) - (owner < t) + 1] += 1
        return found

    def most_sums(self):
        both = [self.owned(t) + self.reached(t) for t in range(self.pes * self.cuts)]
        return max(max(of) - min(of) + 1 if of else 0 for of in both)

    def smaller(self):
        tile = self.tile
        while self.tile == tile:
            self.cuts += 1


class PE:
    """Multipliers, their registers, and banks with queues."""

    def __init__(self, m, pairs, sums):
        self.m, self.pairs, self.sums = m, list(pairs), sums
        self.registers = []
        self.queues = [[] for _ in range(m.banks)]

    def done(self):
        return not (self.pairs or self.registers or any(self.queues))

    def step(self):
        if not self.registers and self.pairs:
            activations, weights = self.pairs.pop(0)
            self.registers = [p for p in (meet(a, w) for a in activations for w in weights) if p]
        for b, queue in enumerate(self.queues):
            if queue:
                self.add(queue.pop(0))
                continue
            for p in self.registers:
                if bank(p, self.m) == b:
                    self.registers.remove(p)
                    self.add(p)
                    break
        for p in list(self.registers):
            queue = self.queues[bank(p, self.m)]
            if self.m.queue_depth is None or len(queue) < self.m.queue_depth:
                self.registers.remove(p)
                queue.append(p)

    def add(self, p):
        place, value = p
        self.sums[place] = self.sums.get(place, 0) + value


def bank(p, m):
    (_, k, ow, oh), _ = p
    high = ((k & 4) << 2) ^ ((ow & 2) << 3) ^ ((oh & 2) << 3)
    return (high + ((ow & 1) << 3) + ((oh & 1) << 2) + (k & 3)) % m.banks


def meet(a, w):
    """Product of an activation and a weight, with its place; None if there is no such output."""
    (image, outputs_of, a_value), (k, tap, w_value) = a, w
    place = outputs_of(tap)
    return place and ((image, k, *place), a_value * w_value)


def blocks(values, size):
    return [values[i : i + size] for i in range(0, len(values), size)]


def run_groups(m, groups, sums):
    """Cycles of groups, each the pairs of blocks of every PE and the cycles of its exchange."""
    cycle = started = exchanged = 0
    pes, moving, left = None, None, []
    while True:
        changed = True
        while changed:
            changed = False
            if moving is None and left:
                moving, changed = left.pop(0), True
            if moving == 0:
                moving, exchanged, changed = None, exchanged + 1, True
            if pes is not None and all(pe.done() for pe in pes):
                left.append(groups[started - 1][1])
                pes, changed = None, True
            if pes is None and started < len(groups) and started - exchanged < m.accumulator_sets:
                pes = [PE(m, pairs, sums) for pairs in groups[started][0]]
                started, changed = started + 1, True
        if exchanged == len(groups):
            return cycle
        for pe in pes or ():
            if not pe.done():
                pe.step()
        if moving is not None:
            moving -= 1
        cycle += 1


def shares(m, filters, groups):
    size = filters // groups
    for u in range(m.units):
        mine = range(filters * u // m.units, filters * (u + 1) // m.units)
        yield [
            (g, [k for k in mine if k // size == g]) for g in range(groups) if {k // size for k in mine} & {g}
        ]


def naive_axes(m, layer):
    sizes = (
        layer.in_size,
        layer.out_size,
        layer.kernel,
        layer.stride,
        layer.dilation,
        [p[0] for p in layer.padding],
        (m.pe_rows, m.pe_columns),
    )
    return [NaiveAxis(*of) for of in zip(*sizes, strict=True)]


def naive_conv(m, layer, a, w):
    """Cycles and sums of a convolution; None if one filter's sums do not fit."""
    sparse = m.multiplies == "nonzero"
    a, w = a.reshape(layer.batch, layer.in_channels, *layer.in_size), w.reshape(layer.weight_shape)
    X, Y = naive_axes(m, layer)
    at_once = 1 if layer.groups > 1 and layer.channels == 1 else m.group_filters
    room = m.banks * m.bank_entries
    while m.large_tiles == "rounds" and at_once * X.most_sums() * Y.most_sums() > room:
        if X.tile == Y.tile == 1:
            break
        longer = X if X.most_sums() >= Y.most_sums() else Y
        if longer.tile == 1:
            longer = Y if longer is X else X
        longer.smaller()
    at_once = min(at_once, room // (X.most_sums() * Y.most_sums()))
    if not at_once:
        return None
    (sx, sy), (dx, dy) = layer.stride, layer.dilation
    px, py = (p[0] for p in layer.padding)
    sums, cycles = {}, []

    def outputs_of(x, y):
        def of(tap):
            ox, oy = (x + px - tap[0] * dx) / sx, (y + py - tap[1] * dy) / sy
            inside = 0 <= ox < layer.out_size[0] and 0 <= oy < layer.out_size[1]
            return (int(ox), int(oy)) if ox % 1 == oy % 1 == 0 and inside else None

        return of

    def pairs_of(tx, ty, image, g, filters):
        for c in range(layer.channels):
            for fx, fy in product(range(sx), range(sy)):
                acts = [
                    (image, outputs_of(x, y), a[image, g * layer.channels + c, x, y])
                    for x in X.members(tx)
                    for y in Y.members(ty)
                    if ((x + px) % sx, (y + py) % sy) == (fx, fy)
                    and (not sparse or a[image, g * layer.channels + c, x, y])
                ]
                taps = [
                    (r, s)
                    for r, s in product(range(layer.kernel[0]), range(layer.kernel[1]))
                    if (r * dx % sx, s * dy % sy) == (fx, fy)
                ]
                if m.weight_order == "filters":
                    walk = [(k, t) for k in filters for t in taps]
                else:
                    walk = [(k, t) for t in taps for k in filters]
                wgts = [(k, t, w[(k, c, *t)]) for k, t in walk if not sparse or w[(k, c, *t)]]
                for some in blocks(acts, m.activation_width):
                    for others in blocks(wgts, m.weight_width):
                        yield some, others

    def of_share(share):
        groups, dense = [], 0
        for image in range(layer.batch):
            for g, filters in share:
                for i, j in product(range(X.cuts), range(Y.cuts)):
                    tiles = [
                        (i * m.pe_rows + u, j * m.pe_columns + v)
                        for u, v in product(range(m.pe_rows), range(m.pe_columns))
                    ]
                    if m.multiplies == "dense":
                        dense += max(dots(tile, image, g, filters) for tile in tiles)
                        continue
                    busiest = max(
                        X.directions(tx)[u] * Y.directions(ty)[v]
                        for tx, ty in tiles
                        for u, v in product(range(3), range(3))
                        if (u, v) != (1, 1)
                    )
                    for some in blocks(filters, at_once):
                        pes = [pairs_of(*tile, image, g, some) for tile in tiles]
                        groups.append((pes, busiest * len(some)))
        return dense or run_groups(m, groups, sums)

    def dots(tile, image, g, filters):
        """Walk through one PE's outputs, as many pairs a cycle as it has multipliers."""
        spent = 0
        for k, ox, oy in product(filters, X.owned(tile[0]), Y.owned(tile[1])):
            window = []
            for c, r, s in product(range(layer.channels), range(layer.kernel[0]), range(layer.kernel[1])):
                x, y = ox * sx - px + r * dx, oy * sy - py + s * dy
                inside = 0 <= x < layer.in_size[0] and 0 <= y < layer.in_size[1]
                value = a[image, g * layer.channels + c, x, y] if inside else 0
                window.append(value * w[k, c, r, s])
            for some in blocks(window, m.weight_width * m.activation_width):
                place = image, k, ox, oy
                sums[place] = sums.get(place, 0) + sum(some)
                spent += 1
        return spent

    for share in shares(m, layer.filters, layer.groups):
        cycles.append(of_share(share))
    return max(cycles), sums


def naive_fc(m, layer, a, w):
    """One position at once: input i is on PE i % PEs, and all sums of a filter meet."""
    sparse, pes = m.multiplies == "nonzero", m.pe_rows * m.pe_columns
    a, w = a.reshape(-1, layer.in_features), w.reshape(layer.out_features, layer.in_features)
    at_once = min(m.group_filters, m.banks * m.bank_entries)
    sums, cycles = {}, []

    def pairs_of(pe, image, filters):
        for i in range(pe, layer.in_features, pes):
            if sparse and not a[image, i]:
                continue
            act = (image, lambda _: (0, 0), a[image, i])
            for some in blocks([(k, 0, w[k, i]) for k in filters if not sparse or w[k, i]], m.weight_width):
                yield [act], some

    for share in shares(m, layer.out_features, 1):
        groups, dense = [], 0
        for image in range(len(a)):
            for _, filters in share:
                if m.multiplies == "dense":
                    for k in filters:
                        mine = [range(pe, layer.in_features, pes) for pe in range(pes)]
                        dense += max(len(blocks(of, m.weight_width * m.activation_width)) for of in mine)
                        sums[image, k, 0, 0] = sum(a[image, i] * w[k, i] for of in mine for i in of)
                    continue
                for some in blocks(filters, at_once):
                    groups.append(([pairs_of(pe, image, some) for pe in range(pes)], len(some)))
        cycles.append(dense or run_groups(m, groups, sums))
    return max(cycles), sums


def naive(m, layer, a, w):
    if isinstance(layer, hw.Conv):
        return naive_conv(m, layer, a, w)
    at_once = layer.positions // layer.steps
    if at_once == 1:
        return naive_fc(m, layer, a, w)
    rows = ceil(at_once / m.pe_columns)
    planes = np.zeros((layer.steps, layer.in_features, rows * m.pe_columns), a.dtype)
    planes[:, :, :at_once] = a.reshape(layer.steps, at_once, -1).transpose(0, 2, 1)
    conv = hw.Conv(
        "plane",
        in_channels=layer.in_features,
        out_channels=layer.out_features,
        in_size=(rows, m.pe_columns),
        kernel=1,
        batch=layer.steps,
    )
    return naive_conv(m, conv, planes, w)


def direct(m, layer, a, w):
    """Outputs by their definition, by input, filter and place."""
    found = {}
    if isinstance(layer, hw.Linear):
        outputs = a.reshape(layer.steps, -1, layer.in_features) @ w.T
        for (step, position, k), value in np.ndenumerate(outputs):
            found[step, k, *divmod(position, m.pe_columns)] = value
        return found
    a = a.reshape(layer.batch, layer.in_channels, *layer.in_size)
    padded = np.pad(a, ((0, 0), (0, 0), *layer.padding))
    (sx, sy), (dx, dy), (R, S) = layer.stride, layer.dilation, layer.kernel
    for image, k, ox, oy in product(range(layer.batch), range(layer.filters), *map(range, layer.out_size)):
        g = k // (layer.filters // layer.groups)
        of = padded[image, g * layer.channels : (g + 1) * layer.channels]
        window = of[:, ox * sx :: dx, oy * sy :: dy][:, :R, :S]
        found[image, k, ox, oy] = int((window * w.reshape(layer.weight_shape)[k]).sum())
    return found


def not_zero(outputs):
    return {place: value for place, value in outputs.items() if value}


def drawn_layer(r):
    kind = r.choice(["conv"] * 6 + ["fc", "positions"])
    if kind == "fc":
        return hw.Linear("fc", r.randint(1, 30), r.randint(1, 9))
    if kind == "positions":
        steps = r.choice([1, 1, 2])
        return hw.Linear(
            "tokens", r.randint(1, 6), r.randint(1, 9), positions=steps * r.randint(1, 12), steps=steps
        )
    groups = r.choice([1, 1, 1, 2, 4])
    channels = 1 if groups == 4 else r.randint(1, 3)
    kernel, dilation = (r.randint(1, 4), r.randint(1, 3)), r.choice([(1, 1), (1, 1), (2, 1)])
    return hw.Conv(
        "plane",
        in_channels=channels * groups,
        out_channels=groups * r.randint(1, 2 if groups == 4 else 9),
        in_size=tuple(d * (k - 1) + r.randint(1, 9) for k, d in zip(kernel, dilation, strict=True)),
        kernel=kernel,
        stride=(r.choice([1, 1, 2]), r.choice([1, 1, 2, 3])),
        padding=r.choice([0, 1, 2, ((0, 1), (1, 0))]),
        dilation=dilation,
        groups=groups,
        batch=r.choice([1, 1, 2]),
    )


def drawn_machine(r, **options):
    return hw.accelerator(
        "scnn",
        rules="paper",
        dram=None,
        pe_rows=r.randint(1, 3),
        pe_columns=r.randint(1, 3),
        weight_width=r.randint(1, 5),
        activation_width=r.randint(1, 5),
        banks=r.choice([1, 4, 5, 8, 16, 32]),
        bank_entries=r.choice([2, 3, 8, 32]),
        group_filters=r.randint(1, 8),
        large_tiles=r.choice(["rounds", "rounds", "groups"]),
        queue_depth=r.choice([0, 0, 1, 2, 4, None]),
        weight_order=r.choice(["filters", "positions"]),
        accumulator_sets=r.choice([1, 2, 2, 3]),
        units=r.choice([1, 1, 2]),
        **options,
    )


@pytest.mark.parametrize("multiplies", ["nonzero", "all", "dense"])
@pytest.mark.parametrize("part", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 20))])
def test_equals_its_stepped_model(part, multiplies):
    for seed in range(100):
        r = Random(f"{part}-{seed}")
        layer, m = drawn_layer(r), drawn_machine(r, multiplies=multiplies)
        if isinstance(layer, hw.Linear) and multiplies == "all":
            # Places of the plane behind the last position are no values, which the naive planes do not tell.
            m = replace(m, pe_columns=1)
        rng = np.random.default_rng([part, seed])
        density = r.choice([0.1, 0.4, 0.8, 1.0])
        a = rng.integers(1, 9, layer.input_count) * (rng.random(layer.input_count) < density)
        w = rng.integers(-8, 9, layer.weight_shape) * (rng.random(layer.weight_shape) < density)
        expected = naive(m, layer, a, w)
        result = hw.simulate(m, layer, hw.Operands(w, a, 8, 8))
        where = f"{layer} on {m.label}"
        if expected is None:
            assert "than a PE holds" in result.reason, where
            continue
        cycles, sums = expected
        assert result.cycles == cycles, where
        assert result.utilisation <= 1, where
        assert not_zero(sums) == not_zero(direct(m, layer, a, w)), where


def paper(**options):
    return hw.accelerator("scnn", **{"rules": "paper", "dram": None} | options)


def test_queues_hide_conflicts():
    layer = hw.Conv("c", in_channels=6, out_channels=16, in_size=(1, 1), kernel=1)
    w = np.zeros(layer.weight_shape, np.int8)
    w[[0, 8], ::2] = 1  # of one bank: their products take turns
    w[1, 1::2] = 1  # of another: time for the first one's queue
    given = hw.Operands(w, np.ones(6, np.int8))
    one_group = {"pe_rows": 1, "pe_columns": 1, "group_filters": 16}
    assert [hw.simulate(paper(queue_depth=d, **one_group), layer, given).cycles for d in (0, 1, None)] == [
        9,
        6,
        6,
    ]
    # Queues run empty at the end of a group.
    w[1] = 0
    assert {hw.simulate(paper(queue_depth=d, **one_group), layer, given).cycles for d in (0, 1, None)} == {6}


def test_deeper_queues_never_take_longer():
    rng = np.random.default_rng(1)
    layer = hw.Conv("c", in_channels=20, out_channels=24, in_size=(16, 16), kernel=3, padding=1)
    w = (rng.random(layer.weight_shape) < 0.4).astype(np.int8)
    given = hw.Operands(w, (rng.random(layer.input_count) < 0.5).astype(np.int8))
    spent = [
        hw.simulate(paper(queue_depth=depth), layer, given).cycles for depth in (0, 1, 2, 4, 8, 16, None)
    ]
    assert spent == sorted(spent, reverse=True)
    # By DNNsim's rules every channel and group ends with a barrier, too.
    stalled = hw.simulate(
        hw.accelerator("scnn", rules="dnnsim", phase_shift=False, dram=None), layer, given
    ).cycles
    assert spent[0] < stalled


def test_groups_have_eight_filters_and_large_tiles_are_cut():
    narrow = hw.Conv("narrow", in_channels=4, out_channels=16, in_size=(16, 16), kernel=3, padding=1)
    wide = hw.Conv("wide", in_channels=4, out_channels=16, in_size=(224, 224), kernel=3, padding=1)
    assert tiling(paper(), narrow) == ((2, 2), 1, 8)
    # Tiles of 28 x 28 with a halo: 900 sums of one filter; of 7 x 10: 108, so that eight take 864 of 1024.
    assert tiling(paper(), wide) == ((7, 10), 12, 8)
    assert tiling(paper(large_tiles="groups"), wide) == ((28, 28), 1, 1)
    assert tiling(paper(large_tiles="groups", bank_entries=192), wide) == ((28, 28), 1, 6)
    depthwise = hw.Conv("depthwise", in_channels=4, out_channels=4, in_size=(16, 16), kernel=3, groups=4)
    assert tiling(paper(), depthwise)[2] == 1
    assert "PE holds: 4" in hw.simulate(paper(banks=4, bank_entries=1), narrow).reason


def tiling(machine, layer):
    found = machine._tiling(layer)
    return tuple(axis.tile for axis in found.axes), found.rounds, found.filters


def test_halos_hide_behind_the_next_group():
    layer = hw.Conv("c", in_channels=8, out_channels=32, in_size=(32, 32), kernel=3, padding=1)
    given = hw.Operands(np.ones(layer.weight_shape, np.int8), np.ones(layer.input_count, np.int8))
    one, two = (hw.simulate(paper(accumulator_sets=sets), layer, given) for sets in (1, 2))
    # A tile of 4 x 4 sends 4 sums a filter over an edge; four groups of eight filters.
    assert one.notes == ("128 cycles exchange halos",)
    assert two.notes == ("32 cycles exchange halos",)
    assert one.cycles - two.cycles == 96


def test_fully_connected_layers_reach_a_quarter_of_the_peak():
    layer = hw.Linear("fc", 640, 800)
    given = hw.Operands(np.ones((800, 640), np.int8), np.ones(640, np.int8))
    full = hw.simulate(paper(), layer, given)
    assert full.utilisation == pytest.approx(0.25, rel=0.01)
    # All PEs' sums of the last group meet in one output each.
    assert full.notes == ("8 cycles exchange halos",)
    dense = hw.simulate(paper(multiplies="dense"), layer, given)
    assert dense.cycles == 800
    assert full.cycles == 10 * 100 * 2 + 8


def test_the_dense_machine_has_the_same_tiles_and_no_operands_to_look_at():
    layer = hw.Conv("c", in_channels=16, out_channels=10, in_size=(14, 14), kernel=3, padding=1)
    dense = paper(multiplies="dense")
    assert not dense.reads.weights
    assert not dense.reads.activations
    result = hw.simulate(dense, layer)
    assert result.cycles == 2 * 2 * 10 * 9
    assert result.utilisation == pytest.approx(49 / 64)
    # With every value taken for one that is not zero, what the operands are does not matter.
    rng = np.random.default_rng(0)
    some = hw.Operands(rng.integers(0, 2, layer.weight_shape), rng.integers(0, 2, layer.input_count))
    every = hw.Operands(np.ones(layer.weight_shape, np.int8), np.ones(layer.input_count, np.int8))
    cycles = {hw.simulate(paper(multiplies="all"), layer, given).cycles for given in (some, every)}
    assert cycles == {hw.simulate(paper(), layer, every).cycles}


def test_what_moves_and_what_it_is_stored_in():
    layer = hw.Conv("c", in_channels=2, out_channels=8, in_size=(10, 7), kernel=3, padding=1)
    w, a = np.zeros(layer.weight_shape, np.int16), np.zeros((2, 10, 7), np.int16)
    w[3, :, 2, 2] = 1  # 35 zeros before it in a channel's 8 filters, filter by filter
    a[0, 9, 6] = 1  # in a tile of 5 x 4: 4 x 3 of them, 14 zeros before it
    given = hw.Operands(w, a, 16, 16)
    found = stored(paper(pe_rows=2, pe_columns=2), layer, given)
    assert found == StoredBits(2 * 3 * 20, 1 * 20, ceil(20 * 560 / 140))
    # Position by position: 67 zeros before it.
    assert stored(paper(weight_order="positions"), layer, given).weights == 2 * 5 * 20
    dense = StoredBits(prod(w.shape) * 16, prod(a.shape) * 16, 560 * 16)
    assert stored(paper(multiplies="dense"), layer, given) == dense
    assert stored(paper(multiplies="all"), layer, given).weights == prod(w.shape) * 20


def stored(machine, layer, given):
    return machine.stored_bits(layer, given, machine.run(layer, given))


def test_parts_of_both_machines():
    sparse, dense = paper(), paper(multiplies="dense")
    queues = sparse.area_parts_mm2["bank_queues"]
    assert paper(queue_depth=8).area_parts_mm2["bank_queues"] == pytest.approx(2 * queues)
    assert "bank_queues" not in paper(queue_depth=None).area_parts_mm2
    assert "bank_queues" not in paper(rules="dnnsim").area_parts_mm2
    assert paper(accumulator_sets=1).area_mm2 < sparse.area_mm2
    # The dense machine does without crossbars, coordinates, and all banks but one.
    assert dense.area_mm2 < sparse.area_mm2
    assert {"crossbars", "coordinates", "index_decoders"}.isdisjoint(dense.area_parts_mm2)
    layer = hw.Conv("c", in_channels=32, out_channels=16, in_size=(16, 16), kernel=3, padding=1)
    rng = np.random.default_rng(0)
    for density, saves in ((0.2, True), (1.0, False)):
        w = (rng.random(layer.weight_shape) < density).astype(np.int8)
        given = hw.Operands(w, (rng.random(layer.input_count) < density).astype(np.int8))
        one, other = (hw.simulate(machine, layer, given) for machine in (sparse, dense))
        assert (one.energy_j < other.energy_j) == saves


def test_explanations_leave_out_what_the_rules_do_not_look_at():
    def changed(machine):
        return {name for change in machine.own_changes() for name in change.options}

    theirs = {"group_filters", "bank_entries", "queue_depth", "accumulator_sets"}
    assert changed(paper()) >= theirs
    assert changed(paper()).isdisjoint({"accumulator_entries", "phase_shift"})
    assert changed(paper(rules="dnnsim")).isdisjoint(theirs)


def test_the_papers_rules_are_the_default():
    assert hw.accelerator("scnn").rules == "paper"
    assert "rules" not in hw.accelerator("scnn").comparison


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rules": "ours"}, "rules must be one of dnnsim, paper, got 'ours'"),
        ({"rules": "paper", "multiplies": "some"}, "multiplies must be one of nonzero, all, dense"),
        ({"rules": "dnnsim", "multiplies": "dense"}, "multiplies='dense' needs rules='paper', got 'dnnsim'"),
        ({"rules": "paper", "queue_depth": -1}, "queue_depth must be an integer of at least 0, got -1"),
        ({"rules": "paper", "group_filters": 0}, "group_filters must be an integer of at least 1, got 0"),
        ({"rules": "paper", "weight_order": "channels"}, "weight_order must be one of filters, positions"),
        ({"rules": "paper", "large_tiles": "none"}, "large_tiles must be one of rounds, groups"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("scnn", **options)
