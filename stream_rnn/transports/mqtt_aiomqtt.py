"""The MQTT client aiomqtt, driven from its own read callback. The only file that reaches into aiomqtt.

aiomqtt reads one packet a tick, hands messages on through a queue and publishes by awaiting. Here one read
takes every packet that is there, delivers them in one call, and writes the answers before it returns: no
queue, no task switch, no wait for the selector between a sample and its prediction.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from stream_rnn.transports.base import Message, Publication
from stream_rnn.transports.mqtt_aiomqtt_setup import explain, new_client
from stream_rnn.transports.mqtt_link import (
    MAX_BATCH,
    MOST_HELD,
    Command,
    Intake,
)
from stream_rnn.transports.mqtt_settings import MqttSettings


class AiomqttClient:
    """Makes the connections of one transport: a fresh client each.

    Args:
        settings: How to reach the broker.
        will: Published by the broker when we vanish.
        hold: Whether to leave at the broker what there is no room to answer.
    """

    def __init__(self, settings: MqttSettings, will: Publication | None, *, hold: bool) -> None:
        self._settings, self._will, self._hold = settings, will, hold

    def __call__(self, intake: Intake, tls: ssl.SSLContext | None) -> "AiomqttLink":
        """One more connection."""
        client = new_client(self._settings, self._will, tls)
        return AiomqttLink(client, intake, self._settings, hold=self._hold)


class AiomqttLink:
    """The paho client inside an aiomqtt client; see `Link`.

    Args:
        client: Fresh, not yet connected: a broker sends what it kept for us right after it accepts us.
        intake: Takes the messages of one read.
        settings: Of these, how many packets are held while the socket takes none, and the longest sample.
        hold: While that many wait, deliver nothing more: the broker keeps what is not acknowledged (qos 1),
            and a socket that takes no bytes is not read.
    """

    def __init__(self, client: aiomqtt.Client, intake: Intake, settings: MqttSettings, *, hold: bool) -> None:
        # aiomqtt shows its paho client nowhere; pinned below version 3, which has none.
        self._paho = client._client  # noqa: SLF001
        self._client = client
        self._confirm = self._paho.on_publish
        self._intake, self._deliver = intake, intake.deliver
        self._max_outgoing, self._most = settings.max_outgoing, settings.max_bytes
        self._holds = hold
        self._greeted = False
        self._taken: list[int] = []  # ids of messages of qos 1 that the broker still keeps for us
        self._held = False
        self._batch: list[Message] = []
        self._reading = False
        self._loop = asyncio.get_running_loop()
        self._bug: asyncio.Future[None] = self._loop.create_future()
        self._paho.on_message = self._on_message
        self._paho.manual_ack_set(on=True)
        self._paho.disable_logger()  # a log call a packet, and errors that the report tells already

    @property
    def socket(self) -> Any:  # noqa: ANN401  # see Link
        """See `Link`."""
        return self._paho.socket()

    async def connect(self) -> None:
        """See `Link`. When cancelled, it gives the thread that opens the socket a moment to end."""
        opening = asyncio.create_task(self._client.__aenter__(), name="mqtt-connect")
        try:
            await asyncio.shield(opening)
        except aiomqtt.MqttError as error:
            raise explain(error) from None
        except asyncio.CancelledError:
            if self._paho.socket() is None:  # else paho got through to the broker, and TLS is agreed on
                await asyncio.wait({opening}, timeout=1.0)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            raise
        self._paho.on_socket_register_write = self._on_register_write
        self._paho.on_socket_unregister_write = self._on_unregister_write
        sock = self._paho.socket()
        if sock is not None:  # else the broker is gone again already, and aiomqtt says so
            self._loop.add_reader(sock, self._read)
            self._read()

    async def until_lost(self) -> None:
        """See `Link`."""
        ending = asyncio.create_task(_until_disconnected(self._client), name="mqtt-disconnected")
        try:
            await asyncio.wait({ending, self._bug}, return_when=asyncio.FIRST_COMPLETED)
            if self._bug.done():
                self._bug.result()
            ending.result()
        except aiomqtt.MqttError as error:
            raise explain(error) from None
        finally:
            ending.cancel()
            await asyncio.wait({ending})

    async def greet(self, births: Sequence[Publication], filters: Mapping[str, int]) -> dict[str, str]:
        """See `Link`."""
        refused = {}
        try:
            for birth in births:
                self._paho.on_publish = partial(self._on_birth, birth.topic)
                await self._client.publish(*birth)
            self._confirm_publications(wanted=False)
            self._greeted = True
            for topics, qos in filters.items():
                (code,) = await self._client.subscribe(topics, qos=qos)
                if code.is_failure if isinstance(code, ReasonCode) else code >= 128:
                    refused[topics] = str(code).lower()
        except aiomqtt.MqttError as error:
            raise explain(error) from None
        return refused

    async def say_goodbye(self, will: Publication | None) -> None:
        """See `Link`."""
        try:
            await self._flush()
            self._greeted = False  # nothing goes after the will
            self._confirm_publications(wanted=True)
            if will is not None:
                await self._client.publish(*will)
            await self._client.__aexit__(None, None, None)
        except aiomqtt.MqttError as error:
            raise explain(error) from None

    def _on_birth(self, topic: str, *told: Any) -> None:  # noqa: ANN401  # client, data, number, code, properties
        """Tell of a birth that the broker refused; aiomqtt takes every answer for a confirmation."""
        if told[3].is_failure:
            self._intake.declined(topic, str(told[3]).lower())
        assert self._confirm is not None
        self._confirm(*told)

    def _confirm_publications(self, *, wanted: bool) -> None:
        """Switch on what aiomqtt's own `publish` waits for; it costs more than the rest of a publication."""
        self._paho.on_publish = self._confirm if wanted else None

    def publish(
        self, topic: str, payload: bytes, qos: int, *, retain: bool = False, correlation: bytes | None = None
    ) -> str:
        """See `Link`."""
        if not self._greeted:
            return "dropped_disconnected"
        properties = None
        if correlation is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho forgot
            properties.CorrelationData = correlation
        # paho bounds only qos 1; this deque holds whatever the socket has not taken yet.
        if len(self._paho._out_packet) >= self._max_outgoing:  # noqa: SLF001
            return "dropped_full"
        try:
            code = self._paho.publish(topic, payload, qos, retain, properties).rc
        except ValueError:  # a stream named by its sender can make a topic that MQTT does not allow
            return "dropped_bad_topic"
        if code == paho.MQTT_ERR_SUCCESS:
            return "published"
        return "dropped_full" if code == paho.MQTT_ERR_QUEUE_SIZE else "dropped_disconnected"

    async def _flush(self) -> None:
        """Take nothing more in; return once the broker has confirmed every publication of qos 1."""
        self._paho.on_message = None  # the broker keeps what is not acknowledged
        self._hold(held=False)
        confirmed = asyncio.Event()
        self._paho.on_publish = lambda *_: confirmed.set()
        while self._paho._out_messages or self._batch:  # noqa: SLF001  # sent or waiting for their turn
            await confirmed.wait()
            confirmed.clear()
            self._deliver_so_far()
        self._acknowledge()

    async def close(self) -> int:
        """See `Link`."""
        # qos 0 that the socket has not taken, and qos 1 that the broker has not confirmed
        unsent = sum(1 for packet in self._paho._out_packet if _is_qos0_publish(packet))  # noqa: SLF001
        unsent += len(self._paho._out_messages)  # noqa: SLF001
        sock = self._paho.socket()
        if sock is not None:
            self._loop.remove_writer(sock)
            assert isinstance(sock, socket.socket)  # plain or TLS; we never ask for WebSockets
            self._paho.on_message = None  # what still lies in the socket was never received
            with contextlib.suppress(OSError):  # the other side may have been first
                sock.shutdown(socket.SHUT_RDWR)
            while self._paho.socket() is not None:
                self._paho.loop_read()  # meets the end, closes, and stops paho's and aiomqtt's housekeeping
        ended = self._client._disconnected  # noqa: SLF001
        if ended.done() and not ended.cancelled():
            ended.exception()  # told already: asyncio need not tell it again, with a traceback
        return unsent

    def _on_message(self, _client: paho.Client, _userdata: Any, packet: paho.MQTTMessage) -> None:  # noqa: ANN401
        key, topic = self._intake.resolve(packet._topic)  # noqa: SLF001  # the property decodes each anew
        kind = "sample"
        if key is None or packet.retain or len(packet.payload) > self._most:
            kind = self._intake.sort(key, topic, packet.retain, len(packet.payload))
        if kind == "sample":
            assert key is not None
            payload = bytes(packet.payload)
            self._batch.append(Message(key, payload, time.time_ns(), time.monotonic_ns(), None, topic))
        elif kind == "command":
            self._deliver_so_far()
            asked = packet.properties
            answer_to, correlation = (
                getattr(asked, name, None) for name in ("ResponseTopic", "CorrelationData")
            )
            self._intake.obey(Command(topic, bytes(packet.payload), answer_to, correlation))
        if packet.qos:
            self._taken.append(packet.mid)

    def _deliver_so_far(self) -> None:
        """Deliver what reads have brought until now, as far as there is room for the answers."""
        while self._batch and (room := self._room()) > 0:
            batch, self._batch = self._batch[:room], self._batch[room:]
            self._deliver(batch)
            if self._batch:
                self._paho.loop_write()

    def _room(self) -> int:
        """How many answers may still be handed over; there is always room where nothing is held."""
        if not self._holds or len(self._batch) > MOST_HELD:
            return len(self._batch)
        # of qos 0 what the socket has not taken; of qos 1 what the broker has not confirmed
        waiting = max(len(self._paho._out_packet), len(self._paho._out_messages))  # noqa: SLF001
        return self._max_outgoing - waiting

    def _read(self) -> None:
        self._reading = True
        try:
            again = self._take_packets()
            self._deliver_so_far()
        except Exception as exc:  # noqa: BLE001  # a bug: serve raises it, where it can be seen
            again = False
            if not self._bug.done():
                self._bug.set_exception(exc)
        finally:
            self._reading = False
        if not self._batch and not self._bug.done():
            self._acknowledge()
        self._paho.loop_write()
        sock = self._paho.socket()
        if sock is not None and self._paho.want_write():
            self._loop.add_writer(sock, self._write)
            self._hold(held=self._stuffed())
        if again and not self._held:  # decrypted bytes wait inside TLS, where the selector does not see them
            self._loop.call_soon(self._read)

    def _stuffed(self) -> bool:
        """Whether half of what may wait for the socket does."""
        return self._holds and len(self._paho._out_packet) > self._max_outgoing // 2  # noqa: SLF001

    def _acknowledge(self) -> None:
        """Tell the broker that it need not keep what was taken in and answered."""
        taken, self._taken = self._taken, []
        for number in taken:
            self._paho.ack(number, 1)

    def _hold(self, *, held: bool) -> None:
        """Stop reading a socket that takes no bytes, or go on."""
        sock = self._paho.socket()
        if held == self._held or sock is None:
            return
        self._held = held
        if held:
            self._loop.remove_reader(sock)
        else:
            self._loop.add_reader(sock, self._read)
            self._loop.call_soon(self._read)  # decrypted bytes may wait inside TLS

    def _write(self) -> None:
        """Write what the socket takes now."""
        self._paho.loop_write()
        if self._held and not self._stuffed():
            self._hold(held=False)

    def _take_packets(self) -> bool:
        """Read until nothing is there; True when TLS still holds bytes at the limit."""
        while True:
            before = len(self._batch)
            self._paho.loop_read()
            hidden = _decrypted_bytes(self._paho.socket())
            if len(self._batch) >= MAX_BATCH:
                return hidden
            if len(self._batch) == before and not hidden:
                return False

    def _on_register_write(self, _client: paho.Client, _userdata: Any, sock: Any) -> None:  # noqa: ANN401
        if not self._reading:  # a read writes at its end
            self._loop.add_writer(sock, self._write)

    def _on_unregister_write(self, _client: paho.Client, _userdata: Any, sock: Any) -> None:  # noqa: ANN401
        self._loop.remove_writer(sock)


def _decrypted_bytes(sock: Any) -> bool:  # noqa: ANN401  # a socket, a TLS socket, or None
    return isinstance(sock, ssl.SSLSocket) and bool(sock.pending())


def _is_qos0_publish(packet: Any) -> bool:  # noqa: ANN401  # paho's private record
    return bool(packet["command"] & 0xF0 == paho.PUBLISH and packet["qos"] == 0)


async def _until_disconnected(client: aiomqtt.Client) -> None:
    async for _ in client.messages:  # none comes this way; the iteration raises when the connection ends
        pass
