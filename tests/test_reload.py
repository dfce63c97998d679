"""A daemon that reads its config and model again: what changed is opened anew, what did not stays open."""

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_rnn.cli import main
from stream_rnn.config.load import load_config
from stream_rnn.daemon.daemon import Daemon
from stream_rnn.errors import CommandError
from stream_rnn.model.file import save_model
from stream_rnn.predictor import Predictor
from tests.broker import Mosquitto, free_port, needs_mosquitto, running_mosquitto
from tests.small import DaemonProcess, running_daemon, saved_model, small_model

pytestmark = [
    pytest.mark.mosquitto,
    needs_mosquitto,
    pytest.mark.skipif(shutil.which("mosquitto_rr") is None, reason="mosquitto-clients is not installed"),
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_mosquitto(tmp_path) as running:
        yield running


class Reloading:
    """A daemon over real sockets, and the file its config is read from."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.folder, self.path = folder, folder / "c.toml"
        self.broker = f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n'
        self.told: list[tuple[str, str]] = []
        saved_model(folder, small_model())

    def write(self, *sections: str) -> None:
        self.path.write_text("\n".join(['[model]\npath = "model.safetensors"\n', *sections]))

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Daemon]:
        config, predictor = self.reread()
        daemon = Daemon(config, predictor, lambda *what: self.told.append(what), self.reread)
        daemon.open_configured()
        task = asyncio.create_task(daemon.run(), name="daemon")
        for source in daemon.sources.values():
            await source.transport.ready()
        try:
            yield daemon
        finally:
            daemon.stop()
            await task

    def reread(self) -> Any:
        config = load_config(self.path, {}, {})
        return config, Predictor.load(config.model.path)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]


@pytest.fixture
def here(tmp_path: Path, broker: Mosquitto) -> Reloading:
    return Reloading(tmp_path, broker)


async def answer_of(port: int, line: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(line + b"\n")
    answer: dict[str, Any] = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answer


async def test_what_did_not_change_stays_open(here: Reloading) -> None:
    first, second = free_port(), free_port()
    here.write(here.broker, f"[tcp]\nport = {first}\n")
    async with here.serving() as daemon:
        mqtt = daemon.sources["mqtt"].transport
        here.write(here.broker, f"[tcp]\nport = {second}\n")
        await daemon.reload()
        await daemon.sources["tcp"].transport.ready()
        assert daemon.sources["mqtt"].transport is mqtt
        assert here.kinds().count("connected") == 1
        assert len((await answer_of(second, b"[1,2,3,4,5]"))["y"]) == 2
        with pytest.raises(ConnectionRefusedError):
            await answer_of(first, b"[1,2,3,4,5]")


async def test_another_node_name_moves_every_topic(here: Reloading) -> None:
    here.write(here.broker)
    async with here.serving() as daemon:
        here.write(here.broker, '[daemon]\nnode = "left"\n')
        await daemon.reload()
        await daemon.sources["mqtt"].transport.ready()
        assert [birth.topic for birth in daemon.births()] == [
            "stream_rnn/left/info",
            "stream_rnn/left/status",
        ]
        assert here.kinds().count("connected") == 2


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            '[model]\npath = "none"\n[stdio]\n',
            "none: expected a model file, got no such file; nothing changed",
        ),
        ("[model]\n", "object missing required field `path`"),
        ("=", "expected TOML"),
    ],
)
async def test_what_cannot_be_read_changes_nothing(here: Reloading, text: str, error: str) -> None:
    here.write(here.broker)
    async with here.serving() as daemon:
        here.path.write_text(text)
        with pytest.raises(CommandError, match=error):
            await daemon.reload()
        assert daemon.sources["mqtt"].transport.up


async def test_what_cannot_be_opened_after_a_reload_is_told_and_tried_again_by_the_next(
    here: Reloading,
) -> None:
    here.write(here.broker)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with here.serving() as daemon:
            here.write(here.broker, f"[tcp]\nport = {port}\n")
            await daemon.reload()
            async with asyncio.timeout(5):
                while "failed" not in here.kinds():  # noqa: ASYNC110 - nobody sets an event then
                    await asyncio.sleep(0)
            assert list(daemon.failed) == ["tcp"]
            assert daemon.sources["mqtt"].transport.up
            taken.close()
            await daemon.reload()
            await daemon.sources["tcp"].transport.ready()
            assert daemon.failed == {}
            assert (await answer_of(port, b"[1,2,3,4,5]"))["seq"] == 0


async def test_a_recording_that_cannot_be_written_after_a_reload_is_told_and_the_rest_goes_on(
    here: Reloading,
) -> None:
    port = free_port()
    tcp = f"[tcp]\nport = {port}\n"
    here.write(tcp)
    async with here.serving() as daemon:
        here.write(tcp, '[recording]\npath = "none/r.mcap"\n')
        await daemon.reload()
        assert here.kinds().count("recording_failed") == 1
        assert (await answer_of(port, b"[1,2,3,4,5]"))["seq"] == 0
        assert daemon.status()["unrecorded"] >= 2  # the sample and its prediction


async def test_other_rules_hold_from_the_next_sample_on(here: Reloading) -> None:
    port = free_port()
    tcp = f"[tcp]\nport = {port}\n"
    here.write(tcp)
    async with here.serving() as daemon:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'{"seq":0,"x":[1,2,3,4,5]}\n')
        await reader.readline()
        here.write(tcp, '[stream]\ngap = "reset"\n')
        await daemon.reload()
        writer.write(b'{"seq":5,"x":[1,2,3,4,5]}\n')
        answer = json.loads(await reader.readline())
        writer.close()
        await writer.wait_closed()
    assert answer["flags"] == ["gap", "reset"]


COMMANDS = "[commands]\nmqtt = true\n"


def ctl(broker: Mosquitto, *arguments: str) -> int:
    return main(["ctl", *arguments, "--broker", f"mqtt://127.0.0.1:{broker.port}"])


@contextlib.contextmanager
def process(folder: Path, broker: Mosquitto, *sections: str) -> Iterator[DaemonProcess]:
    here = Reloading(folder, broker)
    here.write(here.broker, *sections)
    with running_daemon(str(here.path)) as daemon:
        yield daemon


def test_ctl_over_a_broker(tmp_path: Path, broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    with process(tmp_path, broker, COMMANDS) as daemon:
        topic = ["mosquitto_pub", "-p", str(broker.port), "-t", "sensors/a/samples", "-m", "[1,2,3,4,5]"]
        subprocess.run(topic, check=True, timeout=10)
        assert ctl(broker, "snapshot", "--stream", "a", "-o", str(tmp_path / "state")) == 0
        assert "snapshot: stream 'a' after sample 0" in capsys.readouterr().out
        assert ctl(broker, "restore", str(tmp_path / "state"), "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"stream": "a", "seq": 0}
        assert ctl(broker, "reset", "--stream", "b") == 1
        said = capsys.readouterr().err
        assert (
            said
            == "stream-rnn: command 'reset': stream 'b': expected one that is served, got an unknown one\n"
        )
        assert ctl(broker, "status") == 0
        assert "predictions" in capsys.readouterr().out
        assert daemon.stop() == 0


def test_ctl_says_when_nobody_answers(broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl(broker, "status", "--timeout", "0.2") == 1
    doubt = "is this daemon running, with commands.mqtt = true in its config, and may we publish there?"
    assert f"expected an answer within 0.2 s, got none: {doubt}" in capsys.readouterr().err


def test_a_daemon_takes_no_command_over_a_broker_unless_told_to(
    tmp_path: Path, broker: Mosquitto, capsys: pytest.CaptureFixture[str]
) -> None:
    with process(tmp_path, broker) as daemon:
        assert ctl(broker, "pause", "--all", "--timeout", "0.3") == 1
        assert "commands.mqtt = true" in capsys.readouterr().err
        assert daemon.stop() == 0
    assert not [line for line in daemon.lines if " command " in line]


def test_ctl_over_a_socket_with_a_token(
    tmp_path: Path, broker: Mosquitto, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    path = tmp_path / "ctl.sock"
    with process(tmp_path, broker, f'[commands]\npath = "{path}"\ntoken_file = "token"\n') as daemon:
        assert main(["ctl", "pause", "--all", "--socket", str(path)]) == 1
        assert "expected the token of [commands], got none" in capsys.readouterr().err
        monkeypatch.setenv("STREAM_RNN_COMMANDS__TOKEN", "s3cret")
        assert main(["ctl", "pause", "--all", "--socket", str(path)]) == 0
        assert capsys.readouterr().out == "pause: paused *\n"
        assert daemon.stop() == 0
    assert "s3cret" not in "\n".join(daemon.lines)


def test_any_client_of_version_5_can_ask_and_is_answered_where_it_says(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with process(tmp_path, broker, 'version = "5"\n[daemon]\nnode = "d"\n', COMMANDS):
        command = ["mosquitto_rr", "-p", str(broker.port), "-V", "5", "-W", "10", "-q", "1"]
        asked = ["-t", "stream_rnn/d/commands/status", "-e", "my/answers", "-m", "{}"]
        answer = subprocess.run([*command, *asked], capture_output=True, check=True, timeout=20).stdout
    assert json.loads(answer)["result"]["streams"] == 0


def test_a_kept_command_is_not_carried_out(tmp_path: Path, broker: Mosquitto) -> None:
    command = ["mosquitto_pub", "-p", str(broker.port), "-r", "-t", "stream_rnn/decoder/commands/pause"]
    subprocess.run([*command, "-m", '{"all":true}'], check=True, timeout=10)
    with process(tmp_path, broker, "accept_retained = true\n", COMMANDS) as daemon:
        assert daemon.stop() == 0
    assert not [line for line in daemon.lines if " command " in line]


def test_a_hangup_reads_config_and_model_again(tmp_path: Path, broker: Mosquitto) -> None:
    with process(tmp_path, broker) as daemon:
        save_model(small_model(seed=2), tmp_path / "model.safetensors")
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.wait_for("reloaded").endswith("another model")
        save_model(small_model(units=9), tmp_path / "model.safetensors")
        daemon.process.send_signal(signal.SIGHUP)
        assert "expected architecture" in daemon.wait_for("reload_refused")
        assert daemon.stop() == 0
