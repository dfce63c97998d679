"""What nobody sends again, written down before it is stepped, and stepped again at the next start."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import cast

from stream_rnn.config.state import StateSection
from stream_rnn.daemon.announce import Happened
from stream_rnn.daemon.pipeline import Pipeline
from stream_rnn.daemon.sources import Source
from stream_rnn.errors import CountedError, StateError
from stream_rnn.state.journal import Entry, Journal, Read
from stream_rnn.state.store import Store
from stream_rnn.transports.base import Message
from stream_rnn.transports.memory import MemoryTransport
from stream_rnn.wire import CODECS, SPIKES, WireName

SEGMENT = 1 << 24  # bytes of a segment at which the next checkpoint begins another, however soon


class Written:
    """A journal beside the checkpoints.

    Args:
        section: What is asked for.
        journal: Where messages are written; what an earlier run left there is replayed in any case.
        happened: Takes journal_failed, journal_mended, replayed.

    Attributes:
        failed: Why the disk does not take messages now; empty while it does.
        counters: replayed (messages), torn (segments whose end was not whole), unjournaled (messages that the
            disk did not take).
    """

    def __init__(self, section: StateSection, journal: Journal, happened: Happened) -> None:
        self.failed = ""
        self.counters = dict.fromkeys(("replayed", "torn", "unjournaled"), 0)
        self._section, self._journal, self._happened = section, journal, happened
        self._began_s, self._left = 0.0, True
        self._one_at_a_time = asyncio.Lock()

    @property
    def position(self) -> int:
        """Number of the next message."""
        return self._journal.position

    def replay(self, store: Store, pipeline: Pipeline) -> None:
        """Step again what no checkpoint contains, answering nobody; then be ready for more.

        Raises:
            StateError: The journal cannot be read, or none can be begun.
        """
        journal, mark, highest = self._journal, store.about.mark, store.about.highest
        passing: set[str] = set()
        for read in journal.read():
            if read.wire not in CODECS and read.wire not in SPIKES:
                raise StateError(f"journal: expected messages of a known wire, got {read.wire[:40]!r}")
            source = Source(MemoryTransport(), read.wire, replies=False)
            missing = Missing(store, pipeline, source, mark, highest)
            messages = list(missing.of(read))
            pipeline.deliver_from(source)(messages)
            self.counters["replayed"] += len(messages)
            if read.passing:
                passing.update(stream for stream, *_ in read.entries)
        pipeline.drain()
        for stream in passing:
            pipeline.forget(stream)
        journal.position = max(journal.position, mark, highest)
        self.counters["torn"] = journal.torn
        if self.counters["replayed"] or journal.torn:
            torn = ", torn at its end: the last write was not whole" if journal.torn else ""
            self._happened("replayed", f"{self.counters['replayed']} messages of the journal{torn}")
        if self._section.journal:
            journal.begin()
            self._began_s = time.monotonic()

    def writes(self, source: Source) -> Callable[[list[Message]], None] | None:
        """What writes down the messages of a way in; None where there is no need."""
        if not self._section.journal or source.redelivers:
            return None

        def write(messages: list[Message]) -> None:
            entries: list[Entry] = [(m.stream, m.topic, m.t_received_ns, m.payload) for m in messages]
            try:
                self._journal.append(source.wire, entries, passing=source.passing)
            except StateError as error:
                self.counters["unjournaled"] += len(messages)
                self._tell(str(error))

        return write

    def mark(self) -> int:
        """The position of now, where a new segment begins if it is time."""
        journal, now = self._journal, time.monotonic()
        if self._section.journal:
            late = journal.size and now - self._began_s >= self._section.interval_s
            if journal.broken or late or journal.size >= SEGMENT:
                try:
                    journal.begin()
                except StateError as error:
                    self._tell(str(error))
                self._began_s = now
        return journal.position

    def contained(self, position: int) -> None:
        """A checkpoint contains every message before this position."""
        if not self._section.journal:
            if self._left:
                self._journal.remove()
            self._left = False
            return
        self._journal.remove_before(position)
        if self.failed and not self._journal.broken:
            self.failed = ""
            self._happened("journal_mended", "messages are written down again")

    async def run(self) -> None:
        """Sync what was written until cancelled."""
        while self._section.journal:
            await asyncio.sleep(self._section.journal_ms / 1000)
            await asyncio.shield(asyncio.ensure_future(self._sync()))

    async def close(self, *, contained: bool) -> None:
        """End; what a checkpoint contains is removed, what none does stays for the next start."""
        if not contained:
            await self._sync()
            self._journal.close()
            return
        async with self._one_at_a_time:
            self._journal.remove()

    async def _sync(self) -> None:
        async with self._one_at_a_time:
            sync = self._journal.due()
            if sync is not None:
                try:
                    await asyncio.to_thread(sync)
                except StateError as error:
                    self._tell(str(error))

    def _tell(self, reason: str) -> None:
        if not self.failed:
            self._happened("journal_failed", reason)
        self.failed = reason


class Missing:
    """Which messages of a journal the stored sessions do not contain.

    Args:
        store: Where sessions are, each with the number of the first message that it may not contain.
        pipeline: Knows which messages are truths.
        source: Where the messages came in.
        mark: Every message before this number is contained.
        highest: No session contains a message from this number on.
    """

    def __init__(self, store: Store, pipeline: Pipeline, source: Source, mark: int, highest: int) -> None:
        self._store, self._truths, self._wire = store, pipeline.truths, source.wire
        self._mark, self._highest = mark, highest

    def of(self, read: Read) -> Iterator[Message]:
        """Those of one read."""
        now_ns = time.monotonic_ns()
        for number, (stream, topic, t_received_ns, payload) in enumerate(read.entries, start=read.first):
            message = Message(stream, payload, t_received_ns, now_ns, None, topic)
            if number >= self._highest or (number >= self._mark and number >= self._first(message)):
                yield message

    def _first(self, message: Message) -> int:
        """Number of the first message that the session of this message's stream may not contain."""
        try:
            put = self._store.find(self._stream(message))
        except CountedError:  # changes nothing, now as then
            return 0
        return 0 if put is None else put.position

    def _stream(self, message: Message) -> str:
        truth = self._truths.stream_of(message)
        if truth is not None:
            return truth
        if self._wire in SPIKES:
            return SPIKES[self._wire].decode(message.payload, message.stream).stream
        samples = CODECS[cast("WireName", self._wire)].decode_samples(message.payload, message.stream)
        return samples[0].stream if samples else message.stream
