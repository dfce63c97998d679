"""Every error raised on purpose; its class says who must act. Anything else is a bug and is not caught."""


class StreamRnnError(Exception):
    """The root. One line: subject, expected, got, where."""


class ConfigError(StreamRnnError):
    """The user must act: a config, an option or an address that cannot work."""


class ModelError(StreamRnnError):
    """The user must act: a model file that is damaged, of another version, or does not fit."""


class RecordingError(StreamRnnError):
    """The user must act: a recording that cannot be read or does not fit the model."""


class TransportError(StreamRnnError):
    """The network must act: a broker or peer that cannot be reached or that refuses us."""


class StateError(StreamRnnError):
    """The user or the disk must act: durable state that cannot be read, written, or is of another model."""


class CommandError(StreamRnnError):
    """Who gave the command must act: it was not carried out, and nothing changed."""


class CountedError(StreamRnnError):
    """One sample was refused. `reason` is the short fixed name it is counted under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class WireError(CountedError):
    """The peer must act: bytes that are not a sample in the agreed encoding."""


class SampleError(CountedError):
    """The producer must act: a well-formed sample that this stream cannot take."""
