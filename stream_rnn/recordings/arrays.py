"""A table recording from arrays at hand: `stream_rnn.recording(x, y, rate_hz)`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from stream_rnn.recordings.table import Recording, recording_of


def recording(
    x: ArrayLike,
    y: ArrayLike | None,
    rate_hz: float,
    *,
    name: str = "recording",
    x_names: Sequence[str] | None = None,
    y_names: Sequence[str] | None = None,
    x_units: Sequence[str] | str | None = None,
    y_units: Sequence[str] | str | None = None,
    is_test: ArrayLike | None = None,
    train_end: int | None = None,
    recordings: ArrayLike | None = None,
    recording_names: Sequence[str] | None = None,
) -> Recording:
    """Put features and targets together, as what is trained on, evaluated and written.

    >>> made = recording(np.ones((10, 3)), np.zeros((10, 2)), 50, y_names=["vx", "vy"], y_units="cm/s")
    >>> made.y_names, made.y_units, int(made.is_test.sum())
    (('vx', 'vy'), ('cm/s', 'cm/s'), 2)

    Args:
        x: Features, (T, D); NaN marks a missing one.
        y: Targets, (T, K); NaN is not scored. None: there are none.
        rate_hz: Rows a second.
        name: What to call it.
        x_names: D names; else `x0`, `x1`, ...
        y_names: K names; else `y0`, `y1`, ...
        x_units: D units, or one for all.
        y_units: K units, or one for all.
        is_test: True where a row is kept for testing, (T,); else by `train_end`.
        train_end: First test row; else the last 20 % of each recording are test rows.
        recordings: Which recording each row belongs to, (T,); equal numbers lie side by side. Else one.
        recording_names: Names that `recordings` counts into.

    Raises:
        RecordingError: The arrays do not fit together.
    """
    given = {
        "x": x,
        "y": y,
        "rate_hz": rate_hz,
        "x_names": x_names,
        "y_names": y_names,
        "x_units": x_units,
        "y_units": y_units,
        "is_test": is_test,
        "train_end": train_end,
        "recording": recordings,
        "recording_names": recording_names,
    }
    arrays = {key: np.asarray(value) for key, value in given.items() if value is not None}
    return recording_of(arrays, name=name, where=f"recording {name}")
