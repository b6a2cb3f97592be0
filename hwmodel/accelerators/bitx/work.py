"""What one layer makes the units of a BitX machine and the ports of its buffers do."""

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


@dataclass(frozen=True)
class BitWidths:
    """Bits of the numbers that move through one layer.

    Parameters
    ----------
    serial, parallel : int
        Of the operand that is cut into rows, and of the other one.
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
        other = other_bits or (fmt.storage_bits if fmt.is_float else 16)
        return cls(own, other, other if serial == "weights" else own, fmt.is_float)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerWork:
    """One layer's work on a machine.

    Parameters
    ----------
    layer : Layer
    job : Job
    widths : BitWidths
    serial : {"weights", "activations"}
        Operand that is cut into rows.
    processing_elements, lanes, group : int
        P, L and G of the machine.
    """

    layer: Layer
    job: Job
    widths: BitWidths
    serial: str
    processing_elements: int
    lanes: int
    group: int

    def passes(
        self, lengths: npt.NDArray[np.int64], groups: int, port_widths: Sequence[int | None]
    ) -> Passes:
        """Describe the passes of a job.

        Parameters
        ----------
        lengths : array of int64, shape (vectors,)
            Groups of each vector, as they are gathered.
        groups : int
            Groups of a vector before zeros are packed away, which is what is broadcast.
        port_widths : sequence of int or None, length 3
            Bytes per cycle of the weight, activation and output ports; None is without limit.
        """
        job, widths, pes = self.job, self.widths, self.processing_elements
        last = (job.uses - 1) % pes + 1
        at_once = np.array([pes, last])  # uses in a whole tile, and in the one that is cut short
        # Bytes of a pass, (filter tiles, kinds of position tile).
        serial = np.add.reduceat(lengths, job.bounds[:-1])[:, None] * _bytes(self.group * widths.serial)
        parallel = at_once * groups * _bytes(self.group * widths.parallel)
        outputs = np.diff(job.bounds)[:, None] * at_once * _bytes(widths.activation)
        weights, activations = (serial, parallel) if self.serial == "weights" else (parallel, serial)
        ports = zip((weights, activations, outputs), port_widths, strict=True)
        latency = ceil(log2(self.group)) + 1
        return Passes(
            fill_cycles=latency * (2 if widths.is_float else 1),
            repeats=(job.use_tiles(pes) - job.steps, job.steps),
            port_cycles=np.stack(
                [np.broadcast_to(port_cycles(moved, width), (job.tiles, 2)) for moved, width in ports], axis=2
            ),
        )

    def events(self, lengths: npt.NDArray[np.int64], histogram: npt.NDArray[np.int64], groups: int) -> Events:
        """Count what the parts do.

        Parameters
        ----------
        lengths : array of int64, shape (vectors,)
            As in `passes`; so `groups`.
        histogram : array of int64
            Entry r: groups with r kept rows.
        groups : int
        """
        job, widths = self.job, self.widths
        passes, uses = job.use_tiles(self.processing_elements), job.uses * job.steps
        gathered = int(lengths.sum())
        rows = np.arange(len(histogram))
        turns = int(-(-rows // self.lanes) @ histogram)
        emitted = int(rows @ histogram)
        broadcast = job.tiles * groups * uses
        serial_read = gathered * passes * self.group * widths.serial
        parallel_read = broadcast * self.group * widths.parallel
        weights_serial = self.serial == "weights"
        return Events(
            serial_groups=gathered * passes,
            rows_emitted=emitted * passes,
            rows_applied=emitted * uses,
            pe_cycles=turns * uses,
            group_sums=gathered * uses,
            parallel_groups=broadcast,
            weight_bits_read=serial_read if weights_serial else parallel_read,
            activation_bits_read=parallel_read if weights_serial else serial_read,
            output_bits_written=self.layer.filters * self.layer.positions * widths.activation,
        )


def _bytes(bits: int) -> int:
    return -(-bits // 8)
