"""What one layer makes the PEs of a BitX machine and the ports of its buffers do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
import numpy.typing as npt

from bitxcore.formats import NumberFormat
from hwmodel.accelerators.bitx.hardware import Events
from hwmodel.accelerators.bitx.job import Job
from hwmodel.accelerators.cycle_attribution import Passes, port_cycles
from hwmodel.networks.layers import Layer

Counts = npt.NDArray[np.int64]

FIXED_POINT_BITS = 16
"""Width of activations beside fixed-point weights, where no other is given."""


@dataclass(frozen=True)
class BitWidths:
    """Bits of the numbers that move through one layer.

    Parameters
    ----------
    serial, parallel : int
        Of the operand that is taken bit by bit, and of the other one.
    activation : int
        Of activations, whichever they are, and so of outputs.
    is_float : bool
        Whether the serial operand is a float.
    """

    serial: int
    parallel: int
    activation: int
    is_float: bool

    @classmethod
    def of(cls, fmt: NumberFormat, other_bits: int | None, serial: str) -> BitWidths:
        """Find the widths from the serial operand's format and the other one's precision.

        Parameters
        ----------
        fmt : NumberFormat
        other_bits : int or None
            None: as wide as a float of the same format, or 16 bits beside fixed point.
        serial : {"weights", "activations"}
        """
        own = fmt.storage_bits
        if not fmt.is_float:
            own = fmt.significand_bits + (fmt.encoding == "sign-magnitude")
        other = other_bits or (fmt.storage_bits if fmt.is_float else FIXED_POINT_BITS)
        return cls(own, other, other if serial == "weights" else own, fmt.is_float)


@dataclass(frozen=True, kw_only=True)
class PassShape:
    """Options of a machine that say how passes are made up.

    Parameters
    ----------
    serial : {"weights", "activations"}
        Operand that is taken bit by bit.
    group, compute_units : int
        M and P.
    positions : int
        Uses of a vector in a pass: P, or 1 where the CUs share out its groups.
    fill : {"load", "pass"}
    serial_buffer_bytes : int
        Of the buffer that holds the serial operand.
    port_widths : tuple of (int or None), length 3
        Bytes per cycle of the weight, activation and output ports; None is without limit.
    """

    serial: str
    group: int
    compute_units: int
    positions: int
    fill: str
    serial_buffer_bytes: int
    port_widths: Sequence[int | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerWork:
    """One layer's work on a machine.

    Parameters
    ----------
    layer : Layer
    job : Job
    widths : BitWidths
    shape : PassShape
    groups : int
        Groups of a vector before zeros are packed away, which is what is broadcast.
    """

    layer: Layer
    job: Job
    widths: BitWidths
    shape: PassShape
    groups: int

    @property
    def passes_of_a_tile(self) -> int:
        """Position tiles, over all steps."""
        return self.job.use_tiles(self.shape.positions)

    def passes(self, lengths: Counts) -> Passes:
        """Describe the passes of a job.

        Parameters
        ----------
        lengths : array of int64, shape (vectors,)
            Groups of each vector, as they are gathered.
        """
        job, widths, at_once = self.job, self.widths, self.shape.positions
        last = (job.uses - 1) % at_once + 1
        short, total = job.steps, self.passes_of_a_tile
        # The first pass of a tile, the others of whole position tiles, and those that are cut short.
        first = at_once if total > short else last
        uses = np.array([first, at_once, last])
        repeats = (1, total - short - (total > short), short - (total == short))
        # Bytes of a pass, (filter tiles, kinds).
        serial = self._serial_bytes(lengths)[:, None]
        parallel = uses * self.groups * _bytes(self.shape.group * widths.parallel)
        outputs = np.diff(job.bounds)[:, None] * uses * _bytes(widths.activation)
        weights, activations = (serial, parallel) if self.shape.serial == "weights" else (parallel, serial)
        ports = zip((weights, activations, outputs), self.shape.port_widths, strict=True)
        return Passes(
            fill_cycles=self._fills(lengths) * self._latency,
            repeats=repeats,
            port_cycles=np.stack(
                [np.broadcast_to(port_cycles(moved, width), (job.tiles, 3)) for moved, width in ports], axis=2
            ),
        )

    @property
    def _latency(self) -> int:
        """Cycles until the first group has passed Bit-Extraction, and E-align before it."""
        return (ceil(log2(self.shape.group)) + 1) * (2 if self.widths.is_float else 1)

    def _serial_bytes(self, lengths: Counts) -> Counts:
        """Bytes of the serial operand in each tile."""
        groups: Counts = np.add.reduceat(lengths, self.job.bounds[:-1])
        return groups * _bytes(self.shape.group * self.widths.serial)

    def _fills(self, lengths: Counts) -> Counts:
        """Count how often the pipeline fills in each pass, shape (tiles, kinds)."""
        if self.shape.fill == "pass":
            return np.ones((self.job.tiles, 3), np.int64)
        # Tiles follow one another through half of the buffer, while the other half is loaded.
        loads = -(-np.cumsum(self._serial_bytes(lengths)) // max(1, self.shape.serial_buffer_bytes // 2))
        fills: Counts = np.diff(loads, prepend=0)[:, None] * np.array([1, 0, 0])
        return fills

    def events(self, lengths: Counts, *, handed_out: int, applied: int, busy: int) -> Events:
        """Count what the parts do.

        Parameters
        ----------
        lengths : array of int64, shape (vectors,)
            As in `passes`.
        handed_out, applied : int
            Ones (or rows) that are kept; what of them each CU of a PE applies.
        busy : int
            Cycles of all vectors, each alone on its PE.
        """
        job, widths, shape = self.job, self.widths, self.shape
        passes, uses = self.passes_of_a_tile, job.uses * job.steps
        gathered = int(lengths.sum())
        broadcast = job.tiles * self.groups * uses
        serial_read = gathered * passes * shape.group * widths.serial
        parallel_read = broadcast * shape.group * widths.parallel
        weights_serial = shape.serial == "weights"
        return Events(
            serial_groups=gathered * passes,
            handed_out=handed_out * passes,
            applied=applied * uses,
            # At P positions a cycle of a PE is one of as many CUs as there are positions; at one, of all.
            cu_cycles=busy * uses * (shape.compute_units if shape.positions == 1 else 1),
            outputs=self.layer.filters * self.layer.positions,
            parallel_groups=broadcast,
            taken_groups=gathered * uses,
            weight_bits_read=serial_read if weights_serial else parallel_read,
            activation_bits_read=parallel_read if weights_serial else serial_read,
            output_bits_written=self.layer.filters * self.layer.positions * widths.activation,
        )


def _bytes(bits: int) -> int:
    return -(-bits // 8)
