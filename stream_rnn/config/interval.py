"""The section [interval]: which intervals predictions get, and where the truth that moves them arrives."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from stream_rnn.errors import ConfigError
from stream_rnn.interval import PACE
from stream_rnn.transports.topics import PLACEHOLDER, TopicTemplate


class IntervalSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An interval beside every prediction, `y_low` and `y_high`; see docs/intervals.md.

    Attributes:
        coverage: Share of truths that is to lie inside.
        truth: Topic where the truth of a stream's predictions arrives, as `sensors/{stream}/truth`: intervals
            then follow it. Needs a section [mqtt]. None: they stay as the model was calibrated.
        pace: How far a truth beyond an end moves it, as a share of some three quarters of the width.
        pending: Predictions of each stream that wait for their truth, where one may come.
    """

    coverage: Annotated[float, msgspec.Meta(ge=0.01, le=0.99)]
    truth: str | None = None
    pace: Annotated[float, msgspec.Meta(gt=0, le=1)] = PACE
    pending: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 256

    def __post_init__(self) -> None:
        """Refuse a topic that names no stream.

        Raises:
            ConfigError: It does not, or is no topic.
        """
        if self.truth is not None:
            TopicTemplate(self.truth)
            if PLACEHOLDER not in self.truth:
                raise ConfigError(f"interval.truth: expected a topic with {PLACEHOLDER}, got {self.truth!r}")


def check_interval(interval: IntervalSection | None, wires: Mapping[str, str]) -> None:
    """Refuse what cannot carry an interval, and truth without a broker.

    Args:
        interval: The section.
        wires: Encoding of each way in.

    Raises:
        ConfigError: It cannot be done.
    """
    if interval is None:
        return
    for name, wire in wires.items():
        if wire == "f32":
            raise ConfigError(f"{name}.wire: expected json, msgpack or frame with [interval], got 'f32'")
    if interval.truth is not None and "mqtt" not in wires:
        raise ConfigError("interval.truth: expected a section [mqtt] where it arrives, got none")
