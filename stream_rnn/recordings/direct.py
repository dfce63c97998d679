"""A recording through its own model, without a network between: from the start, or from any instant in it.

To start in the middle, each stream's last recorded state before that instant is restored and the few samples
after it are stepped unheard: the predictions from there on are those of playing from the start.
"""

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from stream_rnn.errors import CountedError
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.mcap import Entry, McapRecording, StateFields
from stream_rnn.recordings.outside import entries_of
from stream_rnn.recordings.proof import recorded_model, recorded_rules
from stream_rnn.sample import Prediction
from stream_rnn.session.rules import Rules
from stream_rnn.session.session import Session
from stream_rnn.session.shared import Shared
from stream_rnn.wire import CODECS


def predictions_of(recording: McapRecording, start_offset_s: float = 0.0) -> Iterator[Prediction]:
    """Every prediction from an instant of the recording on.

    Args:
        recording: With the model inside.
        start_offset_s: Seconds from its first sample.

    Raises:
        RecordingError: There is no model inside.
    """
    predictor, rules = Predictor(recorded_model(recording)), recorded_rules(recording)
    sessions: dict[str, Session] = {}
    states: dict[str, bytes] = {}
    since: defaultdict[str, list[Entry]] = defaultdict(list)
    first_ns = None
    for entry in entries_of(recording):
        if entry.kind == "samples":
            first_ns = entry.t_log_ns if first_ns is None else first_ns
            if entry.t_log_ns - first_ns < start_offset_s * 1e9:
                since[entry.stream].append(entry)
                continue
            if entry.stream not in sessions:
                session = _restored(states.get(entry.stream), entry.stream, predictor, rules)
                for earlier in since.pop(entry.stream, ()):
                    _fed(session, earlier)
                sessions[entry.stream] = session
            yield from _fed(sessions[entry.stream], entry)
        elif entry.kind == "states":
            fields = msgspec.json.decode(entry.payload, type=StateFields)
            if entry.stream not in sessions:
                states[entry.stream] = fields.bytes()
                since[entry.stream].clear()
            elif fields.start:
                sessions[entry.stream] = _restored(fields.bytes(), entry.stream, predictor, rules)


def _restored(state: bytes | None, stream: str, predictor: Predictor, rules: Rules) -> Session:
    shared = Shared(predictor, rules, "")
    if state is None:
        return Session(stream, shared)
    return Session.from_bytes(state, shared)


def _fed(session: Session, entry: Entry) -> list[Prediction]:
    (sample,) = CODECS["json"].decode_samples(entry.payload, entry.stream)
    try:
        return session.feed(sample, entry.t_log_ns, lambda: entry.t_log_ns)
    except CountedError:
        return []
