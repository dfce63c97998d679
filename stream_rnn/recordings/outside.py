"""A recording that a subscriber made, as the daemon itself would have made it.

A subscriber begins in the middle of streams, may see a prediction before its sample, and sees samples that
the daemon never got. What a prediction says of itself (its number, `reset`, how many it missed) tells which.
"""

from collections import deque
from collections.abc import Iterator

import msgspec

from stream_rnn.recordings.mcap import Entry, McapRecording
from stream_rnn.sample import Flag
from stream_rnn.wire import CODECS

BY_SUBSCRIBER = "subscriber"
REMEMBERED = 4096  # samples played whose prediction may still come: the widest reorder window, and more
JSON = CODECS["json"]


class _Numbered(msgspec.Struct):
    seq: int | None = None


class _Stream:
    """What has not been played of one stream."""

    def __init__(self) -> None:
        self.begun = False
        self.samples: deque[tuple[int | None, Entry]] = deque()
        self.predictions: deque[Entry] = deque()
        self.played: dict[int, None] = {}  # in order; without their prediction yet


class Outside:
    """Gives the entries of a subscriber's recording in the order in which the daemon met them.

    Args:
        entries: As they were recorded.

    Attributes:
        skipped: Predictions of streams that were under way before the recording, up to their first reset.
        unseen: Samples recorded that the daemon did not get.
    """

    def __init__(self, entries: Iterator[Entry]) -> None:
        self.skipped = self.unseen = 0
        self._entries = entries
        self._streams: dict[str, _Stream] = {}

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._entries:
            stream = self._streams.setdefault(entry.stream, _Stream())
            if entry.kind == "samples":
                stream.samples.append((msgspec.json.decode(entry.payload, type=_Numbered).seq, entry))
            elif entry.kind == "predictions":
                stream.predictions.append(entry)
            else:
                yield entry
            while stream.predictions and (played := self._played(stream)) is not None:
                yield from played
        for stream in self._streams.values():  # whose samples were never seen
            yield from stream.predictions

    def _played(self, stream: _Stream) -> list[Entry] | None:
        """The oldest prediction and the samples it followed; None while its sample is not there."""
        prediction, _ = JSON.decode_prediction(stream.predictions[0].payload)
        seq = prediction.seq
        if seq in stream.played:
            del stream.played[seq]
            return [stream.predictions.popleft()]
        numbers = [number for number, _ in stream.samples]
        at = next((i for i, number in enumerate(numbers) if number in {None, seq}), None)
        if at is None:
            return self._skipped(stream, seq) if not stream.begun else None
        before = [stream.samples.popleft() for _ in range(at + 1)]
        entry = stream.predictions.popleft()
        if not stream.begun:
            if not prediction.flags & Flag.RESET:
                self.skipped += 1
                return []
            stream.begun = True
            before = before[-1:]
        missed = range(seq - prediction.missed, seq)
        seen = [(number, sample) for number, sample in before if number is None or number not in missed]
        self.unseen += len(before) - len(seen)
        for number, _ in seen[:-1]:
            if number is not None:
                stream.played[number] = None
        while len(stream.played) > REMEMBERED:
            del stream.played[next(iter(stream.played))]
        return [*(sample for _, sample in seen), entry]

    def _skipped(self, stream: _Stream, seq: int) -> list[Entry] | None:
        """Leave out a prediction whose sample came before the recording began."""
        first = next((number for number, _ in stream.samples if number is not None), None)
        if first is not None and seq > first:
            return None
        stream.predictions.popleft()
        self.skipped += 1
        return []


def entries_of(recording: McapRecording) -> Iterator[Entry] | Outside:
    """The entries of a recording in the order in which the daemon met them."""
    by_subscriber = recording.header.get("recorded_by") == BY_SUBSCRIBER
    return Outside(recording.entries()) if by_subscriber else recording.entries()
