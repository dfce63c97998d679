"""Work done before a sample is due, where samples come slowly: by then the caches hold something else.

Shortly before a stream's next sample is due by its own rhythm, its last message goes the whole way once
more, through a session that nobody hears of, and the part of its next step that needs no sample is computed;
then the event loop does not sleep until the sample comes, for at most a twentieth of the time between two.
The prediction is the same, bit for bit; it comes sooner. Beside that twentieth it costs one step more a
sample, and at most one in LEAST_PERIOD_NS.
"""

import asyncio
import time

from stream_rnn.daemon.alarm import Alarm
from stream_rnn.daemon.rhythm import Rhythm
from stream_rnn.interval import Interval
from stream_rnn.predictor import Predictor
from stream_rnn.sample import Sample
from stream_rnn.session.rules import Rules
from stream_rnn.session.session import Session
from stream_rnn.session.shared import Shared
from stream_rnn.wire import Codec

LEAST_PERIOD_NS = 3_000_000
"""Of samples that come closer together the caches are still warm."""
MOST_PERIOD_NS = 2_000_000_000
MOST_STREAMS = 8
"""Streams whose rhythm is followed: among more, one's warmth does not last until the next."""
LEAD_NS = 150_000
"""How long before a sample is due all is ready, beside what its rhythm is uneven: to wake late."""
AWAKE = 0.05
"""Of a period: how long the loop stays awake at most."""
MOST_WORK = 0.25
"""Of a period: how long before a sample the work for it begins at most."""
NEWEST = 0.25
"""How much of the newest duration goes into how long it takes to make ready."""


class Ahead:
    """Makes ready for the next sample.

    Args:
        predictor: The model that is served.
        interval: How its predictions get an interval, or None.

    Attributes:
        counters: `prepared`, how often; `met`, how many samples then came to a prepared step.
    """

    def __init__(self, predictor: Predictor, interval: Interval | None = None) -> None:
        self.counters = dict.fromkeys(("prepared", "met"), 0)
        self._predictor = predictor
        self._rhythms: dict[str, Rhythm] = {}
        self._last_ns, self._takes_ns = 0, 0.0
        self._alarm = Alarm(self._ring)
        self._next: tuple[Session, Codec, bytes, int] | None = None  # and until when to stay awake
        self._prepared: Session | None = None
        self._unheard = Session("", Shared(predictor, Rules(), "", interval=interval))

    def took(self, session: Session, codec: Codec, payload: bytes, now_ns: int) -> None:
        """A sample was stepped and answered: wait for the next one.

        Args:
            session: Of its stream.
            codec: Its encoding.
            payload: Its message.
            now_ns: When it came, monotonic.
        """
        if self._prepared is not None:
            self.counters["met"] += self._prepared is session
            self._prepared = None
        since, self._last_ns = now_ns - self._last_ns, now_ns
        if since < LEAST_PERIOD_NS:
            return
        rhythm = self._rhythms.get(session.stream)
        if rhythm is None:
            if len(self._rhythms) >= MOST_STREAMS:
                self._rhythms.clear()
            self._rhythms[session.stream] = Rhythm(now_ns)
            return
        rhythm.arrived(now_ns)
        if rhythm.steady and LEAST_PERIOD_NS <= rhythm.period_ns <= MOST_PERIOD_NS:
            self._wait(rhythm, session, codec, payload)

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._next = None
        self._alarm.close()

    def _wait(self, rhythm: Rhythm, session: Session, codec: Codec, payload: bytes) -> None:
        """One alarm for all streams: the last one that came sets it."""
        at_ns, until_ns = schedule(rhythm, self._takes_ns)
        self._next = session, codec, payload, until_ns
        self._alarm.set(at_ns)

    def _ring(self) -> None:
        if self._next is not None:
            session, codec, payload, until_ns = self._next
            began_ns = time.monotonic_ns()
            self.make_ready(session, codec, payload)
            self._takes_ns += NEWEST * (time.monotonic_ns() - began_ns - self._takes_ns)
            self._stay_awake(session, until_ns)

    def _stay_awake(self, session: Session, until_ns: int) -> None:
        """Let the loop look for what has come again and again instead of sleeping."""
        if self._prepared is session and time.monotonic_ns() < until_ns:
            asyncio.get_running_loop().call_soon(self._stay_awake, session, until_ns)

    def make_ready(self, session: Session, codec: Codec, payload: bytes) -> None:
        """Go the whole way once, unheard, and prepare the session's next step."""
        for sample in codec.decode_samples(payload, session.stream):
            bare = Sample("", None, None, sample.x)  # its number has been seen before
            for prediction in self._unheard.feed(bare, time.time_ns(), time.time_ns):
                codec.encode_prediction(prediction, time.time_ns())
        session.prepare()
        self.counters["prepared"] += 1
        self._prepared = session


def schedule(rhythm: Rhythm, takes_ns: float) -> tuple[int, int]:
    """When to begin to make ready for a sample, and until when to stay awake for it.

    Args:
        rhythm: Of its stream.
        takes_ns: How long it takes to make ready.
    """
    work_ns, awake_ns = min(takes_ns, MOST_WORK * rhythm.period_ns), AWAKE * rhythm.period_ns
    ready_ns = rhythm.due_ns - min(LEAD_NS + 3 * rhythm.spread_ns, awake_ns / 2)
    return int(ready_ns - work_ns), int(ready_ns + awake_ns)
