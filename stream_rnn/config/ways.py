"""The sections of the ways in that listen, and of standard input: every key, its default, its limits."""

from typing import Any, ClassVar, Literal, TypeAlias

from stream_rnn.errors import ConfigError
from stream_rnn.transports.admission import is_loopback
from stream_rnn.transports.cut import Framing
from stream_rnn.transports.datagram import UdpSettings, UnixDatagramSettings
from stream_rnn.transports.mqtt_settings import HIDDEN
from stream_rnn.transports.stdio import StdioSettings
from stream_rnn.transports.stream_settings import TcpSettings, UnixSettings
from stream_rnn.wire import AnyWire

Answer: TypeAlias = Literal["sender", "mqtt", "both"]
"""Where a prediction goes: back to who sent the sample, to the prediction topic, or to both."""


class Framed:
    """What the sections of byte streams share: the encoding follows from the framing unless told."""

    __slots__ = ()
    name: ClassVar[str]
    framing: Framing
    wire: AnyWire | None

    def __post_init__(self) -> None:
        """Refuse binary encodings in lines: a byte of theirs may be a newline.

        Raises:
            ConfigError: A line would carry something other than JSON.
        """
        if self.framing == "lines" and self.wire not in {None, "json", "spikes_json"}:
            expected = "'json' or 'spikes_json' with framing 'lines'"
            raise ConfigError(f"{self.name}.wire: expected {expected}, got {self.wire!r}")

    @property
    def codec(self) -> AnyWire:
        """The encoding: JSON in lines, the binary frame in frames, unless told."""
        return self.wire or ("json" if self.framing == "lines" else "frame")


class TcpSection(Framed, TcpSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples from TCP clients, each answered on its own connection.

    An address that is not loopback needs a token. It travels in the clear, as all of this does.

    Attributes:
        wire: Encoding of samples and predictions. `lines` carry `json` and `spikes_json`; `frames` carry any.
        answer: Where predictions go: `sender`, `mqtt` (needs that section) or `both`.
        token_file: File whose first line is the token; relative to the config file.
    """

    name: ClassVar[str] = "tcp"
    wire: AnyWire | None = None
    answer: Answer = "sender"
    token_file: str | None = None

    def __post_init__(self) -> None:
        """Refuse binary encodings in lines, where a byte of theirs may be a newline, and an open door.

        Raises:
            ConfigError: Lines would carry them, or the host is not loopback and there is no token.
        """
        super().__post_init__()
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"tcp.token: expected one, since tcp.host {self.host!r} is not loopback; got none"
            )

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show every field; of the token, only whether there is one."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return list((fields | ({} if self.token is None else {"token": HIDDEN})).items())

    def __repr__(self) -> str:
        return f"TcpSection({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class UnixSection(Framed, UnixSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples from clients of a Unix socket, each answered on its own connection.

    Attributes:
        wire: Encoding of samples and predictions. `lines` carry `json` and `spikes_json`; `frames` carry any.
        answer: Where predictions go: `sender`, `mqtt` (needs that section) or `both`.
    """

    name: ClassVar[str] = "unix"
    wire: AnyWire | None = None
    answer: Answer = "sender"


class UdpSection(UdpSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples from UDP datagrams, one each.

    Attributes:
        wire: Encoding of samples and predictions.
        answer: Where predictions go: `sender`, `mqtt` (needs that section) or `both`.
    """

    wire: AnyWire = "json"
    answer: Answer = "sender"

    def __post_init__(self) -> None:
        """Refuse an open door that nobody asked for.

        Raises:
            ConfigError: The host is not loopback, and `insecure` does not say that this is meant.
        """
        if not self.insecure and not is_loopback(self.host):
            raise ConfigError(
                f"udp.insecure: expected true, since udp.host {self.host!r} is not loopback and a datagram "
                "proves nothing about its sender; got false"
            )


class UnixDatagramSection(UnixDatagramSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples from datagrams of a Unix socket, one each.

    Attributes:
        wire: Encoding of samples and predictions.
        answer: Where predictions go: `sender`, `mqtt` (needs that section) or `both`.
    """

    wire: AnyWire = "json"
    answer: Answer = "sender"


class StdioSection(Framed, StdioSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples from standard input, predictions to standard output; the daemon ends with its input.

    Attributes:
        wire: Encoding of samples and predictions. `lines` carry `json` and `spikes_json`; `frames` carry any.
        answer: Where predictions go: `sender`, `mqtt` (needs that section) or `both`.
    """

    name: ClassVar[str] = "stdio"
    wire: AnyWire | None = None
    answer: Answer = "sender"
