"""The config: where values come from, and what is said about those that cannot be."""

import os
import re
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from stream_rnn.cli import build_parser, main
from stream_rnn.cli.run import flags
from stream_rnn.config.insecure import insecurities
from stream_rnn.config.load import Settings, load_config, shown
from stream_rnn.config.sections import SOURCES, Config, section_types
from stream_rnn.errors import ConfigError
from tests.small import saved_model, small_model

MINIMAL: Settings = {"model": {"path": "m.safetensors"}, "mqtt": {"url": "mqtt://127.0.0.1:1883"}}
EXAMPLE = files("stream_rnn").joinpath("config.example.toml").read_text(encoding="utf-8")


def written(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None, environment: dict[str, str], flags: Settings) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, environment, flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_flag_goes_before_environment_before_file_before_default(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[model]\npath = "m"\n[mqtt]\n[daemon]\nnode = "file"\nmetrics_s = 7.0\n[stream]\nidle_s = 9',
    )
    environment = {"STREAM_RNN_DAEMON__NODE": "environment", "STREAM_RNN_STREAM__IDLE_S": "5", "OTHER": "1"}
    config = load_config(path, environment, {"daemon": {"node": "flag"}})
    assert (config.daemon.node, config.stream.idle_s, config.daemon.metrics_s) == ("flag", 5.0, 7.0)
    assert config.daemon.events_per_s == 5


def test_model_path_is_relative_to_the_file_but_not_the_flag(tmp_path: Path) -> None:
    path = written(tmp_path, '[model]\npath = "m.safetensors"\n[mqtt]\n')
    assert load_config(path, {}, {}).model.path == str(tmp_path / "m.safetensors")
    assert load_config(path, {}, {"model": {"path": "here"}}).model.path == "here"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "config: object missing required field `model`"),
        (
            {"model": {"path": "m"}},
            f"config: expected a way in, one of [{'], ['.join(SOURCES)}], got none",
        ),
        (MINIMAL | {"mqqt": {}}, "config: [mqqt]: unknown section; did you mean 'mqtt'?"),
        (MINIMAL | {"mqtt": {"tpoic": "a"}}, "config: mqtt.tpoic: unknown key; did you mean 'topic'?"),
        (MINIMAL | {"stream": {"gap": "guess"}}, "config: stream.gap: invalid enum value 'guess'"),
        (MINIMAL | {"stream": {"max_fill": -1}}, "config: stream.max_fill: expected `int` >= 0"),
        (MINIMAL | {"mqtt": {"port": "x"}}, "config: mqtt.port: expected `int | null`, got `str`"),
        (MINIMAL | {"http": {"token": ""}}, "config: http.token: expected `str` of length >= 1"),
        (MINIMAL | {"interval": {}}, "config: interval: object missing required field `coverage`"),
        (MINIMAL | {"interval": {"coverage": 1}}, "config: interval.coverage: expected `float` <= 0.99"),
        (
            MINIMAL | {"interval": {"coverage": 0.9, "truth": "a/b"}},
            "config: interval.truth: expected a topic with {stream}, got 'a/b'",
        ),
        (
            MINIMAL | {"interval": {"coverage": 0.9}, "udp": {"port": 1, "wire": "f32"}},
            "config: udp.wire: expected json, msgpack or frame with [interval], got 'f32'",
        ),
        (
            MINIMAL | {"interval": {"coverage": 0.9}, "mqtt": {"wire": "f32"}},
            "config: mqtt.wire: expected json, msgpack or frame with [interval], got 'f32'",
        ),
        (
            {
                "model": {"path": "m"},
                "tcp": {"port": 1},
                "interval": {"coverage": 0.9, "truth": "a/{stream}"},
            },
            "config: interval.truth: expected a section [mqtt] where it arrives, got none",
        ),
        (MINIMAL | {"daemon": 3}, "config: daemon: expected a section [daemon], got int"),
        (
            MINIMAL | {"tcp": {"port": 1, "wire": "f32"}},
            "config: tcp.wire: expected 'json' or 'spikes_json' with framing 'lines', got 'f32'",
        ),
        (
            MINIMAL | {"mqtt": {"topic": "$share/a/b"}},
            "config: topic '$share/a/b': expected no shared subscription: it splits one stream",
        ),
    ],
)
def test_mistake_is_named_in_one_line(flags: Settings, message: str) -> None:
    assert refusal(None, {}, flags).startswith(message)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.toml", {}, {}).endswith(
        "no.toml: expected a config file, got No such file or directory"
    )
    assert ": expected TOML: " in refusal(written(tmp_path, "[model\n"), {}, {})


def test_bundled_example_loads_as_it_is(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, EXAMPLE), {}, {})
    assert config.mqtt is not None
    assert config.mqtt.address == ("127.0.0.1", 1883)


def test_bundled_example_names_every_key_with_its_default() -> None:
    parts = re.split(r"(?m)^(?:# )?\[(\w+)\]", EXAMPLE)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert set(texts) == set(Config.__struct_fields__)
    for section, kind in section_types().items():
        shown = dict(re.findall(r"(?m)^(?:# )?(\w+) = (\S+)", texts[section]))
        assert set(shown) == set(kind.__struct_fields__), section
        for field in msgspec.structs.fields(kind):
            if isinstance(field.default, bool | int | float):
                assert shown[field.name] == str(field.default).lower(), f"{section}.{field.name}"


def test_printed_config_loads_to_the_same_one_without_the_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_RNN_MQTT__PASSWORD", "secret")
    monkeypatch.setenv("STREAM_RNN_MQTT__USERNAME", 'a "b"')
    arguments = ["run", "--model", "m", "--broker", "mqtt://x", "--set", "stream.gap=zero", "--print-config"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "secret" not in printed
    config = load_config(
        written(tmp_path, printed), {}, {"model": {"path": "m"}, "mqtt": {"password": "secret"}}
    )
    assert config == load_config(None, dict(os.environ), flags(build_parser("run").parse_args(arguments)))


def test_check_tells_whether_the_model_can_be_served(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = str(saved_model(tmp_path, small_model()))
    assert main(["run", "--model", model, "--broker", "mqtt://127.0.0.1:1", "--check"]) == 0
    assert "fine" in capfd.readouterr().err
    Path(model).write_bytes(b"damaged")
    assert main(["run", "--model", model, "--broker", "mqtt://127.0.0.1:1", "--check"]) == 1


def test_secret_is_read_from_the_file_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("s3cret\n")
    text = (
        '[model]\npath = "m"\n[mqtt]\nusername = "u"\npassword_file = "pw"\n[commands]\ntoken_file = "pw"\n'
    )
    config = load_config(written(tmp_path, text), {}, {})
    assert config.mqtt is not None
    assert (config.mqtt.password, config.commands.token) == ("s3cret", "s3cret")
    assert "s3cret" not in str(shown(config)) + repr(config)


def test_certificates_lie_beside_the_config(tmp_path: Path) -> None:
    text = '[model]\npath = "m"\n[mqtt]\nca_file = "ca.pem"\ncert_file = "/c.pem"\n'
    config = load_config(written(tmp_path, text), {}, {})
    assert config.mqtt is not None
    assert (config.mqtt.ca_file, config.mqtt.cert_file) == (str(tmp_path / "ca.pem"), "/c.pem")


def test_secret_given_directly_is_shown_as_stars() -> None:
    flags = MINIMAL | {"commands": {"token": "s3cret"}, "mqtt": {"username": "u", "password": "s3cret"}}
    config = load_config(None, {}, flags)
    assert (shown(config)["commands"]["token"], shown(config)["mqtt"]["password"]) == ("***", "***")
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("content", "values", "error"),
    [
        ("", {"token_file": "pw"}, "expected a secret on the first line, got none"),
        ("x", {"token_file": "none"}, "expected a file that can be read, got No such file"),
        ("x", {"token_file": "pw", "token": "y"}, "expected either token or token_file, got both"),
    ],
)
def test_secret_file_that_says_nothing_is_an_error(
    tmp_path: Path, content: str, values: dict[str, str], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pw").write_text(content)
    with pytest.raises(ConfigError) as raised:
        load_config(None, {}, MINIMAL | {"commands": values})
    assert str(raised.value).startswith("config: commands.token_file")
    assert error in str(raised.value)


@pytest.mark.parametrize("secret", ["0123", "true", '"quoted"', "[1]", "1e5"])
def test_a_secret_in_the_environment_is_taken_as_it_is(secret: str) -> None:
    environment = {"STREAM_RNN_MQTT__PASSWORD": secret, "STREAM_RNN_MQTT__USERNAME": "u"}
    config = load_config(None, environment, MINIMAL)
    assert config.mqtt is not None
    assert config.mqtt.password == secret


def test_a_secret_on_the_command_line_is_refused_and_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--model", "m", "--set", "mqtt.password=s3cret"]) == 2
    assert capsys.readouterr().err == (
        "stream-rnn: --set: expected mqtt.password in STREAM_RNN_MQTT__PASSWORD or in a file "
        "(mqtt.password_file): every user of this machine can read a command line\n"
    )


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"mqtt": {}}, []),
        ({"mqtt": {"url": "mqtts://broker"}}, []),
        (
            {"mqtt": {"url": "mqtt://broker", "username": "u", "password": "p"}},
            ["mqtt broker:1883: without TLS samples, predictions and the password can be read"],
        ),
        ({"mqtt": {}, "commands": {"mqtt": True}}, ["commands.mqtt: whoever may publish"]),
        ({"mqtt": {}, "commands": {"mqtt": True, "token": "t"}}, []),
        ({"tcp": {"host": "::", "port": 7, "token": "t"}}, ["tcp :::7: token and samples travel in the"]),
        ({"udp": {"host": "::", "port": 7, "insecure": True}}, ["udp :::7: anyone who reaches it may send"]),
    ],
)
def test_what_is_left_open_is_said_at_the_start(sections: Settings, expected: list[str]) -> None:
    lines = list(insecurities(load_config(None, {}, {"model": {"path": "m"}, **sections})))
    assert len(lines) == len(expected)
    assert all(line.startswith(begin) for line, begin in zip(lines, expected, strict=True))
