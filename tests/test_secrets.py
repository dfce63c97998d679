"""No secret in what a daemon says, publishes, records or answers; no code in what it loads."""

import json
import os
import pickle
import socket
import subprocess
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_rnn.cli import main
from stream_rnn.errors import ModelError
from stream_rnn.model.file import load_model
from stream_rnn.recordings.mcap import McapRecording
from stream_rnn.training.checkpoint import read_checkpoint
from tests.broker import Mosquitto, free_port, needs_mosquitto, running_mosquitto
from tests.small import running_daemon, saved_model, small_model

SECRETS = {name: f"s3cret-{name}" for name in ("password", "tcp", "commands", "http")}


class Hostile:
    """What an unpickler would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    passwords = tmp_path / "passwords"
    passwords.touch()
    command = ["mosquitto_passwd", "-b", str(passwords), "decoder", SECRETS["password"]]
    subprocess.run(command, check=True, timeout=20)
    lines = f"allow_anonymous true\npassword_file {passwords}\n"
    with running_mosquitto(tmp_path, lines) as running:
        yield running


def everything(broker: Mosquitto) -> "subprocess.Popen[bytes]":
    """All that passes the broker."""
    command = ["mosquitto_sub", "-p", str(broker.port), "-t", "#", "-v"]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.mosquitto
@needs_mosquitto
def test_no_secret_leaves_the_daemon(
    tmp_path: Path, broker: Mosquitto, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_model(tmp_path, small_model())
    tcp, http, path = free_port(), free_port(), tmp_path / "c.toml"
    path.write_text(
        f'[model]\npath = "model.safetensors"\n'
        f'[mqtt]\nport = {broker.port}\nusername = "decoder"\npassword = "{SECRETS["password"]}"\n'
        f'[tcp]\nport = {tcp}\ntoken = "{SECRETS["tcp"]}"\n[recording]\npath = "r.mcap"\n'
        f'[commands]\nmqtt = true\ntoken = "{SECRETS["commands"]}"\n'
        f'[http]\nport = {http}\ntoken = "{SECRETS["http"]}"\n'
    )
    seen: list[str] = []
    listening = everything(broker)
    with running_daemon(str(path)) as daemon:
        with socket.create_connection(("127.0.0.1", tcp), timeout=10) as sock, sock.makefile("rwb") as said:
            said.write(json.dumps({"token": SECRETS["tcp"]}).encode() + b"\n[1,2,3,4,5]\n{}\n")
            said.flush()
            seen += [said.readline().decode(), said.readline().decode()]
        with socket.create_connection(("127.0.0.1", tcp), timeout=10) as sock, sock.makefile("rwb") as said:
            said.write(b'{"token": "wrong"}\n')
            said.flush()
            seen.append(said.readline().decode())
        for token in ("wrong", SECRETS["commands"]):
            monkeypatch.setenv("STREAM_RNN_COMMANDS__TOKEN", token)
            for verb in ("status", "reload"):
                main(["ctl", verb, "--broker", f"mqtt://127.0.0.1:{broker.port}"])
        for token in ("wrong", SECRETS["http"]):
            asked = urllib.request.Request(
                f"http://127.0.0.1:{http}/metrics", headers={"Authorization": f"Bearer {token}"}
            )
            try:
                with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - likewise
                    seen.append(answer.read().decode())
            except urllib.error.HTTPError as error:
                seen.append(error.read().decode() + str(error.headers))
        seen.append(Path(f"/proc/{daemon.process.pid}/cmdline").read_text())
        assert daemon.stop() == 0
    listening.terminate()
    assert listening.stdout is not None
    seen += [listening.stdout.read().decode(errors="replace"), *daemon.lines]
    listening.stdout.close()
    listening.wait(10)
    recording = McapRecording(tmp_path / "r.mcap")
    seen += [str(recording.header), *(str(entry) for entry in recording.entries())]
    assert main(["run", str(path), "--print-config"]) == 0
    told = capsys.readouterr()
    seen += [told.out, told.err]
    whole = "\n".join(seen)
    for word in ("stream_rnn/decoder/info", "command_refused", "stream_rnn_predictions_total", "token = "):
        assert word in whole  # all of it was looked at
    commands = whole.replace(f'"token":"{SECRETS["commands"]}"', "")  # what ctl itself sent over the broker
    assert not [name for name, secret in SECRETS.items() if secret in commands]


@pytest.mark.parametrize(
    "mistake",
    [
        'password = "s3cret-x"\n[mqtt.more]\n',
        'url = "mqtt://u:s3cret-x@h"\n',
        'url = "http://u:s3cret-x@h"\n',
        'url = "mqtt://u:s3cret-x@h:99999"\n',
        'password = "s3cret-x"\n',
        'username = "u"\npassword = ["s3cret-x"]\n',
        'username = "u"\npassword = "s3cret-x\n',
        'username = "u"\npassword = "s3cret-x"\npassword_file = "f"\n',
    ],
)
def test_no_mistake_in_a_config_shows_a_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    (tmp_path / "c.toml").write_text(f'[model]\npath = "m"\n[mqtt]\n{mistake}')
    assert main(["run", str(tmp_path / "c.toml"), "--print-config"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "s3cret-x" not in said.err + said.out


@pytest.mark.parametrize("form", ["pickle", "zip"])
def test_a_pickle_is_no_model_and_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Hostile()))
    else:
        with zipfile.ZipFile(path, "w") as archive:  # as PyTorch saves
            archive.writestr("archive/data.pkl", pickle.dumps(Hostile()))
    for read in (load_model, read_checkpoint):
        with pytest.raises(ModelError, match="got a damaged one") as caught:
            read(path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def test_what_a_peer_says_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--model", "\x1b[2Jm", "--stdio", "--check"]) == 1
    assert capsys.readouterr().err.startswith("stream-rnn: \\x1b[2Jm: expected a model file")
