import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from stream_rnn.errors import ConfigError, TransportError
from stream_rnn.transports.base import Message, Publication
from stream_rnn.transports.broker import serve_broker
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_link import RECEIVE
from stream_rnn.transports.mqtt_settings import MqttSettings
from tests.broker import Mosquitto, free_port, needs_mosquitto, running_mosquitto

STATUS = "node/status"
ONLINE = Publication(STATUS, b"online", 1, retain=True)
OFFLINE = Publication(STATUS, b"offline", 1, retain=True)
VERSIONS = ["3.1.1", "5"]

pytestmark = [pytest.mark.mosquitto, needs_mosquitto]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_mosquitto(tmp_path) as running:
        yield running


Made = Callable[..., MqttSettings]
"""Settings with this client."""


@pytest.fixture(params=["builtin", "aiomqtt"])
def made(request: pytest.FixtureRequest) -> Made:
    """One conformance suite: every client must pass it."""
    return lambda **fields: msgspec.convert({"client": request.param, **fields}, MqttSettings)


class Inbox:
    """What a transport delivered and reported, to be awaited one by one."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.reports: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def deliver(self, messages: list[Message]) -> None:
        for message in messages:
            self.messages.put_nowait(message)

    def report(self, kind: str, detail: str) -> None:
        self.reports.put_nowait((kind, detail))

    async def next(self) -> Message:
        async with asyncio.timeout(10):
            return await self.messages.get()

    async def next_report(self) -> tuple[str, str]:
        async with asyncio.timeout(10):
            return await self.reports.get()


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.asynccontextmanager
async def serving(transport: MqttTransport, inbox: Inbox) -> AsyncIterator[MqttTransport]:
    task = asyncio.create_task(transport.serve(inbox.deliver), name="serve")
    ready = asyncio.create_task(transport.ready(), name="ready")
    await asyncio.wait({task, ready}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    assert not task.done(), task.exception()
    yield transport
    await stop(task)


@contextlib.asynccontextmanager
async def watching(port: int, *topics: str) -> AsyncIterator[Inbox]:
    """Watch topics, as the watch command does; what is retained counts."""
    inbox = Inbox()
    settings = MqttSettings(port=port, accept_retained=True, version="3.1.1", backoff_max_s=0.05)
    async with serving(MqttTransport(settings, topics=list(topics)), inbox):
        yield inbox


async def failure(settings: MqttSettings, *, fail_fast: bool = False) -> str:
    transport = MqttTransport(settings, fail_fast=fail_fast)
    with pytest.raises(TransportError) as caught:
        async with asyncio.timeout(10):
            await transport.serve(lambda _messages: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [0, 1])
async def test_a_sample_is_answered_in_the_read_that_brought_it(
    made: Made, broker: Mosquitto, version: str, qos: int
) -> None:
    settings = made(port=broker.port, version=version, qos=qos)
    echo = MqttTransport(settings)

    def deliver(messages: list[Message]) -> None:
        for message in messages:
            assert echo.publish(f"out/{message.stream}", message.payload, qos=qos)

    inbox = Inbox()
    inbox.deliver = deliver  # type: ignore[method-assign]  # this one answers
    async with watching(broker.port, "out/{stream}") as out, serving(echo, inbox):
        sender = MqttTransport(settings, topics=[])
        async with serving(sender, Inbox()):
            for number in range(300):
                sender.publish(f"sensors/{number % 3}/samples", b"%d" % number, qos=qos)
            got = [await out.next() for _ in range(300)]
    assert [(m.stream, int(m.payload)) for m in got] == [(str(n % 3), n) for n in range(300)]
    assert echo.counters["published"] == echo.counters["received"] == 300


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_sample_that_is_too_long_is_counted_and_the_next_one_taken(
    made: Made, broker: Mosquitto, qos: int
) -> None:
    reports: list[tuple[str, str]] = []
    short = MqttTransport(
        made(port=broker.port, qos=qos, max_bytes=100), report=lambda *what: reports.append(what)
    )
    inbox = Inbox()
    sender = MqttTransport(MqttSettings(port=broker.port), topics=[])
    async with serving(short, inbox), serving(sender, Inbox()):
        for size in (101, 100):
            sender.publish("sensors/a/samples", bytes(size), qos=qos)
        assert (await inbox.next()).payload == bytes(100)
    assert (short.counters["refused_size"], short.counters["received"]) == (1, 1)
    name = f"mqtt 127.0.0.1:{broker.port}"
    assert ("refused", f"{name}: stream 'a': expected at most 100 bytes, got 101") in reports


async def test_sockets_do_not_wait_for_more_to_send(made: Made, broker: Mosquitto) -> None:
    async with serving(MqttTransport(made(port=broker.port)), Inbox()) as transport:
        assert transport._link is not None
        sock = transport._link.socket
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def most_unread() -> int:
    """What Linux lets a socket ask for; 0 elsewhere."""
    path = Path("/proc/sys/net/core/rmem_max")
    return int(path.read_text()) if path.exists() else 0


@pytest.mark.skipif(not most_unread(), reason="only Linux tells what a socket may keep")
async def test_the_system_keeps_no_more_unread_than_asked_for(made: Made, broker: Mosquitto) -> None:
    async with serving(MqttTransport(made(port=broker.port)), Inbox()) as transport:
        assert transport._link is not None
        kept = transport._link.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert kept == 2 * min(RECEIVE[2], most_unread())  # the kernel counts its own part too


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_restarted_broker_is_found_and_subscribed_to_again(
    made: Made, broker: Mosquitto, version: str
) -> None:
    inbox = Inbox()
    settings = made(port=broker.port, version=version, backoff_max_s=0.05)
    transport = MqttTransport(settings, report=inbox.report, on_connect=lambda: [ONLINE])
    name = f"mqtt 127.0.0.1:{broker.port}"
    async with serving(transport, inbox):
        assert await inbox.next_report() == ("connected", name)
        broker.kill()
        kind, detail = await inbox.next_report()
        assert (kind, detail[: len(name)]) == ("disconnected", name)
        assert await inbox.next_report() == ("retrying", f"{name}: Connection refused")
        assert not transport.publish("out/a", b"1")
        assert transport.counters["dropped_disconnected"] == 1
        broker.start()
        assert await inbox.next_report() == ("connected", name)
        async with watching(broker.port, STATUS) as status:
            assert (await status.next()).payload == b"online"
        transport.publish("sensors/a/samples", b"1")
        assert (await inbox.next()).stream == "a"
        assert transport.counters["connections"] == 2


async def test_a_broker_that_is_not_there_yet_is_waited_for(made: Made, tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    inbox = Inbox()
    settings = made(port=broker.port, backoff_max_s=0.05)
    task = asyncio.create_task(
        MqttTransport(settings, report=inbox.report).serve(inbox.deliver), name="serve"
    )
    name = f"mqtt 127.0.0.1:{broker.port}"
    assert await inbox.next_report() == ("retrying", f"{name}: Connection refused")
    broker.start()
    assert await inbox.next_report() == ("connected", name)
    await stop(task)
    broker.kill()


async def test_a_clean_stop_sends_what_is_left_and_publishes_offline(made: Made, broker: Mosquitto) -> None:
    transport = MqttTransport(made(port=broker.port), will=OFFLINE, on_connect=lambda: [ONLINE])
    async with watching(broker.port, STATUS, "out/{stream}") as watch:
        async with serving(transport, Inbox()):
            assert (await watch.next()).payload == b"online"
            for number in range(100):
                transport.publish("out/a", b"%d" % number)
        assert [int((await watch.next()).payload) for _ in range(100)] == list(range(100))
        last = await watch.next()
        assert (last.topic, last.stream, last.payload) == (STATUS, STATUS, b"offline")
    assert transport.counters["unconfirmed"] == 0


PROCESS = """
import asyncio, sys
from stream_rnn.transports.base import Publication
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_link import RECEIVE
from stream_rnn.transports.mqtt_settings import MqttSettings
status = lambda text: Publication("node/status", text, 1, True)
transport = MqttTransport(
    MqttSettings(port=int(sys.argv[1]), client=sys.argv[2]),
    will=status(b"offline"),
    on_connect=lambda: [status(b"online")],
)
asyncio.run(transport.serve(lambda messages: None))
"""


def start_process(code: str, port: int, client: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, str(port), client])


async def test_the_broker_says_offline_for_a_killed_process(made: Made, broker: Mosquitto) -> None:
    async with watching(broker.port, STATUS) as watch:
        process = start_process(PROCESS, broker.port, made().client)
        assert (await watch.next()).payload == b"online"
        process.kill()
        process.wait()
        assert (await watch.next()).payload == b"offline"


async def test_a_bug_in_the_receiver_ends_serve_with_it_and_leaves_the_will(
    made: Made, broker: Mosquitto
) -> None:
    def deliver(_messages: list[Message]) -> None:
        raise ZeroDivisionError("a bug")

    transport = MqttTransport(made(port=broker.port), will=OFFLINE)
    async with watching(broker.port, STATUS) as watch:
        task = asyncio.create_task(transport.serve(deliver), name="serve")
        await transport.ready()
        transport.publish("sensors/a/samples", b"1")
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await asyncio.wait_for(task, 10)
        assert (await watch.next()).payload == b"offline"


@pytest.mark.parametrize("accept", [False, True])
async def test_retained_samples_are_old_and_ignored_unless_asked_for(
    made: Made,
    broker: Mosquitto,
    accept: bool,  # noqa: FBT001
) -> None:
    settings = made(port=broker.port, accept_retained=accept)
    async with serving(MqttTransport(settings, topics=[]), Inbox()) as sender:
        sender.publish("sensors/a/samples", b"old", qos=1, retain=True)
    inbox = Inbox()
    async with serving(MqttTransport(settings), inbox) as transport:
        transport.publish("sensors/a/samples", b"new")
        got = [(await inbox.next()).payload for _ in range(1 + accept)]
    assert got == [b"old", b"new"][not accept :]
    assert transport.counters["ignored_retained"] == (not accept)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_persistent_session_brings_what_was_sent_meanwhile(
    made: Made, broker: Mosquitto, version: str
) -> None:
    fields = {"port": broker.port, "version": version, "client_id": "node", "clean_session": False, "qos": 1}
    settings = made(**fields)
    async with serving(MqttTransport(settings), Inbox()):
        pass
    async with serving(MqttTransport(made(port=broker.port), topics=[]), Inbox()) as sender:
        for number in range(50):
            sender.publish("sensors/a/samples", b"%d" % number, qos=1)
    inbox = Inbox()
    async with serving(MqttTransport(settings), inbox):
        assert [int((await inbox.next()).payload) for _ in range(50)] == list(range(50))


async def test_a_full_outbox_refuses_and_counts(made: Made, broker: Mosquitto) -> None:
    settings = made(port=broker.port, max_outgoing=5)
    async with serving(MqttTransport(settings), Inbox()) as transport:
        accepted = [transport.publish("out/a", b"x") for _ in range(8)]  # the socket's turn never comes
        assert accepted == [True] * 5 + [False] * 3
        assert transport.counters["dropped_full"] == 3


async def test_a_stream_that_makes_no_topic_is_refused_and_counted(made: Made, broker: Mosquitto) -> None:
    async with serving(MqttTransport(made(port=broker.port)), Inbox()) as transport:
        assert not transport.publish("out/#", b"x")
        assert transport.counters["dropped_bad_topic"] == 1


@pytest.fixture
def private_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "ann", "right"], check=True)
    with running_mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}\n") as broker:
        yield broker


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_wrong_password_is_told_in_one_line(
    made: Made, private_broker: Mosquitto, version: str
) -> None:
    fields = {"port": private_broker.port, "username": "ann", "version": version}
    text = await failure(made(**{**fields, "password": "wrong"}))
    assert text == f"mqtt 127.0.0.1:{private_broker.port}: user 'ann' refused: not authorized"
    text = await failure(made(port=private_broker.port, version=version))
    assert text == f"mqtt 127.0.0.1:{private_broker.port}: anonymous refused: not authorized"
    settings = made(**{**fields, "password": "right"})
    async with serving(MqttTransport(settings), Inbox()):
        pass


async def test_fail_fast_tells_in_one_line_that_nobody_is_there(made: Made) -> None:
    port = free_port()
    text = await failure(made(port=port), fail_fast=True)
    assert text == f"mqtt 127.0.0.1:{port}: Connection refused"


async def test_stopping_while_nobody_answers_is_quiet(made: Made) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        transport = MqttTransport(made(port=port))
        task = asyncio.create_task(transport.serve(lambda _messages: None), name="serve")
        loop = asyncio.get_running_loop()
        peer, _ = await asyncio.wait_for(loop.run_in_executor(None, silent.accept), 5)
        with peer:
            await stop(task)


async def test_the_embedded_broker_serves_a_transport(made: Made) -> None:
    inbox = Inbox()
    async with serve_broker() as port:
        settings = made(port=port, version="3.1.1", qos=1)
        transport = MqttTransport(settings, will=OFFLINE, on_connect=lambda: [ONLINE])
        async with watching(port, STATUS) as watch:
            async with serving(transport, inbox):
                for number in range(200):
                    transport.publish("sensors/a/samples", b"%d" % number, qos=1)
                assert [int((await inbox.next()).payload) for _ in range(200)] == list(range(200))
            assert [(await watch.next()).payload for _ in range(2)] == [b"online", b"offline"]


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificates(folder: Path) -> None:
    """Write two authorities, ca.pem and other.pem, and a certificate for localhost signed by the first."""
    for name in ("ca", "other"):
        new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        usage = [
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]  # Python 3.13 refuses an authority without
        openssl(folder, *new, *usage, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    openssl(folder, *request, "-keyout", "server.key", "-out", "server.csr")
    extensions = "subjectAltName=DNS:localhost\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    (folder / "names").write_text(extensions)
    sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    openssl(folder, *sign, "-days", "2", "-extfile", "names", "-out", "server.pem")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture
def tls_broker(certificates: Path, tmp_path: Path) -> Iterator[Mosquitto]:
    files = f"certfile {certificates}/server.pem\nkeyfile {certificates}/server.key\n"
    with running_mosquitto(tmp_path, f"allow_anonymous true\n{files}") as broker:
        yield broker


@pytest.mark.parametrize("version", VERSIONS)
async def test_samples_pass_over_tls(
    made: Made, tls_broker: Mosquitto, certificates: Path, version: str
) -> None:
    fields = {"url": f"mqtts://localhost:{tls_broker.port}", "ca_file": str(certificates / "ca.pem")}
    settings = made(**{**fields, "version": version})
    inbox = Inbox()
    async with serving(MqttTransport(settings), inbox) as transport:
        for number in range(1000):
            transport.publish("sensors/a/samples", b"%d" % number + bytes(100))
        got = [int((await inbox.next()).payload.rstrip(b"\0")) for _ in range(1000)]
    assert got == list(range(1000))


async def test_a_certificate_of_another_authority_is_told_in_one_line(
    made: Made, tls_broker: Mosquitto, certificates: Path
) -> None:
    settings = made(host="localhost", port=tls_broker.port, ca_file=str(certificates / "other.pem"))
    text = await failure(settings)
    reason = "the broker's certificate is not trusted: unable to get local issuer certificate"
    assert text == f"mqtt localhost:{tls_broker.port}: {reason}"


async def test_a_certificate_for_another_name_is_told_in_one_line(
    made: Made, tls_broker: Mosquitto, certificates: Path
) -> None:
    settings = made(host="127.0.0.1", port=tls_broker.port, ca_file=str(certificates / "ca.pem"))
    text = await failure(settings)
    reason = "IP address mismatch, certificate is not valid for '127.0.0.1'."
    assert text == f"mqtt 127.0.0.1:{tls_broker.port}: the broker's certificate is not trusted: {reason}"


async def test_a_missing_authority_file_is_the_users_to_mend(made: Made) -> None:
    with pytest.raises(ConfigError) as caught:
        await MqttTransport(made(ca_file="/no/ca.pem")).serve(lambda _messages: None)
    assert str(caught.value) == "mqtt.ca_file '/no/ca.pem': No such file or directory"
