"""Packets of spikes in JSON and MessagePack: what a stream's units did between two instants, as columns."""

from typing import Annotated, TypeAlias

import msgspec

from stream_rnn.errors import WireError
from stream_rnn.sample import Spikes
from stream_rnn.wire.fields import Integer
from stream_rnn.wire.named import Decoder, Encoder, parsed

Unit: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class SpikesFields(msgspec.Struct, gc=False, omit_defaults=True):
    """`{"from_ns": 0, "to_ns": 5000000, "units": [3, 17], "times_ns": [200000, 4000000]}`.

    A producer's other fields are left alone. The columns must be there, so that a misspelt one is no silence.
    """

    from_ns: Integer
    to_ns: Integer
    units: list[Unit]
    times_ns: list[Integer]
    stream: str | None = None


class SpikesCodec:
    """One encoding of packets."""

    def __init__(self, name: str, decoder: Decoder, encoder: Encoder) -> None:
        self._name, self._decoder, self._encoder = name, decoder, encoder

    def decode(self, payload: bytes, stream: str) -> Spikes:
        """The packet of one payload.

        Args:
            payload: One whole message.
            stream: Key the transport knows; a key inside the payload goes before it.

        Raises:
            WireError: The bytes are none; `reason` says which way.
        """
        subject = f"stream {stream!r}"
        fields: SpikesFields = parsed(self._decoder, payload, subject, self._name)  # type: ignore[assignment]
        from_ns, to_ns, units, times_ns = fields.from_ns, fields.to_ns, fields.units, fields.times_ns
        if to_ns <= from_ns:
            raise WireError("interval", f"{subject}: expected to_ns after from_ns {from_ns}, got {to_ns}")
        if len(units) != len(times_ns):
            got = f"{len(units)} units, {len(times_ns)} times"
            raise WireError("length", f"{subject}: expected a unit for each time, got {got}")
        if times_ns and not from_ns <= min(times_ns) <= max(times_ns) < to_ns:
            at = next(i for i, t_ns in enumerate(times_ns) if not from_ns <= t_ns < to_ns)
            expected = f"times from {from_ns} on and before {to_ns}"
            raise WireError("interval", f"{subject}: expected {expected}, got {times_ns[at]} at {at}")
        return Spikes(fields.stream or stream, from_ns, to_ns, units, times_ns)

    def encode(self, spikes: Spikes) -> bytes:
        """A packet as bytes: what a producer sends."""
        columns = spikes.from_ns, spikes.to_ns, spikes.units, spikes.times_ns
        return self._encoder.encode(SpikesFields(*columns, spikes.stream or None))


JSON = SpikesCodec("JSON", msgspec.json.Decoder(SpikesFields), msgspec.json.Encoder())
MSGPACK = SpikesCodec("MessagePack", msgspec.msgpack.Decoder(SpikesFields), msgspec.msgpack.Encoder())
