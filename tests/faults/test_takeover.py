"""Two clients of one name at a broker: their fight ends soon, in one line that says what to do."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stream_rnn.errors import ConfigError
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_link import LostError
from stream_rnn.transports.mqtt_settings import MqttSettings
from stream_rnn.transports.mqtt_takeover import AGAIN_S, CLOSED, NAMED, YOUNG_S, Takeovers
from tests.broker import Mosquitto, needs_mosquitto, running_mosquitto
from tests.scripted import ScriptedBroker
from tests.small import DaemonProcess, saved_model, small_model

TAKEN = LostError("session taken over", closed=True, taken_over=True)
CLOSED_BY_BROKER = LostError("the broker closed the connection", closed=True)
SILENT = LostError("nothing heard for 45 s")
SAID = f"taken over {NAMED} times within {AGAIN_S:g} s"
NOTICED = f"closed by the broker {CLOSED} times in a row, each time within {YOUNG_S:g} s"
WHAT_TO_DO = "stop the other one, or give each its own mqtt.client_id"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_mosquitto(tmp_path) as running:
        yield running


def test_second_takeover_within_a_minute_is_a_fight() -> None:
    takeovers = Takeovers("node")
    assert [takeovers.fight(TAKEN, 1000.0 * i, 1000.0 * i) for i in range(1, 4)] == [""] * 3
    assert takeovers.fight(TAKEN, 0.1, 3000.0 + AGAIN_S) == SAID


def test_connection_closed_young_many_times_in_a_row_is_a_fight() -> None:
    takeovers = Takeovers("node")
    said = [takeovers.fight(CLOSED_BY_BROKER, 0.1, i) for i in range(CLOSED)]
    assert said == [*[""] * (CLOSED - 1), NOTICED]


@pytest.mark.parametrize(
    ("error", "lasted_s"),
    [(SILENT, 0.1), (CLOSED_BY_BROKER, YOUNG_S + 1), (LostError("Connection refused"), None)],
)
def test_other_ends_between_make_it_no_fight(error: LostError, lasted_s: float | None) -> None:
    takeovers = Takeovers("node")
    for i in range(3 * CLOSED):
        assert takeovers.fight(CLOSED_BY_BROKER, 0.1, i) == ""
        if i % (CLOSED - 1) == CLOSED - 2:
            assert takeovers.fight(error, lasted_s, i) == ""


def test_client_without_a_name_of_its_own_is_never_in_a_fight() -> None:
    takeovers = Takeovers(None)
    assert {takeovers.fight(CLOSED_BY_BROKER, 0.1, i) for i in range(100)} == {""}


@pytest.mark.parametrize("client", ["builtin", "aiomqtt"])
async def test_broker_that_names_the_takeover_is_believed_the_second_time(client: str) -> None:
    async with ScriptedBroker() as broker:
        fields = {"port": broker.port, "client": client, "version": "5", "client_id": "node"}
        transport = MqttTransport(msgspec.convert({**fields, "backoff_max_s": 0.01}, MqttSettings))
        task = asyncio.create_task(transport.serve(lambda _messages: None), name="serve")
        for _ in range(NAMED):
            peer = await broker.accept(b"\x20\x03\0\0\0")
            subscription = await peer.next()
            peer.say(b"\x90\x04", subscription[1:3], b"\0\0")
            await transport.ready()
            peer.say(b"\xe0\x01\x8e")
        async with asyncio.timeout(10):
            with pytest.raises(ConfigError) as caught:
                await task
    assert str(caught.value) == told(broker.port, SAID)


@pytest.mark.mosquitto
@needs_mosquitto
@pytest.mark.parametrize("client", ["builtin", "aiomqtt"])
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_one_of_two_clients_with_one_id_gives_up_and_the_other_serves_on(
    broker: Mosquitto, client: str, version: str
) -> None:
    fields = {"port": broker.port, "client": client, "version": version, "client_id": "node"}
    settings = msgspec.convert({**fields, "backoff_max_s": 0.05}, MqttSettings)
    both = [MqttTransport(settings) for _ in range(2)]
    tasks = {asyncio.create_task(one.serve(lambda _messages: None), name="serve"): one for one in both}
    async with asyncio.timeout(20):
        done, serving = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        (loser,), (winner,) = done, serving
        await tasks[winner].ready()
    error = loser.exception()
    assert isinstance(error, ConfigError)
    assert str(error) in {
        told(broker.port, NOTICED),
        told(broker.port, SAID),
    }  # mosquitto says it from 2.0.15
    assert max(one.counters["connections"] for one in both) <= CLOSED + 1
    winner.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await winner


def told(port: int, reason: str) -> str:
    return (
        f"mqtt 127.0.0.1:{port}: client id 'node': expected one client of this name, got another ({reason}); "
        + WHAT_TO_DO
    )


@pytest.mark.mosquitto
@needs_mosquitto
def test_one_of_two_daemons_with_one_id_ends_with_one_line(broker: Mosquitto, tmp_path: Path) -> None:
    model = saved_model(tmp_path, small_model())
    options = ["--model", str(model), "--broker", f"mqtt://127.0.0.1:{broker.port}"]
    for setting in ("mqtt.client_id=node", "mqtt.backoff_max_s=0.1"):
        options += ["--set", setting]
    both = [DaemonProcess(*options), DaemonProcess(*options)]
    try:
        loser = first_to_end(both)
        (winner,) = (one for one in both if one is not loser)
        assert loser.wait() == 2
        assert WHAT_TO_DO in loser.lines[-1]
        assert "Traceback" not in "".join(loser.lines)
        winner.wait_for("ready")
        assert winner.stop() == 0
    finally:
        for one in both:
            one.process.kill()
            one.wait()


def first_to_end(processes: list[DaemonProcess]) -> DaemonProcess:
    """Of several, once one has."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for one in processes:
            one._reader.join(0.05)
            if not one._reader.is_alive():
                return one
    raise AssertionError([one.lines for one in processes])
