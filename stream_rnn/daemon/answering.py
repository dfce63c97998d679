"""Predictions to bytes, and out: published, sent back, counted, kept; and refusals, where words go back."""

import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from stream_rnn.daemon.announce import Happened
from stream_rnn.daemon.notes import Notes
from stream_rnn.daemon.sources import Source
from stream_rnn.errors import CountedError
from stream_rnn.latency.stages import Latency
from stream_rnn.sample import NONE, Prediction, Sample, Steps
from stream_rnn.transports.base import Message
from stream_rnn.wire import CODECS, Codec, answer_of
from stream_rnn.wire.rows import RowCodec

if TYPE_CHECKING:
    from stream_rnn.daemon.answers import Answers


class Answering:
    """How whatever became of a sample is told.

    Args:
        topic: Of the daemon.
        latency: Where the age of predictions is noted.
        notes: What a recording is told.
        happened: Takes what is refused.

    Attributes:
        topic: What the topics of predictions begin with.
        latency: As above.
        refused: Samples that cannot be stepped, by reason.
        published: Predictions made.
        kept: Answers that can be given again, or None.
    """

    def __init__(self, topic: str, latency: Latency, notes: Notes, happened: Happened) -> None:
        self.adopt(topic, latency)
        self.refused: Counter[str] = Counter()
        self.published = 0
        self.kept: Answers | None = None
        self._notes, self._happened = notes, happened

    def adopt(self, topic: str, latency: Latency) -> None:
        """Go on under another topic, and note elsewhere."""
        self.topic, self.latency = f"{topic}/predictions/", latency

    def answer(self, source: Source, codec: Codec, message: Message, prediction: Prediction) -> None:
        """Send one prediction the way its sample came."""
        t_published_ns = time.time_ns()
        payload = codec.encode_prediction(prediction, t_published_ns)
        self.published += 1
        if self._notes.recorder is not None:
            self._notes.recorder.prediction(prediction, t_published_ns)
        if self.kept is not None:
            self.kept.keep(source.wire, prediction.stream, prediction.seq, payload)
        self._send(source, message, prediction.stream, payload)
        if prediction.t_source_ns is not None:
            self.latency.of(prediction.stream)["end_to_end"].record(t_published_ns - prediction.t_source_ns)

    def answer_rows(self, source: Source, form: RowCodec, steps: Steps, messages: list[Message]) -> None:
        """Send the predictions of rows that were all in order."""
        t_published_ns = time.time_ns()
        payloads = form.encode(steps, t_published_ns)
        self.published += len(payloads)
        if self.kept is not None:
            for stream, seq, payload in zip(steps.streams, steps.seqs, payloads, strict=True):
                self.kept.keep(source.wire, stream, seq, payload)
        if source.publisher is not None:
            publish, topic, qos = source.publisher.publish, self.topic, source.qos
            for stream, payload in zip(steps.streams, payloads, strict=True):
                publish(topic + stream, payload, qos=qos)
        if source.replies:
            for message, payload in zip(messages, payloads, strict=True):
                if message.reply is not None:
                    message.reply(payload)
        for stream, t_ns in zip(steps.streams, steps.times, strict=True):
            if t_ns != NONE:
                self.latency.of(stream)["end_to_end"].record(t_published_ns - t_ns)

    def again(self, source: Source, codec: Codec, message: Message, sample: Sample) -> None:
        """Answer a sample that was taken in before as it was answered then, where that is kept."""
        if self.kept is None or sample.seq is None:
            return
        kept = self.kept.again(sample.stream, sample.seq)
        if kept is None:
            return
        payload = kept.payload
        if kept.wire != source.wire:  # it comes another way now: the same in other words
            payload = codec.encode_prediction(*CODECS[kept.wire].decode_prediction(payload))
        self._send(source, message, sample.stream, payload)

    def refuse(self, source: Source, message: Message, error: CountedError) -> None:
        """Count one sample that cannot be stepped; tell the sender where there is a way back in words."""
        self.refused[error.reason] += 1
        self._happened(f"refused_{error.reason}", str(error), message.stream)
        if source.replies and message.reply is not None and answer_of(source.wire) == "json":
            message.reply(msgspec.json.encode({"error": error.reason, "detail": str(error)}))

    def forget(self, stream: str) -> None:
        """Give no answer of this stream again: its numbers mean something else now."""
        if self.kept is not None:
            self.kept.forget(stream)

    def _send(self, source: Source, message: Message, stream: str, payload: bytes) -> None:
        if source.publisher is not None:
            source.publisher.publish(self.topic + stream, payload, qos=source.qos)
        if source.replies and message.reply is not None:
            message.reply(payload)
