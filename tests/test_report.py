"""What a report measures: known answers on small made data."""

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from stream_rnn.kernels.plan import weights_size
from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.model.model import Card, Channel, Model, join_weights, split_weights
from stream_rnn.predictor import Predictor, with_golden
from stream_rnn.recordings.simulated import simulate
from stream_rnn.recordings.table import Recording, Span, last_fifth
from stream_rnn.report.ablation import ablate
from stream_rnn.report.errors_by import by_recording, is_planar_velocity, lags, profiles
from stream_rnn.report.findings import find, history_of, network_name
from stream_rnn.report.paths import paths_of
from stream_rnn.report.pieces import F64, line, pieces_of, seconds_of, typical
from stream_rnn.sample import F32
from stream_rnn.training.evaluate import Decoded, decode, score
from tests.small import small_model

RATE_HZ = 100.0
PLANE = (Channel("velocity_x", "cm/s"), Channel("velocity_y", "cm/s"))
ANGLE = (Channel("knee", "degrees"),)
CORTEX = simulate(20, 5, seed=4)


def made(truth: F64, predicted: F64) -> tuple[Decoded, list[Span]]:
    rows = np.arange(len(truth))
    return Decoded(rows, predicted.astype(np.float32), truth.astype(np.float32)), [Span("a", 0, len(truth))]


def wandering(rows: int, outputs: int, seed: int = 1) -> F64:
    """A smooth random walk."""
    steps = np.random.default_rng(seed).standard_normal((rows + 40, outputs)).cumsum(axis=0)
    smooth = np.stack([np.convolve(column, np.ones(8) / 8, mode="valid") for column in steps.T], axis=1)
    walk: F64 = smooth[:rows]
    return walk


def circling(rows: int = 4000) -> F64:
    """Velocity of 10 cm/s that turns evenly."""
    angle = np.linspace(0, 40 * np.pi, rows, endpoint=False)
    return 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def relay(inputs: int, informative: int) -> Model:
    """A network whose output is a growing function of one input alone."""
    architecture = Architecture(inputs=inputs, layers=(Layer("elman", 1),), outputs=1)
    tensors = split_weights(architecture, np.zeros(weights_size(architecture.plan()), dtype=np.float32))
    tensors["layers.0.W"][informative] = 0.5
    tensors["readout.W"][:] = 2.0
    nothing = np.empty((0, inputs), dtype=np.float32), np.empty((0, 1), dtype=np.float32)
    card = Card(
        architecture=architecture,
        inputs=tuple(Channel(f"unit{i}") for i in range(inputs)),
        outputs=(Channel("level"),),
        rate_hz=RATE_HZ,
        bin=1,
        missing="hold",
        horizon=0,
    )
    zeros, ones = np.zeros(inputs, dtype=np.float32), np.ones(inputs, dtype=np.float32)
    model = Model(card, join_weights(architecture, tensors, "relay"), zeros, ones, *nothing)
    return with_golden(model, np.ones((4, inputs), dtype=np.float32))


def relayed(rows: int = 600, inputs: int = 4, informative: int = 2) -> tuple[Predictor, Recording]:
    """A relay, and a recording that it decodes without error."""
    predictor = Predictor(relay(inputs, informative))
    x = np.random.default_rng(3).standard_normal((rows, inputs)).astype(np.float32)
    recording = msgspec.structs.replace(
        CORTEX, x=x, y=predictor.run(x), is_test=np.arange(rows) >= rows // 2,
        recording=np.zeros(rows, dtype=np.int32), x_names=tuple("abcd"), x_units=("",) * 4,
        y_names=("level",), y_units=("",),
    )  # fmt: skip
    predictor.reset()
    return predictor, recording


@pytest.mark.parametrize("late", [-7, 0, 12])
def test_lag_of_a_shifted_copy_is_found(late: int) -> None:
    truth = wandering(1000, 2)
    told = lags(*made(truth, np.roll(truth, late, axis=0)), RATE_HZ)
    assert told.samples[told.best] == late
    assert told.mean[told.best] == pytest.approx(1.0)
    assert (len(told.samples), told.samples[told.none], told.rows) == (61, 0, 940)


def test_lag_compares_nothing_across_the_border_of_two_pieces() -> None:
    truth = wandering(400, 1)
    decoded, _ = made(truth, truth)
    told = lags(decoded, [Span("a", 0, 200), Span("b", 200, 400)], RATE_HZ)
    assert told.rows == 400 - 2 * 2 * 30


def test_error_by_direction_is_that_of_a_known_field() -> None:
    truth = circling()
    wrong = truth.copy()
    wrong[truth[:, 0] < 0] *= 0.5  # leftward movement is predicted half as fast
    _, told = profiles(*made(truth, wrong), PLANE, RATE_HZ)
    assert told.of == "direction"
    np.testing.assert_allclose(told.centres, np.arange(8) * 45.0)
    np.testing.assert_allclose(told.rmse[[0, 1, 7]], 0, atol=1e-4)
    np.testing.assert_allclose(told.rmse[[3, 4, 5]], 5, rtol=1e-4)
    np.testing.assert_allclose(told.gain[[0, 1, 3, 4, 5, 7]], [1, 1, 0.5, 0.5, 0.5, 1], rtol=1e-4)
    np.testing.assert_allclose(told.turned, 0, atol=1e-3)
    assert told.rows.sum() == 4000


def test_a_turned_field_is_told_by_its_angle() -> None:
    truth = circling()
    _, told = profiles(*made(truth, truth[:, ::-1] * [-1, 1]), PLANE, RATE_HZ)  # by a quarter
    np.testing.assert_allclose(told.turned, 90, atol=1e-2)
    np.testing.assert_allclose(told.gain, 0, atol=1e-5)


def test_error_by_speed_grows_where_it_was_made_to() -> None:
    truth = circling() * np.linspace(0, 2, 4000)[:, None]
    told, _ = profiles(*made(truth, truth * 0.9), PLANE, RATE_HZ)
    np.testing.assert_allclose(told.rmse, 0.1 * told.truth, rtol=0.2)
    np.testing.assert_allclose(told.predicted, 0.9 * told.truth, rtol=1e-4)


def test_outputs_of_other_kinds_are_told_by_value_and_rate_of_change() -> None:
    truth = np.abs(np.arange(-500, 500))[:, None] / 10.0  # falls and rises by 10 a second
    told = profiles(*made(truth, truth + 2), ANGLE, RATE_HZ)
    assert [(p.of, p.unit, p.output) for p in told] == [
        ("value", "degrees", "knee"),
        ("rate of change", "degrees/s", "knee"),
    ]
    np.testing.assert_allclose(told[0].rmse, 2, rtol=1e-5)
    assert told[1].rows[-1] > 990


def test_what_is_missing_is_in_no_mean() -> None:
    truth = circling()
    truth[::2] = np.nan
    for told in profiles(*made(truth, circling()), PLANE, RATE_HZ):
        assert told.rows.sum() == 2000
        np.testing.assert_allclose(told.rmse[told.rows > 0], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("outputs", "is_velocity"),
    [
        (PLANE, True),
        ((Channel("vel_x_cm_s"), Channel("vel_y_cm_s")), True),
        ((Channel("a", "m/s"), Channel("b", "m/s")), True),
        ((Channel("vx"), Channel("vy")), True),
        ((Channel("v0", "mV"), Channel("v1", "mV")), False),
        ((Channel("level"), Channel("travel")), False),
        ((Channel("vx", "m/s"), Channel("vy", "cm/s")), False),
        (ANGLE, False),
    ],
)
def test_velocity_in_the_plane_is_known_by_name_or_unit(
    outputs: tuple[Channel, ...], *, is_velocity: bool
) -> None:
    assert is_planar_velocity(outputs) == is_velocity


def test_without_the_only_informative_input_its_r2_is_lost() -> None:
    predictor, recording = relayed()
    decoded = decode(predictor, recording, "test")
    told = ablate(predictor, recording, decoded, pieces_of(decoded, recording))
    assert told.order[0] == 2
    assert told.mean[2] == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(told.mean[[0, 1, 3]], 0)
    assert (told.silenced, told.rows) == ("mean", 300)


def test_ablation_leaves_recording_and_streams_as_they_were() -> None:
    predictor, recording = relayed()
    before, before_streams = recording.x.copy(), predictor.streams
    decoded = decode(predictor, recording, "test")
    ablate(predictor, recording, decoded, pieces_of(decoded, recording))
    np.testing.assert_array_equal(recording.x, before)
    assert predictor.streams == before_streams


def test_input_is_missed_by_as_much_as_streams_lose_that_go_on_without_it() -> None:
    predictor = Predictor(small_model(bin_samples=4))
    number = (np.arange(len(CORTEX.x)) >= 1200).astype(np.int32)
    two = msgspec.structs.replace(
        CORTEX, recording=number, recording_names=("a", "b"), is_test=last_fifth(number)
    )
    decoded, x = decode(predictor, two, "test"), two.x.copy()
    x[two.is_test, 3] = x[~two.is_test, 3].mean(dtype=np.float64)
    without = decode(predictor, msgspec.structs.replace(two, x=x), "test")
    told = ablate(predictor, two, decoded, pieces_of(decoded, two))
    whole, rest = (score(one, two.y_names).r2 for one in (decoded, without))
    lost = [whole[name] - rest[name] for name in two.y_names]  # type: ignore[operator]
    np.testing.assert_allclose(told.drop[3], lost, rtol=1e-6)


def test_input_of_other_statistics_is_replaced_by_itself_at_another_time() -> None:
    model = small_model()
    card = msgspec.structs.replace(model.card, statistics=("root_mean_square",), bin=4)
    none = msgspec.structs.replace(model, card=card, golden_x=model.golden_x[:0], golden_y=model.golden_y[:0])
    predictor = Predictor(none)
    decoded = decode(predictor, CORTEX, "test")
    told = ablate(predictor, CORTEX, decoded, pieces_of(decoded, CORTEX))
    assert told.silenced == "time"
    assert np.isfinite(told.drop).all()


def test_pieces_end_where_rows_or_recordings_do() -> None:
    number = (np.arange(len(CORTEX.x)) >= 1500).astype(np.int32)
    test = np.zeros(len(number), dtype=np.bool_)
    test[100:200] = test[300:350] = test[1400:1600] = True
    recording = msgspec.structs.replace(CORTEX, recording=number, recording_names=("a", "b"), is_test=test)
    decoded = decode(Predictor(small_model()), recording, "test")
    pieces = pieces_of(decoded, recording)
    assert pieces == [Span("a", 0, 100), Span("a", 100, 150), Span("a", 150, 250), Span("b", 250, 350)]
    assert [(score.name, score.rows) for score in by_recording(decoded, pieces)] == [("a", 250), ("b", 100)]
    np.testing.assert_allclose(seconds_of(decoded, pieces, RATE_HZ), np.arange(350) / 100)


def test_one_piece_keeps_the_time_of_its_recording() -> None:
    decoded = decode(Predictor(small_model()), CORTEX, "test")
    assert seconds_of(decoded, pieces_of(decoded, CORTEX), RATE_HZ)[0] == pytest.approx(16.0)


def test_a_line_keeps_its_extremes_and_breaks_between_pieces() -> None:
    values: F32 = np.sin(np.arange(20_000) / 7).astype(np.float32)
    values[12_345] = 5
    pieces = [Span("a", 0, 10_000), Span("b", 10_000, 20_000)]
    drawn = line(np.arange(20_000.0), values, pieces, slice(0, 20_000), 200)
    assert len(drawn.v) <= 2 * 200 + 2
    assert np.nanmax(drawn.v) == 5
    assert drawn.t[np.nanargmax(drawn.v)] == 12_345
    assert np.isnan(drawn.v[[200, -1]]).all()


def test_a_short_line_is_drawn_as_it_is() -> None:
    values = wandering(50, 1)[:, 0]
    drawn = line(np.arange(50.0), values, [Span("a", 0, 50)], slice(10, 20), 760)
    np.testing.assert_array_equal(drawn.v[:-1], values[10:20])


def test_the_typical_stretch_has_the_median_error() -> None:
    truth = wandering(12_500, 1)
    wrong = np.repeat([3.0, 1.0, 9.0, 2.0, 5.0], 2500)[:, None]  # of five stretches of 25 s
    decoded, _ = made(truth, truth + wrong)
    assert typical(decoded, RATE_HZ) == slice(0, 2500)


def test_paths_of_a_velocity_are_its_integral() -> None:
    decoded, pieces = made(np.tile([3.0, 0.0], (1000, 1)), np.tile([0.0, 4.0], (1000, 1)))
    told = paths_of(decoded, pieces, PLANE, RATE_HZ)
    assert (told.kind, told.total, told.seconds) == ("velocity", 2, 4.0)
    np.testing.assert_allclose(told.shown[0].truth[[0, -1]], [[0.0, 0.0], [11.97, 0.0]])
    assert told.drift == pytest.approx(5 * 3.99)
    assert told.length == pytest.approx(11.97)


def test_paths_leave_out_missing_truth() -> None:
    truth = wandering(1200, 1)
    truth[500] = np.nan
    told = paths_of(*made(truth, truth), ANGLE, RATE_HZ)
    assert (told.kind, [path.start for path in told.shown]) == ("phase", [0, 800])


def test_history_is_that_of_the_card() -> None:
    card = small_model().card
    assert history_of(card) is None
    told = {"history_loss": [0.5, 0.25], "history_validation_r2": [None, 0.5], "best_epoch": 2}
    history = history_of(msgspec.structs.replace(card, provenance=told))
    assert history is not None
    assert (history.loss, history.validation_r2[1], history.best) == ([0.5, 0.25], 0.5, 2)
    assert np.isnan(history.validation_r2[0])


def test_everything_is_found_of_one_output_and_of_rows_without_truth() -> None:
    predictor, recording = relayed()
    recording.y[320:330] = np.nan
    found = find(predictor, recording, decode(predictor, recording, "test"), "test")
    assert found.scores.r2_mean == pytest.approx(1.0)
    assert network_name(predictor.model.card) == "this network (elman 1)"
    assert found.lags.samples[found.lags.best] == 0


def shortened(rows: int, **arrays: NDArray[Any]) -> Recording:
    """The first rows of the cortex, all of them test rows."""
    r = CORTEX
    kept = {
        "x": r.x[:rows],
        "y": r.y[:rows],
        "recording": r.recording[:rows],
        "is_test": np.ones(rows, np.bool_),
    }
    return msgspec.structs.replace(r, **(kept | arrays))


@pytest.mark.parametrize(
    "recording",
    [
        shortened(1),
        shortened(3),
        shortened(200, is_test=np.arange(200) % 2 == 0),
        shortened(200, y=np.ones((200, 2), dtype=np.float32)),
        shortened(200, y=np.where([True, False], CORTEX.y[:200], np.float32(np.nan))),
        shortened(200, x=np.where(np.arange(200)[:, None] % 7, CORTEX.x[:200], np.float32(np.nan))),
    ],
    ids=["one row", "three rows", "single rows", "constant", "no truth of one output", "missing samples"],
)
def test_everything_is_found_of_odd_recordings(recording: Recording) -> None:
    predictor = Predictor(small_model(missing="fail"))
    found = find(predictor, recording, decode(predictor, recording, "test"), "test")
    assert len(found.t) == recording.is_test.sum()
    assert found.ablation.drop.shape == (5, 2)
