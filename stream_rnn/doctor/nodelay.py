"""What TCP_NODELAY does here, on our side and on the broker's, measured with two messages at once.

Without it, TCP holds the second of two small packets until the first is acknowledged (Nagle), and the other
side, expecting to answer soon, acknowledges after 40 ms (delayed ACK). Only a connection on which both sides
speak shows that, so each burst follows a short conversation. Publisher and subscriber are two connections:
on a single one, the echo of the first message would carry its acknowledgement.
"""

import contextlib
import socket
import statistics
import time
from collections.abc import Callable, Iterator

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from stream_rnn.doctor.findings import Finding
from stream_rnn.errors import TransportError
from stream_rnn.transports.mqtt_settings import MqttSettings

BURSTS = 8
CONVERSATION = 4
ANSWER_S = 5.0
TURN_S = 0.002
STALL_MS = 15.0  # delayed ACKs wait for 40 ms on Linux, 25 to 200 elsewhere


def check_nodelay(settings: MqttSettings, topic: str, round_trip_ms: float) -> Finding:
    """Measure, over two connections of our own. Blocks: for a thread.

    Args:
        settings: How to reach the broker.
        topic: A private one that may be written and read.
        round_trip_ms: What one message takes.
    """
    try:
        with _connected(settings) as publisher, _connected(settings) as subscriber:
            pair = Pair(publisher, subscriber, topic)
            with_ms = pair.measure_ms(nodelay=True)
            without_ms = pair.measure_ms(nodelay=False)
    except (OSError, TransportError) as error:
        return Finding("TCP_NODELAY", "skip", f"not measured: {error}")
    return nodelay_finding(with_ms, without_ms, round_trip_ms)


def nodelay_finding(with_ms: float, without_ms: float, round_trip_ms: float) -> Finding:
    """Judge when the second of two messages arrives.

    Args:
        with_ms: With TCP_NODELAY on our side.
        without_ms: Without.
        round_trip_ms: What a message alone takes.
    """
    found = f"two messages at once: the second after {with_ms:.2f} ms, without ours {without_ms:.2f} ms"
    if with_ms > round_trip_ms + STALL_MS:
        do = "mosquitto.conf: `set_tcp_nodelay true`; other brokers have an option like it"
        return Finding("TCP_NODELAY", "warn", f"{found}; the broker does not set it", do)
    return Finding("TCP_NODELAY", "ok", f"{found}; the broker does not hold messages back")


class Pair:
    """A publisher and a subscriber, driven by turns from one thread.

    Args:
        publisher: Connected.
        subscriber: Connected.
        topic: Where they meet.

    Raises:
        TransportError: The broker does not answer.
    """

    def __init__(self, publisher: paho.Client, subscriber: paho.Client, topic: str) -> None:
        self._publisher, self._subscriber, self._topic = publisher, subscriber, topic
        self._arrived = self._confirmed = 0
        granted: list[int] = []
        subscriber.on_message = self._on_message
        subscriber.on_subscribe = lambda *_: granted.append(1)
        publisher.on_publish = self._on_publish
        subscriber.subscribe(topic, 1)
        self._until(lambda: bool(granted))

    def measure_ms(self, *, nodelay: bool) -> float:
        """Median time from publishing two messages until both are there.

        Raises:
            TransportError: The broker does not answer.
        """
        sock = self._publisher.socket()
        assert isinstance(sock, socket.socket)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
        times_ms = []
        for _ in range(BURSTS):
            self._converse()
            self._arrived, began = 0, time.perf_counter()
            self._publisher.publish(self._topic, b"first")
            self._publisher.publish(self._topic, b"second")
            self._until(lambda: self._arrived == 2)
            times_ms.append((time.perf_counter() - began) * 1e3)
        return statistics.median(times_ms)

    def _converse(self) -> None:
        """Speak at qos 1, where each side answers the other."""
        for _ in range(CONVERSATION):
            self._arrived = self._confirmed = 0
            self._publisher.publish(self._topic, b"word", qos=1)
            self._until(lambda: self._arrived > 0 and self._confirmed > 0)

    def _until(self, done: Callable[[], bool]) -> None:
        _turn_until(done, self._subscriber, self._publisher)

    def _on_message(self, *_: object) -> None:
        self._arrived += 1

    def _on_publish(self, *_: object) -> None:
        self._confirmed += 1


@contextlib.contextmanager
def _connected(settings: MqttSettings) -> Iterator[paho.Client]:
    """A client as the daemon's settings say, for as long as the context lasts.

    Raises:
        OSError: There is no way.
        TransportError: The broker does not let us in.
    """
    version = paho.MQTTv5 if settings.version == "5" else paho.MQTTv311
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=version)
    if settings.username is not None:
        client.username_pw_set(settings.username, settings.password)
    tls = settings.tls_context()
    if tls is not None:
        client.tls_set_context(tls)
    host, port = settings.address
    client.connect(host, port)
    try:
        _turn_until(client.is_connected, client)
        yield client
    finally:
        client.disconnect()


def _turn_until(done: Callable[[], bool], *clients: paho.Client) -> None:
    """Let clients read and write by turns until something has happened.

    Raises:
        TransportError: It has not in time, or a connection ended.
    """
    deadline = time.monotonic() + ANSWER_S
    while not done():
        for client in clients:
            code = client.loop(TURN_S)
            if code != paho.MQTT_ERR_SUCCESS:
                raise TransportError(f"the connection ended: {paho.error_string(code)}")
        if time.monotonic() > deadline:
            raise TransportError(f"no answer within {ANSWER_S:g} s")
