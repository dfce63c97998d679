"""The truth that moves intervals: taken from among the samples, matched to predictions, counted."""

import time
from typing import Any

from stream_rnn.config.interval import IntervalSection
from stream_rnn.config.sections import Config
from stream_rnn.daemon.announce import Happened
from stream_rnn.daemon.pinned import check_pinned
from stream_rnn.errors import CountedError, SampleError
from stream_rnn.interval import Interval
from stream_rnn.predictor import Predictor
from stream_rnn.session.table import Sessions
from stream_rnn.transports.base import Deliver, Message
from stream_rnn.transports.topics import TopicTemplate
from stream_rnn.wire.truth import decode_truth


def interval_of(config: Config, predictor: Predictor) -> Interval | None:
    """The intervals that a config asks for.

    Raises:
        ModelError: The model was never calibrated.
    """
    section = config.interval
    if section is None:
        return None
    pending = 0 if section.truth is None else section.pending
    return Interval(predictor.model.calibration(), section.coverage, section.pace, pending)


class Truths:
    """Takes truths.

    Args:
        sessions: Who made the predictions.
        section: What is asked for, or None.
        outputs: Outputs of the model.
        happened: Takes what is refused.

    Attributes:
        pinned: Whether a truth may name no other stream than its topic does.
    """

    def __init__(
        self, sessions: Sessions, section: IntervalSection | None, outputs: int, happened: Happened
    ) -> None:
        self._sessions, self._happened = sessions, happened
        self.pinned = False
        self._outcomes = dict.fromkeys(("taken", "unmatched", "refused"), 0)
        self._outputs = dict.fromkeys(("inside", "outside"), 0)
        self.adopt(section, outputs)

    def adopt(self, section: IntervalSection | None, outputs: int) -> None:
        """Go on with another section and model; what was counted stands."""
        self._section, self._width = section, outputs
        topic = None if section is None else section.truth
        self._template = None if topic is None else TopicTemplate(topic)

    def apart(self, deliver: Deliver) -> Deliver:
        """Have truths taken out of what one read brought, in its order; the same where none come.

        Args:
            deliver: Takes the samples.
        """
        template = self._template
        if template is None:
            return deliver

        def deliver_samples(messages: list[Message]) -> None:
            samples: list[Message] = []
            for message in messages:
                stream = template.key(message.topic)
                if stream is None:
                    samples.append(message)
                    continue
                if samples:
                    deliver(samples)
                    samples = []
                self._take(stream, message.payload)
            if samples:
                deliver(samples)

        return deliver_samples

    def stream_of(self, message: Message) -> str | None:
        """Key of the stream that a message tells the truth of; None of any other message.

        Raises:
            WireError: It tells none that can be read.
        """
        stream = None if self._template is None else self._template.key(message.topic)
        return None if stream is None else decode_truth(message.payload, stream).stream

    def told(self) -> dict[str, Any]:
        """What metrics say: nothing where no intervals are made."""
        if self._section is None:
            return {}
        known = sum(self._outputs.values())
        return {
            "coverage": self._section.coverage,
            "measured": round(self._outputs["inside"] / known, 4) if known else None,
            "truths": self._outcomes,
            "outputs": self._outputs,
        }

    def _take(self, stream: str, payload: bytes) -> None:
        try:
            truth = decode_truth(payload, stream)
            if self.pinned:
                check_pinned(truth.stream, stream)
            if len(truth.y) != self._width:
                got = len(truth.y)
                raise SampleError("width", f"truth of {stream!r}: expected {self._width} outputs, got {got}")
            taken = self._sessions.take_truth(truth.stream, truth.seq, truth.y, time.monotonic_ns())
        except CountedError as error:
            self._outcomes["refused"] += 1
            self._happened("refused_truth", str(error), stream)
            return
        if taken is None:  # too late, too early, or told twice
            self._outcomes["unmatched"] += 1
            return
        self._outcomes["taken"] += 1
        self._outputs["inside"] += taken.inside
        self._outputs["outside"] += taken.known - taken.inside
