"""The example broker (tools/mosquitto): TLS, users, an access list; each fault is one line, an exit code."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_rnn.cli import main
from stream_rnn.transports.mqtt import MqttTransport
from stream_rnn.transports.mqtt_settings import MqttSettings
from tests.broker import Mosquitto, needs_mosquitto, running_mosquitto
from tests.small import DaemonProcess, running_daemon, saved_model, small_model
from tests.test_transport_mqtt import Inbox, make_certificates, openssl, serving

pytestmark = [
    pytest.mark.mosquitto,
    needs_mosquitto,
    pytest.mark.skipif(shutil.which("mosquitto_passwd") is None, reason="mosquitto_passwd is not installed"),
]

EXAMPLE = Path(__file__).parent.parent / "tools" / "mosquitto"
PLUGIN = next(iter(sorted(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"))), None)
USERS = ("decoder", "viewer", "operator", "left-hand")
OF_A_CERTIFICATE = ("require_certificate", "use_identity_as_username")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies in /etc/mosquitto, and the model: made once."""
    folder = tmp_path_factory.mktemp("etc-mosquitto")
    make_certificates(folder)
    sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    openssl(folder, *sign, "-days", "-1", "-extfile", "names", "-out", "expired.pem")
    request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=decoder"]
    openssl(folder, *request, "-keyout", "client.key", "-out", "client.csr")
    openssl(folder, *sign[:3], "client.csr", *sign[4:], "-days", "2", "-out", "client.pem")
    passwords = folder / "passwords"
    passwords.touch()
    for user in USERS:
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, f"pw-{user}"], check=True, timeout=20)
    shutil.copy(EXAMPLE / "acl", folder / "acl")
    saved_model(folder, small_model())
    return folder


def example(folder: Path, server: str = "server", *, certificates: bool = False) -> str:
    """The example's lines but for its port, its paths in a folder."""
    text = (EXAMPLE / "mosquitto.conf").read_text().replace("listener 8883\n", "")
    text = text.replace("/etc/mosquitto/certs", str(folder)).replace("/etc/mosquitto", str(folder))
    if certificates:
        for name in OF_A_CERTIFICATE:
            text = text.replace(f"# {name}", name)
    return text.replace("server.pem", f"{server}.pem")


@pytest.fixture
def broker(folder: Path, tmp_path: Path) -> Iterator[Mosquitto]:
    with running_mosquitto(tmp_path, example(folder)) as running:
        yield running


def config(folder: Path, tmp_path: Path, broker: Mosquitto, lines: str = "", **fields: str) -> str:
    """A daemon's config for the example broker; fields go before its own."""
    values = {
        "url": f"mqtts://localhost:{broker.port}",
        "ca_file": str(folder / "ca.pem"),
        "username": "decoder",
        "password": "pw-decoder",
    } | fields
    text = "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items() if value)
    path = tmp_path / "c.toml"
    path.write_text(
        f"[model]\npath = {json.dumps(str(folder / 'model.safetensors'))}\n[mqtt]\n{text}\n{lines}"
    )
    return str(path)


def pub(folder: Path, broker: Mosquitto, user: str, topic: str, payload: str) -> None:
    command = ["mosquitto_pub", "-h", "localhost", "-p", str(broker.port), "--cafile", str(folder / "ca.pem")]
    who = ["-u", user, "-P", f"pw-{user}"]
    subprocess.run([*command, *who, "-q", "1", "-t", topic, "-m", payload], check=True, timeout=10)


def settings(folder: Path, broker: Mosquitto, user: str, **fields: object) -> MqttSettings:
    return MqttSettings(
        url=f"mqtts://localhost:{broker.port}",
        ca_file=str(folder / "ca.pem"),
        username=user,
        password=f"pw-{user}",
        **fields,  # type: ignore[arg-type]  # cases give any field
    )


async def test_each_user_does_its_own_and_nothing_else(
    folder: Path, tmp_path: Path, broker: Mosquitto
) -> None:
    def work() -> None:
        pub(folder, broker, "viewer", "sensors/viewer2/samples", "[9,9,9,9,9]")  # not its to write
        pub(folder, broker, "left-hand", "sensors/right-hand/samples", "[9,9,9,9,9]")  # another's stream
        pub(folder, broker, "left-hand", "stream_rnn/decoder/predictions/left-hand", "forged")
        pub(folder, broker, "left-hand", "stream_rnn/decoder/commands/pause", '{"all":true}')
        pub(folder, broker, "left-hand", "sensors/left-hand/samples", "[1,2,3,4,5]")

    inbox = Inbox()
    viewer = settings(folder, broker, "viewer", accept_retained=True)
    async with serving(MqttTransport(viewer, topics=["stream_rnn/decoder/predictions/{stream}"]), inbox):
        path = config(folder, tmp_path, broker, "[commands]\nmqtt = true\n")
        with running_daemon(path) as daemon:
            await asyncio.to_thread(work)
            message = await inbox.next()
            assert daemon.stop() == 0
    assert (message.stream, json.loads(message.payload)["seq"]) == ("left-hand", 0)
    assert any("1 samples stepped, 0 refused" in line for line in daemon.lines)
    assert not any(" command " in line for line in daemon.lines)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": "wrong"}, "user 'decoder' refused: not authorized"),
        ({"username": "", "password": ""}, "anonymous refused: not authorized"),
        (
            {"ca_file": "{folder}/other.pem"},
            "the broker's certificate is not trusted: self-signed certificate in certificate chain",
        ),
        (
            {"url": "mqtts://127.0.0.1:{port}"},
            (
                "the broker's certificate is not trusted: "
                "IP address mismatch, certificate is not valid for '127.0.0.1'."
            ),
        ),
    ],
    ids=["password", "anonymous", "authority", "name"],
)  # fmt: skip
def test_what_no_retry_mends_is_one_line_and_exit_code_1(
    folder: Path, tmp_path: Path, broker: Mosquitto, fields: dict[str, str], said: str
) -> None:
    told = {name: text.format(folder=folder, port=broker.port) for name, text in fields.items()}
    daemon = DaemonProcess(config(folder, tmp_path, broker, **told))
    assert daemon.wait() == 1
    host = "127.0.0.1" if "url" in fields else "localhost"
    assert daemon.lines[-1] == f"stream-rnn: mqtt {host}:{broker.port}: {said}"
    assert "pw-decoder" not in str(daemon.lines)


def test_an_expired_certificate_is_one_line_and_exit_code_1(folder: Path, tmp_path: Path) -> None:
    with running_mosquitto(tmp_path, example(folder, "expired")) as broker:
        daemon = DaemonProcess(config(folder, tmp_path, broker))
        assert daemon.wait() == 1
    said = "the broker's certificate is not trusted: certificate has expired"
    assert daemon.lines[-1] == f"stream-rnn: mqtt localhost:{broker.port}: {said}"


def test_a_client_certificate_stands_for_user_and_password(folder: Path, tmp_path: Path) -> None:
    lines = example(folder, certificates=True).replace(f"password_file {folder}/passwords\n", "")
    own = {"cert_file": str(folder / "client.pem"), "key_file": str(folder / "client.key")}
    nobody = {"username": "", "password": ""}
    with running_mosquitto(tmp_path, lines) as broker:
        with running_daemon(config(folder, tmp_path, broker, **own, **nobody, version="5")) as daemon:
            assert daemon.stop() == 0
        assert not any(" refused " in line for line in daemon.lines)  # its topics are the decoder's
        without = DaemonProcess(config(folder, tmp_path, broker, **nobody))
        line = without.wait_for("retrying").lower()  # whichever of alert and reset comes first
        assert "certificate required" in line or "connection reset" in line or "closed the connection" in line
        assert without.stop() == 0


@pytest.mark.parametrize("client", ["builtin", "aiomqtt"])
def test_a_publication_that_the_broker_refuses_is_one_line_and_counted(
    folder: Path, tmp_path: Path, broker: Mosquitto, client: str
) -> None:
    path = config(folder, tmp_path, broker, '[daemon]\nnode = "other"\n', version="5", client=client)
    with running_daemon(path) as daemon:
        line = daemon.wait_for("refused", "mqtt")
        assert daemon.stop() == 0
    said = "publication on 'stream_rnn/other/info' refused: not authorized"
    assert line.endswith(f"mqtt localhost:{broker.port}: {said}")


@pytest.mark.skipif(PLUGIN is None, reason="mosquitto's dynamic security plugin is not installed")
@pytest.mark.parametrize("client", ["builtin", "aiomqtt"])
@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_a_subscription_that_the_broker_refuses_is_one_line_and_exit_code_1(
    folder: Path, tmp_path: Path, client: str, version: str
) -> None:
    """Mosquitto's acl_file accepts every subscription, and delivers nothing; its plugin refuses."""
    rules = tmp_path / "rules.json"
    subprocess.run(["mosquitto_ctrl", "dynsec", "init", str(rules), "decoder", "pw-decoder"], check=True)
    stored = json.loads(rules.read_text())
    (role,) = stored["roles"]
    role["acls"] = [acl for acl in role["acls"] if acl["topic"] != "#"]
    rules.write_text(json.dumps(stored))
    with running_mosquitto(
        tmp_path, f"allow_anonymous false\nplugin {PLUGIN}\nplugin_opt_config_file {rules}\n"
    ) as broker:
        plain = {"url": f"mqtt://127.0.0.1:{broker.port}", "ca_file": ""}
        daemon = DaemonProcess(config(folder, tmp_path, broker, **plain, client=client, version=version))
        assert daemon.wait() == 1
    said = f"mqtt 127.0.0.1:{broker.port}: subscription to 'sensors/+/samples' refused: "
    assert daemon.lines[-1].startswith(f"stream-rnn: {said}"), daemon.lines


def test_commands_reach_the_daemon_through_the_access_list(
    folder: Path,
    tmp_path: Path,
    broker: Mosquitto,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acl = (EXAMPLE / "acl").read_text()
    for line in ("topic read stream_rnn/decoder/commands/+", "topic write stream_rnn/decoder/replies/+"):
        assert f"# {line}" in acl
        acl = acl.replace(f"# {line}", line)
    (tmp_path / "acl").write_text(acl)
    lines = example(folder).replace(str(folder / "acl"), str(tmp_path / "acl"))
    at = ["--topic", "stream_rnn/decoder", "--ca-file", str(folder / "ca.pem")]
    ask: Callable[[str, Mosquitto], int] = lambda user, where: main(  # noqa: E731 - three times the same
        ["ctl", "status", *at, "--broker", f"mqtts://localhost:{where.port}", "--username", user,
         "--timeout", "5" if user == "operator" else "0.3"]
    )  # fmt: skip
    broker.kill()
    with (
        running_mosquitto(tmp_path, lines) as open_broker,
        running_daemon(config(folder, tmp_path, open_broker, "[commands]\nmqtt = true\n")),
    ):
        monkeypatch.setenv("STREAM_RNN_MQTT__PASSWORD", "pw-operator")
        assert ask("operator", open_broker) == 0
        monkeypatch.setenv("STREAM_RNN_MQTT__PASSWORD", "pw-viewer")
        assert ask("viewer", open_broker) == 1
    assert "may we publish there?" in capsys.readouterr().err
