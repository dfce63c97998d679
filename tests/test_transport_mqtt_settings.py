import msgspec
import pytest
from rich.pretty import pretty_repr

from stream_rnn.errors import ConfigError
from stream_rnn.transports.mqtt_settings import MqttSettings


@pytest.mark.parametrize(
    ("fields", "address", "secure"),
    [
        ({}, ("127.0.0.1", 1883), False),
        ({"host": "hub", "port": 1}, ("hub", 1), False),
        ({"tls": True}, ("127.0.0.1", 8883), True),
        ({"url": "mqtt://hub"}, ("hub", 1883), False),
        ({"url": "mqtt://hub:99/"}, ("hub", 99), False),
        ({"url": "mqtts://[::1]"}, ("::1", 8883), True),
    ],
)
def test_an_address_is_a_url_or_host_and_port(
    fields: dict[str, object],
    address: tuple[str, int],
    secure: bool,  # noqa: FBT001
) -> None:
    settings = msgspec.convert(fields, MqttSettings)
    assert (settings.address, settings.secure) == (address, secure)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "http://hub"}, "expected mqtt://host[:port] or mqtts://host[:port], got 'http://hub'"),
        ({"url": "mqtt://"}, "expected mqtt://host[:port] or mqtts://host[:port], got 'mqtt://'"),
        ({"url": "mqtt://hub:x"}, "got a port that is no number from 1 to 65535"),
        ({"url": "mqtt://ann:secret@hub"}, "user name and password have fields of their own"),
        ({"url": "mqtt://hub", "port": 1}, "mqtt.url: expected either url, or host and port; got both"),
        ({"clean_session": False}, "mqtt.client_id: expected a name, since clean_session is false; got none"),
        ({"password": "secret"}, "mqtt.username: expected a name, since there is a password; got none"),
        ({"key_file": "k"}, "mqtt.cert_file: expected a file, since there is a key_file; got none"),
        ({"topic": "$share/g/x/{stream}"}, "expected no shared subscription"),
    ],
)
def test_what_cannot_work_is_refused_with_its_field(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        msgspec.convert(fields, MqttSettings)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `hots`"):
        msgspec.convert({"hots": "hub"}, MqttSettings)


def test_a_password_is_never_shown() -> None:
    settings = MqttSettings(username="ann", password="secret")  # noqa: S106  # made up
    for text in (repr(settings), str(settings), pretty_repr(settings)):
        assert "ann" in text
        assert "secret" not in text


def test_every_field_is_documented() -> None:
    documented = {
        line.strip().split(":")[0] for line in (MqttSettings.__doc__ or "").splitlines() if ":" in line
    }
    assert set(MqttSettings.__struct_fields__) <= documented
