"""What arrives on the sample topic, held against the model: how much, and whether it can be stepped."""

import time

from stream_rnn.doctor.findings import Finding
from stream_rnn.errors import WireError
from stream_rnn.transports.base import Message
from stream_rnn.wire import CODECS, WireName


class Samples:
    """Counts what arrives between `begin` and `end`.

    Args:
        wire: How it is encoded.
        features: How many the model takes; None for any.
    """

    def __init__(self, wire: WireName, features: int | None) -> None:
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
                samples = CODECS[self._wire].decode_samples(message.payload, message.stream)
            except WireError as error:
                self._fault = self._fault or f"{message.topic}: {error}"
                self._count += 1
                continue
            self._count += len(samples)
            for sample in samples:
                self._streams.add(sample.stream)
                if self._features is not None and sample.x.shape != (self._features,) and not self._fault:
                    got = sample.x.shape[0]
                    self._fault = f"{message.topic}: expected {self._features} features, got {got}"

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
