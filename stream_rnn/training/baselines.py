"""Classic linear decoders, to see what a network is worth: fitted in closed form, served like any model.

Their bins slide as a network's do, each of the hidden states that take turns sees bins that do not overlap.
What is not known beforehand (bin, lags, strength, order, noise) is chosen by R2 on the last training rows;
then all training rows are fitted.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from stream_rnn.errors import RecordingError
from stream_rnn.features import Statistic
from stream_rnn.kernels import network
from stream_rnn.kernels.engine import make_engine
from stream_rnn.kernels.plan import state_size
from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.model.model import Horizon, Model, Provenance, join_weights
from stream_rnn.preprocess import Missing, Preprocess
from stream_rnn.recordings.table import Recording
from stream_rnn.sample import F32
from stream_rnn.training import kalman, wiener
from stream_rnn.training.finish import finished
from stream_rnn.training.interval import calibrated
from stream_rnn.training.options import unscaled
from stream_rnn.training.r2 import r2_mean
from stream_rnn.training.wiener import F64
from stream_rnn.training.windows import Data, Rows, features, gather, runs, scale, warmed

Decoder: TypeAlias = Literal["wiener", "kalman"]
Arrays: TypeAlias = tuple[dict[str, F64], dict[str, F64]]
"""Of the one layer, and of the readout."""

LAGS = (1, 2, 3, 5, 8, 12, 20, 30, 40, 60)
MOST_WEIGHTS = 1000  # lags x features of an output: what is solved in a fraction of a second
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of features of variance 1
FINER = (0.3, 3.0)  # times the best of them
ORDERS = (1, 2)
NOISES = (
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
)  # times Q: features that err alike bin after bin tell less than it says
ROWS_A_BIN = 4  # that are fitted to, at most: bins that overlap more say the same again
WARM_S = 4.0  # a filter's state forgets where it began

Positive = Annotated[float, msgspec.Meta(gt=0)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the fit of a linear decoder may be told.

    Attributes:
        bins_ms: Counting intervals to choose from, rounded to whole samples.
        history_s: How far back a Wiener filter may look.
        validation: Share of the training rows, the last ones, that only choose.
        horizon: Samples between the last one seen and the one whose target is predicted; below 0 it is past.
        missing: Policy for missing features, kept in the model.
        statistics: What is computed of each channel over a bin.
        logarithm: Whether the natural logarithm of each is taken.
        prior_s: As how many seconds the training rows count beside a stream's own, by whose mean and
            deviation each feature is given a second time; 0: it is not.
    """

    bins_ms: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1)] = (20.0, 50.0, 100.0, 200.0)
    history_s: Positive = 1.2
    validation: Annotated[float, msgspec.Meta(gt=0, le=0.5)] = 0.15
    horizon: Horizon = 0
    missing: Missing = "hold"
    statistics: Annotated[tuple[Statistic, ...], msgspec.Meta(min_length=1)] = ("sum",)
    logarithm: bool = False
    prior_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Choice(NamedTuple):
    """One way to fit a decoder: what was chosen from, by name, and how well it did."""

    validation_r2: float
    settings: dict[str, float]

    def __str__(self) -> str:
        settings = {name.removesuffix("_ms"): f"{value:g}" for name, value in self.settings.items()}
        if "bin" in settings:
            settings["bin"] += " ms"
        told = ", ".join(f"{name} {value}" for name, value in settings.items())
        return f"{told}, validation R2 {self.validation_r2:.3f}"


class Baseline(NamedTuple):
    """A linear decoder and how it came about."""

    model: Model
    choice: Choice


class _Binned(NamedTuple):
    """Recordings in bins of one length.

    Attributes:
        data: All rows.
        preprocess: What makes features of them.
        z: Features of every row, (N, D).
        stretches: First row and end of every stretch of rows to fit and to choose by.
    """

    data: Data
    preprocess: Preprocess
    z: F32
    stretches: list[tuple[int, int]]

    @property
    def bin(self) -> int:
        return self.preprocess.bin


def fit_wiener(recordings: list[Recording], options: Options) -> Baseline:
    """Fit a Wiener filter: `wiener` has its equations.

    Args:
        recordings: At least one; their test rows are not looked at.
        options: What to choose from.

    Raises:
        RecordingError: The recordings do not fit together, or have too few rows.
        ConfigError: A policy for missing features that needs what these do not tell.
    """
    data, rate_hz = _gathered(recordings, options), recordings[0].rate_hz
    tried = []
    for binned in _each_bin(recordings[0], data, options):
        choice, *ws = _best_wiener(binned, options.history_s * rate_hz / binned.bin)
        tried.append((choice, binned, ws))
    choice, binned, ws = max(tried, key=lambda one: _validation_r2(one[0]))
    lags, K = int(choice.settings["lags"]), data.y.shape[1]
    layer = Layer("fir", K, lags=lags)
    before, after = (wiener.filter_weights(w, lags) for w in ws)
    return _baseline("wiener", recordings, options, binned, choice, layer, before, after)


def _best_wiener(binned: _Binned, most_lags: float) -> tuple[Choice, F64, F64]:
    """The best number of lags and strength, its weights without the rows that chose, and with them."""
    data, D = binned.data, binned.z.shape[1]
    lags = [n for n in LAGS if n == 1 or (n <= most_lags and n * D <= MOST_WEIGHTS)]
    dense = _thinned(binned)

    def summed(rows: Rows) -> wiener.Moments:
        return wiener.moments(binned.z, data.y, binned.stretches, rows & dense, binned.bin, lags[-1])

    fitted, chosen_by = summed(data.train), summed(data.validation)

    sizes = [1 + n * D for n in lags]

    def tried(strength: float) -> list[Choice]:
        scores = [wiener.r2_mean(chosen_by, w) for w in wiener.ridges(fitted, sizes, strength)]
        return [
            Choice(score, {"lags": n, "strength": strength}) for n, score in zip(lags, scores, strict=True)
        ]

    best = max(itertools.chain(*map(tried, STRENGTHS)), key=_validation_r2)
    finer = [round(factor * best.settings["strength"], 9) for factor in FINER]
    best = max(best, *itertools.chain(*map(tried, finer)), key=_validation_r2)
    P, strength = 1 + int(best.settings["lags"]) * D, best.settings["strength"]
    before, after = (wiener.ridges(rows, [P], strength)[0] for rows in (fitted, fitted + chosen_by))
    return best, before, after


def _validation_r2(choice: Choice) -> float:
    return choice.validation_r2


def fit_kalman(recordings: list[Recording], options: Options) -> Baseline:
    """Fit a Kalman filter that has settled: `kalman` has its equations.

    Args:
        recordings: At least one; their test rows are not looked at.
        options: What to choose from.

    Raises:
        RecordingError: The recordings do not fit together.
        ConfigError: A policy for missing features that needs what these do not tell.
        StreamRnnError: They have too few rows, or the filter does not settle.
    """
    data, rate_hz = _gathered(recordings, options), recordings[0].rate_hz
    K, warm = data.y.shape[1], round(WARM_S * rate_hz)
    train = runs(data.train, data.spans)
    tried: list[tuple[Choice, _Binned, Layer]] = []
    for binned in _each_bin(recordings[0], data, options):
        for order in ORDERS:
            layer = Layer("elman", order * K, activation="linear")
            system = kalman.fit_system(binned.z, data.y, train, binned.bin, order)
            for noise in NOISES:
                score = _validated(binned, layer, kalman.filter_weights(system, K, noise), warm)
                tried.append((Choice(score, {"order": order, "noise": noise}), binned, layer))
    choice, binned, layer = max(tried, key=lambda one: _validation_r2(one[0]))
    order, noise = int(choice.settings["order"]), choice.settings["noise"]
    before, after = (
        kalman.filter_weights(kalman.fit_system(binned.z, data.y, rows, binned.bin, order), K, noise)
        for rows in (train, binned.stretches)
    )
    return _baseline("kalman", recordings, options, binned, choice, layer, before, after)


FITS: dict[Decoder, Callable[[list[Recording], Options], Baseline]] = {
    "wiener": fit_wiener,
    "kalman": fit_kalman,
}


def _gathered(recordings: list[Recording], options: Options) -> Data:
    data = gather(recordings, options.horizon, options.validation)
    for what, rows in (("fit", data.train), ("choose by", data.validation)):
        if not np.isfinite(data.y[rows]).all(axis=1).any():
            raise RecordingError(f"recording {recordings[0].name}: expected targets to {what}, got none")
    return data


def _each_bin(first: Recording, data: Data, options: Options) -> Iterator[_Binned]:
    """In bins of each length that is to be chosen from, once, the shortest first."""
    stretches = runs(data.train | data.validation, data.spans)
    asked = (unscaled(first, bin_ms, options) for bin_ms in sorted(options.bins_ms))
    for one in {one.bin: one for one in asked}.values():
        preprocess = scale(data, one)
        yield _Binned(data, preprocess, features(preprocess, data), stretches)


def _thinned(binned: _Binned) -> Rows:
    """Every row, or where bins have many rows only some of them, (N,)."""
    rows = np.zeros(len(binned.z), dtype=np.bool_)
    rows[:: max(1, binned.bin // ROWS_A_BIN)] = True
    return rows


def _architecture(binned: _Binned, layer: Layer) -> Architecture:
    return Architecture(inputs=binned.z.shape[1], layers=(layer,), outputs=binned.data.y.shape[1])


def _flat(architecture: Architecture, arrays: Arrays) -> F32:
    named = {
        f"{owner}.{name}": array.astype(np.float32)
        for owner, values in zip(("layers.0", "readout"), arrays, strict=True)
        for name, array in values.items()
    }
    return join_weights(architecture, named, "baseline")


def _validated(binned: _Binned, layer: Layer, arrays: Arrays, warm: int) -> float:
    """Mean R2 over the validation rows, each of the states that take turns warmed by the rows before."""
    architecture = _architecture(binned, layer)
    plan, data = architecture.plan(), binned.data
    engine, predicted = make_engine(plan, _flat(architecture, arrays)), np.full_like(data.y, np.nan)
    for start, _, end in warmed(data.validation, data.spans, warm):
        for phase in range(binned.bin):
            rows = np.arange(start + phase, end, binned.bin)
            ys = np.empty((len(rows), architecture.outputs), dtype=np.float32)
            network.run(engine, binned.z[rows], np.zeros(state_size(plan), dtype=np.float32), ys)
            predicted[rows] = ys
    return r2_mean(data.y[data.validation], predicted[data.validation])


def _baseline(
    decoder: Decoder,
    recordings: list[Recording],
    options: Options,
    binned: _Binned,
    choice: Choice,
    layer: Layer,
    before: Arrays,
    after: Arrays,
) -> Baseline:
    """The decoder as a model.

    Its residuals on the validation rows are those of the decoder before it was fitted to them too.
    """
    data, architecture = binned.data, _architecture(binned, layer)
    settings = {"bin_ms": 1000 * binned.bin / recordings[0].rate_hz, **choice.settings}
    provenance: Provenance = {
        "decoder": decoder,
        **{f"chosen_{name}": value for name, value in settings.items()},
        "validation_r2": round(choice.validation_r2, 6),
        "training_rows": int((data.train | data.validation).sum()),
    }
    without, model = (
        finished(
            recordings,
            data,
            architecture,
            _flat(architecture, arrays),
            binned.preprocess,
            options.horizon,
            provenance,
        )
        for arrays in (before, after)
    )
    residuals = calibrated(without, data).residuals
    return Baseline(
        msgspec.structs.replace(model, residuals=residuals), Choice(choice.validation_r2, settings)
    )
