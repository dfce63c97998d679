"""The table of sessions: what comes together is fed as if it came alone, and what is kept is kept whole."""

import functools
import itertools
import tracemalloc
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_rnn.errors import CountedError, WireError
from stream_rnn.model.architecture import Layer
from stream_rnn.predictor import Predictor
from stream_rnn.preprocess import Missing
from stream_rnn.sample import F32, NONE, Flag, Prediction, Rows, Sample, Steps
from stream_rnn.session.rules import Rules
from stream_rnn.session.table import Sessions
from stream_rnn.session.together import ROOM, Answer
from stream_rnn.stepper import MAX_SEQ
from tests.small import small_model

XS: F32 = np.random.default_rng(7).poisson(2, (64, 5)).astype(np.float32)
MS = 1_000_000
MOST = 4


@functools.cache
def predictor_of(missing: Missing = "hold", bin_samples: int = 1) -> Predictor:
    return Predictor(small_model(missing=missing, bin_samples=bin_samples))


def clock() -> int:
    return 20 * MS


def table(rules: Rules | None = None, most: int = MOST, predictor: Predictor | None = None) -> Sessions:
    return Sessions(predictor or predictor_of(), rules or Rules(), "run", most)


def told(answer: Answer) -> object:
    """Everything of an answer, its outputs as bytes."""
    if isinstance(answer, CountedError):
        return type(answer), str(answer)
    return [msgspec.structs.asdict(p) | {"y": p.y.tobytes()} for p in answer]


def kept(sessions: Sessions) -> object:
    """Everything that what follows depends on, and what was counted."""
    return sessions.totals, {s.stream: (s.to_bytes(), s.counters) for s in sessions}


class Came(NamedTuple):
    """A sample that came: which stream, how far its number is from the next, its features."""

    stream: str
    off: int | None
    x: str
    timed: bool

    def sample(self, number: int, expected: int) -> Sample:
        x = XS[number % len(XS)].copy()
        if self.x == "holed":
            x[number % 5] = np.nan
        seq = None if self.off is None else max(0, expected + self.off)
        t_ns = number * MS if self.timed else None
        return Sample(self.stream, seq, t_ns, x[:4] if self.x == "narrow" else x)


mostly_next = st.sampled_from([0] * 12 + [None, None, -1, -1, -2, -5, 1, 1, 2, 9])
comes = st.builds(
    Came,
    stream=st.sampled_from(["a", "b", "c", "d", "e", "f", "+"]),
    off=mostly_next,
    x=st.sampled_from(["whole"] * 8 + ["holed", "narrow"]),
    timed=st.booleans(),
)
batches = st.lists(st.lists(comes | st.none(), min_size=1, max_size=9), min_size=1, max_size=8)
rules = st.builds(
    Rules,
    gap=st.sampled_from(["hold", "zero", "skip", "reset"]),
    max_fill=st.integers(0, 4),
    reorder=st.sampled_from([0, 0, 2]),
    restart_after=st.integers(0, 3),
    deadline_ms=st.sampled_from([0.0, 5.0]),
    stale=st.sampled_from(["flag", "withhold"]),
)
policies = st.sampled_from(["hold", "mean", "zero", "fail"])


def samples_of(came: list[list[Came | None]]) -> list[list[Sample | CountedError]]:
    """The samples, numbered on for each stream; none is one that was refused before."""
    numbers, following = itertools.count(), dict.fromkeys("abcdef+", 0)
    found: list[list[Sample | CountedError]] = []
    for batch in came:
        found.append([])
        for one in batch:
            if one is None:
                found[-1].append(WireError("fields", "refused before"))
                continue
            sample = one.sample(next(numbers), following[one.stream])
            seq = following[one.stream] if sample.seq is None else sample.seq
            following[one.stream] = max(following[one.stream], seq + 1)
            found[-1].append(sample)
    return found


@given(came=batches, rule=rules, missing=policies, bin_samples=st.sampled_from([1, 3]), ahead=st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_what_came_together_is_fed_as_if_it_came_alone(
    came: list[list[Came | None]], rule: Rules, missing: Missing, bin_samples: int, *, ahead: bool
) -> None:
    predictor = predictor_of(missing, bin_samples)
    together, alone = table(rule, MOST, predictor), table(rule, MOST, predictor)
    for now, batch in enumerate(samples_of(came)):
        got = together.feed(batch, range(len(batch)), now, clock)
        expected = [alone.feed([one], [i], now, clock)[0] for i, one in enumerate(batch)]
        assert list(map(told, got)) == list(map(told, expected))
        assert kept(together) == kept(alone)
        for session in itertools.chain(together, alone) if ahead else ():
            session.prepare()


def rows_of(samples: list[Sample]) -> Rows:
    seqs = np.array([NONE if sample.seq is None else sample.seq for sample in samples])
    times = np.array([NONE if sample.t_ns is None else sample.t_ns for sample in samples])
    X: F32 = np.stack([sample.x for sample in samples])
    return Rows([sample.stream for sample in samples], seqs, times, X)


def one_by_one(steps: Steps | list[Answer]) -> list[Answer]:
    if not isinstance(steps, Steps):
        return steps
    columns = zip(steps.streams, steps.seqs, steps.Y, steps.times, steps.t_received_ns, strict=True)
    fixed = steps.session, steps.model
    return [
        [Prediction(a, seq, *fixed, y, Flag(0), 0, None if t == NONE else t, received, steps.t_stepped_ns)]
        for a, seq, y, t, received in columns
    ]


@given(came=batches, rule=rules, missing=policies, bin_samples=st.sampled_from([1, 3]), narrow=st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_rows_are_fed_as_if_their_samples_came_alone(
    came: list[list[Came | None]], rule: Rules, missing: Missing, bin_samples: int, *, narrow: bool
) -> None:
    predictor, width = predictor_of(missing, bin_samples), 4 if narrow else 5
    together, alone = table(rule, MOST, predictor), table(rule, MOST, predictor)
    for now, batch in enumerate(samples_of(came)):
        samples = [one for one in batch if isinstance(one, Sample) and len(one.x) == width]
        if not samples:
            continue
        got = one_by_one(together.feed_rows(rows_of(samples), list(range(len(samples))), now, clock))
        expected = [alone.feed([one], [i], now, clock)[0] for i, one in enumerate(samples)]
        assert list(map(told, got)) == list(map(told, expected))
        assert kept(together) == kept(alone)


def test_rows_in_order_are_answered_as_a_table() -> None:
    sessions = table()
    for seq in range(2):
        steps = sessions.feed_rows(rows_of([Sample(s, seq, None, XS[seq]) for s in "ab"]), [0, 0], 0, clock)
        assert isinstance(steps, Steps) == (seq > 0)


@given(came=batches, rule=rules, cut=st.integers(0, 8))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_sessions_put_away_between_batches_go_on_the_same(
    came: list[list[Came | None]], rule: Rules, cut: int
) -> None:
    whole, moved = table(rule), table(rule)
    for now, batch in enumerate(samples_of(came)):
        if now == cut:
            states = [session.to_bytes() for session in moved]
            moved = table(rule)
            for state in states:
                moved.restore(state, now - 1)
        got = moved.feed(batch, range(len(batch)), now, clock)
        expected = whole.feed(batch, range(len(batch)), now, clock)
        assert [without(Flag.RESTORED, one) for one in got] == list(map(told, expected))
    assert {s.stream: (s.memory.to_bytes(), s.counters) for s in moved} == {
        s.stream: (s.memory.to_bytes(), s.counters) for s in whole
    }


def without(flag: Flag, answer: Answer) -> object:
    if isinstance(answer, CountedError):
        return told(answer)
    return told([msgspec.structs.replace(p, flags=Flag(p.flags & ~flag)) for p in answer])


def in_order(streams: Sequence[str], seq: int) -> list[Sample]:
    return [Sample(key, seq, None, XS[(i + seq) % 64]) for i, key in enumerate(streams)]


def outputs(answers: Sequence[Answer]) -> list[bytes]:
    return [p.y.tobytes() for answer in answers if not isinstance(answer, CountedError) for p in answer]


@pytest.mark.parametrize("N", [2, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM + 1])
def test_more_samples_than_a_batch_holds_keep_their_order(N: int) -> None:
    sessions, keys = table(most=N), [f"{i}" for i in range(N)]
    for seq in range(3):
        samples = in_order(keys, seq)
        answers = sessions.feed(samples, [0] * N, 0, clock)
        assert [p.stream for answer in answers for p in answer] == keys  # type: ignore[union-attr]  # none is refused
        assert outputs(answers[-1:]) == [predictor_of().step(samples[-1].x, "alone").tobytes()]
    predictor_of().reset()
    assert sessions.totals.stepped == 3 * N


def test_several_samples_of_one_stream_keep_their_order_in_a_batch() -> None:
    sessions = table()
    order = [("a", 0), ("b", 0), ("a", 1), ("a", 2), ("b", 1), ("a", 2), ("b", 2)]
    answers = sessions.feed([Sample(k, seq, None, XS[seq]) for k, seq in order], [0] * 7, 0, clock)
    got = [[(p.stream, p.seq) for p in answer] for answer in answers]  # type: ignore[union-attr]  # none is refused
    assert got == [[one] for one in order[:5]] + [[], [("b", 2)]]
    assert sessions.totals.duplicate == 1


@pytest.mark.parametrize(
    "number",
    [
        MAX_SEQ,
        MAX_SEQ + 1,
    ],
)
def test_largest_number_is_answered_in_a_batch_as_alone(number: int) -> None:
    samples = [Sample("a", number, None, XS[0]), Sample("b", 0, None, XS[1]), Sample("a", None, None, XS[2])]
    together, alone = table(), table()
    answers = together.feed(samples, [0] * 3, 0, clock)
    assert list(map(told, answers)) == [told(alone.feed([one], [0], 0, clock)[0]) for one in samples]


def test_new_stream_beyond_the_most_is_refused_and_the_others_are_answered() -> None:
    sessions = table(most=2)
    answers = sessions.feed(in_order("abcab", 0)[:3], [0] * 3, 0, clock)
    assert str(answers[2]) == "stream 'c': expected at most 2 streams, got one more"
    assert len(outputs(answers)) == 2


@pytest.mark.parametrize("most", [MOST, MOST + 60, 2])
def test_reload_carries_hidden_states_to_more_or_fewer_streams(most: int) -> None:
    sessions, plain = table(), table()
    for seq in range(3):
        for one in (sessions, plain):
            one.feed(in_order("abc", seq), [0] * 3, seq, clock)
    sessions.adopt(predictor_of(), Rules(), most)
    assert kept(sessions) == kept(plain)
    after = in_order("abc", 3)
    assert outputs(sessions.feed(after, [0] * 3, 9, clock)) == outputs(plain.feed(after, [0] * 3, 9, clock))
    new = [f"new{i}" for i in range(max(0, most - 3))]
    answers = sessions.feed(in_order([*new, "one more"], 0), [0] * (len(new) + 1), 9, clock)
    assert len(outputs(answers)) == len(new)
    assert sessions.evict_idle(before_ns=10)[:3] == ["a", "b", "c"]


def test_reload_flags_the_first_prediction_of_another_model_that_goes_on() -> None:
    sessions, other = table(), Predictor(small_model(seed=5))
    sessions.feed(in_order("ab", 0), [0] * 2, 0, clock)
    state = {s.stream: s.memory.to_bytes() for s in sessions}
    sessions.adopt(other, Rules(), MOST)
    for key, came in state.items():
        other.restore(came, key)
    answers = sessions.feed(in_order("ab", 1), [0] * 2, 0, clock)
    assert outputs(answers) == [other.step(s.x, s.stream).tobytes() for s in in_order("ab", 1)]
    flags = [[p.flags for p in answer] for answer in answers]  # type: ignore[union-attr]  # none is refused
    assert flags == [[Flag.RELOADED]] * 2


def test_flag_that_is_owed_is_put_away_with_the_session() -> None:
    sessions, other = table(), Predictor(small_model(seed=5))
    sessions.feed(in_order("a", 0), [0], 0, clock)
    sessions.adopt(other, Rules(), MOST)
    (session,) = sessions
    sessions.restore(session.to_bytes(), 0)
    ((prediction,),) = sessions.feed(in_order("a", 1), [0], 0, clock)  # type: ignore[misc]  # it is not refused
    assert prediction.flags == Flag.RELOADED | Flag.RESTORED


@pytest.mark.parametrize("most", [MOST, 9])
def test_reload_of_another_shape_starts_states_anew_and_keeps_the_sequence(most: int) -> None:
    sessions, other = table(), Predictor(small_model(layers=(Layer("lstm", 3),), bin_samples=2))
    for seq in range(3):
        sessions.feed(in_order("ab", seq), [0] * 2, 0, clock)
    sessions.adopt(other, Rules(), most)
    answers = sessions.feed(in_order("ab", 3), [0] * 2, 0, clock)
    assert outputs(answers) == [other.step(s.x, s.stream).tobytes() for s in in_order("ab", 3)]
    (first,) = answers[0]  # type: ignore[misc]  # none is refused
    assert isinstance(first, Prediction)
    assert (first.seq, first.flags) == (3, Flag.RESET | Flag.WARMUP | Flag.RELOADED)
    assert [s.stepped for s in sessions] == [4, 4]


def test_idle_sessions_are_forgotten_the_longest_idle_first_and_their_rows_are_used_again() -> None:
    sessions = table()
    for now, keys in enumerate(("ab", "cd", "b", "a")):
        sessions.feed([Sample(k, None, None, XS[0]) for k in keys], [0] * len(keys), now, clock)
    assert sessions.evict_idle(before_ns=1) == []
    assert sessions.evict_idle(before_ns=3) == ["c", "d", "b"]
    fresh = sessions.feed(in_order("xyz", 0), [0] * 3, 5, clock)
    assert outputs(fresh) == outputs(table().feed(in_order("xyz", 0), [0] * 3, 0, clock))
    assert [s.stream for s in sessions] == ["a", "x", "y", "z"]


@pytest.mark.parametrize("units", [7, 64])
def test_session_costs_little_beside_its_state(units: int) -> None:
    predictor, N = Predictor(small_model(units=units)), 2000
    keys = [f"stream{i}" for i in range(N)]  # not counted: they came with the samples
    table(most=2, predictor=predictor).feed(in_order("ab", 0), [0, 0], 0, clock)  # what is made once
    tracemalloc.start()
    try:
        sessions = table(most=N, predictor=predictor)
        for seq in range(2):
            sessions.feed(in_order(keys, seq), [0] * N, 0, clock)
        each = tracemalloc.get_traced_memory()[0] / N  # the table's own room with it
    finally:
        tracemalloc.stop()
    assert each <= 1.5 * 4 * predictor.shape.values + 200


def test_changed_sessions_are_those_used_since_and_those_touched() -> None:
    sessions = table(most=4)
    for stream, now_ns in (("a", 1), ("b", 2), ("c", 3)):
        sessions.get(stream, now_ns)
    sessions.drop("b")
    assert sorted(sessions.changed_since(2)) == ["c"]
    sessions.touch("a", "gone")
    assert sorted(sessions.changed_since(4)) == ["a"]
    assert sessions.changed_since(4) == []


def test_session_is_found_where_it_was_put_away() -> None:
    before, sessions = table(most=4), table(most=4)
    before.get("a", 1)
    away = {"a": (before.get("a", 1).to_bytes(), False)}
    sessions.find = away.get
    assert sessions.seek("b", 1) is None
    found = sessions.seek("a", 1)
    assert found is not None
    assert (found.to_bytes() != away["a"][0], sessions.restored, len(sessions)) == (True, 1, 1)
    assert sessions.evict_idle(5, {"a"}) == []
    sessions.touch("a")
    assert sessions.evict_idle(5) == []
    sessions.changed_since(9)
    assert sessions.evict_idle(5) == ["a"]
