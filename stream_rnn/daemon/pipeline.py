"""The way of every sample: decoded, stepped, answered, measured, in one call for all that one read brought.

(inbox, unless it blocks) -> decode -> session.feed -> encode -> transport
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Container, Sequence
from functools import partial
from itertools import groupby

from stream_rnn.config.sections import Config
from stream_rnn.daemon.ahead import Ahead
from stream_rnn.daemon.announce import Happened
from stream_rnn.daemon.answering import Answering
from stream_rnn.daemon.binned import ways
from stream_rnn.daemon.notes import Notes
from stream_rnn.daemon.pauses import Pauses
from stream_rnn.daemon.redelivered import UNNUMBERED, again_apart, unnumbered
from stream_rnn.daemon.sources import Source
from stream_rnn.daemon.truths import Truths, interval_of
from stream_rnn.errors import CountedError
from stream_rnn.inbox import Inbox
from stream_rnn.latency.stages import Latency, Taken
from stream_rnn.predictor import Predictor
from stream_rnn.sample import Sample, Steps
from stream_rnn.session.session import REPEATED, Session
from stream_rnn.session.table import Sessions
from stream_rnn.session.together import Answer
from stream_rnn.transports.base import Message
from stream_rnn.wire import SPIKES, Codec
from stream_rnn.wire.rows import ROWS, RowCodec

CHUNK = 64  # messages taken from the inbox before the sockets are read again
FEW = 7  # fewer samples are stepped one by one: to gather them would cost more than it saves


class Pipeline:
    """All streams' sessions, and what is counted while they are fed.

    Args:
        config: What to do.
        predictor: The model, compiled and proved.
        run_id: Name of this run, in every prediction.
        happened: Takes what is refused.

    Attributes:
        sessions: One for each stream.
        repeats: Samples without seq that were sent again: those stepped before are stepped twice.
        truths: What moves the intervals of predictions.
        pauses: Streams that are not stepped for a while.
        notes: What a recording is told.
        latency: How long each stage takes.
        answering: How whatever became of a sample is told.
        ahead: What makes ready for the next sample, or None.

    Raises:
        ModelError: Intervals are asked of a model that was never calibrated.
    """

    def __init__(self, config: Config, predictor: Predictor, run_id: str, happened: Happened) -> None:
        interval = interval_of(config, predictor)
        self.sessions = Sessions(predictor, config.stream, run_id, config.stream.max_streams, interval)
        self.truths = Truths(self.sessions, config.interval, predictor.outputs, happened)
        self.truths.pinned = config.stream.pinned
        self.repeats = 0
        self.pauses = Pauses()
        self.latency = Latency(config.latency.groups)
        self.notes = Notes(config.recording)
        self.answering = Answering(config.daemon.topic, self.latency, self.notes, happened)
        self.sessions.renumbered = self.answering.forget
        self._ways = ways(self.sessions, self.notes, pinned=config.stream.pinned)
        self._happened = happened
        self._config = config
        self._inbox = _inbox(config)
        self._given_up = 0
        self._drain_due = False
        self.ahead = Ahead(predictor, interval) if config.daemon.ahead else None

    def adopt(self, config: Config, predictor: Predictor) -> None:
        """Go on with another config and model; what waits in the inbox is answered first."""
        self.drain()
        self._stop_ahead()
        interval = interval_of(config, predictor)
        self.ahead = Ahead(predictor, interval) if config.daemon.ahead else None
        self.truths.adopt(config.interval, predictor.outputs)
        self.truths.pinned = config.stream.pinned
        self._given_up = self.dropped
        if config.latency != self._config.latency:
            self.latency = Latency(config.latency.groups)
        self._config, self._inbox = config, _inbox(config)
        self.notes.settings = config.recording
        self._ways = ways(self.sessions, self.notes, pinned=config.stream.pinned)
        self.answering.adopt(config.daemon.topic, self.latency)
        self.sessions.adopt(predictor, config.stream, config.stream.max_streams, interval)

    def end(self) -> None:
        """Answer what waits; what still comes is answered at once."""
        self.drain()
        self._stop_ahead()
        self._given_up, self._inbox = self.dropped, None

    def _stop_ahead(self) -> None:
        if self.ahead is not None:
            self.ahead.stop()
            self.ahead = None

    def forget(self, stream: str) -> None:
        """Drop the session of a stream that ended."""
        self.sessions.drop(stream)
        self.answering.forget(stream)
        self.notes.begin_anew(stream)

    def evict_idle(self, before_ns: int, spared: Container[str] = ()) -> list[str]:
        """Forget the sessions last used before a monotonic time, but those spared; return their keys."""
        evicted = self.sessions.evict_idle(before_ns, spared)
        self.notes.begin_anew(*evicted)
        return evicted

    def reset(self, stream: str | None) -> list[str]:
        """Start the hidden state of one stream anew, or of all; return their keys."""
        session = None if stream is None else self.sessions.seek(stream, time.monotonic_ns())
        chosen = list(self.sessions) if stream is None else [session] if session is not None else []
        for session in chosen:
            session.reset()
            self.sessions.touch(session.stream)
            self.notes.begin_anew(session.stream)
        return [session.stream for session in chosen]

    def restore(self, state: bytes) -> Session:
        """Go on with a stream from where `Session.to_bytes` was called.

        Raises:
            ModelError: Not a session's state, or one of another model.
            SampleError: There are as many streams as may be.
        """
        session = self.sessions.restore(state, time.monotonic_ns())
        self.answering.forget(session.stream)
        self.notes.begin_anew(session.stream)
        return session

    @property
    def refused(self) -> Counter[str]:
        """Samples that cannot be stepped, by reason."""
        return self.answering.refused

    @property
    def published(self) -> int:
        """Predictions made."""
        return self.answering.published

    @property
    def waiting(self) -> int:
        """Messages in the inbox."""
        return len(self._inbox) if self._inbox is not None else 0

    @property
    def dropped(self) -> int:
        """Messages that the inbox gave up."""
        return self._given_up + (self._inbox.dropped if self._inbox is not None else 0)

    def deliver_from(self, source: Source) -> Callable[[list[Message]], None]:
        """What a transport calls with everything that one read brought."""

        def deliver(messages: list[Message]) -> None:
            if self._inbox is None:
                self._serve(source, messages)
                return
            for message in messages:
                self._inbox.put(message.stream, (source, message))
            if not self._drain_due:
                self._drain_due = True
                asyncio.get_running_loop().call_soon(self._drain_some)

        if source.redelivers and self._inbox is None:
            return self.truths.apart(again_apart(deliver, partial(self._serve_again, source)))
        return self.truths.apart(deliver)

    def _serve_again(self, source: Source, messages: list[Message]) -> None:
        """Serve messages that may have been taken in before."""
        decode = self._ways[source.wire].codec.decode_samples
        self.sessions.redelivering = True
        for message in messages:
            if source.wire not in SPIKES and (stream := unnumbered(decode, message)) is not None:
                self.repeats += 1
                self._happened("unnumbered", f"stream {stream!r}: {UNNUMBERED}", stream)
            self._serve(source, [message])
        self.sessions.redelivering = False

    def drain(self) -> None:
        """Answer all that waits."""
        while self._inbox:
            self._serve_waiting(self._inbox)

    def _drain_some(self) -> None:
        """Answer some of what waits, then let the sockets be read."""
        if self._inbox is None:  # another config came in between, and has drained it
            self._drain_due = False
            return
        self._serve_waiting(self._inbox)
        self._drain_due = len(self._inbox) > 0
        if self._drain_due:
            asyncio.get_running_loop().call_soon(self._drain_some)

    def _serve_waiting(self, inbox: Inbox[tuple[Source, Message]]) -> None:
        """Serve some of what waits; what came by one way together."""
        runs = groupby(inbox.take(CHUNK), key=lambda waiting: id(waiting[0]))
        for run in ([*waiting] for _, waiting in runs):
            self._serve(run[0][0], [message for _, message in run])

    def _serve(self, source: Source, messages: list[Message]) -> None:
        """Decode, step and answer messages that came together."""
        (decode, codec), t_began = self._ways[source.wire], time.monotonic_ns()
        # a packet may start its stream anew, and the samples before it must have been stepped by then
        if len(messages) >= FEW and self.notes.recorder is None and source.wire not in SPIKES:
            if not self._serve_rows(source, codec, messages, t_began):
                self._serve_together(source, codec, messages, t_began)
            return
        for message in messages:
            try:
                samples = decode(message.payload, message.stream)
            except CountedError as error:
                self.answering.refuse(source, message, error)
                continue
            if self.pauses.any:
                samples = self.pauses.keep(samples)
            for sample in samples:
                self._serve_one(source, codec, sample, message, t_began)

    def _serve_together(self, source: Source, codec: Codec, messages: list[Message], t_began: int) -> None:
        """The samples of different streams in one step."""
        samples: list[Sample | CountedError] = []
        origins: list[Message] = []
        for message in messages:
            decoded: list[Sample] | list[CountedError]
            try:
                decoded = self.pauses.keep(codec.decode_samples(message.payload, message.stream))
            except CountedError as error:
                decoded = [error]
            samples += decoded
            origins += [message] * len(decoded)
        t_received = [message.t_received_ns for message in origins]
        answers = self.sessions.feed(samples, t_received, t_began, time.time_ns)
        self._answer_all(source, codec, samples, origins, answers, t_began)

    def _serve_rows(self, source: Source, codec: Codec, messages: list[Message], t_began: int) -> bool:
        """`_serve` for payloads that can be read as rows; False, and nothing done, where they cannot."""
        form = ROWS.get(source.wire)
        if form is None or self.pauses.any:
            return False
        streams = [m.stream for m in messages]
        rows = form.decode([m.payload for m in messages], streams)
        if rows is None or (self._config.stream.pinned and rows.streams != streams):
            return False
        steps = self.sessions.feed_rows(rows, [m.t_received_ns for m in messages], t_began, time.time_ns)
        if isinstance(steps, Steps):
            self._answer_rows(source, form, steps, messages, t_began)
        else:
            self._answer_all(source, codec, rows.samples(), messages, steps, t_began)
        return True

    def _answer_all(
        self,
        source: Source,
        codec: Codec,
        samples: Sequence[Sample | CountedError],
        origins: list[Message],
        answers: list[Answer],
        t_began: int,
    ) -> None:
        """Send the predictions of samples that were stepped together."""
        t_stepped = time.monotonic_ns()
        answering = self.answering
        for sample, message, answer in zip(samples, origins, answers, strict=True):
            if isinstance(answer, CountedError):
                answering.refuse(source, message, answer)
                continue
            for prediction in answer:
                answering.answer(source, codec, message, prediction)
            if answer is REPEATED and not isinstance(sample, CountedError):
                answering.again(source, codec, message, sample)
        taken = [
            (sample.stream, message.t_arrived_ns)
            for sample, message, answer in zip(samples, origins, answers, strict=True)
            if not isinstance(sample, CountedError) and not isinstance(answer, CountedError)
        ]
        streams, arrived = [stream for stream, _ in taken], [t_ns for _, t_ns in taken]
        self.latency.took_together(streams, arrived, t_began, t_stepped, time.monotonic_ns())

    def _answer_rows(
        self, source: Source, form: RowCodec, steps: Steps, messages: list[Message], t_began: int
    ) -> None:
        """Send the predictions of rows that were all in order."""
        t_stepped = time.monotonic_ns()
        self.answering.answer_rows(source, form, steps, messages)
        arrived = [message.t_arrived_ns for message in messages]
        self.latency.took_together(steps.streams, arrived, t_began, t_stepped, time.monotonic_ns())

    def _serve_one(
        self, source: Source, codec: Codec, sample: Sample, message: Message, t_began: int
    ) -> None:
        """Step and answer one sample; a recording notes the state that it meets before it is stepped."""
        recorded = self.notes.recorder is not None
        try:
            session = self.sessions.get(sample.stream, t_began)
            if recorded:
                self.notes.sample(session, sample, message.t_received_ns)
            predictions = session.feed(sample, message.t_received_ns, time.time_ns)
        except CountedError as error:
            self.answering.refuse(source, message, error)
            return
        t_stepped, arrived = time.monotonic_ns(), message.t_arrived_ns
        for prediction in predictions:
            self.answering.answer(source, codec, message, prediction)
        if predictions is REPEATED:
            self.answering.again(source, codec, message, sample)
        if recorded:
            self.notes.state(session)
        self.latency.took(Taken(sample.stream, arrived, t_began, t_stepped, time.monotonic_ns()))
        if self.ahead is not None:
            self.ahead.took(session, codec, message.payload, arrived)


def _inbox(config: Config) -> Inbox[tuple[Source, Message]] | None:
    policy = config.inbox.policy
    return None if policy == "block" else Inbox(policy, config.inbox.size)
