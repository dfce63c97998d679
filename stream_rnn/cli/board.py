"""What a watcher knows: the last of every stream, its rate, gaps, latency, and how close to the truth it is.

Pure: messages and times come in, numbers come out.
"""

from collections import OrderedDict, deque
from typing import Any

import msgspec
import numpy as np

from stream_rnn.errors import WireError
from stream_rnn.sample import F32, Flag, Prediction
from stream_rnn.wire import Codec
from stream_rnn.wire.truth import decode_truth

HISTORY = 1000  # samples of each stream kept for its trace
RECENT = 2000  # latencies its percentiles are taken from
UNMATCHED = 5000  # truths that wait for their prediction
MOST_STREAMS = 1000  # shown and remembered: whoever may publish makes them up
RATE_WINDOW_NS = 2_000_000_000


class RunningR2:
    """R2 of each output over all pairs so far, without keeping them (Welford's update of mean and spread)."""

    def __init__(self, outputs: int) -> None:
        self.count = np.zeros(outputs)
        self._mean, self._spread, self._wrong = np.zeros(outputs), np.zeros(outputs), np.zeros(outputs)

    def add(self, truth: F32, predicted: F32) -> None:
        """Take in one pair, (K,) each; an output whose truth or prediction is not finite is left out."""
        known = np.isfinite(truth) & np.isfinite(predicted)
        y, p = truth[known].astype(np.float64), predicted[known].astype(np.float64)
        self.count[known] += 1
        before = y - self._mean[known]
        self._mean[known] += before / self.count[known]
        self._spread[known] += before * (y - self._mean[known])
        self._wrong[known] += (y - p) ** 2

    def value(self) -> list[float | None]:
        """R2 of each output; None until its truth has varied."""
        return [
            float(1.0 - wrong / spread) if spread > 0 else None
            for wrong, spread in zip(self._wrong, self._spread, strict=True)
        ]


class StreamBoard:
    """One stream, as far as its predictions tell."""

    def __init__(self, outputs: int) -> None:
        self.last: Prediction | None = None
        self.count = self.gaps = self.missed = self.resets = 0
        self.r2 = RunningR2(outputs)
        self.trace: deque[tuple[int, F32]] = deque(maxlen=HISTORY)
        self.truth: OrderedDict[int, F32] = OrderedDict()
        self.in_process_us: deque[float] = deque(maxlen=RECENT)
        self.end_to_end_us: deque[float] = deque(maxlen=RECENT)
        self._arrivals: deque[int] = deque(maxlen=RECENT)

    def take(self, prediction: Prediction, t_published_ns: int, t_arrived_ns: int) -> None:
        """Take in a prediction.

        Args:
            prediction: The prediction.
            t_published_ns: When it left the daemon, epoch nanoseconds.
            t_arrived_ns: When it came here, epoch nanoseconds.
        """
        self.last = prediction
        self.count += 1
        self.missed += prediction.missed
        self.gaps += bool(prediction.flags & Flag.GAP)
        self.resets += bool(prediction.flags & Flag.RESET)
        self.trace.append((prediction.seq, prediction.y))
        self._arrivals.append(t_arrived_ns)
        if prediction.t_received_ns:
            self.in_process_us.append((t_published_ns - prediction.t_received_ns) / 1000)
        if prediction.t_source_ns is not None:
            self.end_to_end_us.append((t_arrived_ns - prediction.t_source_ns) / 1000)
        if prediction.seq in self.truth:
            self.r2.add(self.truth[prediction.seq], prediction.y)

    def take_truth(self, seq: int, y: F32) -> None:
        """Take in what a prediction should have been, before or after it comes."""
        predicted = next((value for number, value in reversed(self.trace) if number == seq), None)
        if predicted is not None and seq not in self.truth and len(predicted) == len(y):
            self.r2.add(y, predicted)
        self.truth[seq] = y
        while len(self.truth) > UNMATCHED:
            self.truth.popitem(last=False)

    def rate_hz(self, now_ns: int) -> float:
        """Predictions a second over the last two seconds."""
        while self._arrivals and self._arrivals[0] < now_ns - RATE_WINDOW_NS:
            self._arrivals.popleft()
        span_ns = max(now_ns - self._arrivals[0], 1) if self._arrivals else 1
        return 0.0 if len(self._arrivals) < 2 else (len(self._arrivals) - 1) * 1e9 / span_ns


class Board:
    """Everything a watcher has been told.

    Args:
        root: First levels of the daemon's topics.
        codec: Encoding of its predictions.
    """

    def __init__(self, root: str, codec: Codec) -> None:
        self.root = root
        self.codec = codec
        self.streams: dict[str, StreamBoard] = {}
        self.status = "unknown"
        self.info: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {}
        self.events: deque[dict[str, Any]] = deque(maxlen=5)
        self.unreadable = 0

    def take(self, topic: str, payload: bytes, t_arrived_ns: int) -> Prediction | None:
        """Take in a message of the daemon; give the prediction if it is one. The unreadable is counted."""
        kind = topic.removeprefix(f"{self.root}/")
        try:
            if kind.startswith("predictions/"):
                return self._take_prediction(kind, payload, t_arrived_ns)
            content = msgspec.json.decode(payload, type=dict[str, Any])
        except (WireError, msgspec.DecodeError):
            self.unreadable += 1
            return None
        if kind == "status":
            self.status = str(content.get("status", "unknown"))
        elif kind == "info":
            self.info = content
        elif kind == "metrics":
            self.metrics = content
        elif kind == "events":
            self.events.append(content)
        return None

    def take_truth(self, stream: str, payload: bytes) -> None:
        """Take in a message of a truth topic."""
        try:
            truth = decode_truth(payload, stream)
        except WireError:
            self.unreadable += 1
            return
        board = self._board(truth.stream, len(truth.y))
        board.take_truth(truth.seq, truth.y)

    def _board(self, stream: str, outputs: int) -> StreamBoard:
        """That of a stream; of too many, the one seen first is forgotten."""
        board = self.streams.get(stream)
        if board is None:
            if len(self.streams) >= MOST_STREAMS:
                del self.streams[next(iter(self.streams))]
            board = self.streams[stream] = StreamBoard(outputs)
        return board

    @property
    def outputs(self) -> list[tuple[str, str]]:
        """Name and unit of each output, as the birth message tells."""
        return [(o["name"], o["unit"]) for o in self.info.get("model", {}).get("outputs", [])]

    def busiest(self, most: int) -> list[tuple[str, StreamBoard]]:
        """The streams with the most predictions."""
        return sorted(self.streams.items(), key=lambda item: (-item[1].count, item[0]))[:most]

    def _take_prediction(self, kind: str, payload: bytes, t_arrived_ns: int) -> Prediction:
        prediction, t_published_ns = self.codec.decode_prediction(payload)
        stream = prediction.stream or kind.removeprefix("predictions/")
        board = self._board(stream, len(prediction.y))
        board.take(prediction, t_published_ns, t_arrived_ns)
        return prediction


def percentiles(values: deque[float], *percents: float) -> list[float | None]:
    """Percentiles of recent latencies; None where there are none."""
    if not values:
        return [None for _ in percents]
    return [float(value) for value in np.percentile(np.array(values), percents)]
