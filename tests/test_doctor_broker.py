"""`doctor` names each fault that a real broker is given."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stream_rnn.config.sections import Config
from stream_rnn.doctor import broker
from stream_rnn.doctor.broker import check_broker, connected, node_finding, round_trip_finding
from stream_rnn.doctor.findings import Finding
from stream_rnn.doctor.nodelay import nodelay_finding
from stream_rnn.doctor.reach import expiry_finding
from stream_rnn.doctor.samples import Samples
from stream_rnn.transports.base import Message
from stream_rnn.transports.mqtt_settings import MqttSettings
from tests.broker import ANONYMOUS, Mosquitto, free_port, needs_mosquitto, running_mosquitto
from tests.test_transport_mqtt import make_certificates, openssl

PASSWORD = "correct horse"  # noqa: S105 - made up

pytestmark = [pytest.mark.mosquitto, needs_mosquitto]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "LISTEN_S", 0.05)
    monkeypatch.setattr(broker, "ANSWER_S", 1.0)


async def findings_of(features: int | None = None, **mqtt: object) -> dict[str, Finding]:
    config = msgspec.convert({"model": {"path": "none"}, "mqtt": mqtt}, Config)
    return {f.subject: f async for f in check_broker(config, features)}


@pytest.fixture(params=["3.1.1", "5"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_fine_broker_is_found_fine(tmp_path: Path, version: str) -> None:
    with running_mosquitto(tmp_path) as running:
        found = await findings_of(port=running.port, version=version)
    order = ["broker", "login", "subscription", "round trip", "node", "TCP_NODELAY", "samples"]
    assert list(found) == order
    assert [found[name].verdict for name in order] == ["ok"] * 6 + ["warn"]
    assert found["login"].found == f"anonymous accepted, MQTT {version}"


async def test_a_broker_that_holds_messages_back_is_named(tmp_path: Path) -> None:
    running = Mosquitto(tmp_path, ANONYMOUS)
    file = tmp_path / "mosquitto.conf"
    file.write_text(file.read_text().replace("set_tcp_nodelay true", "set_tcp_nodelay false"))
    running.start()
    try:
        found = await findings_of(port=running.port)
    finally:
        running.kill()
    assert found["TCP_NODELAY"].verdict == "warn"
    assert "set_tcp_nodelay true" in found["TCP_NODELAY"].do


async def test_a_wrong_name_is_named() -> None:
    found = await findings_of(host="no-such-host.invalid")
    assert list(found) == ["broker"]
    assert found["broker"].verdict == "fail"
    assert found["broker"].found.startswith("no-such-host.invalid: no such name: ")


async def test_a_closed_port_is_named() -> None:
    port = free_port()
    found = await findings_of(port=port)
    assert list(found) == ["broker"]
    assert found["broker"].found == f"127.0.0.1:{port} (127.0.0.1): Connection refused"
    assert found["broker"].do.startswith("start the broker there")


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that wants a name, and lets bob read only."""
    passwords, access = tmp_path / "passwords", tmp_path / "access"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "ann", PASSWORD], check=True)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "bob", PASSWORD], check=True)
    lines = [
        *("user ann", "topic readwrite #"),
        *("user bob", "topic read #"),
    ]
    access.write_text("\n".join(lines) + "\n")
    text = f"allow_anonymous false\npassword_file {passwords}\nacl_file {access}\n"
    with running_mosquitto(tmp_path, text) as running:
        yield running


async def test_a_broker_that_wants_a_name_is_named(private: Mosquitto, version: str) -> None:
    found = await findings_of(port=private.port, version=version)
    assert list(found) == ["broker", "login"]
    assert found["login"].verdict == "fail"
    assert "anonymous refused: not authorized" in found["login"].found
    assert found["login"].do.startswith("this broker wants a name: set mqtt.username")


async def test_a_wrong_password_is_named_and_not_shown(private: Mosquitto) -> None:
    found = await findings_of(port=private.port, username="ann", password="wr0ng")  # noqa: S106 - made up
    assert "user 'ann' refused: not authorized" in found["login"].found
    assert found["login"].do.startswith("check mqtt.username")
    assert "wr0ng" not in str(found)


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that refuses subscriptions, as mosquitto does with its plugin for dynamic security only."""
    plugin = next(Path("/usr").glob("lib*/**/mosquitto_dynamic_security.so"), None)
    if plugin is None or shutil.which("mosquitto_ctrl") is None:
        pytest.skip("mosquitto came without its plugin for dynamic security")
    file = tmp_path / "security.json"
    init = ["mosquitto_ctrl", "dynsec", "init", str(file), "ann", PASSWORD]
    subprocess.run(init, check=True, capture_output=True)
    security = json.loads(file.read_text())
    security["roles"][0]["acls"] = [
        {"acltype": kind, "topic": "stream_rnn/#", "allow": True}
        for kind in ("subscribePattern", "publishClientSend")
    ]
    file.write_text(json.dumps(security))
    text = f"allow_anonymous false\nplugin {plugin}\nplugin_opt_config_file {file}\n"
    with running_mosquitto(tmp_path, text) as running:
        yield running


async def test_a_topic_that_may_not_be_read_is_named(strict: Mosquitto, version: str) -> None:
    found = await findings_of(port=strict.port, username="ann", password=PASSWORD, version=version)
    assert (found["login"].verdict, found["round trip"].verdict) == ("ok", "ok")
    assert found["subscription"].verdict == "fail"
    assert "subscription to 'sensors/+/samples' refused: " in found["subscription"].found
    assert found["subscription"].do.startswith("let user 'ann' read 'sensors/{stream}/samples'")
    assert "samples" not in found


async def test_topics_that_may_not_be_written_are_named(private: Mosquitto) -> None:
    found = await findings_of(port=private.port, username="bob", password=PASSWORD)
    assert found["subscription"].verdict == "ok"
    assert found["round trip"].verdict == "fail"
    assert found["round trip"].do == "let this user write stream_rnn/decoder/# in the broker's access list"
    assert "TCP_NODELAY" not in found


async def test_a_node_that_is_online_is_named(tmp_path: Path) -> None:
    status = json.dumps({"status": "online", "session": "ab12"}).encode()
    with running_mosquitto(tmp_path) as running:
        async with connected(MqttSettings(port=running.port), [], list.clear) as transport:
            transport.publish("stream_rnn/decoder/status", status, qos=1, retain=True)
        found = await findings_of(port=running.port)
    assert found["node"].verdict == "warn"
    assert found["node"].found == "stream_rnn/decoder is online already, as session ab12"


@pytest.mark.parametrize("status", [None, b"", b"\xff", b"[]", b'{"status": "offline"}'])
def test_a_node_that_is_not_online_is_none(status: bytes | None) -> None:
    assert node_finding("a/b/status", status) == Finding("node", "ok", "no other a/b is online")


async def test_the_doctor_does_not_take_the_daemons_connection(tmp_path: Path) -> None:
    with running_mosquitto(tmp_path) as running:
        settings = MqttSettings(port=running.port, client_id="decoder", clean_session=False)
        async with connected(settings, [], list.clear) as daemon:
            found = await findings_of(port=running.port, client_id="decoder", clean_session=False)
            assert daemon.up
    assert found["login"].verdict == "ok"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As those of the transport's tests, and one for localhost that is no longer valid."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    openssl(folder, *sign, "-days", "-1", "-extfile", "names", "-out", "expired.pem")
    return folder


@pytest.mark.parametrize(
    ("certificate", "host", "authority", "verdict", "expected", "do"),
    [
        ("server", "localhost", "ca", "warn", "the certificate lasts 2 more days", "renew the broker"),
        ("expired", "localhost", "ca", "fail", "certificate has expired", "renew the broker"),
        ("server", "localhost", "other", "fail", "unable to get local issuer", "set mqtt.ca_file"),
        ("server", "127.0.0.1", "ca", "fail", "not valid for '127.0.0.1'", "use a name"),
        ("server", "localhost", "none", "fail", "No such file or directory", "name a PEM file"),
    ],
)
async def test_each_fault_of_a_certificate_is_named(
    certificates: Path,
    tmp_path: Path,
    certificate: str,
    host: str,
    authority: str,
    verdict: str,
    expected: str,
    do: str,
) -> None:
    files = f"certfile {certificates}/{certificate}.pem\nkeyfile {certificates}/server.key\n"
    with running_mosquitto(tmp_path, ANONYMOUS + files) as running:
        found = await findings_of(
            host=host, port=running.port, ca_file=str(certificates / f"{authority}.pem"), tls=True
        )
    assert found["tls"].verdict == verdict
    assert expected in found["tls"].found
    assert found["tls"].do.startswith(do)
    assert ("login" in found) == (verdict != "fail")
    if verdict != "fail":
        assert (found["login"].verdict, found["TCP_NODELAY"].verdict) == ("ok", "ok")


async def test_tls_spoken_to_a_port_without_is_named(tmp_path: Path) -> None:
    with running_mosquitto(tmp_path) as running:
        found = await findings_of(port=running.port, tls=True)
    assert found["tls"].verdict == "fail"
    assert list(found) == ["broker", "tls"]


def message(payload: bytes, stream: str = "a") -> Message:
    return Message(stream, payload, 0, 0, None, f"sensors/{stream}/samples")


@pytest.mark.parametrize(
    ("payloads", "verdict", "expected"),
    [
        ([], "warn", "none on 'sensors/{stream}/samples' within "),
        ([b"[1, 2, 3]"], "ok", " a second, streams: 1"),
        ([b"[1, 2]"], "fail", "sensors/a/samples: expected 3 features, got 2"),
        ([b"[1, 2, 3]", b"\xff"], "fail", "sensors/a/samples: "),
    ],
)
def test_samples_are_held_against_the_model(payloads: list[bytes], verdict: str, expected: str) -> None:
    samples = Samples("json", 3)
    samples.begin()
    samples.take([message(payload) for payload in payloads])
    samples.end()
    finding = samples.finding("sensors/{stream}/samples")
    assert finding.verdict == verdict
    assert expected in finding.found


@pytest.mark.parametrize(
    ("unit", "verdict", "expected"),
    [
        (2, "ok", " a second, streams: 1"),
        (3, "fail", "sensors/a/samples: expected units below 3, got 3"),
    ],
)
def test_packets_of_spikes_are_held_against_the_model(unit: int, verdict: str, expected: str) -> None:
    samples = Samples("spikes_json", 3)
    samples.begin()
    samples.take([message(b'{"from_ns": 0, "to_ns": 9, "units": [%d], "times_ns": [1]}' % unit)])
    samples.end()
    finding = samples.finding("sensors/{stream}/samples")
    assert finding.verdict == verdict
    assert expected in finding.found


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (nodelay_finding(0.1, 43.0, 0.1), "ok"),
        (nodelay_finding(43.0, 43.0, 0.1), "warn"),
        (nodelay_finding(61.0, 100.0, 60.0), "ok"),
        (round_trip_finding(0.1, 0.4), "ok"),
        (round_trip_finding(60.0, 70.0), "warn"),
        (expiry_finding(300, ""), "ok"),
        (expiry_finding(3, ""), "warn"),
    ],
)
def test_what_was_measured_is_judged(finding: Finding, expected: str) -> None:
    assert finding.verdict == expected
    assert bool(finding.do) == (expected == "warn")
