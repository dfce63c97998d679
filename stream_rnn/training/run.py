"""One fit under way: windows drawn, updates made, epochs validated, the best kept. It knows no files.

What is validated and kept is a running mean of the weights (Polyak & Juditsky 1992): it is steadier than the
last update. The batch is cut into a fixed number of shards, each with random numbers of its own: the result
depends on the seed alone, not on the number of cores. All it depends on between two epochs is its `State`.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from stream_rnn.errors import StreamRnnError
from stream_rnn.kernels import network
from stream_rnn.kernels import plan as layout
from stream_rnn.kernels.engine import make_engine
from stream_rnn.model.architecture import Readout
from stream_rnn.sample import F32, I64
from stream_rnn.training.adam import Adam, clip, cosine
from stream_rnn.training.balance import rarity
from stream_rnn.training.gradient import Backpropagation, Dropout, views
from stream_rnn.training.options import SHARDS, Options
from stream_rnn.training.r2 import r2_mean
from stream_rnn.training.windows import Data, Windows, runs, warmed

WARM_SHARE = 0.25  # first part of a window: its state is still settling, so it is not scored
LEAST_UPDATES = 10  # in an epoch: a minute of data needs as many steps as an hour to get anywhere
AVERAGING = 0.01  # of each update in the running mean of the weights, which is what is validated and kept


class Epoch(NamedTuple):
    """How far a fit is."""

    number: int
    of: int
    loss: float
    validation_r2: float
    best_r2: float

    def among(self, fit: int, of: int) -> "Epoch":
        """The same, numbered through several fits, of which this one is number `fit`, from 0."""
        return self._replace(number=fit * self.of + self.number, of=of * self.of)


class State(NamedTuple):
    """All that a fit depends on between two epochs, beside its options and data.

    Attributes:
        arrays: Weights, their running mean, Adam's moments, the best weights; each (P,).
        adam_time: Updates made.
        generators: State of each random generator.
        best_epoch: Number of the best epoch; 0: what it began with.
        best_r2: Its validation R2.
        history: Every epoch.
    """

    arrays: dict[str, F32]
    adam_time: int
    generators: list[dict[str, Any]]
    best_epoch: int
    best_r2: float
    history: list[Epoch]


class Run:
    """One fit under way.

    Args:
        plan: Layout of the network.
        data: All rows.
        inputs: What the network gets of each row, (N, D).
        options: How to fit.
        steps: Steps of a window.
        bin_rows: Rows of a bin.
        weights: What to begin with, answering in the targets' own units; else drawn.
    """

    def __init__(
        self,
        plan: I64,
        data: Data,
        inputs: F32,
        options: Options,
        steps: int,
        bin_rows: int,
        weights: F32 | None = None,
    ) -> None:
        self._plan, self._options = plan, options
        self._data, self._inputs, self._bin = data, inputs, bin_rows
        self._centre, self._spread = _target_scale(data, options.readout)
        targets = (data.y - self._centre) / self._spread
        stretches = runs(data.train, data.spans)
        rare = rarity(targets, data.train) if options.balance else None
        self._windows = Windows(inputs, targets, stretches, steps, bin_rows, rare)
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
        if weights is not None:
            self.weights = self._scaled(weights)
        self._frozen = _frozen(plan, options)
        decay[self._frozen] = 0.0
        self._adam = Adam(decay)
        self._average = self.weights.copy()
        self.best, self.best_epoch, self.best_r2 = self.weights, 0, -np.inf
        self.history: list[Epoch] = []
        if weights is not None:  # no epoch that is worse on the validation rows replaces it
            self.best, self.best_r2 = weights, self._validate(weights)

    def go_on(self, progress: Callable[[Epoch], None], keep: Callable[[State], None] | None) -> None:
        """Fit from wherever it stands to the end.

        Args:
            progress: Told of every epoch.
            keep: Given the state after every epoch, before `progress` is told.
        """
        options = self._options
        with ThreadPoolExecutor(SHARDS, "shard") as pool:
            for number in range(len(self.history) + 1, options.epochs + 1):
                if options.patience and number - 1 - self.best_epoch >= options.patience:
                    break
                loss = self._epoch(number, pool)
                weights = self._in_units()
                found = self._validate(weights)
                if found > self.best_r2:
                    self.best, self.best_r2, self.best_epoch = weights, found, number
                self.history.append(Epoch(number, options.epochs, loss, found, self.best_r2))
                if keep is not None:
                    keep(self.state())
                progress(self.history[-1])

    def state(self) -> State:
        """What a fit of the same options and data goes on from, with the same bits; no copies of arrays."""
        arrays = {
            "weights": self.weights,
            "average": self._average,
            "adam.m": self._adam.m,
            "adam.v": self._adam.v,
            "best": self.best,
        }
        generators = [dict(rng.bit_generator.state) for rng in (self._rng, *self._shard_rngs)]
        return State(arrays, self._adam.time, generators, self.best_epoch, self.best_r2, list(self.history))

    def restore(self, state: State) -> None:
        """Stand where another fit of the same options and data stood."""
        self.weights, self._average = state.arrays["weights"].copy(), state.arrays["average"].copy()
        self._adam.m, self._adam.v = state.arrays["adam.m"].copy(), state.arrays["adam.v"].copy()
        self._adam.time = state.adam_time
        self.best, self.best_epoch, self.best_r2 = (
            state.arrays["best"].copy(),
            state.best_epoch,
            state.best_r2,
        )
        self.history = list(state.history)
        for rng, found in zip((self._rng, *self._shard_rngs), state.generators, strict=True):
            rng.bit_generator.state = found

    def _epoch(self, number: int, pool: ThreadPoolExecutor) -> float:
        losses = []
        for update in range(self._updates):
            done = (number - 1) * self._updates + update
            X, Y = self._windows.draw(self._rng, self._options.batch)
            loss, dweights = self._gradient(X, Y, pool)
            dweights[self._frozen] = 0.0
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
        for start, first, end in warmed(self._data.validation, self._data.spans, self._warm):
            for phase in range(self._bin):
                rows = np.arange(start + phase, end, self._bin)
                ys = np.empty((len(rows), self._data.y.shape[1]), dtype=np.float32)
                state = np.zeros(layout.state_size(self._plan), dtype=np.float32)
                network.run(engine, self._inputs[rows], state, ys)
                truth.append(self._data.y[rows[rows >= first]])
                predicted.append(ys[rows >= first])
        return r2_mean(np.concatenate(truth), np.concatenate(predicted))

    def _in_units(self) -> F32:
        """A copy of the averaged weights whose linear readout answers in the targets' own units."""
        weights = self._average.copy()
        if self._options.readout == "linear":
            readout = views(self._plan, weights)[-1]
            readout["W"] *= self._spread
            readout["b"] *= self._spread
            readout["b"] += self._centre
        return weights

    def _scaled(self, weights: F32) -> F32:
        """The inverse: a copy of weights in the targets' units that answers in standard deviations."""
        scaled = weights.copy()
        if self._options.readout == "linear":
            readout = views(self._plan, scaled)[-1]
            readout["W"] /= self._spread
            readout["b"] -= self._centre
            readout["b"] /= self._spread
        return scaled


def _target_scale(data: Data, readout: Readout) -> tuple[F32, F32]:
    """Mean and standard deviation of the training targets; 0 and 1 where they must stay as they are."""
    K = data.y.shape[1]
    if readout != "linear":
        return np.zeros(K, dtype=np.float32), np.ones(K, dtype=np.float32)
    y = data.y[data.train].astype(np.float64)
    spread = np.nanstd(y, axis=0)
    return np.nanmean(y, axis=0).astype(np.float32), np.where(spread > 0, spread, 1.0).astype(np.float32)


def _frozen(plan: I64, options: Options) -> slice:
    """Which of the flat weights stay as they are: none, or all up to the readout's."""
    return slice(0, int(plan[-1, layout.WEIGHTS_AT]) if options.freeze == "cells" else 0)


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
