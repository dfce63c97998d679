"""One stream's memory: sequence rules, gaps, hidden state. Pure: time comes in, predictions go out.

The rules, in the order they are asked:
    no seq              the order of arrival is the sequence
    seq <= last         duplicate or late: counted, not stepped; a second step would corrupt the hidden state
    ... newer t_ns      the producer started again: the state starts anew, flagged `reset`
    seq == last + 1     stepped
    seq > last + 1      a gap: waits in the reorder window if there is one, else the gap policy fills it
"""

from collections.abc import Callable

import numpy as np

from stream_rnn.errors import SampleError
from stream_rnn.memory import COUNT, LAST_SEQ, STATUS, STEPPED, T_NS, WINDOW_AT, Memories
from stream_rnn.preprocess import Outcome
from stream_rnn.sample import F32, Flag, Prediction, Sample, Spikes
from stream_rnn.session.bins import Binned, Bins, check
from stream_rnn.session.kept import Kept
from stream_rnn.session.shared import Shared
from stream_rnn.session.stored import parts_of, read
from stream_rnn.stepper import ALONE, FRESH, MAX_SEQ, NO_SEQ, NO_TIME, ODD, SETTLED, advance

Clock = Callable[[], int]
"""Epoch nanoseconds, when asked."""

REPEATED: list[Prediction] = []
"""What a sample gives that was taken in before, or whose time has passed: none, and this very list."""

NO_FLAGS = Flag(0)
F32_DTYPE = np.dtype(np.float32)
GAPS_REMEMBERED = 32  # enough to tell a late sample from a duplicate


class Session(Kept):
    """One stream: give it samples, take predictions.

    What every sample changes lies in the stream's row of the shared memories, so that `together` can change
    it for many streams at once; what few streams ever need is kept apart.
    """

    __slots__ = ()

    def feed(self, sample: Sample, t_received_ns: int, clock: Clock) -> list[Prediction]:
        """Take one sample in.

        Args:
            sample: The sample.
            t_received_ns: When it arrived, epoch nanoseconds.
            clock: Read once after each step.

        Returns:
            One prediction, or none (waiting, withheld; `REPEATED` where it is not newer than the last), or
            several (a window was released).

        Raises:
            SampleError: The sample has another width than the model, or a number too large to go on from;
                nothing changed.
        """
        shared, x = self._shared, sample.x
        predictor, memories = shared.predictor, shared.memories
        y, at = np.empty(predictor.outputs, F32_DTYPE), self.row * memories.stride
        seq = NO_SEQ if sample.seq is None else sample.seq
        time = NO_TIME if sample.t_ns is None else sample.t_ns
        outcome = ALONE
        if seq <= MAX_SEQ:
            outcome = advance(predictor.stepper, memories.data, at, x, y, seq, time)
        if outcome == ALONE:
            return self._look(sample, t_received_ns, clock)
        t_stepped_ns = clock()
        flags = 0
        if outcome:  # out of the ordinary: to ask an enumeration takes longer than all the rest
            flags = self.note(outcome, x)
        if outcome == 0 or not outcome & Outcome.FAILED:
            shared.totals.stepped += 1
        number = memories.get(at, LAST_SEQ) if seq == NO_SEQ else seq
        return self.answer(sample, number, y, flags, 0, t_received_ns, t_stepped_ns)

    def _look(self, sample: Sample, t_received_ns: int, clock: Clock) -> list[Prediction]:
        """Take in a sample that may not be the next of its stream, or whose session has more to tell."""
        if sample.x.shape[0] != self._shared.predictor.inputs:
            expected, got = self._shared.predictor.inputs, sample.x.shape[0]
            raise SampleError("width", f"stream {self.stream!r}: expected {expected} features, got {got}")
        last = self.last_seq
        seq = last + 1 if sample.seq is None else sample.seq
        if seq > MAX_SEQ:
            raise SampleError("seq", f"stream {self.stream!r}: expected seq up to {MAX_SEQ}, got {seq}")
        if last < 0 or seq == last + 1:
            predictions = self._take(sample, seq, 0, t_received_ns, clock)
            waiting = self._unusual is not None and self._unusual.waiting
            return predictions + self._release(clock) if waiting else predictions
        if seq <= last:
            if not self._restarted(seq, sample.t_ns):
                return REPEATED
            self.reset()
            self._shared.renumbered(self.stream)
            return self._take(sample, seq, 0, t_received_ns, clock)
        if self._shared.rules.reorder == 0:
            return self._take(sample, seq, seq - last - 1, t_received_ns, clock)
        waiting_for = self._mutable().waiting
        if seq in waiting_for:
            self._count("duplicate")
            return []
        waiting_for[seq] = sample, t_received_ns
        self._look_closely()
        return self._release(clock)

    def bin(self, spikes: Spikes) -> Binned:
        """Count a packet of spikes; the rows that it completes are samples to be fed, in order.

        Rows are the model's, `rate_hz` a second from the first packet on, numbered from the next sample on.

        Args:
            spikes: The packet.

        Raises:
            SampleError: A unit that the model does not have, or a packet of too many rows; nothing changed.
        """
        shared, rules = self._shared, self._shared.rules
        rate_hz, D = shared.predictor.model.card.rate_hz, shared.predictor.inputs
        check(spikes, rate_hz, D)
        unusual = self._mutable()
        bins = unusual.bins
        late = 0 if shared.redelivering else rules.restart_after
        anew = bins is None or not bins.fits(rate_hz, D) or bins.restarted(spikes, late)
        if bins is None or anew:
            if self.last_seq >= 0:
                self.reset()
            bins = unusual.bins = Bins(spikes.from_ns, rate_hz, D, self.last_seq + 1)
        return Binned(bins.take(spikes, shared.packets), anew)

    def reset(self) -> None:
        """Start the hidden state anew; the next prediction is flagged. What waits counts as missed.

        Spikes of a row that is not full yet are of the stream, not of the state: they stay.
        """
        self._count("resets")
        unusual = self._mutable()
        self._count("missed", len(unusual.waiting))
        self._count("waiting", -unusual.counters.waiting)
        unusual.waiting.clear()
        unusual.gaps.clear()
        unusual.late_seq, unusual.late_run = -1, 0
        if self._adapted is not None:
            self._adapted.forget_pending()
        self._forget()

    @classmethod
    def from_bytes(cls, data: bytes, shared: Shared) -> "Session":
        """The session that `to_bytes` put away.

        Raises:
            ModelError: Not a session, or one of another model.
        """
        stored = read(data, shared.predictor, shared.alike)
        parts = parts_of(stored, shared)
        session = cls(stored.stream, shared)  # only now: it takes a row
        session._load(stored, *parts)
        if stored.model != shared.predictor.hash:
            session.mark(Flag.RELOADED)
        return session

    @staticmethod
    def stream_of(data: bytes, shared: Shared) -> str:
        """Key of the session that `to_bytes` put away; where this raises nothing, `from_bytes` does not.

        Raises:
            ModelError: Not a session, or one of another model.
        """
        stored = read(data, shared.predictor)
        parts_of(stored, shared)
        return stored.stream

    def prepare(self) -> None:
        """Compute ahead what the next step needs beside its sample: the same bits, sooner."""
        self._shared.predictor.prepare(self._shared.memories.data, self.at)

    def mark(self, flag: Flag) -> None:
        """Flag the next prediction: something happened to the session that its consumers must know."""
        self._mutable().owed |= flag
        self._look_closely()

    def move(self, before: Memories, *, afresh: bool) -> None:
        """Take a row of the shared memories, which are other ones now.

        Args:
            before: Where its row was until now.
            afresh: Start the hidden state anew: it means nothing to the model any more.
        """
        memories = self._shared.memories
        came, at = self.row * before.stride, memories.take()
        length = WINDOW_AT if afresh else memories.stride
        memories.data[at : at + length] = before.data[came : came + length]
        self.row = at // memories.stride
        if afresh:
            self._mutable().last_x = np.zeros(self._shared.predictor.inputs, dtype=np.float32)
            self.reset()

    def note(self, outcome: int, x: F32) -> int:
        """Count what became of a sample whose step was out of the ordinary; return its flags.

        Args:
            outcome: `Outcome` bits of its step.
            x: The sample.
        """
        flags = 0
        if outcome & Outcome.IMPUTED:
            self._count("imputed")
            flags |= Flag.IMPUTED
        if outcome & Outcome.FAILED:
            self._count("failed")
        if outcome & (Outcome.FAILED | Outcome.NAN):
            flags |= Flag.NAN
        if outcome & Outcome.WARMUP:
            flags |= Flag.WARMUP
        if outcome & (Outcome.IMPUTED | Outcome.FAILED):
            self._mutable().last_x = x.copy()
            self._look_closely()
        return flags

    def answer(
        self, sample: Sample, seq: int, y: F32, flags: int, missed: int, t_received_ns: int, t_stepped_ns: int
    ) -> list[Prediction]:
        """The prediction of one step, unless it is withheld for its age."""
        shared = self._shared
        deadline_ms = shared.rules.deadline_ms
        if deadline_ms and sample.t_ns is not None and t_stepped_ns - sample.t_ns > deadline_ms * 1e6:
            flags |= Flag.STALE
            self._count("stale")
            if shared.rules.stale == "withhold":
                self._count("withheld")
                return []
        told = Flag(flags) if flags else NO_FLAGS
        run, model, stream = shared.run, shared.predictor.hash, self.stream
        t_ns, interval = sample.t_ns, shared.interval
        if interval is None:
            return [Prediction(stream, seq, run, model, y, told, missed, t_ns, t_received_ns, t_stepped_ns)]
        bounds = self.bounds(interval, seq, y)
        times = t_ns, t_received_ns, t_stepped_ns
        return [Prediction(stream, seq, run, model, y, told, missed, *times, bounds)]

    def _forget(self) -> None:
        """Start the hidden state anew; the last sample is still remembered, for a gap to hold."""
        self._mutable().last_x = self._last_x()
        self._shared.memories.forget(self.at)
        self._set(STATUS, FRESH)

    def _restarted(self, seq: int, t_ns: int | None) -> bool:
        """Count a sample that is not newer than the last; tell whether its producer started again."""
        if t_ns is not None and t_ns > self._get(T_NS) != NO_TIME:
            return True  # a redelivered or late sample carries an older time
        unusual = self._mutable()
        unusual.late_run = unusual.late_run + 1 if seq == unusual.late_seq + 1 else 1
        unusual.late_seq = seq
        self._look_closely()
        if 0 < self._shared.rules.restart_after < unusual.late_run and not self._shared.redelivering:
            return True
        if any(start <= seq < stop for start, stop in unusual.gaps):
            self._count("late")
        else:
            self._count("duplicate")
        return False

    def _release(self, clock: Clock) -> list[Prediction]:
        """Take in what waits and follows; when more wait than may, what is missing is given up."""
        predictions: list[Prediction] = []
        unusual = self._mutable()
        while unusual.waiting:
            seq = min(unusual.waiting)
            missed = seq - self.last_seq - 1
            if missed > 0 and len(unusual.waiting) <= self._shared.rules.reorder:
                break
            sample, t_received_ns = unusual.waiting.pop(seq)
            predictions += self._take(sample, seq, missed, t_received_ns, clock)
        self._count("waiting", len(unusual.waiting) - unusual.counters.waiting)
        return predictions

    def _take(
        self, sample: Sample, seq: int, missed: int, t_received_ns: int, clock: Clock
    ) -> list[Prediction]:
        """Fill the gap before a sample, if any, and step it."""
        flags = 0
        if missed:
            flags = Flag.GAP
            self._fill(missed, seq)
        unusual = self._unusual
        if unusual is not None:
            flags |= unusual.owed
            unusual.owed = unusual.late_run = 0
        predictor = self._shared.predictor
        y = np.empty(predictor.outputs, dtype=np.float32)
        outcome = predictor.advance(self._shared.memories.data, self.at, sample.x, y)
        fresh = self._get(STATUS) == FRESH
        if unusual is not None:
            unusual.last_x = None
        if outcome:
            flags |= self.note(outcome, sample.x)
        self._set(LAST_SEQ, seq)
        self._set(T_NS, NO_TIME if sample.t_ns is None else sample.t_ns)
        t_stepped_ns = clock()
        if not outcome & Outcome.FAILED:
            self._set(STEPPED, self.stepped + 1)
            self._shared.totals.stepped += 1
            if fresh:
                flags |= Flag.RESET
                fresh = False
        if not fresh:
            self._set(STATUS, ODD if self._unusual is not None and self._unusual.pending else SETTLED)
        return self.answer(sample, seq, y, flags, missed, t_received_ns, t_stepped_ns)

    def _fill(self, missed: int, seq: int) -> None:
        """Stand in for the `missed` samples before `seq`, as the policy says."""
        self._count("gaps")
        self._count("missed", missed)
        unusual, rules = self._mutable(), self._shared.rules
        unusual.gaps = [*unusual.gaps[1 - GAPS_REMEMBERED :], (seq - missed, seq)]
        if rules.gap == "reset" or (rules.gap != "skip" and missed > rules.max_fill):
            self._count("resets")
            self._forget()
        elif rules.gap != "skip":
            x = self._last_x() if rules.gap == "hold" else np.zeros(len(self._last_x()), dtype=np.float32)
            y = np.empty(self._shared.predictor.outputs, dtype=np.float32)
            before = self._get(COUNT)  # a last sample that failed cannot be held
            for _ in range(missed):
                self._shared.predictor.advance(self._shared.memories.data, self.at, x, y)
            self._count("filled", self._get(COUNT) - before)
