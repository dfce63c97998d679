"""`doctor` names each fault that a config, a file, a port is given, and says what to do."""

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from stream_rnn.cli import main
from stream_rnn.cli.doctor import told, verdict
from stream_rnn.doctor import clock
from stream_rnn.doctor.examine import examine
from stream_rnn.doctor.findings import Finding
from stream_rnn.doctor.model import check_model
from stream_rnn.doctor.permissions import check_recording
from tests.broker import free_port
from tests.small import calibrated, saved_model, small_model

SECRET = "correct horse battery staple"  # noqa: S105 - made up


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "SLEEPS", 5)


def config_file(folder: Path, text: str) -> Path:
    """A config with a model, a free TCP port, and more."""
    if not (folder / "model.safetensors").exists():
        saved_model(folder, small_model())
    path = folder / "config.toml"
    base = f'[model]\npath = "model.safetensors"\n[tcp]\nport = {free_port()}\n'
    path.write_text((base if "[tcp]" not in text else base.partition("[tcp]")[0]) + text)
    return path


async def findings_of(path: Path | None, environment: dict[str, str] | None = None) -> dict[str, Finding]:
    return {f.subject: f async for f in examine(path, environment or {})}


def verdict_and_do(finding: Finding) -> tuple[str, str]:
    return finding.verdict, finding.do


async def test_a_config_that_can_be_served_fails_nowhere(tmp_path: Path) -> None:
    config = config_file(tmp_path, f'[recording]\npath = "{tmp_path}/%Y.mcap"\n')
    found = await findings_of(config, dict(os.environ))
    assert [f for f in found.values() if f.verdict == "fail"] == []
    assert {"versions", "cpu", "clock", "timers", "config", "model", "cache", "step", "tcp"} <= set(found)
    assert found["recording"] == Finding("recording", "ok", f"{tmp_path}: can be written")


@pytest.mark.parametrize("measured", [True, False])
async def test_a_model_that_cannot_make_the_intervals_asked_for_is_found(
    tmp_path: Path,
    measured: bool,  # noqa: FBT001 - a case
) -> None:
    saved_model(tmp_path, calibrated(small_model()) if measured else small_model())
    found = await findings_of(config_file(tmp_path, "[interval]\ncoverage = 0.9\n"), dict(os.environ))
    expected = ("ok", "") if measured else ("fail", "train the model again, or leave [interval] out")
    assert verdict_and_do(found["interval"]) == expected


async def test_every_finding_that_is_not_fine_says_what_to_do(tmp_path: Path) -> None:
    found = await findings_of(config_file(tmp_path, '[recording]\npath = "/proc/x.mcap"\n'))
    assert all(f.do for f in found.values() if f.verdict in {"warn", "fail"})
    assert not any(f.do for f in found.values() if f.verdict == "ok")
    assert not any("\n" in f.found + f.do for f in found.values())


async def test_without_a_config_the_machine_is_looked_at() -> None:
    found = await findings_of(None)
    assert found["config"].verdict == "skip"
    assert found["model"].found.startswith("the model of the demo: ")
    assert "tcp" not in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[mqtt]\ntopik = 'x'\n", "mqtt.topik: unknown key; did you mean 'topic'?"),
        ("[tcp\n", "expected TOML"),
        ("[tcp]\nport = 'x'\n", "tcp.port: expected `int`, got `str`"),
    ],
)
async def test_a_config_that_cannot_be_is_a_finding(tmp_path: Path, text: str, expected: str) -> None:
    finding = (await findings_of(config_file(tmp_path, text)))["config"]
    assert finding.verdict == "fail"
    assert expected in finding.found


async def test_a_config_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    finding = (await findings_of(tmp_path / "none.toml"))["config"]
    assert finding.found == f"{tmp_path}/none.toml: expected a config file, got No such file or directory"


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    (finding,), predictor = check_model(tmp_path / "none", "none", {})
    assert predictor is None
    assert finding.verdict == "fail"
    assert "no such file" in finding.found
    assert finding.do == "set model.path, or make one: `stream-rnn train`"


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    path = saved_model(tmp_path, small_model())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (finding,), _ = check_model(path, "it", {})
    assert "digest differs" in finding.found
    assert verdict_and_do(finding) == ("fail", "copy it again from where it was made")


def test_a_model_that_computes_something_else_here_is_named(tmp_path: Path) -> None:
    model = small_model()
    model.golden_y[0, 0] += 1.0
    (finding,), _ = check_model(saved_model(tmp_path, model), "it", {})
    assert finding.verdict == "fail"
    assert "golden row 0, output 'v0'" in finding.found


async def test_a_recording_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = await findings_of(config_file(tmp_path, '[recording]\npath = "file/x.mcap"\n'))
    assert found["recording"].verdict == "fail"
    assert found["recording"].found == f"{tmp_path}/file: cannot be written: Not a directory"


def test_a_recording_into_a_missing_folder_is_named() -> None:
    (finding,) = check_recording("/proc/none/x.mcap")
    assert finding.verdict == "fail"
    assert finding.found == "/proc/none: cannot be written: No such file or directory"


def test_a_recording_that_exists_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.mcap").touch()
    (finding,) = check_recording(f"{tmp_path}/x.mcap")
    assert (finding.verdict, finding.found) == ("fail", f"{tmp_path}/x.mcap: exists already")


@pytest.mark.parametrize(("section", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
async def test_a_port_in_use_is_named(tmp_path: Path, section: str, kind: socket.SocketKind) -> None:
    with socket.socket(type=kind) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        if kind is socket.SOCK_STREAM:
            other.listen()
        found = await findings_of(config_file(tmp_path, f"[{section}]\nport = {port}\n"))
    expected = f"{section} 127.0.0.1:{port}: cannot listen: Address already in use"
    assert (found[section].verdict, found[section].found) == ("fail", expected)
    assert found[section].do.endswith(f"or set another {section}.port")


async def test_a_port_of_http_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        found = await findings_of(config_file(tmp_path, f"[http]\nport = {other.getsockname()[1]}\n"))
    assert found["http"].verdict == "fail"
    assert found["tcp"].verdict == "ok"


async def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    found = await findings_of(config_file(tmp_path, '[tcp]\nhost = "192.0.2.1"\nport = 0\ntoken = "t"\n'))
    assert verdict_and_do(found["tcp"]) == ("fail", "set tcp.host to an address of this machine")


@pytest.mark.parametrize("section", ["unix", "unix_datagram", "commands"])
async def test_a_socket_below_a_file_is_named(tmp_path: Path, section: str) -> None:
    (tmp_path / "file").touch()
    config = config_file(tmp_path, f'[{section}]\npath = "{tmp_path}/file/x.sock"\n')
    found = await findings_of(config)
    assert verdict_and_do(found[section]) == ("fail", f"make its folder, or set {section}.path")


@pytest.mark.parametrize("section", ["unix", "unix_datagram", "commands"])
async def test_a_socket_that_was_tried_leaves_nothing_behind(tmp_path: Path, section: str) -> None:
    found = await findings_of(config_file(tmp_path, f'[{section}]\npath = "{tmp_path}/x.sock"\n'))
    assert found[section].verdict == "ok"
    assert not (tmp_path / "x.sock").exists()


async def test_a_socket_that_somebody_listens_on_is_left_to_him(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        found = await findings_of(config_file(tmp_path, f'[unix]\npath = "{path}"\n'))
    assert found["unix"].verdict == "fail"
    assert path.exists()


@pytest.mark.parametrize(("mode", "expected"), [(0o600, "ok"), (0o640, "ok"), (0o644, "warn")])
async def test_a_secret_that_everyone_can_read_is_named(tmp_path: Path, mode: int, expected: str) -> None:
    secret = tmp_path / "token"
    secret.write_text(SECRET)
    secret.chmod(mode)
    found = await findings_of(config_file(tmp_path, '[commands]\ntoken_file = "token"\n'))
    assert found["commands.token_file"].verdict == expected
    assert ("chmod o-rwx" in found["commands.token_file"].do) == (expected == "warn")


async def test_a_key_that_everyone_can_read_is_named(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    for file in (key, certificate):
        file.touch(0o644)
    text = f'[mqtt]\nport = {free_port()}\ncert_file = "{certificate}"\nkey_file = "{key}"\n'
    found = await findings_of(config_file(tmp_path, text))
    assert found["mqtt.cert_file"].verdict == "ok"
    assert found["mqtt.key_file"] == Finding(
        "mqtt.key_file",
        "warn",
        f"{key}: a secret that every user of this machine can read (mode 644)",
        f"chmod o-rwx {key}",
    )


async def test_an_authority_that_is_not_there_is_named(tmp_path: Path) -> None:
    text = f'[mqtt]\nport = {free_port()}\nca_file = "{tmp_path}/none"\n'
    finding = (await findings_of(config_file(tmp_path, text)))["mqtt.ca_file"]
    assert (finding.verdict, finding.found) == ("fail", f"{tmp_path}/none: No such file or directory")


async def test_a_password_in_a_config_for_everyone_is_named_and_one_in_the_environment_is_not(
    tmp_path: Path,
) -> None:
    config = config_file(tmp_path, f'[commands]\ntoken = "{SECRET}"\n')
    config.chmod(0o644)
    assert (await findings_of(config))["commands.token"].verdict == "warn"
    config = config_file(tmp_path, "")
    assert "commands.token" not in await findings_of(config, {"STREAM_RNN_COMMANDS__TOKEN": SECRET})


def test_secrets_are_never_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f'[mqtt]\nport = {free_port()}\nusername = "ann"\npassword = "{SECRET}"\n'
    config = config_file(
        tmp_path, text + f'[commands]\ntoken = "{SECRET}"\n[http]\nport=0\ntoken = "{SECRET}"\n'
    )
    for arguments in (["doctor", str(config)], ["doctor", str(config), "--json"]):
        assert main(arguments) == 1
        said = capsys.readouterr()
        assert "mqtt.password" in said.out
        assert SECRET not in said.out + said.err


def test_json_is_a_list_of_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", str(config_file(tmp_path, ""))]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert all(list(f) == ["subject", "verdict", "found", "do"] for f in findings)
    assert {f["verdict"] for f in findings} <= {"ok", "warn", "skip"}


def test_without_a_terminal_verdicts_are_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path / "none.toml")]) == 1
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("fail ")]
    assert line.startswith(f"fail config         {tmp_path}/none.toml: ")
    assert lines[-1].startswith("The daemon would not run well: config.")
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("finding", "terminal", "expected"),
    [
        (Finding("cpu", "ok", "fast"), True, "✓ cpu            fast"),
        (Finding("cpu", "ok", "fast"), False, "ok   cpu            fast"),
        (Finding("cpu", "fail", "slow", "buy"), True, f"✗ cpu            slow\n{'':17}buy"),
        (Finding("cpu", "warn", "slow", "buy"), False, f"warn cpu            slow\n{'':20}buy"),
    ],
)
def test_what_to_do_stands_below_what_was_found(finding: Finding, terminal: bool, expected: str) -> None:  # noqa: FBT001
    assert told(finding, terminal=terminal).plain == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["ok", "skip"], "Nothing keeps a daemon from running here."),
        (["warn"], "Nothing keeps a daemon from running here; 1 thing could be better."),
        (["fail"], "The daemon would not run well: x."),
        (["fail", "warn", "warn"], "The daemon would not run well: x. Besides, 2 things could be better."),
    ],
)
def test_the_last_line_is_a_verdict(verdicts: list[str], expected: str) -> None:
    assert verdict([Finding("x", v, "") for v in verdicts]) == expected  # type: ignore[arg-type]  # all are


def test_doctor_leaves_the_mode_of_files_alone(tmp_path: Path) -> None:
    config = config_file(tmp_path, "")
    config.chmod(0o640)
    main(["doctor", str(config)])
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
