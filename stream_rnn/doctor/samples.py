"""What arrives on the sample topic, held against the model: how much, and whether it can be stepped."""

import time

from stream_rnn.doctor.findings import Finding
from stream_rnn.errors import WireError
from stream_rnn.transports.base import Message
from stream_rnn.wire import CODECS, SPIKES, AnyWire, answer_of


class Samples:
    """Counts what arrives between `begin` and `end`.

    Args:
        wire: How it is encoded.
        features: How many the model takes; None for any.
    """

    def __init__(self, wire: AnyWire, features: int | None) -> None:
        self.subscribed = False
        self._wire, self._features = wire, features
        self._streams: set[str] = set()
        self._count = 0
        self._fault = ""
        self._began_s = self._seconds = 0.0

    def begin(self) -> None:
        """Start counting: what came earlier was retained, and is old."""
        self.subscribed = True
        self._streams.clear()
        self._count, self._fault, self._began_s = 0, "", time.monotonic()

    def end(self) -> None:
        """Stop counting."""
        self._seconds = time.monotonic() - self._began_s

    def take(self, messages: list[Message]) -> None:
        """Count messages, and keep what is wrong with the first that cannot be stepped."""
        for message in messages:
            try:
                found = self._found(message)
            except WireError as error:
                found = [("", str(error))]
            self._count += len(found)
            for stream, wrong in found:
                self._streams.add(stream)
                if wrong and not self._fault:
                    self._fault = f"{message.topic}: {wrong}"

    def _found(self, message: Message) -> list[tuple[str, str]]:
        """The stream of each sample of a message, or of its packet of spikes, and what is wrong with it."""
        D, payload, stream = self._features, message.payload, message.stream
        if self._wire in SPIKES:
            spikes = SPIKES[self._wire].decode(payload, stream)
            got = max(spikes.units, default=-1)
            wrong = f"expected units below {D}, got {got}" if D is not None and got >= D else ""
            return [(spikes.stream, wrong)]
        found = []
        for sample in CODECS[answer_of(self._wire)].decode_samples(payload, stream):
            got = sample.x.shape[0]
            wrong = f"expected {D} features, got {got}" if D is not None and got != D else ""
            found.append((sample.stream, wrong))
        return found

    def finding(self, topic: str) -> Finding:
        """Judge what came.

        Args:
            topic: `mqtt.topic`.
        """
        if not self._count:
            found = f"none on {topic!r} within {self._seconds:.0f} s"
            do = (
                "start the producer, compare its topic with mqtt.topic, or see the broker's access list: "
                "mosquitto grants subscriptions whose messages it then withholds"
            )
            return Finding("samples", "warn", found, do)
        if self._fault:
            do = f"compare mqtt.wire ({self._wire}) and the model's inputs with what the producer sends"
            return Finding("samples", "fail", self._fault, do)
        rate_hz = self._count / self._seconds
        return Finding("samples", "ok", f"{rate_hz:.0f} a second, streams: {len(self._streams)}")
