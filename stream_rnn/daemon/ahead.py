"""Work done before a sample is due, where samples come slowly: by then the caches hold something else.

Shortly before a stream's next sample is due by its own rhythm, its last message goes the whole way once more, through
a session that nobody hears of, and the part of its next step that needs no sample is computed. The prediction is the
same, bit for bit; it comes sooner. This costs at most one step more a sample, and at most one in LEAST_PERIOD_NS.
"""

import asyncio
import time

from stream_rnn.daemon.rhythm import Rhythm
from stream_rnn.predictor import Predictor
from stream_rnn.sample import Sample
from stream_rnn.session.rules import Rules
from stream_rnn.session.session import Session
from stream_rnn.session.shared import Shared
from stream_rnn.wire import Codec

LEAST_PERIOD_NS = 5_000_000
"""Of samples that come closer together the caches are still warm."""
MOST_PERIOD_NS = 2_000_000_000
MOST_STREAMS = 8
"""Streams whose rhythm is followed: among more, one's warmth does not last until the next."""
LEAD_NS = 2_000_000
"""How long before a sample is due: the event loop wakes to the millisecond."""


class Ahead:
    """Makes ready for the next sample.

    Args:
        predictor: The model that is served.

    Attributes:
        counters: `prepared`, how often; `met`, how many samples then came to a prepared step.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.counters = dict.fromkeys(("prepared", "met"), 0)
        self._predictor = predictor
        self._rhythms: dict[str, Rhythm] = {}
        self._last_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._prepared: Session | None = None
        self._unheard = Session("", Shared(predictor, Rules(), ""))

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
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, rhythm: Rhythm, session: Session, codec: Codec, payload: bytes) -> None:
        """One timer for all streams: the last one that came sets it, as it is stepped next or soon after."""
        self.stop()
        lead_ns = LEAD_NS + 2 * rhythm.spread_ns
        wait_s = max(0.0, rhythm.due_ns - lead_ns - time.monotonic_ns()) / 1e9
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(wait_s, self.make_ready, session, codec, payload)

    def make_ready(self, session: Session, codec: Codec, payload: bytes) -> None:
        """Go the whole way once, unheard, and prepare the session's next step."""
        for sample in codec.decode_samples(payload, session.stream):
            bare = Sample("", None, None, sample.x)  # its number has been seen before
            for prediction in self._unheard.feed(bare, time.time_ns(), time.time_ns):
                codec.encode_prediction(prediction, time.time_ns())
        session.prepare()
        self.counters["prepared"] += 1
        self._prepared = session
