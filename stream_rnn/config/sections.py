"""The sections of the daemon's config: every key, its type, its default, its limits."""

from types import UnionType
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec

from stream_rnn.config.interval import IntervalSection
from stream_rnn.config.state import StateSection
from stream_rnn.config.ways import StdioSection, TcpSection, UdpSection, UnixDatagramSection, UnixSection
from stream_rnn.errors import ConfigError
from stream_rnn.session.rules import Rules
from stream_rnn.transports.admission import is_loopback
from stream_rnn.transports.mqtt_settings import HIDDEN, MqttSettings
from stream_rnn.wire import AnyWire

GroupName: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^(?!(all|other)$).{1,100}$")]

SECRETS = (("mqtt", "password"), ("tcp", "token"), ("commands", "token"), ("http", "token"))
"""Section and key of everything that is never shown and may stand in a file of its own, `<key>_file`."""

SOURCES = ("mqtt", "tcp", "unix", "udp", "unix_datagram", "stdio")
"""The sections that are ways in."""


Secret: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class ModelSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which model is served.

    Attributes:
        path: Model file; relative to the config file.
    """

    path: str


class DaemonSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this daemon is.

    Attributes:
        node: Its name; its topics live under `<base>/<node>`.
        base: First levels of its topics.
        metrics_s: Seconds between two metrics messages.
        events_per_s: Event messages of one kind a second; more are counted and summed up in the next.
        ahead: Make ready shortly before a steady stream's next sample is due, 3 ms to 2 s after the last: the
            same predictions, sooner, for one step more a sample and a twentieth of a core.
        sparse: Measure at the start whether to read only the weights of features that are not zero: the same
            predictions.
    """

    node: Annotated[str, msgspec.Meta(pattern=r"^[^+#/\x00]{1,100}$")] = "decoder"
    base: Annotated[str, msgspec.Meta(pattern=r"^[^+#\x00]{1,200}$")] = "stream_rnn"
    metrics_s: Annotated[float, msgspec.Meta(ge=0.05)] = 1.0
    events_per_s: Annotated[int, msgspec.Meta(ge=1)] = 5
    ahead: bool = True
    sparse: bool = True

    @property
    def topic(self) -> str:
        """Where this daemon's topics live."""
        return f"{self.base}/{self.node}"


class MqttSection(MqttSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples from an MQTT broker, predictions back to it.

    Attributes:
        wire: Encoding of samples and predictions: `json`, `msgpack`, `f32` or `frame`; or of packets of
            spikes: `spikes_json` or `spikes_msgpack`.
        publish_qos: Quality of service of predictions.
        password_file: File whose first line is the password; relative to the config file.
    """

    wire: AnyWire = "json"
    publish_qos: Literal[0, 1] = 0
    password_file: str | None = None


class StreamSection(Rules, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is done with each stream.

    Attributes:
        idle_s: A stream without samples for this long is forgotten; its next prediction is flagged `reset`.
            With [state] it is put away instead; its next prediction is flagged `restored`.
        max_streams: Streams at a time; a sample of one more is refused and counted.
        pinned: A payload may name no other stream than its topic, connection or sender: where who may publish
            on a topic is restricted, no one then speaks for another.
    """

    idle_s: Annotated[float, msgspec.Meta(gt=0)] = 3600.0
    max_streams: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    pinned: bool = False


class InboxSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What happens when samples come faster than they can be stepped.

    Attributes:
        policy: `block` reads no further until the last read is answered (the sender waits, nothing is lost);
            `drop_oldest` keeps the newest `size` messages; `latest` keeps the newest of each topic,
            connection or sender, whatever streams the payloads name.
        size: Messages that may wait under `drop_oldest` and `latest`.
    """

    policy: Literal["block", "drop_oldest", "latest"] = "block"
    size: Annotated[int, msgspec.Meta(ge=1)] = 1024


class CommandsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may tell a running daemon what to do: reset, reload, snapshot, pause, ...; see `stream-rnn ctl`.

    Attributes:
        mqtt: Take commands on `<base>/<node>/commands/<verb>`, where there is a section [mqtt]: from whoever
            the broker lets publish there.
        path: Unix socket to take them on as JSON lines, of the daemon's user alone (mode 0600); none unless
            told.
        token: A secret that every command must carry; none unless told. Never shown.
        token_file: File whose first line is the token; relative to the config file.
    """

    mqtt: bool = False
    path: str | None = None
    token: Secret | None = None
    token_file: str | None = None

    def __repr__(self) -> str:
        token = None if self.token is None else HIDDEN
        return f"CommandsSection(mqtt={self.mqtt}, path={self.path!r}, token={token})"


class HttpSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An HTTP endpoint: `/metrics` for Prometheus, `/healthz` and `/readyz` for a supervisor.

    Attributes:
        host: Address to listen on; one that is not loopback needs a token.
        port: Port to listen on; 0 takes a free one.
        token: What `Authorization: Bearer` must say to read `/metrics`; nothing unless told. Never shown.
        token_file: File whose first line is the token; relative to the config file.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9464
    token: Secret | None = None
    token_file: str | None = None

    def __post_init__(self) -> None:
        """Refuse to show the numbers to a network without a token.

        Raises:
            ConfigError: The host is not loopback and there is no token.
        """
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"http.token: expected one, since http.host {self.host!r} is not loopback; got none"
            )

    def __repr__(self) -> str:
        token = None if self.token is None else HIDDEN
        return f"HttpSection(host={self.host!r}, port={self.port}, token={token})"


class LatencySection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How latency is told.

    Attributes:
        groups: Shell patterns of stream keys, as `left-*`: each is measured for itself, a stream with the
            first that matches it, or as `other`. Without patterns all streams are measured together.
    """

    groups: Annotated[tuple[GroupName, ...], msgspec.Meta(max_length=64)] = ()


class RecordingSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything the daemon sees and says, into an MCAP file.

    A reload of another model or config ends the file and begins the next, named with `-2`, `-3` and so on.

    Attributes:
        path: File to write, which must not exist; strftime's codes (`%Y%m%d-%H%M%S`) stand for the start.
        flush_s: Seconds between two writes: what a kill can lose.
        states_every: Samples of a stream between two recorded states; 0 records none.
        max_waiting: Messages that may wait for a write; beyond, they are not recorded, and counted.
    """

    path: str
    flush_s: Annotated[float, msgspec.Meta(ge=0.01)] = 1.0
    states_every: Annotated[int, msgspec.Meta(ge=0)] = 1000
    max_waiting: Annotated[int, msgspec.Meta(ge=1)] = 1_000_000


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a daemon needs to know. At least one way in must be there: see SOURCES."""

    model: ModelSection
    daemon: DaemonSection = DaemonSection()
    mqtt: MqttSection | None = None
    tcp: TcpSection | None = None
    unix: UnixSection | None = None
    udp: UdpSection | None = None
    unix_datagram: UnixDatagramSection | None = None
    stdio: StdioSection | None = None
    stream: StreamSection = StreamSection()
    inbox: InboxSection = InboxSection()
    commands: CommandsSection = CommandsSection()
    http: HttpSection | None = None
    latency: LatencySection = LatencySection()
    recording: RecordingSection | None = None
    interval: IntervalSection | None = None
    state: StateSection | None = None


def section_types() -> dict[str, type[msgspec.Struct]]:
    """The struct behind each section of the file, by name."""
    types = {}
    for field in msgspec.structs.fields(Config):
        members = get_args(field.type) if isinstance(field.type, UnionType) else (field.type,)
        types[field.name] = next(t for t in members if t is not type(None))
    return types
