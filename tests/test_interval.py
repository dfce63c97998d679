"""Intervals: they cover as often as they say, as calibrated and after the world has changed."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_rnn.errors import ModelError
from stream_rnn.interval import LEAST, PACE, QUANTILES, Adapted, Interval, margins, quantiles
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import last_fifth
from stream_rnn.sample import F32, Prediction, Rows, Sample, Steps
from stream_rnn.session.rules import Rules
from stream_rnn.session.session import Session
from stream_rnn.session.shared import Shared
from stream_rnn.session.stored import Stored
from stream_rnn.session.table import Sessions
from stream_rnn.training.evaluate import Decoded
from stream_rnn.training.fit import fit
from stream_rnn.training.interval import bounds_of, measure
from stream_rnn.training.options import Options
from stream_rnn.training.windows import gather
from tests.small import calibrated, small_model

MODEL = calibrated(small_model())
PREDICTOR = Predictor(MODEL)
XS: F32 = np.random.default_rng(2).poisson(2, (60, 5)).astype(np.float32)
TRUTH: F32 = np.random.default_rng(3).normal(0, 1, (60, 2)).astype(np.float32)


def normal(rows: int, seed: int, outputs: int = 1) -> F32:
    return np.random.default_rng(seed).normal(0, 1, (rows, outputs)).astype(np.float32)


def table_of(residuals: F32) -> F32:
    table = quantiles(residuals)
    assert table is not None
    return table


def interval(coverage: float = 0.8, pending: int = 16) -> Interval:
    return Interval(MODEL.calibration(), coverage, pending=pending)


def session(how: Interval | None = None) -> Session:
    return Session("a", Shared(PREDICTOR, Rules(), "run", interval=how))


def fed(to: Session, first: int, end: int) -> list[Prediction]:
    return [p for i in range(first, end) for p in to.feed(Sample("a", i, None, XS[i]), 5, lambda: 7)]


def bits(prediction: Prediction) -> bytes:
    assert prediction.bounds is not None
    return prediction.y.tobytes() + prediction.bounds.tobytes()


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_calibrated_interval_covers_exchangeable_residuals_as_often_as_it_says(coverage: float) -> None:
    low, high = margins(table_of(normal(4000, 1)), coverage)[:, 0]
    fresh = normal(20_000, 2)[:, 0]
    inside = float(((low <= fresh) & (fresh <= high)).mean())
    deviation = (coverage * (1 - coverage) * (1 / 4000 + 1 / 20_000)) ** 0.5
    assert coverage - 4 * deviation <= inside <= coverage + 4 * deviation + 2 / QUANTILES


@pytest.mark.parametrize("prior_s", [0.0, 2.0])
def test_model_keeps_the_residuals_of_whole_streams(prior_s: float) -> None:
    cortex = simulate(30, 5, seed=4)
    number = (np.arange(len(cortex.x)) >= 1600).astype(np.int32)
    rising = cortex.x + np.arange(len(cortex.x), dtype=np.float32)[:, None] / 500
    two = msgspec.structs.replace(
        cortex, x=rising, recording=number, recording_names=("a", "b"), is_test=last_fifth(number)
    )
    options = Options(seed=1, units=4, layers=1, epochs=1, window_s=0.5, prior_s=prior_s)
    model = fit([two], options, lambda _: None).model
    predictor, data = Predictor(model), gather([two], 0, options.validation)
    ys = np.concatenate([predictor.run(data.x[s.start : s.stop], stream=s.name) for s in data.spans])
    np.testing.assert_array_equal(model.residuals, quantiles((data.y - ys)[data.validation]))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(QUANTILES, 3000))
@settings(deadline=None, max_examples=50)
def test_table_is_that_of_the_residuals_and_ascends(seed: int, n: int) -> None:
    residuals = normal(n, seed, 2)
    table = table_of(residuals)
    assert table.shape == (QUANTILES, 2)
    assert (np.diff(table, axis=0) >= 0).all()
    assert (table.min(axis=0) >= residuals.min(axis=0)).all()
    assert (table.max(axis=0) <= residuals.max(axis=0)).all()
    np.testing.assert_allclose(table[QUANTILES // 2], np.median(residuals, axis=0), atol=1e-6)


@pytest.mark.parametrize(("coverage", "row"), [(0.99, 2), (0.95, 12), (0.9, 25), (0.8, 50), (0.5, 125)])
def test_margins_are_order_statistics_of_the_table(coverage: float, row: int) -> None:
    table = np.arange(1, QUANTILES + 1, dtype=np.float32)[:, None]
    assert margins(table, coverage).tolist() == [[row], [QUANTILES + 1 - row]]


def test_too_few_residuals_of_an_output_give_no_table() -> None:
    residuals = normal(200, 1, 2)
    residuals[LEAST - 1 :, 1] = np.nan
    assert quantiles(residuals) is None


def coverage_of(how: Interval, residuals: F32) -> tuple[float, float]:
    """Shares of residuals, (T,), below and above an interval that follows them."""
    adapted, zero = Adapted(how), np.zeros(1, dtype=np.float32)
    below = above = 0
    for residual in residuals:
        bounds = zero + adapted.margins
        below += int(residual < bounds[0, 0])
        above += int(residual > bounds[1, 0])
        adapted.learn(bounds, np.array([residual], dtype=np.float32))
    return below / len(residuals), above / len(residuals)


def shifting(kind: str, T: int) -> F32:
    """Residuals that are not what the interval was calibrated on."""
    noise, t = normal(T, 5)[:, 0], np.arange(T)
    residuals = {
        "offset": noise + 4,
        "growing": noise * (1 + t / 2000),
        "jumping": noise + 5.0 * (-1) ** (t // 500),
        "waving": noise * (2 + np.sin(t / 300)) + 3 * np.cos(t / 700),
        "smaller": noise / 8,
        "outside in turns": np.where(t % 2, 8.0, -8.0),
    }[kind]
    return np.asarray(residuals, dtype=np.float32)


KINDS = ["offset", "growing", "jumping", "waving", "smaller", "outside in turns"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_adapted_interval_misses_as_often_as_it_may_whatever_comes(kind: str, coverage: float) -> None:
    how = Interval(table_of(normal(4000, 1)), coverage)
    residuals = shifting(kind, 4000)
    farthest = np.abs(residuals - how.centre[0]).max() / how.spread[0]
    bound = ((np.arcsinh(farthest) + np.arcsinh(1)) / PACE + 1) / len(residuals)
    for share in coverage_of(how, residuals):
        assert abs(share - (1 - coverage) / 2) <= bound


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_adapted_interval_covers_within_two_points_after_ten_thousand_truths(kind: str) -> None:
    how = Interval(table_of(normal(4000, 1)), 0.9)
    below, above = coverage_of(how, shifting(kind, 10_000))
    assert abs(1 - below - above - 0.9) <= 0.02


def test_output_without_a_truth_does_not_move() -> None:
    adapted = Adapted(interval())
    bounds = np.zeros((2, 2), dtype=np.float32) + adapted.margins
    before = adapted.margins.copy()
    taken = adapted.learn(bounds, np.array([np.nan, 100], dtype=np.float32))
    assert taken == (1, 0)
    assert (adapted.margins[:, 0] == before[:, 0]).all()
    assert (adapted.margins[:, 1] > before[:, 1]).all() or adapted.margins[1, 1] > before[1, 1]


def test_low_end_never_lies_above_the_high_end() -> None:
    adapted = Adapted(Interval(np.zeros((9, 1), dtype=np.float32), 0.2, pace=1.0))
    for _ in range(50):
        adapted.learn(adapted.margins, np.zeros(1, dtype=np.float32))
        assert adapted.margins[0, 0] <= adapted.margins[1, 0]


def test_margins_stay_finite_however_far_the_truth_is() -> None:
    adapted, truth = Adapted(Interval(table_of(normal(600, 1)), 0.9, pace=1.0)), np.full(1, 3e38, np.float32)
    for _ in range(200):
        adapted.learn(np.zeros((2, 1), dtype=np.float32), truth)
    assert np.isfinite(adapted.margins).all()


def test_truth_is_taken_once_and_only_of_what_waits() -> None:
    adapted = Adapted(interval(pending=4))
    bounds = np.zeros((2, 2), dtype=np.float32)
    for seq in range(10):
        adapted.remember(seq, bounds)
    truth = np.ones(2, dtype=np.float32)
    assert [adapted.take(seq, truth) is not None for seq in range(12)] == [
        seq in {6, 7, 8, 9} for seq in range(12)
    ]
    assert adapted.take(9, truth) is None


def test_prediction_without_intervals_has_no_bounds() -> None:
    assert fed(session(), 0, 1)[0].bounds is None


def test_interval_is_the_prediction_and_the_margins_of_the_model() -> None:
    how = interval(pending=0)
    for prediction in fed(session(how), 0, 5):
        assert prediction.bounds is not None
        np.testing.assert_array_equal(prediction.bounds, prediction.y + how.margins)


@pytest.mark.parametrize("delay", [1, 3, 7])
def test_live_intervals_equal_those_offline_bit_for_bit(delay: int) -> None:
    live, told = session(interval()), []
    for i in range(60):
        if i >= delay:
            live.take_truth(i - delay, TRUTH[i - delay])
        told += fed(live, i, i + 1)
    PREDICTOR.reset("offline")
    decoded = Decoded(np.arange(60), PREDICTOR.run(XS, "offline"), TRUTH)
    bounds = bounds_of(decoded, interval(), delay)
    assert [bits(p) for p in told] == [
        y.tobytes() + b.tobytes() for y, b in zip(decoded.y, bounds, strict=True)
    ]


@pytest.mark.parametrize("put_away_at", [1, 10, 33])
def test_session_goes_on_from_bytes_with_its_margins_and_what_waits(put_away_at: int) -> None:
    whole, parts = session(interval()), session(interval())
    told: list[list[bytes]] = [[], []]
    for i in range(60):
        if i == put_away_at:
            shared = Shared(PREDICTOR, Rules(), "run", interval=interval())
            parts = Session.from_bytes(parts.to_bytes(), shared)
        for to, heard in zip((whole, parts), told, strict=True):
            to.take_truth(i - 3, TRUTH[i])
            heard += [bits(p) for p in fed(to, i, i + 1)]
    assert told[0] == told[1]


def test_margins_of_another_coverage_are_not_restored() -> None:
    before = session(interval(0.8))
    fed(before, 0, 5)
    before.take_truth(4, TRUTH[0] + 100)
    other = interval(0.5)
    after = Session.from_bytes(before.to_bytes(), Shared(PREDICTOR, Rules(), "run", interval=other))
    (prediction,) = fed(after, 5, 6)
    assert prediction.bounds is not None
    np.testing.assert_array_equal(prediction.bounds, prediction.y + other.margins)


@pytest.mark.parametrize("damaged", [b"\xc1", msgspec.msgpack.encode([0.8, b"", b"", b"1234"])])
def test_damaged_margins_are_one_line(damaged: bytes) -> None:
    fields = msgspec.msgpack.decode(session(interval()).to_bytes())
    fields[Stored.__struct_fields__.index("adapted")] = damaged
    with pytest.raises(ModelError, match=r"^session state: expected margins of its intervals: "):
        Session.from_bytes(
            msgspec.msgpack.encode(fields), Shared(PREDICTOR, Rules(), "", interval=interval())
        )


def test_state_of_a_session_without_truth_is_what_it_was_before_intervals() -> None:
    states = []
    for how in (None, interval(pending=0)):
        one = session(how)
        fed(one, 0, 5)
        states.append(one.to_bytes())
    assert states[0] == states[1]


def test_reset_lets_no_prediction_wait_and_keeps_the_margins() -> None:
    one = session(interval())
    fed(one, 0, 5)
    assert one.take_truth(0, TRUTH[0]) is not None
    before = Adapted.to_bytes(one._adapted)  # type: ignore[arg-type]  # there is one
    one.reset()
    assert one.take_truth(1, TRUTH[1]) is None
    learnt = (msgspec.msgpack.decode(raw)[-1] for raw in (before, one._adapted.to_bytes()))  # type: ignore[union-attr]
    assert len(set(learnt)) == 1


@pytest.mark.parametrize("pending", [0, 16])
def test_rows_get_the_intervals_of_samples_one_by_one(pending: int) -> None:
    def sessions() -> Sessions:
        return Sessions(PREDICTOR, Rules(), "run", 4, interval(pending=pending))

    alone, together = sessions(), sessions()
    keys = ["a", "b", "a", "c"]
    for i in range(12):
        xs, seqs = XS[4 * i : 4 * i + 4], np.array([2 * i, i, 2 * i + 1, i])
        if len(xs) < 4:
            break
        rows = Rows(keys, seqs, np.full(4, -1), xs)
        one_by_one = [p for s in rows.samples() for p in alone.get(s.stream, 0).feed(s, 5, lambda: 7)]
        steps = together.feed_rows(rows, [5] * 4, 0, lambda: 7)
        if isinstance(steps, Steps):
            assert i
            assert steps.bounds is not None
            got = [y.tobytes() + b.tobytes() for y, b in zip(steps.Y, steps.bounds, strict=True)]
        else:
            got = [bits(p) for answer in steps if isinstance(answer, list) for p in answer]
        assert got == [bits(p) for p in one_by_one]
        for table in (alone, together):
            table.take_truth("a", 2 * i, TRUTH[i] * 10)
            table.take_truth("b", i, TRUTH[i])
    assert isinstance(steps, Steps)


def test_adopting_the_same_intervals_keeps_what_streams_learnt_and_others_begin_anew() -> None:
    sessions = Sessions(PREDICTOR, Rules(), "run", 4, interval())
    one = sessions.get("a", 0)
    fed(one, 0, 5)
    sessions.take_truth("a", 4, TRUTH[0] + 100)
    sessions.adopt(PREDICTOR, Rules(reorder=1), 4, interval())
    (kept,) = fed(one, 5, 6)
    other = interval(0.5)
    sessions.adopt(PREDICTOR, Rules(), 4, other)
    (anew,) = fed(one, 6, 7)
    sessions.adopt(PREDICTOR, Rules(), 4, None)
    (none,) = fed(one, 7, 8)
    assert kept.bounds is not None
    assert (kept.bounds != kept.y + interval().margins).any()
    assert anew.bounds is not None
    np.testing.assert_array_equal(anew.bounds, anew.y + other.margins)
    assert none.bounds is None


def test_measures_are_coverage_width_and_interval_score() -> None:
    table: F32 = np.linspace(-1, 1, 9, dtype=np.float32)[:, None]
    how = Interval(table, 0.8)
    assert how.margins[:, 0].tolist() == pytest.approx([-1, 1])
    truth: F32 = np.array([[0.5], [2.0], [-1.5], [np.nan]], dtype=np.float32)
    decoded = Decoded(np.arange(4), np.zeros((4, 1), dtype=np.float32), truth)
    fixed = measure(decoded, how, bounds_of(decoded, how, 1), 1, ("v",)).fixed["v"]
    assert fixed.coverage == pytest.approx(1 / 3)
    assert fixed.width == pytest.approx(2)
    assert fixed.score == pytest.approx((2 + (2 + 10 * 1.0) + (2 + 10 * 0.5)) / 3)


def test_model_without_residuals_says_so() -> None:
    with pytest.raises(
        ModelError, match=r"^model \w{12}: expected residuals to make intervals from, got none; "
    ):
        small_model().calibration()
