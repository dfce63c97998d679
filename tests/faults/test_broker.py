"""A broker that hangs, a network that is cut, a subscriber that does not read: noticed and outlived."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stream_rnn.transports import mqtt_builtin, mqtt_link
from stream_rnn.transports.base import Message
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_packets import Writer
from stream_rnn.transports.mqtt_settings import MqttSettings
from tests.broker import Mosquitto, needs_mosquitto, running_mosquitto
from tests.proxy import Proxy
from tests.test_transport_mqtt import Inbox, serving, watching

pytestmark = [pytest.mark.mosquitto, needs_mosquitto]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_mosquitto(tmp_path) as running:
        yield running


def impatient(port: int, **fields: object) -> MqttSettings:
    """Settings that notice a dead connection after 1.5 seconds; a user may not choose so little."""
    settings = msgspec.convert({"port": port, "backoff_max_s": 0.05, **fields}, MqttSettings)
    return msgspec.structs.replace(settings, keepalive_s=1)


@pytest.mark.parametrize("client", ["builtin", "aiomqtt"])
async def test_cut_network_is_noticed_and_a_persistent_session_loses_nothing(
    broker: Mosquitto, client: str
) -> None:
    inbox = Inbox()
    async with Proxy(broker.port) as proxy:
        fields = {"client": client, "client_id": "node", "clean_session": False, "qos": 1}
        transport = MqttTransport(impatient(proxy.port, **fields), report=inbox.report)
        name = f"mqtt 127.0.0.1:{proxy.port}"
        sender = MqttTransport(MqttSettings(port=broker.port), topics=[])
        async with serving(transport, inbox), serving(sender, Inbox()):
            assert await inbox.next_report() == ("connected", name)
            for number in range(10):
                sender.publish("sensors/a/samples", b"%d" % number, qos=1)
            assert [int((await inbox.next()).payload) for _ in range(10)] == list(range(10))
            proxy.cut()
            for number in range(10, 20):
                sender.publish("sensors/a/samples", b"%d" % number, qos=1)
            kind, detail = await inbox.next_report()
            assert (kind, detail.removeprefix(name)) == ("disconnected", NOTICED[client])
            assert await inbox.next_report() == ("connected", name)
            got: list[int] = []
            while 19 not in got:
                got.append(int((await inbox.next()).payload))
            # what was not confirmed before the cut comes again
            assert set(got) - set(range(10)) == set(range(10, 20))
            assert got == sorted(got)


NOTICED = {"builtin": ": nothing heard for 1.5 s", "aiomqtt": ": [code:141] Keep alive timeout"}


async def test_hanging_broker_is_told_apart_and_found_again_when_it_goes_on(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (mqtt_link, mqtt_builtin):
        monkeypatch.setattr(module, "ANSWER_S", 0.2)
    inbox = Inbox()
    transport = MqttTransport(impatient(broker.port), report=inbox.report)
    name = f"mqtt 127.0.0.1:{broker.port}"
    async with serving(transport, inbox):
        assert await inbox.next_report() == ("connected", name)
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            assert await inbox.next_report() == ("disconnected", f"{name}: nothing heard for 1.5 s")
            kind, detail = await inbox.next_report()
            assert (kind, detail.startswith(f"{name}: no answer within 0.2 s")) == ("retrying", True)
            assert not transport.publish("out/a", b"x")
            assert transport.counters["dropped_disconnected"] == 1
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        assert await inbox.next_report() == ("connected", name)
        transport.publish("sensors/a/samples", b"again")
        assert (await inbox.next()).payload == b"again"


async def test_subscriber_that_does_not_read_harms_nobody_else(broker: Mosquitto) -> None:
    echo, inbox = MqttTransport(MqttSettings(port=broker.port)), Inbox()

    def deliver(messages: list[Message]) -> None:
        for message in messages:
            echo.publish(f"out/{message.stream}", message.payload + bytes(10_000))

    inbox.deliver = deliver  # type: ignore[method-assign]  # this one answers
    sender = MqttTransport(MqttSettings(port=broker.port), topics=[])
    with socket.create_connection(("127.0.0.1", broker.port)) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        write = Writer(new=False)
        lazy.sendall(write.connect(client_id="lazy", clean=True, keepalive_s=60))
        lazy.sendall(write.subscribe(1, "out/#", 0))
        assert lazy.recv(9, socket.MSG_WAITALL)[:1] == b"\x20"  # accepted and subscribed: no more is read
        async with (
            watching(broker.port, "out/{stream}") as out,
            serving(echo, inbox),
            serving(sender, Inbox()),
        ):
            for number in range(1000):  # ten megabytes: more than any socket holds for it
                sender.publish("sensors/a/samples", b"%06d" % number)
                if number % 100 == 99:
                    got = [int((await out.next()).payload[:6]) for _ in range(100)]
                    assert got == list(range(number - 99, number + 1))
    assert echo.counters["published"] == 1000
    assert echo.counters["dropped_full"] == 0
