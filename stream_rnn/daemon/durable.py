"""Sessions on disk while samples come: checkpoints, one after the other, and what each of them releases.

A checkpoint puts away every session that changed, on the loop, some at a time; then one transaction in a
thread makes all of them durable, and what had been taken in when it began is acknowledged. A session may be
put away later than the checkpoint began: it then contains more, which is recognised when it comes again.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stream_rnn.config.state import StateSection
from stream_rnn.daemon.announce import Happened
from stream_rnn.daemon.answers import Answers
from stream_rnn.daemon.held import Held
from stream_rnn.daemon.pipeline import Pipeline
from stream_rnn.daemon.sources import Source
from stream_rnn.daemon.written import Written
from stream_rnn.errors import CommandError, SampleError, StateError
from stream_rnn.state.journal import Journal
from stream_rnn.state.store import About, Changes, Put, Store
from stream_rnn.transports.base import Deliver, Message
from stream_rnn.transports.mqtt_receipts import Receipts

A_TURN = 64  # sessions put away before the sockets are read again
RETRY_S = 1.0  # between two attempts at a checkpoint that the disk did not take


class Durable:
    """The durable half of a pipeline's sessions.

    Args:
        section: What is asked for.
        store: Where sessions are kept.
        written: What is written down that cannot be sent again.
        pipeline: Whose sessions.
        happened: Takes state_failed, state_mended, state_unreadable, answer_unreadable.

    Attributes:
        receipts: What the broker keeps until a checkpoint contains it.
        counters: checkpoints, states (put away), failures, unreadable.
    """

    def __init__(
        self,
        section: StateSection,
        store: Store,
        written: Written,
        pipeline: Pipeline,
        happened: Happened,
    ) -> None:
        self.counters = dict.fromkeys(("checkpoints", "states", "failures", "unreadable"), 0)
        self._section, self._store, self._pipeline = section, store, pipeline
        self._written, self._happened, self._refused = written, happened, ""
        self._models, self._round, self._clear = store.about.models, store.about.round, False
        self._removed, self._going = set[str](), set[str]()  # to be forgotten by the next commit; by this one
        self._passing: set[str] = set()
        self._in_flight: set[str] = set()
        unconfirmed = store.unconfirmed()
        self._unconfirmed = {serial for serial, *_ in unconfirmed}  # on disk
        self._wanted, self._one_at_a_time = asyncio.Event(), asyncio.Lock()
        self._taken = self._since_ns = self._safe_ns = 0
        self.receipts = Receipts(self._wanted.set, self.checkpoint, max(self._unconfirmed, default=-1) + 1)
        sessions = pipeline.sessions
        sessions.find, sessions.unreadable = self._find, self._tell_unreadable
        sessions.carry(self._models)
        self.receipts.keep(unconfirmed)
        self._held = Held() if section.answer_when == "durable" else None
        self._answers = Answers(section.answers, self._answer, self._tell_unanswered)
        pipeline.answering.kept = self._answers if section.answers else None

    @property
    def failed(self) -> str:
        """Why the disk does not take what it should; empty while it does."""
        return self._refused or self._written.failed

    async def run(self) -> None:
        """Take checkpoints until cancelled; the first one at once: it contains what was replayed."""
        self._wanted.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._written.run(), name="journal")
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._section.interval_s):
                        await self._wanted.wait()
                if not await self.checkpoint():
                    await asyncio.sleep(RETRY_S)

    async def checkpoint(self) -> bool:
        """Make durable all that was taken in before this call, and acknowledge it; False where that failed.

        A checkpoint that has begun ends, whatever becomes of who asked for it.
        """
        return await asyncio.shield(asyncio.ensure_future(self._checkpoint()))

    async def surely(self, result: dict[str, Any]) -> dict[str, Any]:
        """The result of a command, once what it did is durable.

        Raises:
            CommandError: It is done, and not durable.
        """
        if not await self.checkpoint():
            raise CommandError(f"done, but not durable: {self.failed}")
        return result

    async def close(self) -> None:
        """Take a last checkpoint, and close the files."""
        await self._written.close(contained=await self.checkpoint())
        self._store.close()

    def deliver_from(self, source: Source, make: Callable[[Source], Deliver]) -> Deliver:
        """What a transport calls, durably: messages counted, written down where nobody sends them again.

        Args:
            source: The way in.
            make: Gives what serves the messages of one; its answers wait where they are to be durable.
        """
        deliver = make(self._holding(source))
        write = self._written.writes(source)

        def deliver_durably(messages: list[Message]) -> None:
            if write is not None:
                write(messages)
            deliver(messages)
            self._taken += len(messages)
            if self._taken >= self._section.every:
                self._wanted.set()

        return deliver_durably

    def _holding(self, source: Source) -> Source:
        """A way in whose sender has no answer before it is durable, if that is asked for."""
        if self._held is None or source.publisher is None or not source.redelivers:
            return source
        return source._replace(publisher=self._held.around(source.publisher))

    def opened(self, stream: str) -> None:
        """A connection began: its stream ends with it."""
        self._passing.add(stream)

    def forget(self, stream: str) -> None:
        """Forget a stream here and on disk."""
        self._pipeline.forget(stream)
        self._passing.discard(stream)
        self._removed.add(stream)

    def reset_all(self) -> None:
        """Have every stream that was put away start anew when it comes back."""
        self._round += 1

    async def adopt(self, model: str, *, carried: bool) -> None:
        """Go on with another model, on disk too.

        Args:
            model: Its hash.
            carried: Whether the states that were put away mean the same to it; else they are forgotten.
        """
        if carried:
            self._models = (model, *(other for other in self._models if other != model))
        else:
            self._models, self._clear = (model,), True
            self._answers.forget_all()
            self._happened("state_anew", "states of another architecture are forgotten, on disk too")
        self._pipeline.sessions.carry(self._models)
        await self.checkpoint()

    def evict_idle(self, before_ns: int) -> list[str]:
        """Forget idle sessions in memory: those that are on disk as they are."""
        return self._pipeline.evict_idle(min(before_ns, self._safe_ns), self._in_flight)

    def told(self) -> dict[str, int]:
        """What metrics say."""
        pipeline = self._pipeline
        others = {
            "restored": pipeline.sessions.restored,
            "forgotten": self._store.forgotten,
            "unnumbered": pipeline.repeats,
            "answered_again": self._answers.given,
        }
        return {**self.counters, **self._written.counters, **others, "unacknowledged": len(self.receipts)}

    def _find(self, stream: str) -> tuple[bytes, bool] | None:
        if self._clear or stream in self._removed or stream in self._going:
            return None
        try:
            put = self._store.find(stream)
        except StateError as error:
            raise SampleError("state", f"stream {stream!r}: {error}") from None
        return None if put is None else (put.state, put.round < self._round)

    def _answer(self, stream: str, seq: int) -> tuple[str, bytes] | None:
        return None if self._clear else self._store.answer(stream, seq)

    def _tell_unreadable(self, stream: str, reason: str) -> None:
        self.counters["unreadable"] += 1
        self._pipeline.answering.forget(stream)
        self._happened("state_unreadable", f"stream {stream!r} starts anew: {reason}", stream)

    def _tell_unanswered(self, stream: str, reason: str) -> None:
        self.counters["unreadable"] += 1
        self._happened("answer_unreadable", f"stream {stream!r} is not answered again: {reason}", stream)

    async def _checkpoint(self) -> bool:
        async with self._one_at_a_time:
            self._wanted.clear()
            self._taken = 0
            self._pipeline.drain()
            mark, now_ns, position = self.receipts.mark(), time.monotonic_ns(), self._written.mark()
            answered = 0 if self._held is None else self._held.mark()
            streams = self._pipeline.sessions.changed_since(self._since_ns)
            self._since_ns = now_ns
            self._in_flight.update(streams)
            self._going, self._removed = self._removed, set()
            try:
                changes = await self._changes(streams, position)
                if changes is not None:
                    await asyncio.to_thread(self._store.commit, changes)
            except StateError as error:
                self._failed(streams, str(error))
                return False
            finally:
                self._in_flight.clear()
                self._going = set()
            if self._held is not None:  # first: what is acknowledged never comes again to be answered
                self._held.release(answered)
            self.receipts.release(mark)
            self._safe_ns = now_ns
            self._written.contained(position)
            if changes is not None:
                self._succeeded(changes)
            return True

    async def _changes(self, streams: Sequence[str], position: int) -> Changes | None:
        """What the store does not have yet; None where that is nothing."""
        sessions, puts, clear = self._pipeline.sessions, list[Put](), self._clear
        for number, stream in enumerate(streams, start=1):
            session = sessions.peek(stream)
            if session is not None:  # else it was forgotten since
                now, passing = self._written.position, stream in self._passing
                puts.append(Put(stream, session.to_bytes(), now, self._round, passing))
            if number % A_TURN == 0:
                await asyncio.sleep(0)
        unconfirmed = self.receipts.unconfirmed()
        confirmed = self._unconfirmed.difference([serial for serial, *_ in unconfirmed])
        published = [text for text in unconfirmed if text[0] not in self._unconfirmed]
        about = About(self._models, position, self._written.position, self._round)
        due = self._answers.due()  # only now: it has the answers to all that the states contain
        others = self._going or published or confirmed or clear or due.forgotten
        if about == self._store.about and not (puts or due.kept or others):
            return None
        return Changes(about, puts, self._going, published, confirmed, clear, *due)

    def _failed(self, streams: Sequence[str], reason: str) -> None:
        """The disk did not take a checkpoint: all of it is due again."""
        self._pipeline.sessions.touch(*streams)
        self._answers.settle(done=False)
        self._removed |= self._going
        self.counters["failures"] += 1
        if not self._refused:
            self._happened("state_failed", reason)
        self._refused = reason

    def _succeeded(self, changes: Changes) -> None:
        self._answers.settle(done=True)
        self._unconfirmed.difference_update(changes.confirmed)
        self._unconfirmed.update(serial for serial, *_ in changes.published)
        if changes.clear:
            self._clear = False
        self.counters["checkpoints"] += 1
        self.counters["states"] += len(changes.puts)
        if self._refused:
            self._refused = ""
            self._happened("state_mended", "checkpoints are on disk again")


def open_durable(section: StateSection, pipeline: Pipeline, model: str, happened: Happened) -> Durable:
    """Open what a section names; what an earlier run wrote down and no checkpoint contains is stepped.

    Raises:
        StateError: It cannot be used, and why.
    """
    path = Path(section.path)
    store = Store(path, model, section.max_streams)
    try:
        written = Written(section, Journal(path), happened)
        durable = Durable(section, store, written, pipeline, happened)
        written.replay(store, pipeline)
    except StateError:
        store.close()
        raise
    return durable
