"""A session as bytes: what follows does not depend on whether it was put away in between."""

import msgspec

from stream_rnn.errors import ModelError
from stream_rnn.predictor import Predictor
from stream_rnn.session.rules import Counters

VERSION = 2


class Waiting(msgspec.Struct, array_like=True):
    """A sample that waits for an earlier one."""

    seq: int
    t_ns: int | None
    x: bytes
    t_received_ns: int


class Stored(msgspec.Struct, array_like=True):
    """Everything that what follows depends on."""

    version: int
    model: str
    stream: str
    last_seq: int
    last_t_ns: int | None
    last_x: bytes
    late_seq: int
    late_run: int
    fresh: bool
    gaps: list[tuple[int, int]]
    waiting: list[Waiting]
    counters: Counters
    memory: bytes


def read(data: bytes, predictor: Predictor) -> Stored:
    """The inverse of msgspec's MessagePack encoding of a `Stored`, checked.

    Raises:
        ModelError: Not a session, or one of another model.
    """
    try:
        stored = msgspec.msgpack.decode(data, type=Stored)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"session state: {error}") from None
    if stored.version != VERSION:
        raise ModelError(f"session state: expected version {VERSION}, got {stored.version}")
    if stored.model != predictor.hash:
        raise ModelError(f"session state: expected model {predictor.hash}, got {stored.model}")
    width = 4 * predictor.inputs
    for x in (stored.last_x, *(w.x for w in stored.waiting)):
        if len(x) != width:
            raise ModelError(f"session state: expected samples of {width} bytes, got {len(x)}")
    predictor.shape.check(stored.memory)
    return stored
