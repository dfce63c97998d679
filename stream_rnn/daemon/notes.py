"""What a recording is told of each stream: its samples, and states from which they can be stepped again."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from stream_rnn.config.load import shown
from stream_rnn.config.sections import Config, RecordingSection
from stream_rnn.environment import environment
from stream_rnn.model.file import model_bytes
from stream_rnn.predictor import Predictor
from stream_rnn.sample import Sample
from stream_rnn.session.session import Session

if TYPE_CHECKING:
    from stream_rnn.recordings.recorder import Recorder


class Notes:
    """Tells the recorder, where there is one.

    Args:
        settings: How often states are noted.

    Attributes:
        settings: The same.
    """

    def __init__(self, settings: RecordingSection | None) -> None:
        self.settings = settings
        self._recorder: Recorder | None = None
        self._unrecorded = 0
        self._begun: set[str] = set()  # streams in the recording: each begins with its state

    @property
    def recorder(self) -> "Recorder | None":
        """Takes note of everything, or None."""
        return self._recorder

    @recorder.setter
    def recorder(self, recorder: "Recorder | None") -> None:
        self._unrecorded = self.unrecorded
        self._recorder = recorder
        self._begun.clear()

    @property
    def failing(self) -> bool:
        """Whether a recording is wanted, and none is being written."""
        written = self._recorder is not None and self._recorder.failure is None
        return self.settings is not None and not written

    @property
    def unrecorded(self) -> int:
        """Entries that no recording took."""
        return self._unrecorded + (self._recorder.dropped if self._recorder is not None else 0)

    def begin_anew(self, *streams: str) -> None:
        """The next sample of these streams meets a state that the recording does not know."""
        self._begun.difference_update(streams)

    def sample(self, session: Session, sample: Sample, t_received_ns: int) -> None:
        """Note a sample; before the first of a stream in this recording, the state that it meets."""
        if self._recorder is None:
            return
        if session.stream not in self._begun:
            self._begun.add(session.stream)
            if session.last_seq >= 0:
                state = session.to_bytes()
                self._recorder.state(session.stream, session.last_seq, state, t_received_ns, start=True)
        self._recorder.sample(sample, t_received_ns)

    def state(self, session: Session) -> None:
        """Note the state now and then: where a replay may start, and what tells where two runs part."""
        every = self.settings.states_every if self.settings is not None else 0
        if self._recorder is not None and every and session.stepped % every == 0:
            self._recorder.state(session.stream, session.last_seq, session.to_bytes(), time.time_ns())


def new_recorder(
    config: Config, predictor: Predictor, run: str, report: Callable[[str, str], None], *, again: bool
) -> "Recorder | None":
    """What writes the recording that a config asks for.

    Args:
        config: What the daemon does.
        predictor: The model.
        run: Id of this run.
        report: Takes what happens to it.
        again: Whether this run has had one before.

    Raises:
        ConfigError: The recording exists already, or cannot be written.
    """
    recording = config.recording
    if recording is None:
        return None
    from stream_rnn.recordings.recorder import Recorder  # noqa: PLC0415 - 30 ms that only this needs

    header = environment() | {"run": run, "model": predictor.hash}
    header["config"] = msgspec.json.encode(shown(config)).decode()
    model, flush_s, waiting = model_bytes(predictor.model), recording.flush_s, recording.max_waiting
    return Recorder(recording.path, header, model, flush_s, waiting, again=again, report=report)
