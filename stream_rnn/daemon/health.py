"""What a supervisor is told over HTTP: the numbers, what must be mended, whether samples can come."""

from collections.abc import Callable, Mapping
from typing import Any

from stream_rnn.config.sections import HttpSection
from stream_rnn.daemon.sources import Source
from stream_rnn.environment import environment
from stream_rnn.latency.stages import Stages
from stream_rnn.operations.endpoint import Endpoint
from stream_rnn.operations.exposition import exposition_of
from stream_rnn.predictor import Predictor


def endpoint_of(
    http: HttpSection,
    *,
    status: Callable[[], dict[str, Any]],
    groups: Callable[[], Mapping[str, Stages]],
    predictor: Callable[[], Predictor],
    sources: Callable[[], Mapping[str, Source]],
    failed: Callable[[], Mapping[str, str]],
    report: Callable[[str, str], None],
) -> Endpoint:
    """The endpoint that the config asks for.

    Args:
        http: Where.
        status: Gives the numbers of now.
        groups: Gives the histograms since the start.
        predictor: Gives the model that is served.
        sources: Gives every way in.
        failed: Gives what could not be opened, and why.
        report: Takes listening.
    """

    def about() -> dict[str, dict[str, str]]:
        served = predictor()
        model = {"hash": served.hash, "architecture": str(served.model.card.architecture)}
        return {"build": environment(), "model": model}

    def unready() -> str:
        down = [name for name, source in sources().items() if not source.transport.up]
        return f"{', '.join(down)}: not connected" if down else ""

    return Endpoint(
        http.host,
        http.port,
        http.token,
        metrics=exposition_of(status, groups, about),
        healthy=lambda: "; ".join(failed().values()),
        ready=unready,
        report=report,
    )
