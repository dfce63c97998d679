"""The numbers of a running daemon: since the start, and of the interval between two metrics messages."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from stream_rnn.daemon.pipeline import Pipeline
from stream_rnn.daemon.sources import Source
from stream_rnn.latency.stages import Times
from stream_rnn.predictor import Predictor


class Metrics:
    """Counts since the start, and what changed since the last message.

    Args:
        pipeline: Where samples are counted.
        run_id: Name of this run.
        durably: Gives the numbers of what is on disk; empty where nothing is.
    """

    def __init__(self, pipeline: Pipeline, run_id: str, durably: Callable[[], dict[str, int]]) -> None:
        self._pipeline, self._run_id, self._durably = pipeline, run_id, durably
        self._began = time.monotonic()
        self._last, self._published, self._stepped, self._stale = self._began, 0, 0, 0

    def now(self, predictor: Predictor, sources: Mapping[str, Source]) -> dict[str, Any]:
        """Everything since the start.

        Args:
            predictor: The model that is served.
            sources: Every way in.
        """
        pipeline, totals = self._pipeline, self._pipeline.sessions.totals
        whole = pipeline.latency.whole()
        return {
            "t_ns": time.time_ns(),
            "session": self._run_id,
            "model": predictor.hash,
            "uptime_s": round(time.monotonic() - self._began, 3),
            "streams": len(pipeline.sessions),
            "evicted": pipeline.sessions.evicted,
            "predictions": pipeline.published,
            "samples": totals,
            "packets": pipeline.sessions.packets,
            "refused": dict(pipeline.refused),
            "declined": pipeline.pauses.declined,
            "paused": pipeline.pauses.names,
            "dropped": pipeline.dropped,
            "waiting": pipeline.waiting,
            "unrecorded": pipeline.notes.unrecorded,
            "ahead": pipeline.ahead.counters if pipeline.ahead is not None else {},
            "interval": pipeline.truths.told(),
            "state": self._durably(),
            "transports": {
                name: {"up": source.transport.up, **source.transport.counters}
                for name, source in sources.items()
            },
            "latency_us_since_start": whole.stages,
            "normalised_latency_since_start": _normalised(whole, totals.stepped, predictor),
            "deadline_misses_since_start": _ratio(totals.stale, totals.stepped),
        }

    def interval(self, predictor: Predictor, sources: Mapping[str, Source]) -> dict[str, Any]:
        """Everything since the start, and of the interval that ends now; the next one begins."""
        now, published, totals = time.monotonic(), self._pipeline.published, self._pipeline.sessions.totals
        seconds, stepped, stale = now - self._last, totals.stepped - self._stepped, totals.stale - self._stale
        times = self._pipeline.latency.roll()
        metrics = self.now(predictor, sources)
        metrics |= {
            "predictions_per_s": round((published - self._published) / max(seconds, 1e-9), 1),
            "latency_us": times.stages,
            "normalised_latency": _normalised(times, stepped, predictor),
            "deadline_misses": _ratio(stale, stepped),
        }
        if times.groups:
            metrics["latency_us_by_group"] = times.groups
        self._last, self._published = now, published
        self._stepped, self._stale = totals.stepped, totals.stale
        return metrics


def _normalised(times: Times, stepped: int, predictor: Predictor) -> float | None:
    """Compute time over stream time, after FALCON: below 1 the model keeps up with a stream."""
    seconds = stepped / predictor.model.card.rate_hz
    return round(times.step_s / seconds, 6) if seconds else None


def _ratio(some: int, of: int) -> float | None:
    return round(some / of, 6) if of else None
