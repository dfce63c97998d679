"""Spikes to rows: edges in whole nanoseconds that never drift, and the row that is not full yet.

Pure, and without a clock: time moves by packets alone, so a replay at any speed gives the same rows. The
rules, in the order they are asked of a packet [from_ns, to_ns) where all before `covered_ns` has been told:
    to_ns <= covered    a repeat, or late where it lies in a gap: counted; a run of them starts the grid anew
    from_ns > covered   a gap: rows that are not wholly covered are never presented, and their spikes are lost
    from_ns < covered   only what is new counts
A row is complete as soon as all before its end has been told.
"""

from bisect import bisect_right
from typing import NamedTuple

import msgspec
import numpy as np

from stream_rnn.errors import ModelError, SampleError
from stream_rnn.sample import I64, Sample, Spikes
from stream_rnn.session.rules import Packets

MAX_ROWS = 1000
"""Rows that one packet may span: what it costs to answer stays bounded. A gap may be of any length."""
SECOND_NS = 10**9
MOST_KEPT = 1024  # spikes kept as they came: rows may last long
GAPS_REMEMBERED = 32  # enough to tell a late packet from a repeat
MOST_NUMBER = 2**63 - 1


class Grid:
    """Where rows begin: row k at start_ns + k / rate_hz, rounded to the nearest nanosecond, halves up.

    The rate is taken as the fraction that its float is, and every edge is computed from k alone: none drifts.

    Args:
        start_ns: Where row 0 begins.
        rate_hz: Rows a second.
    """

    __slots__ = ("_ns", "_rows", "start_ns")

    def __init__(self, start_ns: int, rate_hz: float) -> None:
        self.start_ns = start_ns
        self._rows, seconds = rate_hz.as_integer_ratio()
        self._ns = seconds * SECOND_NS  # so many rows in so many nanoseconds, exactly

    def edge(self, row: int) -> int:
        """Where a row begins, nanoseconds."""
        return self.start_ns + (2 * row * self._ns + self._rows) // (2 * self._rows)

    def row(self, t_ns: int) -> int:
        """The row that an instant lies in."""
        return ((2 * (t_ns - self.start_ns) + 1) * self._rows - 1) // (2 * self._ns)


class Binned(NamedTuple):
    """What a packet made of a stream.

    Attributes:
        samples: The rows that it completed, in order.
        anew: Whether the rows are counted on a new grid, and the state has started anew with it.
    """

    samples: list[Sample]
    anew: bool


class StoredBins(msgspec.Struct, array_like=True):
    """Everything that the next rows depend on."""

    start_ns: int
    first: int
    row: int
    covered_ns: int
    counts: bytes
    gaps: list[tuple[int, int]]
    late_ns: int
    late_run: int


class Bins:
    """The rows of one stream: where they begin, and the one that is not full yet.

    Args:
        start_ns: Where row 0 begins: where the first packet does.
        rate_hz: Rows a second.
        D: Units.
        first: Seq of row 0.
    """

    __slots__ = (
        "_counts",
        "_covered_ns",
        "_first",
        "_gaps",
        "_grid",
        "_late_ns",
        "_late_run",
        "_rate_hz",
        "_row",
        "_row_ns",
        "_units",
    )

    def __init__(self, start_ns: int, rate_hz: float, D: int, first: int) -> None:
        self._rate_hz = rate_hz
        self._grid = Grid(start_ns, rate_hz)
        self._first, self._row = first, 0
        self._row_ns = self._covered_ns = start_ns
        self._counts: I64 = np.zeros(D, dtype=np.int64)  # of the row that is not full yet, and
        self._units: list[int] = []  # its spikes not counted there yet: to keep them costs next to nothing
        self._gaps: list[tuple[int, int]] = []
        self._late_ns, self._late_run = 0, 0

    def fits(self, rate_hz: float, D: int) -> bool:
        """Whether a model takes these rows."""
        return self._rate_hz == rate_hz and len(self._counts) == D

    def restarted(self, spikes: Spikes, restart_after: int) -> bool:
        """Whether the producer's clock started again: more packets in a row than that are of the past.

        Args:
            spikes: The next packet.
            restart_after: As of `Rules`; 0 never.
        """
        if spikes.to_ns > self._covered_ns:
            self._late_run = 0
            return False
        self._late_run = self._late_run + 1 if spikes.from_ns >= self._late_ns else 1
        self._late_ns = spikes.to_ns
        return 0 < restart_after < self._late_run

    def take(self, spikes: Spikes, packets: Packets) -> list[Sample]:
        """Count a packet.

        Args:
            spikes: The packet, checked.
            packets: Where it is told what became of it.

        Returns:
            The rows that it completed, in order.
        """
        packets.spikes += len(spikes.units)
        if spikes.to_ns <= self._covered_ns:
            self._leave_out(spikes, packets)
            return []
        packets.taken += 1
        if spikes.from_ns > self._covered_ns:
            self._skip_to(spikes.from_ns, packets)
        units, times_ns = spikes.units, spikes.times_ns
        if spikes.from_ns < max(self._covered_ns, self._row_ns):
            units, times_ns = self._new(spikes, packets)
        self._covered_ns = spikes.to_ns
        first, stop = self._row, self._grid.row(spikes.to_ns)
        if stop <= first:
            self._keep(units)
            return []
        ends = [self._grid.edge(row + 1) for row in range(first, stop)]
        rows: list[list[int]] = [[] for _ in range(first, stop + 1)]
        for unit, t_ns in zip(units, times_ns, strict=True):
            rows[bisect_right(ends, t_ns)].append(unit)
        samples = []
        for seq, (row_units, end_ns) in enumerate(zip(rows, ends, strict=False), start=self._first + first):
            self._keep(row_units)
            samples.append(Sample(spikes.stream, seq, end_ns, self._counted().astype(np.float32)))
            self._counts[:] = 0
        self._keep(rows[-1])
        self._row, self._row_ns = stop, ends[-1]
        return samples

    def _keep(self, units: list[int]) -> None:
        """Take spikes into the row that is not full yet: counted when it is, or when they are many."""
        self._units += units
        if len(self._units) > MOST_KEPT:
            self._counted()

    def _counted(self) -> I64:
        """Counts of the row that is not full yet, (D,)."""
        if self._units:
            self._counts += np.bincount(self._units, minlength=len(self._counts))
            self._units.clear()
        return self._counts

    def _leave_out(self, spikes: Spikes, packets: Packets) -> None:
        """Count a packet of the past."""
        packets.repeated += len(spikes.units)
        if any(spikes.from_ns < stop and spikes.to_ns > start for start, stop in self._gaps):
            packets.late += 1
        else:
            packets.duplicate += 1

    def _skip_to(self, t_ns: int, packets: Packets) -> None:
        """Nobody told what was before this instant: go on with the first row that begins no sooner."""
        self._gaps = [*self._gaps[1 - GAPS_REMEMBERED :], (self._covered_ns, t_ns)]
        packets.gaps += 1
        packets.lost += int(self._counted().sum())
        self._counts[:] = 0
        self._row = self._grid.row(t_ns - 1) + 1
        self._row_ns = self._grid.edge(self._row)

    def _new(self, spikes: Spikes, packets: Packets) -> tuple[list[int], list[int]]:
        """Units and times of the spikes that have not been told before and lie in rows that can be whole."""
        packets.overlapping += spikes.from_ns < self._covered_ns
        told = sum(t_ns < self._covered_ns for t_ns in spikes.times_ns)
        begin_ns = max(self._covered_ns, self._row_ns)
        new = [pair for pair in zip(spikes.units, spikes.times_ns, strict=True) if pair[1] >= begin_ns]
        packets.repeated += told
        packets.lost += len(spikes.units) - told - len(new)
        return [unit for unit, _ in new], [t_ns for _, t_ns in new]

    def to_bytes(self) -> bytes:
        """Everything that the next rows depend on."""
        stored = StoredBins(
            self._grid.start_ns,
            self._first,
            self._row,
            self._covered_ns,
            self._counted().astype("<i8").tobytes(),
            self._gaps,
            self._late_ns,
            self._late_run,
        )
        return msgspec.msgpack.encode(stored)

    @classmethod
    def from_bytes(cls, data: bytes, rate_hz: float, D: int) -> "Bins":
        """The bins that `to_bytes` put away.

        Raises:
            ModelError: These are none of so many units.
        """
        try:
            stored = msgspec.msgpack.decode(data, type=StoredBins)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelError(f"session state: expected a row of spikes: {error}") from None
        if len(stored.counts) != 8 * D:
            got = len(stored.counts)
            raise ModelError(f"session state: expected counts of {8 * D} bytes, got {got}")
        numbers = (
            stored.start_ns,
            stored.first,
            stored.row,
            stored.covered_ns,
            stored.late_ns,
            stored.late_run,
        )
        if min(numbers) < 0 or max(numbers) > MOST_NUMBER:
            raise ModelError(f"session state: expected numbers from 0 to {MOST_NUMBER}, got others")
        bins = cls(stored.start_ns, rate_hz, D, stored.first)
        bins._row, bins._row_ns = stored.row, bins._grid.edge(stored.row)
        bins._covered_ns, bins._gaps = stored.covered_ns, stored.gaps
        bins._counts = np.frombuffer(stored.counts, "<i8").astype(np.int64)
        bins._late_ns, bins._late_run = stored.late_ns, stored.late_run
        return bins


def check(spikes: Spikes, rate_hz: float, D: int) -> None:
    """Refuse a packet that a stream cannot take.

    Args:
        spikes: The packet.
        rate_hz: Rows a second.
        D: Units.

    Raises:
        SampleError: A unit that is not there, or more rows than a packet may span.
    """
    length_ns = spikes.to_ns - spikes.from_ns
    if length_ns * rate_hz > MAX_ROWS * SECOND_NS:
        expected = f"expected packets of at most {MAX_ROWS} rows at {rate_hz:g} Hz"
        raise SampleError("interval", f"stream {spikes.stream!r}: {expected}, got {length_ns} ns")
    if spikes.units and max(spikes.units) >= D:
        at = next(i for i, unit in enumerate(spikes.units) if unit >= D)
        expected = f"expected units from 0 to {D - 1}"
        raise SampleError("unit", f"stream {spikes.stream!r}: {expected}, got {spikes.units[at]} at {at}")
