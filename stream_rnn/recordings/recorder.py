"""Records what a daemon sees and says, beside the path of a sample: noting is an append, a thread writes.

What was noted since the last flush is lost when the process is killed: at most `flush_s` and one write.
"""

import asyncio
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from stream_rnn.errors import ConfigError
from stream_rnn.recordings.mcap import Entry, McapWriter, StateFields
from stream_rnn.sample import Prediction, Sample
from stream_rnn.wire import CODECS

JSON = CODECS["json"]


class Recorder:
    """One recording under way.

    Args:
        path: File to write; strftime's codes in it stand for the time of the start.
        header: What made it.
        model: The model file's bytes.
        flush_s: Seconds between two writes.
        max_waiting: Entries that may wait for a write; beyond, they are dropped and counted.
        again: Another recording of the same run: where the file exists, `-2`, `-3` and so on is added; where
            it cannot be written, that is a failure like any later one.
        report: Takes recording_failed, when the disk takes no more.

    Attributes:
        path: The file.
        dropped: Entries not recorded.
        failure: Why the disk takes no more, or None.

    Raises:
        ConfigError: The file exists already, or cannot be written; not `again`.
    """

    def __init__(
        self,
        path: str,
        header: dict[str, str],
        model: bytes | None,
        flush_s: float,
        max_waiting: int,
        *,
        again: bool = False,
        report: Callable[[str, str], None] = lambda _kind, _detail: None,
    ) -> None:
        self.path = _free(Path(time.strftime(path))) if again else Path(time.strftime(path))
        self.dropped = 0
        self._report = report
        self.failure: str | None = None
        self._left_out = 0
        self._flush_s, self._max_waiting = flush_s, max_waiting
        self._waiting: list[tuple[str, int, object]] = []
        self._writer: McapWriter | None = None
        try:
            self._writer = McapWriter(self.path.open("xb"), header, model)
        except OSError as error:
            reason = f"recording.path {str(self.path)!r}: expected a new file, got {error.strerror}"
            if not again:
                raise ConfigError(reason) from None
            self.failure = reason
            report("recording_failed", reason)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="record")  # one: writes follow each other

    def sample(self, sample: Sample, t_received_ns: int) -> None:
        """Note a sample as it arrived, before any rule looked at it."""
        self._note("samples", t_received_ns, sample)

    def prediction(self, prediction: Prediction, t_published_ns: int) -> None:
        """Note a prediction as it left."""
        self._note("predictions", t_published_ns, prediction)

    def state(self, stream: str, seq: int, state: bytes, t_ns: int, *, start: bool = False) -> None:
        """Note a session's state after a sample; with `start`, the stream goes on from it, whatever was."""
        self._note("states", t_ns, (stream, seq, state, start))

    def event(self, payload: bytes, t_ns: int) -> None:
        """Note an event."""
        self._note("events", t_ns, payload)

    async def run(self) -> None:
        """Write every `flush_s`, until cancelled, or until the disk takes no more."""
        while self.failure is None:
            await asyncio.sleep(self._flush_s)
            waiting, self._waiting = self._waiting, []
            if waiting:
                # shielded: what is being written when we are cancelled is still written, before `close`
                await asyncio.shield(asyncio.wrap_future(self._thread.submit(self._write, waiting)))
                if self._left_out:
                    self._tell_left_out()
                if self.failure is not None:
                    self._report("recording_failed", self.failure)

    def close(self) -> None:
        """Write what waits and end the file."""
        waiting, self._waiting = self._waiting, []
        reported = self.failure is not None
        self._thread.submit(self._end, waiting).result()
        self._thread.shutdown()
        if self._left_out:
            self._tell_left_out()
        if self.failure is not None and not reported:
            self._report("recording_failed", self.failure)

    def _tell_left_out(self) -> None:
        """Count what has no place in the file, on the loop's thread."""
        left_out, self._left_out = self._left_out, 0
        self.dropped += left_out
        self._report(
            "unrecorded", f"recording {self.path}: {left_out} entries of more streams than it can hold"
        )

    def _note(self, kind: str, t_ns: int, what: object) -> None:
        if len(self._waiting) >= self._max_waiting or self.failure is not None:
            self.dropped += 1
        else:
            self._waiting.append((kind, t_ns, what))

    def _write(self, waiting: list[tuple[str, int, object]]) -> None:
        if self._writer is not None and self.failure is None:
            try:
                self._left_out += self._writer.write(
                    [_entry(kind, t_ns, what) for kind, t_ns, what in waiting]
                )
            except OSError as error:
                self._fail(self._writer, error)
        if self.failure is not None:
            self.dropped += len(waiting)

    def _end(self, waiting: list[tuple[str, int, object]]) -> None:
        self._write(waiting)
        if self._writer is not None and self.failure is None:
            try:
                self._writer.close()
            except OSError as error:
                self._fail(self._writer, error)

    def _fail(self, writer: McapWriter, error: OSError) -> None:
        """End here: what follows a torn chunk could not be read."""
        self.failure = f"recording {self.path}: {error.strerror}; it ends here, and what follows is counted"
        writer.abandon()


def _free(path: Path) -> Path:
    """The path, or the first one after it that does not exist."""
    if not path.exists():
        return path
    return next(free for n in itertools.count(2) if not (free := path.with_stem(f"{path.stem}-{n}")).exists())


def _entry(kind: str, t_ns: int, what: object) -> Entry:
    if isinstance(what, Sample):
        seq, source = what.seq or 0, what.t_ns if what.t_ns is not None else t_ns
        return Entry("samples", what.stream, t_ns, source, seq, JSON.encode_sample(what))
    if isinstance(what, Prediction):
        source = what.t_source_ns if what.t_source_ns is not None else t_ns
        return Entry("predictions", what.stream, t_ns, source, what.seq, JSON.encode_prediction(what, t_ns))
    if isinstance(what, tuple):
        stream, seq, state, start = what
        fields = msgspec.json.encode(StateFields.of(seq, state, start=start))
        return Entry("states", stream, t_ns, t_ns, max(0, seq), fields)
    assert kind == "events"
    assert isinstance(what, bytes)
    return Entry("events", "", t_ns, t_ns, 0, what)
