"""What was fitted becomes a model: its card, and a golden vector of the first training rows."""

import numpy as np

from stream_rnn.model.architecture import Architecture
from stream_rnn.model.model import Card, Channel, Model, Provenance
from stream_rnn.predictor import with_golden
from stream_rnn.preprocess import Preprocess
from stream_rnn.recordings.table import Recording
from stream_rnn.sample import F32
from stream_rnn.training.windows import Data

GOLDEN_ROWS = 16


def finished(
    recordings: list[Recording],
    data: Data,
    architecture: Architecture,
    weights: F32,
    preprocess: Preprocess,
    horizon: int,
    provenance: Provenance,
) -> Model:
    """The model of a fit.

    Args:
        recordings: What it was fitted to.
        data: Their rows.
        architecture: Of the network.
        weights: Flat, (P,).
        preprocess: With mean and deviation.
        horizon: Samples between the last one seen and the one predicted.
        provenance: How it was made, beside the recordings.
    """
    first = recordings[0]
    card = Card(
        architecture=architecture,
        inputs=tuple(map(Channel, first.x_names, first.x_units)),
        outputs=tuple(map(Channel, first.y_names, first.y_units)),
        rate_hz=first.rate_hz,
        bin=preprocess.bin,
        missing=preprocess.missing,
        horizon=horizon,
        statistics=preprocess.statistics,
        logarithm=preprocess.logarithm,
        prior=preprocess.prior,
        provenance={"recordings": [recording.name for recording in recordings], **provenance},
    )
    none = np.empty((0, first.x.shape[1]), np.float32), np.empty((0, architecture.outputs), np.float32)
    golden = np.nan_to_num(data.x[np.flatnonzero(data.train)[:GOLDEN_ROWS]])
    return with_golden(Model(card, weights, preprocess.mean, preprocess.std, *none), golden)
