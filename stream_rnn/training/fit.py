"""The fit: random windows, truncated backpropagation through time, Adam, the best epoch by validation.

What is kept is a running mean of the weights (Polyak & Juditsky 1992): it validates steadier than the last
update. The batch is cut into a fixed number of shards, each with random numbers of its own: the result
depends on the seed alone, not on the number of cores.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from stream_rnn.errors import ConfigError, StreamRnnError
from stream_rnn.features import Statistic
from stream_rnn.kernels import network
from stream_rnn.kernels import plan as layout
from stream_rnn.kernels.engine import make_engine
from stream_rnn.model.architecture import Architecture, CellName, Layer, Readout
from stream_rnn.model.model import Card, Channel, Model, Provenance
from stream_rnn.predictor import with_golden
from stream_rnn.preprocess import Missing, Preprocess
from stream_rnn.recordings.table import Recording
from stream_rnn.sample import F32, I64
from stream_rnn.training.adam import Adam, clip, cosine
from stream_rnn.training.gradient import Backpropagation, Dropout, views
from stream_rnn.training.windows import Data, Windows, features, gather, runs, scale

SHARDS = 2
WARM_SHARE = 0.25  # first part of a window: its state is still settling, so it is not scored
GOLDEN_ROWS = 16
LEAST_UPDATES = 10  # in an epoch: a minute of data needs as many steps as an hour to get anywhere
AVERAGING = 0.01  # of each update in the running mean of the weights, which is what is validated and kept

Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fit may be told. The defaults suit a few minutes of spike counts or EMG features.

    Attributes:
        seed: Of the weights, the windows and the dropout.
        cell: Recurrent cell.
        layers: Recurrent layers.
        units: Hidden units of each layer.
        bin_ms: Counting interval, rounded to whole samples.
        window_s: Length of a training window: how far the gradient goes back in time.
        dropout: Share of inputs, and of hidden units before the readout, set to zero while training.
        epochs: Passes over the training rows.
        batch: Windows to an update.
        learning_rate: Of Adam at the start; half a cosine brings it to nothing.
        weight_decay: Share of a weight that an update of rate 1 would take off.
        clip: Largest norm of the gradient.
        validation: Share of the training rows, the last ones, that only choose the epoch.
        horizon: Samples between the last one seen and the one whose target is predicted.
        missing: Policy for missing features, kept in the model.
        readout: Activation of the outputs.
        statistics: What is computed of each channel over a bin.
        logarithm: Whether the natural logarithm of each is taken.
        prior_s: As how many seconds the training rows count beside a stream's own, by whose mean and
            deviation each feature is given a second time; 0: it is not.
    """

    seed: int
    cell: CellName = "gru"
    layers: Count = 2
    units: Count = 128
    bin_ms: Positive = 40.0
    window_s: Positive = 4.0
    dropout: Share = 0.5
    epochs: Count = 100
    batch: Annotated[int, msgspec.Meta(ge=SHARDS)] = 16
    learning_rate: Positive = 3e-3
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 1e-3
    clip: Positive = 1.0
    validation: Annotated[float, msgspec.Meta(gt=0, le=0.5)] = 0.15
    horizon: Annotated[int, msgspec.Meta(ge=0)] = 0
    missing: Missing = "hold"
    readout: Readout = "linear"
    statistics: Annotated[tuple[Statistic, ...], msgspec.Meta(min_length=1)] = ("sum",)
    logarithm: bool = False
    prior_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Epoch(NamedTuple):
    """How far a fit is."""

    number: int
    of: int
    loss: float
    validation_r2: float
    best_r2: float


class Fitted(NamedTuple):
    """A model and how it came about."""

    model: Model
    history: list[Epoch]
    best_epoch: int


def fit(recordings: list[Recording], options: Options, progress: Callable[[Epoch], None]) -> Fitted:
    """Fit a network to the training rows of recordings.

    Args:
        recordings: At least one; their test rows are not looked at.
        options: What to fit, and how.
        progress: Told of every epoch.

    Raises:
        RecordingError: The recordings do not fit together.
        ConfigError: The options do not.
        StreamRnnError: The loss is no longer a number.
    """
    first = recordings[0]
    data = gather(recordings, options.horizon, options.validation)
    bin_rows = max(1, round(options.bin_ms * first.rate_hz / 1000))
    preprocess = scale(data, _unscaled(first, options, bin_rows))
    architecture = Architecture(
        inputs=preprocess.inputs,
        layers=(Layer(options.cell, options.units),) * options.layers,
        outputs=first.y.shape[1],
        readout=options.readout,
    )
    steps = max(2, round(options.window_s * first.rate_hz / bin_rows))
    run = _Run(architecture.plan(), data, features(preprocess, data), options, steps, bin_rows)
    weights, history = run.best_of_all(progress)
    best = max(history, key=lambda epoch: epoch.validation_r2)
    card = Card(
        architecture=architecture,
        inputs=tuple(map(Channel, first.x_names, first.x_units)),
        outputs=tuple(map(Channel, first.y_names, first.y_units)),
        rate_hz=first.rate_hz,
        bin=bin_rows,
        missing=options.missing,
        horizon=options.horizon,
        statistics=preprocess.statistics,
        logarithm=preprocess.logarithm,
        prior=preprocess.prior,
        provenance={
            "recordings": [recording.name for recording in recordings],
            **{f"option_{name}": value for name, value in msgspec.to_builtins(options).items()},
            "training_rows": int(data.train.sum()),
            "validation_rows": int(data.validation.sum()),
            "validation_r2": round(best.validation_r2, 6),
            "best_epoch": best.number,
            **_told(history),
        },
    )
    none = np.empty((0, first.x.shape[1]), np.float32), np.empty((0, architecture.outputs), np.float32)
    model = Model(card, weights, preprocess.mean, preprocess.std, *none)
    golden = np.nan_to_num(data.x[np.flatnonzero(data.train)[:GOLDEN_ROWS]])
    return Fitted(with_golden(model, golden), history, best.number)


def _told(history: list[Epoch]) -> Provenance:
    """How the fit went, for the card: a number that is none is null."""
    columns = {"loss": [e.loss for e in history], "validation_r2": [e.validation_r2 for e in history]}
    return {
        f"history_{name}": [round(v, 5) if np.isfinite(v) else None for v in values]
        for name, values in columns.items()
    }


def _unscaled(first: Recording, options: Options, bin_rows: int) -> Preprocess:
    """The preprocessing, before mean and deviation of its features are known.

    Raises:
        ConfigError: A policy that needs what these features do not tell.
    """
    if options.missing == "mean" and (options.logarithm or options.statistics[0] != "sum"):
        raise ConfigError(
            "missing: expected hold, zero or fail where features are no sums of samples, got mean"
        )
    return Preprocess.unscaled(
        first.x.shape[1],
        bin_rows,
        options.missing,
        options.statistics,
        logarithm=options.logarithm,
        prior=round(options.prior_s * first.rate_hz),
    )


class _Run:
    """One fit under way."""

    def __init__(
        self, plan: I64, data: Data, inputs: F32, options: Options, steps: int, bin_rows: int
    ) -> None:
        self._plan, self._options = plan, options
        self._data, self._inputs, self._bin = data, inputs, bin_rows
        self._centre, self._spread = _target_scale(data, options.readout)
        targets = (data.y - self._centre) / self._spread
        stretches = runs(data.train, data.spans)
        self._windows = Windows(inputs, targets, stretches, steps, bin_rows)
        self._scored_from = int(steps * WARM_SHARE)
        scored = options.batch * (steps - self._scored_from) * bin_rows
        self._updates = max(LEAST_UPDATES, round(int(data.train.sum()) / scored))
        self._warm = steps * bin_rows
        self._rng, *self._shard_rngs = np.random.default_rng(options.seed).spawn(1 + SHARDS)
        shares = np.array_split(np.arange(options.batch), SHARDS)
        self._cuts = [slice(share[0], share[-1] + 1) for share in shares]
        self._shards = [Backpropagation(plan, steps, len(share)) for share in shares]
        self._dropout = Dropout(options.dropout, options.dropout)
        self.weights, decay = initial_weights(plan, options.weight_decay, self._rng)
        self._adam = Adam(decay)
        self._average = self.weights.copy()

    def best_of_all(self, progress: Callable[[Epoch], None]) -> tuple[F32, list[Epoch]]:
        """Fit; return the weights of the best epoch, for targets in their own units, and every epoch."""
        history: list[Epoch] = []
        best, best_r2 = self.weights, -np.inf
        with ThreadPoolExecutor(SHARDS, "shard") as pool:
            for number in range(1, self._options.epochs + 1):
                loss = self._epoch(number, pool)
                weights = self._in_units()
                r2 = self._validate(weights)
                if r2 > best_r2:
                    best, best_r2 = weights, r2
                history.append(Epoch(number, self._options.epochs, loss, r2, best_r2))
                progress(history[-1])
        return best, history

    def _epoch(self, number: int, pool: ThreadPoolExecutor) -> float:
        losses = []
        for update in range(self._updates):
            done = (number - 1) * self._updates + update
            X, Y = self._windows.draw(self._rng, self._options.batch)
            loss, dweights = self._gradient(X, Y, pool)
            norm = clip(dweights, self._options.clip)
            if not (np.isfinite(loss) and np.isfinite(norm)):
                rate = self._options.learning_rate
                raise StreamRnnError(
                    f"training: epoch {number}: expected a finite loss, got {loss} (rate {rate})"
                )
            progress = done / (self._options.epochs * self._updates)
            self._adam.step(self.weights, dweights, cosine(self._options.learning_rate, progress))
            share = np.float32(max(AVERAGING, 1.0 / (done + 1)))
            self._average += share * (self.weights - self._average)
            losses.append(loss)
        return float(np.mean(losses))

    def _gradient(self, X: F32, Y: F32, pool: ThreadPoolExecutor) -> tuple[float, F32]:
        """Mean loss of a batch and its gradient, from shards side by side, added in a fixed order."""

        def shard(i: int) -> tuple[float, int, F32]:
            dweights = np.zeros_like(self.weights)
            x, y, rng = X[:, self._cuts[i]], Y[:, self._cuts[i]], self._shard_rngs[i]
            with np.errstate(over="ignore", invalid="ignore"):  # a fit that diverges is told by its loss
                loss, count = self._shards[i].add_gradient(
                    self.weights, x, y, self._scored_from, dweights, self._dropout, rng
                )
            return loss, count, dweights

        parts = list(pool.map(shard, range(SHARDS)))
        count = max(1, sum(part[1] for part in parts))
        total = parts[0][2]
        for part in parts[1:]:
            total += part[2]
        total /= np.float32(count)
        return sum(part[0] for part in parts) / count, total

    def _validate(self, weights: F32) -> float:
        """Mean R2 over the validation rows as continuous streams, each state warmed by the rows before."""
        truth, predicted = [], []
        engine = make_engine(self._plan, weights)
        for first, end in runs(self._data.validation, self._data.spans):
            start = max(first - self._warm, self._span_start(first))
            for phase in range(self._bin):
                rows = np.arange(start + phase, end, self._bin)
                ys = np.empty((len(rows), self._data.y.shape[1]), dtype=np.float32)
                state = np.zeros(layout.state_size(self._plan), dtype=np.float32)
                network.run(engine, self._inputs[rows], state, ys)
                truth.append(self._data.y[rows[rows >= first]])
                predicted.append(ys[rows >= first])
        return float(np.nanmean(r2(np.concatenate(truth), np.concatenate(predicted))))

    def _span_start(self, row: int) -> int:
        return next(span.start for span in self._data.spans if span.start <= row < span.stop)

    def _in_units(self) -> F32:
        """A copy of the averaged weights whose linear readout answers in the targets' own units."""
        weights = self._average.copy()
        if self._options.readout == "linear":
            readout = views(self._plan, weights)[-1]
            readout["W"] *= self._spread
            readout["b"] *= self._spread
            readout["b"] += self._centre
        return weights


def _target_scale(data: Data, readout: Readout) -> tuple[F32, F32]:
    """Mean and standard deviation of the training targets; 0 and 1 where they must stay as they are."""
    K = data.y.shape[1]
    if readout != "linear":
        return np.zeros(K, dtype=np.float32), np.ones(K, dtype=np.float32)
    y = data.y[data.train].astype(np.float64)
    spread = np.nanstd(y, axis=0)
    return np.nanmean(y, axis=0).astype(np.float32), np.where(spread > 0, spread, 1.0).astype(np.float32)


def initial_weights(plan: I64, weight_decay: float, rng: np.random.Generator) -> tuple[F32, F32]:
    """Weights and biases uniform within 1 / sqrt(H) of zero, and the decay of each: none for biases."""
    weights = np.zeros(layout.weights_size(plan), dtype=np.float32)
    decay = np.zeros_like(weights)
    for row, values, decays in zip(plan, views(plan, weights), views(plan, decay), strict=True):
        readout = row[layout.KIND] == layout.READOUT
        bound = 1.0 / np.sqrt(row[layout.INPUTS if readout else layout.UNITS])
        for name, array in values.items():
            array[:] = rng.uniform(-bound, bound, array.shape)
            decays[name][:] = 0.0 if name == "b" else weight_decay
    return weights, decay


def r2(truth: F32, predicted: F32) -> F32:
    """Coefficient of determination of each output over the rows whose target is finite, (K,).

    1 - sum (y* - y)^2 / sum (y* - mean y*)^2; NaN for a target that does not vary.
    """
    y, p = truth.astype(np.float64), predicted.astype(np.float64)
    wrong = np.nansum((y - p) ** 2, axis=0)
    spread = np.nansum((y - np.nanmean(y, axis=0)) ** 2, axis=0)
    ratio = np.divide(wrong, spread, out=np.full_like(wrong, np.nan), where=spread > 0)
    result: F32 = (1.0 - ratio).astype(np.float32)
    return result
