"""One stream's memory: sequence rules, gaps, hidden state. Pure: time comes in, predictions go out.

The rules, in the order they are asked:
    no seq              the order of arrival is the sequence
    seq <= last         duplicate or late: counted, not stepped; a second step would corrupt the hidden state
    ... newer t_ns      the producer started again: the state starts anew, flagged `reset`
    seq == last + 1     stepped
    seq > last + 1      a gap: waits in the reorder window if there is one, else the gap policy fills it
"""

from collections.abc import Callable

import msgspec
import numpy as np

from stream_rnn.errors import ModelError, SampleError
from stream_rnn.memory import Memory
from stream_rnn.predictor import Predictor
from stream_rnn.preprocess import Outcome
from stream_rnn.sample import F32, Flag, Prediction, Sample
from stream_rnn.session.rules import Counters, Rules

Clock = Callable[[], int]
"""Epoch nanoseconds, when asked."""

STATE_VERSION = 1
MAX_SEQ = 2**63 - 1  # what the encodings can carry
GAPS_REMEMBERED = 32  # enough to tell a late sample from a duplicate


class _Waiting(msgspec.Struct, array_like=True):
    seq: int
    t_ns: int | None
    x: bytes
    t_received_ns: int


class _State(msgspec.Struct, array_like=True):
    """A session as bytes: what follows does not depend on whether it was put away in between."""

    version: int
    model: str
    stream: str
    last_seq: int
    last_t_ns: int | None
    last_x: bytes
    late_seq: int
    late_run: int
    fresh: bool
    gaps: list[tuple[int, int]]
    waiting: list[_Waiting]
    counters: Counters
    memory: bytes


class Session:
    """One stream: give it samples, take predictions."""

    def __init__(
        self, stream: str, predictor: Predictor, rules: Rules, run: str, totals: Counters | None = None
    ) -> None:
        self.stream = stream
        self.counters = Counters()
        self._totals = totals if totals is not None else Counters()
        self._predictor, self._rules, self._run = predictor, rules, run
        self._memory: Memory = predictor.new_memory()
        self._last_seq = -1  # of the newest sample taken in; -1 before the first
        self._last_t_ns: int | None = None
        self._last_x: F32 = np.zeros(predictor.inputs, dtype=np.float32)
        self._late_seq, self._late_run = -1, 0
        self._fresh = True  # the next step is the first of its hidden state
        self._owed = 0  # flags of the next prediction
        self._gaps: list[tuple[int, int]] = []
        self._waiting: dict[int, tuple[Sample, int]] = {}

    def feed(self, sample: Sample, t_received_ns: int, clock: Clock) -> list[Prediction]:
        """Take one sample in.

        Args:
            sample: The sample.
            t_received_ns: When it arrived, epoch nanoseconds.
            clock: Read once after each step.

        Returns:
            One prediction, or none (not stepped, waiting, withheld), or several (a window was released).

        Raises:
            SampleError: The sample has another width than the model, or a number too large to go on from;
                nothing changed.
        """
        if sample.x.shape[0] != self._predictor.inputs:
            expected, got = self._predictor.inputs, sample.x.shape[0]
            raise SampleError("width", f"stream {self.stream!r}: expected {expected} features, got {got}")
        last = self._last_seq
        seq = last + 1 if sample.seq is None else sample.seq
        if seq > MAX_SEQ:
            raise SampleError("seq", f"stream {self.stream!r}: expected seq up to {MAX_SEQ}, got {seq}")
        if last < 0 or seq == last + 1:
            predictions = self._take(sample, seq, 0, t_received_ns, clock)
            return predictions + self._release(clock) if self._waiting else predictions
        if seq <= last:
            if not self._restarted(seq, sample.t_ns):
                return []
            self.reset()
            return self._take(sample, seq, 0, t_received_ns, clock)
        if self._rules.reorder == 0:
            return self._take(sample, seq, seq - last - 1, t_received_ns, clock)
        if seq in self._waiting:
            self._count("duplicate")
            return []
        self._waiting[seq] = sample, t_received_ns
        return self._release(clock)

    def reset(self) -> None:
        """Start the hidden state anew; the next prediction is flagged. What waits counts as missed."""
        self._count("resets")
        self._count("missed", len(self._waiting))
        self._count("waiting", -self.counters.waiting)
        self._waiting.clear()
        self._gaps.clear()
        self._memory = self._predictor.new_memory()
        self._fresh = True
        self._late_seq, self._late_run = -1, 0

    @property
    def memory(self) -> Memory:
        """The stream's hidden state."""
        return self._memory

    @property
    def last_seq(self) -> int:
        """Number of the newest sample taken in; -1 before the first."""
        return self._last_seq

    def to_bytes(self) -> bytes:
        """Everything that what follows depends on."""
        waiting = [
            _Waiting(seq, sample.t_ns, sample.x.tobytes(), t_received_ns)
            for seq, (sample, t_received_ns) in sorted(self._waiting.items())
        ]
        state = _State(
            STATE_VERSION,
            self._predictor.hash,
            self.stream,
            self._last_seq,
            self._last_t_ns,
            self._last_x.tobytes(),
            self._late_seq,
            self._late_run,
            self._fresh,
            self._gaps,
            waiting,
            self.counters,
            self._memory.to_bytes(),
        )
        return msgspec.msgpack.encode(state)

    @classmethod
    def from_bytes(
        cls, data: bytes, predictor: Predictor, rules: Rules, run: str, totals: Counters | None = None
    ) -> "Session":
        """The session that `to_bytes` put away.

        Raises:
            ModelError: Not a session, or one of another model.
        """
        try:
            state = msgspec.msgpack.decode(data, type=_State)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelError(f"session state: {error}") from None
        if state.version != STATE_VERSION:
            raise ModelError(f"session state: expected version {STATE_VERSION}, got {state.version}")
        if state.model != predictor.hash:
            raise ModelError(f"session state: expected model {predictor.hash}, got {state.model}")
        width = 4 * predictor.inputs
        for x in (state.last_x, *(w.x for w in state.waiting)):
            if len(x) != width:
                raise ModelError(f"session state: expected samples of {width} bytes, got {len(x)}")
        session = cls(state.stream, predictor, rules, run, totals)
        session._memory = predictor.memory_from_bytes(state.memory)
        session._restore(state)
        return session

    def mark_restored(self) -> None:
        """Flag the next prediction `restored`: the session was away."""
        self._owed |= Flag.RESTORED

    def adopt(self, predictor: Predictor, rules: Rules) -> None:
        """Go on with another model and other rules.

        The hidden state is carried where it means the same to both models, and the next prediction is flagged
        `reloaded`; else it starts anew.
        """
        before, self._predictor, self._rules = self._predictor, predictor, rules
        if before.hash == predictor.hash:
            return
        if before.model.card.unlike(predictor.model.card):
            self._last_x = np.zeros(predictor.inputs, dtype=np.float32)
            self.reset()
        self._owed |= Flag.RELOADED

    def _count(self, name: str, by: int = 1) -> None:
        """Count for this stream and for the daemon."""
        setattr(self.counters, name, getattr(self.counters, name) + by)
        setattr(self._totals, name, getattr(self._totals, name) + by)

    def _restore(self, state: _State) -> None:
        self.counters = state.counters
        self._last_seq, self._last_t_ns = state.last_seq, state.last_t_ns
        self._last_x = _writable(state.last_x)
        self._late_seq, self._late_run = state.late_seq, state.late_run
        self._fresh, self._gaps = state.fresh, state.gaps
        self._waiting = {
            w.seq: (Sample(self.stream, w.seq, w.t_ns, _writable(w.x)), w.t_received_ns)
            for w in state.waiting
        }

    def _restarted(self, seq: int, t_ns: int | None) -> bool:
        """Count a sample that is not newer than the last; tell whether its producer started again."""
        if t_ns is not None and self._last_t_ns is not None and t_ns > self._last_t_ns:
            return True  # a redelivered or late sample carries an older time
        self._late_run = self._late_run + 1 if seq == self._late_seq + 1 else 1
        self._late_seq = seq
        if 0 < self._rules.restart_after < self._late_run:
            return True
        if any(start <= seq < stop for start, stop in self._gaps):
            self._count("late")
        else:
            self._count("duplicate")
        return False

    def _release(self, clock: Clock) -> list[Prediction]:
        """Take in what waits and follows; when more wait than may, what is missing is given up."""
        predictions: list[Prediction] = []
        while self._waiting:
            seq = min(self._waiting)
            missed = seq - self._last_seq - 1
            if missed > 0 and len(self._waiting) <= self._rules.reorder:
                break
            sample, t_received_ns = self._waiting.pop(seq)
            predictions += self._take(sample, seq, missed, t_received_ns, clock)
        self._count("waiting", len(self._waiting) - self.counters.waiting)
        return predictions

    def _take(
        self, sample: Sample, seq: int, missed: int, t_received_ns: int, clock: Clock
    ) -> list[Prediction]:
        """Fill the gap before a sample, if any, and step it."""
        flags = 0
        if missed:
            flags = Flag.GAP
            self._fill(missed, seq)
        if self._owed:
            flags |= self._owed
            self._owed = 0
        y = np.empty(self._predictor.outputs, dtype=np.float32)
        outcome = self._predictor.advance(self._memory, sample.x, y)
        if outcome:
            flags |= self._note(outcome)
        self._last_seq, self._last_t_ns, self._last_x = seq, sample.t_ns, sample.x
        self._late_run = 0
        t_stepped_ns = clock()
        if not outcome & Outcome.FAILED:
            self._count("stepped")
            if self._fresh:
                flags |= Flag.RESET
                self._fresh = False
        deadline_ms = self._rules.deadline_ms
        if deadline_ms and sample.t_ns is not None and t_stepped_ns - sample.t_ns > deadline_ms * 1e6:
            flags |= Flag.STALE
            self._count("stale")
            if self._rules.stale == "withhold":
                self._count("withheld")
                return []
        return [
            Prediction(
                self.stream,
                seq,
                self._run,
                self._predictor.hash,
                y,
                Flag(flags),
                missed,
                sample.t_ns,
                t_received_ns,
                t_stepped_ns,
            )
        ]

    def _fill(self, missed: int, seq: int) -> None:
        """Stand in for the `missed` samples before `seq`, as the policy says."""
        self._count("gaps")
        self._count("missed", missed)
        self._gaps = [*self._gaps[1 - GAPS_REMEMBERED :], (seq - missed, seq)]
        policy = self._rules.gap
        if policy == "reset" or (policy != "skip" and missed > self._rules.max_fill):
            self._count("resets")
            self._memory = self._predictor.new_memory()
            self._fresh = True
        elif policy != "skip":
            x = self._last_x if policy == "hold" else np.zeros_like(self._last_x)
            y = np.empty(self._predictor.outputs, dtype=np.float32)
            before = self._memory.count  # a last sample that failed cannot be held
            for _ in range(missed):
                self._predictor.advance(self._memory, x, y)
            self._count("filled", self._memory.count - before)

    def _note(self, outcome: int) -> int:
        """Count what preprocessing did; return its flags."""
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
        return flags


def _writable(raw: bytes) -> F32:
    """Float32 values, copied: numba would compile the step again for a read-only array."""
    return np.frombuffer(raw, dtype=np.float32).copy()
