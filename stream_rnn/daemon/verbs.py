"""What each command does to the streams of a daemon."""

import asyncio
import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from stream_rnn.daemon.commands import Command, Verb
from stream_rnn.daemon.pipeline import Pipeline
from stream_rnn.errors import CommandError
from stream_rnn.session.session import Session

if TYPE_CHECKING:
    from stream_rnn.daemon.durable import Durable

STATES_A_TURN = 64  # sessions put away before the sockets are read again


class Verbs:
    """Everything a daemon can be told.

    Args:
        pipeline: The streams.
        status: Gives the metrics of now.
        reload: Reads config and model again; takes whether an unlike model is forced.
        durable: Where sessions are on disk, or None: what changes one is answered once it is there.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        status: Callable[[], dict[str, Any]],
        reload: Callable[[bool], Awaitable[dict[str, Any]]],
        durable: "Durable | None",
    ) -> None:
        self._pipeline, self._status, self._reload = pipeline, status, reload
        self._durable = durable

    def table(self) -> Mapping[str, Verb]:
        """How each verb of `commands.VERBS` is carried out."""
        return {
            "reset": self._reset,
            "reload": lambda command: self._reload(command.force),
            "snapshot": self._snapshot,
            "restore": self._restore,
            "pause": self._pause,
            "resume": self._resume,
            "latency": self._latency,
            "status": lambda _: self._status(),
        }

    def _reset(self, command: Command) -> Any:  # noqa: ANN401 - now, or when it is durable
        stream = _chosen(command)
        done = self._pipeline.reset(stream)
        if stream is not None and not done:
            raise _unknown(stream)
        if stream is None and self._durable is not None:
            self._durable.reset_all()
        return self._surely({"streams": len(done)})

    def _surely(self, result: dict[str, Any]) -> Any:  # noqa: ANN401 - likewise
        return result if self._durable is None else self._durable.surely(result)

    def _snapshot(self, command: Command) -> Any:  # noqa: ANN401 - now, or when it is done
        stream = _chosen(command)
        if stream is None:
            return self._record_all()
        session = self._pipeline.sessions.seek(stream, time.monotonic_ns())
        if session is None:
            raise _unknown(stream)
        state = base64.b64encode(session.to_bytes()).decode()
        return {"stream": stream, "seq": session.last_seq, "state": state}

    async def _record_all(self) -> dict[str, Any]:
        recorder = self._pipeline.notes.recorder
        if recorder is None:
            raise CommandError("expected a section [recording] to write all states into, got none")
        if recorder.failure is not None:
            raise CommandError(f"expected a recording to write all states into, got none: {recorder.failure}")
        streams = [session.stream for session in self._pipeline.sessions]
        for number, stream in enumerate(streams, start=1):
            session = self._pipeline.sessions.peek(stream)
            if session is not None:
                recorder.state(stream, session.last_seq, session.to_bytes(), time.time_ns())
            if number % STATES_A_TURN == 0:
                await asyncio.sleep(0)
        return {"streams": len(streams), "path": str(recorder.path)}

    def _restore(self, command: Command) -> Any:  # noqa: ANN401 - likewise
        try:
            state = base64.b64decode(command.state or "", validate=True)
        except binascii.Error:
            raise CommandError("state: expected base64, as snapshot gives it") from None
        session: Session = self._pipeline.restore(state)
        return self._surely({"stream": session.stream, "seq": session.last_seq})

    def _pause(self, command: Command) -> dict[str, Any]:
        self._pipeline.pauses.pause(_chosen(command))
        return {"paused": self._pipeline.pauses.names}

    def _resume(self, command: Command) -> dict[str, Any]:
        self._pipeline.pauses.resume(_chosen(command))
        return {"paused": self._pipeline.pauses.names}

    def _latency(self, _: Command) -> dict[str, Any]:
        groups = self._pipeline.latency.groups
        return {
            group: {stage: histogram.counted() for stage, histogram in stages.items() if histogram.count}
            for group, stages in groups.items()
        }


def _chosen(command: Command) -> str | None:
    """The stream a command is about; None for all.

    Raises:
        CommandError: It says neither, or both.
    """
    if (command.stream is None) != command.all:
        got = "both" if command.all else "neither"
        raise CommandError(f"expected either stream or all, got {got}")
    return command.stream


def _unknown(stream: str) -> CommandError:
    return CommandError(f"stream {stream[:40]!r}: expected one that is served, got an unknown one")
