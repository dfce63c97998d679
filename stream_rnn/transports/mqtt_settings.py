"""What a user may say about an MQTT connection, checked before anything is opened."""

import ssl
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from stream_rnn.errors import ConfigError
from stream_rnn.transports.topics import TopicTemplate

HIDDEN = "***"
PORTS = {"mqtt": 1883, "mqtts": 8883}


class _HandshakeSocket(ssl.SSLSocket):
    """Closed when the handshake fails; paho leaves it open."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # as in the base
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class MqttSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach a broker, and what to subscribe to.

    Attributes:
        url: `mqtt://host[:port]` or `mqtts://host[:port]`; stands for host, port and tls.
        host: The broker's name or address.
        port: Its port; 1883, or 8883 with TLS, unless told.
        tls: Speak TLS. Also switched on by `ca_file`. The broker's name is always checked.
        ca_file: PEM file with the authority that signed the broker's certificate; the system's otherwise.
            Files are relative to the config file.
        cert_file: PEM file with our own certificate, where the broker asks for one.
        key_file: PEM file with its key.
        username: User name; anonymous without.
        password: Password; never shown.
        topic: Where samples arrive. `{stream}` is one whole level and names the stream; without it, the
            whole topic is the stream's name.
        qos: Quality of service of the subscription: 0, or 1 (may repeat, is not lost).
        version: MQTT version: "3.1.1", which every broker speaks, or "5".
        client: Which client speaks to the broker: "builtin", or "aiomqtt", which costs more a message.
        client_id: Our name at the broker; made up by the broker without.
        clean_session: Start anew at each connection. With false the broker keeps samples (qos 1) while we
            are away; needs `client_id`.
        session_expiry_s: How long the broker keeps them (version 5).
        keepalive_s: A dead connection is noticed after about 1.5 times this.
        accept_retained: Take retained samples too. They are old: ignored and counted unless asked for.
        max_bytes: Longest sample; a longer one is refused and counted. Other packets may have 64 MiB.
        backoff_max_s: Longest wait between two attempts to connect.
        max_outgoing: Predictions held while the broker takes none; beyond, they are dropped and counted.
    """

    url: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    username: str | None = None
    password: str | None = None
    topic: str = "sensors/{stream}/samples"
    qos: Literal[0, 1] = 0
    version: Literal["3.1.1", "5"] = "3.1.1"
    client: Literal["builtin", "aiomqtt"] = "builtin"
    client_id: str | None = None
    clean_session: bool = True
    session_expiry_s: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 3600
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=65535)] = 30
    accept_retained: bool = False
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 26)] = 1 << 20
    backoff_max_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    max_outgoing: Annotated[int, msgspec.Meta(ge=1)] = 10_000

    def __post_init__(self) -> None:
        """Refuse what cannot work together.

        Raises:
            ConfigError: It names the field.
        """
        if self.url is not None:
            self._check_url(self.url)
        TopicTemplate(self.topic)
        if not self.clean_session and not self.client_id:
            raise ConfigError("mqtt.client_id: expected a name, since clean_session is false; got none")
        if self.password is not None and self.username is None:
            raise ConfigError("mqtt.username: expected a name, since there is a password; got none")
        if self.key_file is not None and self.cert_file is None:
            raise ConfigError("mqtt.cert_file: expected a file, since there is a key_file; got none")

    def _check_url(self, url: str) -> None:
        expected = "mqtt.url: expected mqtt://host[:port] or mqtts://host[:port]"
        try:
            parts = urlsplit(url)
            named = parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            raise ConfigError(f"{expected}, got a port that is no number from 1 to 65535") from None
        if parts.username is not None or parts.password is not None:
            raise ConfigError(f"{expected}; user name and password have fields of their own")
        if parts.scheme not in PORTS or not named or parts.path.strip("/") or parts.query or parts.fragment:
            raise ConfigError(f"{expected}, got {url!r}")
        if self.port is not None or self.host != "127.0.0.1":
            raise ConfigError("mqtt.url: expected either url, or host and port; got both")

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        url_says = self.url is not None and urlsplit(self.url).scheme == "mqtts"
        return self.tls or url_says or self.ca_file is not None or self.cert_file is not None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, whichever way they were given."""
        default = PORTS["mqtts" if self.secure else "mqtt"]
        if self.url is None:
            return self.host, self.port or default
        parts = urlsplit(self.url)
        return parts.hostname or self.host, parts.port or default

    def tls_context(self) -> ssl.SSLContext | None:
        """Read the certificates; None without TLS.

        Raises:
            ConfigError: A file cannot be read or is no certificate.
        """
        if not self.secure:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as exc:
            raise ConfigError(f"mqtt.ca_file {self.ca_file!r}: {exc.strerror or exc}") from None
        context.sslsocket_class = _HandshakeSocket
        if self.cert_file is not None:
            try:
                context.load_cert_chain(self.cert_file, self.key_file)
            except OSError as exc:
                raise ConfigError(f"mqtt.cert_file {self.cert_file!r}: {exc.strerror or exc}") from None
        return context

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show every field; of the password, only whether there is one."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.password is not None:
            fields["password"] = HIDDEN
        return list(fields.items())

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"
        )
