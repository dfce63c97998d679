"""Who must have an answer to every sample, whatever is killed: the client that docs/durability.md asks for.

It keeps every sample until it has the answer, lets at most so many of a stream be unanswered, and publishes
those again, in order, on a new connection and when no answer has come for a while, each time a longer one. A
stream begins with one sample alone: only a stream that exists knows that others are missing before the next.
"""

import threading
import time
from typing import Any, TypeAlias

import msgspec
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.ports import TIMEOUT_S
from stream_rnn.sample import F32

NODE = "stream_rnn/decoder"
RING = 997  # different samples of a stream
BATCH_S = 0.01
PATIENCE_S = 4.0  # without an answer, until what a stream has not had is published again; then twice as long

Answers: TypeAlias = dict[tuple[int, int], list[F32]]
"""Every y that came, by number of the stream and seq."""


class Consumer:
    """Keeps every prediction by stream and seq.

    Attributes:
        answers: What came.
        outage_s: Longest time without any answer.
        answered_again: Of each run of the daemon, answers given again, as far as its metrics told.
    """

    def __init__(self, port: int) -> None:
        self.answers: Answers = {}
        self.outage_s = 0.0
        self.answered_again: dict[str, int] = {}
        self._last_s: float | None = None
        self._client = _client("consumer")
        self._client.on_message = self._take
        topics = [(f"{NODE}/predictions/#", 1), (f"{NODE}/metrics", 0)]
        self._client.on_connect = lambda client, *_: client.subscribe(topics)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        fields: dict[str, Any] = msgspec.json.decode(message.payload)
        if message.topic.endswith("/metrics"):
            self.answered_again[fields["session"]] = fields["state"]["answered_again"]
            return
        now_s = time.monotonic()
        if self._last_s is not None:
            self.outage_s = max(self.outage_s, now_s - self._last_s)
        self._last_s = now_s
        y = np.array(fields["y"], dtype=np.float32)
        self.answers.setdefault((int(fields["stream"][1:]), fields["seq"]), []).append(y)

    def stop(self) -> None:
        """Listen no more."""
        self._client.disconnect()
        self._client.loop_stop()


class Producer:
    """Publishes numbered samples of many streams in turn, and again until they are answered.

    Args:
        port: Of the broker.
        ring: Samples of each stream, (S, RING, D).
        rate_hz: Samples a second, all streams together, while they are answered.
        window: Samples of a stream that may be unanswered.
        answers: What has been answered; somebody else fills it.

    Attributes:
        sent: How many samples of each stream were published.
        again: Samples published again.
    """

    def __init__(self, port: int, ring: F32, rate_hz: float, window: int, answers: Answers) -> None:
        self.sent, self.again = [0] * len(ring), 0
        self._ring, self._window, self._answers = ring, window, answers
        self._per_batch = max(1, round(rate_hz * BATCH_S))
        self._oldest = [0] * len(ring)  # unanswered
        self._since_s = [time.monotonic()] * len(ring)  # that was answered, or published again
        self._patience_s = [PATIENCE_S] * len(ring)
        self._turn = self._connections = 0
        self._ending = self._gone = False
        self._client = _client("producer")
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect = self._connected
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, name="producer")
        self._thread.start()

    def _connected(self, *_: object) -> None:
        self._connections += 1

    def _run(self) -> None:
        due, known = time.monotonic(), 1
        while not self._gone:
            connections = self._connections
            self._look(everything=connections > known)
            known = max(known, connections)
            if self._ending and self._oldest == self.sent:
                return
            if self._client.is_connected() and not self._ending:
                self._publish_some()
            due = max(due + BATCH_S, time.monotonic() - 1.0)
            time.sleep(max(0.0, due - time.monotonic()))

    def _look(self, *, everything: bool) -> None:
        """See what is answered; publish again what was lost, perhaps."""
        now_s, answers = time.monotonic(), self._answers
        for stream, before in enumerate(self._oldest):
            oldest = before
            while oldest < self.sent[stream] and (stream, oldest) in answers:
                oldest += 1
            self._oldest[stream] = oldest
            if oldest > before or oldest == self.sent[stream]:
                self._since_s[stream], self._patience_s[stream] = now_s, PATIENCE_S
            if everything or now_s - self._since_s[stream] > self._patience_s[stream]:
                self._since_s[stream] = now_s
                self._patience_s[stream] *= 1 if everything else 2
                for seq in range(oldest, self.sent[stream]):
                    if (stream, seq) not in answers:
                        self._publish(stream, seq)
                        self.again += 1

    def _publish_some(self) -> None:
        """The next samples of streams that have room."""
        S, some = len(self.sent), 0
        for _ in range(S):
            stream = self._turn = (self._turn + 1) % S
            seq, oldest = self.sent[stream], self._oldest[stream]
            if seq - oldest < (self._window if oldest else 1):
                self._publish(stream, seq)
                self.sent[stream] += 1
                some += 1
            if some == self._per_batch:
                return

    def _publish(self, stream: int, seq: int) -> None:
        sample = {"seq": seq, "x": self._ring[stream, seq % RING].tolist()}
        self._client.publish(f"sensors/s{stream}/samples", msgspec.json.encode(sample), 1)

    def stop(self) -> None:
        """Begin no new sample; return once all are answered, or too much time has passed."""
        self._ending = True
        self._thread.join(TIMEOUT_S)
        self._gone = True
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()


def _client(name: str) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
    client.reconnect_delay_set(1, 1)
    return client
