"""Packets of spikes on their way to samples: decoded, and counted by the session of their stream."""

import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from stream_rnn.daemon.notes import Notes
from stream_rnn.daemon.pinned import Pinned, check_pinned
from stream_rnn.sample import Prediction, Sample
from stream_rnn.session.table import Sessions
from stream_rnn.wire import CODECS, SPIKES, AnyWire, Codec, SpikesName, answer_of

Decode: TypeAlias = Callable[[bytes, str], list[Sample]]
"""Gives the samples that are to be stepped now; as of `Codec.decode_samples`."""


class Way(NamedTuple):
    """How one encoding goes in and out.

    Attributes:
        decode: Called once for each message.
        codec: The predictions that answer it; its `decode_samples` changes nothing.
    """

    decode: Decode
    codec: Codec


def ways(sessions: Sessions, notes: Notes, *, pinned: bool = False) -> dict[AnyWire, Way]:
    """Every way.

    Args:
        sessions: Who keeps the rows that are not full yet.
        notes: What a recording is told.
        pinned: Whether a payload may name no other stream than its transport does.
    """
    codecs = {name: Pinned(codec) if pinned else codec for name, codec in CODECS.items()}
    every: dict[AnyWire, Way] = {name: Way(codec.decode_samples, codec) for name, codec in codecs.items()}
    for name in SPIKES:
        binner = Binner(name, sessions, notes, pinned=pinned)
        every[name] = Way(binner.decode, Rehearsed(name, sessions))
    return every


class Binner:
    """The rows that packets complete, as samples."""

    def __init__(self, name: SpikesName, sessions: Sessions, notes: Notes, *, pinned: bool) -> None:
        self._packets, self._sessions, self._notes = SPIKES[name], sessions, notes
        self._pinned = pinned

    def decode(self, payload: bytes, stream: str) -> list[Sample]:
        """Count one packet; the samples that it completes.

        Raises:
            WireError: The bytes are no packet.
            SampleError: The stream cannot take it.
        """
        spikes = self._packets.decode(payload, stream)
        if self._pinned:
            check_pinned(spikes.stream, stream)
        samples, anew = self._sessions.get(spikes.stream, time.monotonic_ns()).bin(spikes)
        if anew:
            self._notes.begin_anew(spikes.stream)
        return samples


class Rehearsed:
    """A codec that reads a packet as one row and keeps nothing of it: for what is done ahead of the next."""

    def __init__(self, name: SpikesName, sessions: Sessions) -> None:
        answers = CODECS[answer_of(name)]
        self._packets, self._sessions = SPIKES[name], sessions
        self.encode_sample: Callable[[Sample], bytes] = answers.encode_sample
        self.encode_prediction: Callable[[Prediction, int], bytes] = answers.encode_prediction
        self.decode_prediction: Callable[[bytes], tuple[Prediction, int]] = answers.decode_prediction

    def decode_samples(self, payload: bytes, stream: str) -> list[Sample]:
        """See `Codec`."""
        spikes = self._packets.decode(payload, stream)
        units = np.array(spikes.units, dtype=np.int64)  # of an empty list numpy would make floats
        x = np.bincount(units, minlength=self._sessions.inputs).astype(np.float32)
        return [Sample(spikes.stream, None, spikes.to_ns, x)]
