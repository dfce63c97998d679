"""Replay as proof: the recorded samples through the recorded model, compared with the recorded predictions.

Bit for bit where the recording was made by the same numba on the same kind of processor; elsewhere within
a tolerance. Where a recorded prediction says its state started anew (a reset, an idle stream), so does the
replay.
"""

import tempfile
from collections import Counter, deque
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream_rnn.environment import environment
from stream_rnn.errors import CountedError, RecordingError
from stream_rnn.model.file import load_model
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.mcap import Entry, McapRecording, StateFields
from stream_rnn.recordings.outside import Outside, entries_of
from stream_rnn.sample import F32, Flag, Prediction
from stream_rnn.session.rules import Rules
from stream_rnn.session.session import Session
from stream_rnn.session.shared import Shared
from stream_rnn.wire import CODECS

TOLERANCE = 1e-4  # of an output, relative to one: what another processor's rounding may make of it
SAME_BITS = ("numba", "cpu")  # what must be equal for bits to be
JSON = CODECS["json"]


class Difference(NamedTuple):
    """Where a replay first says something else.

    Attributes:
        stream: Key of the stream.
        seq: Number of the sample.
        what: Output, and what was recorded and what came out; or what else is wrong.
        state: First layer and unit of the hidden state that differs, where a recorded state tells.
    """

    stream: str
    seq: int
    what: str
    state: str = ""


class Proof(NamedTuple):
    """What a replay found.

    Attributes:
        samples: Samples replayed.
        compared: Predictions compared.
        exact: Whether bits were compared; else TOLERANCE.
        reason: Why not, where not.
        whole: Whether the recording was closed properly.
        skipped: Predictions left out, of streams that were under way before a subscriber began to record.
        difference: The first one, or None.
    """

    samples: int
    compared: int
    exact: bool
    reason: str
    whole: bool
    skipped: int
    difference: Difference | None


def recorded_model(recording: McapRecording) -> Model:
    """The model inside a recording.

    Raises:
        RecordingError: There is none.
        ModelError: It is damaged.
    """
    if recording.model is None:
        raise RecordingError(f"recording {recording.path}: expected the model inside, got none")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(recording.model)
        return load_model(path)


def recorded_rules(recording: McapRecording) -> Rules:
    """The sequence rules the recorded daemon kept."""
    config: dict[str, Any] = msgspec.json.decode(recording.header.get("config", "{}"))
    stream = config.get("stream", {})
    return msgspec.convert({name: stream[name] for name in Rules.__struct_fields__ if name in stream}, Rules)


def prove(recording: McapRecording, model: Model | None = None) -> Proof:
    """Replay a recording through its own model, to the first difference or to its end.

    Args:
        recording: With the model inside, unless it is given.
        model: The model that made it.

    Raises:
        RecordingError: There is no model inside, another one was given, or an entry cannot be read.
        ModelError: The model inside is damaged.
    """
    here = environment()
    other = [
        f"{name} {recording.header.get(name)}, here {here[name]}"
        for name in SAME_BITS
        if recording.header.get(name) != here[name]
    ]
    if model is None:
        model = recorded_model(recording)
    expected = recording.header.get("model")
    if model.hash != expected:
        raise RecordingError(f"recording {recording.path}: expected its model {expected}, got {model.hash}")
    replay = _Replay(Predictor(model), recorded_rules(recording), exact=not other)
    difference = None
    entries = entries_of(recording)
    for entry in entries:
        difference = replay.take(entry)
        if difference is not None:
            break
    if difference is None:
        difference = replay.finish(whole=recording.whole)
    if difference is not None:
        difference = replay.explained(difference, recording)
    return Proof(
        replay.samples,
        replay.compared,
        not other,
        "; ".join(other),
        recording.whole,
        entries.skipped if isinstance(entries, Outside) else 0,
        difference,
    )


class _Replay:
    """Sessions that are fed what was recorded, and the predictions they owe."""

    def __init__(self, predictor: Predictor, rules: Rules, *, exact: bool) -> None:
        self.samples = self.compared = 0
        self._predictor, self._exact = predictor, exact
        # Age depends on the clock; what was withheld for it is simply not compared.
        self._rules = msgspec.structs.replace(rules, deadline_ms=0.0)
        self._sessions: dict[str, Session] = {}
        self._owed: dict[str, deque[Prediction]] = {}
        self._held: dict[str, deque[Entry]] = {}
        self.refused: Counter[str] = Counter()
        self._parted: dict[str, str] = {}

    def take(self, entry: Entry) -> Difference | None:
        """Replay a sample, or compare a prediction or a state."""
        if entry.kind == "samples":
            self._held.setdefault(entry.stream, deque()).append(entry)
        elif entry.kind == "predictions":
            return self._compare(entry)
        elif entry.kind == "states":
            self._feed_all(entry.stream)
            fields = msgspec.json.decode(entry.payload, type=StateFields)
            if fields.start:
                self._sessions[entry.stream] = self._restored(fields)
            else:
                self._compare_state(entry.stream, fields)
        return None

    def finish(self, *, whole: bool) -> Difference | None:
        """Replay what no recorded prediction asked for; of a whole recording, none may come out."""
        for stream in list(self._held):
            self._feed_all(stream)
        if not whole or self._rules.stale == "withhold":
            return None  # a torn end may have lost them
        for stream, owed in self._owed.items():
            if owed:
                return Difference(stream, owed[0].seq, "replayed, but not recorded")
        return None

    def _compare(self, entry: Entry) -> Difference | None:
        recorded, _ = JSON.decode_prediction(entry.payload)
        stream = entry.stream
        owed = self._owed.setdefault(stream, deque())
        while not owed and self._held.get(stream):
            self._feed(self._held[stream].popleft(), recorded)
        while owed and owed[0].seq < recorded.seq and not recorded.flags & Flag.RESET:
            owed.popleft()  # withheld
        if not owed:
            return Difference(stream, recorded.seq, "recorded, but the replay makes no prediction")
        replayed = owed.popleft()
        self.compared += 1
        return self._difference(stream, recorded, replayed)

    def _difference(self, stream: str, recorded: Prediction, replayed: Prediction) -> Difference | None:
        if recorded.seq != replayed.seq:
            return Difference(stream, recorded.seq, f"recorded, but the replay answers sample {replayed.seq}")
        for k, (was, now) in enumerate(zip(recorded.y, replayed.y, strict=True)):
            if not self._agree(was, now):
                name = self._predictor.model.card.outputs[k].name
                return Difference(stream, recorded.seq, f"{name}: recorded {was:.9g}, replayed {now:.9g}")
        return None

    def _agree(self, was: np.float32, now: np.float32) -> bool:
        if np.isnan(was) or np.isnan(now):
            return bool(np.isnan(was) and np.isnan(now))
        if self._exact:
            return bool(was == now)
        return abs(float(was) - float(now)) <= TOLERANCE * max(1.0, abs(float(was)))

    def _feed(self, entry: Entry, expected: Prediction | None) -> None:
        (sample,) = JSON.decode_samples(entry.payload, entry.stream)
        self.samples += 1
        session = self._sessions.get(entry.stream)
        fresh = expected is not None and sample.seq in {None, expected.seq} and expected.flags & Flag.RESET
        if session is None or (fresh and not self._resets_itself(session, sample.seq)):
            session = self._sessions[entry.stream] = Session(
                entry.stream, Shared(self._predictor, self._rules, "")
            )
        try:
            predictions = session.feed(sample, entry.t_log_ns, lambda: entry.t_log_ns)
        except CountedError as error:
            self.refused[error.reason] += 1
            return
        self._owed.setdefault(entry.stream, deque()).extend(predictions)

    def _resets_itself(self, session: Session, seq: int | None) -> bool:
        """Whether the rules will start the state anew at this sample (a gap, a restart)."""
        return seq is not None and seq != session.last_seq + 1

    def _feed_all(self, stream: str) -> None:
        while self._held.get(stream):
            self._feed(self._held[stream].popleft(), None)

    def _restored(self, fields: StateFields) -> Session:
        return Session.from_bytes(fields.bytes(), Shared(self._predictor, self._rules, ""))

    def _compare_state(self, stream: str, fields: StateFields) -> None:
        """Remember where the state first parts from the recorded one."""
        session = self._sessions.get(stream)
        if session is None or stream in self._parted or session.last_seq != fields.seq:
            return
        recorded = self._restored(fields).memory.states
        where = first_unit(self._predictor.model, recorded, session.memory.states)
        if where:
            self._parted[stream] = f"{where} (state recorded after sample {fields.seq})"

    def explained(self, difference: Difference, recording: McapRecording) -> Difference:
        """The difference, with the first unit that differs in the recorded states up to the next one."""
        stream = difference.stream
        if stream not in self._parted:
            later = (
                e for e in entries_of(recording) if e.stream == stream and e.kind in {"samples", "states"}
            )
            replay = _Replay(self._predictor, self._rules, exact=self._exact)
            for entry in later:
                replay.take(entry)
                if entry.kind == "states" and (stream in replay._parted or entry.seq >= difference.seq):
                    break
            self._parted |= replay._parted
        return difference._replace(state=self._parted.get(stream, "no recorded state differs"))


def first_unit(model: Model, recorded: F32, replayed: F32) -> str:
    """The first phase, layer and unit where two states of one stream differ; empty where none does."""
    wrong = np.argwhere(recorded.view(np.uint32) != replayed.view(np.uint32))
    if not len(wrong):
        return ""
    phase, at = (int(i) for i in wrong[0])
    architecture = model.card.architecture
    for member in range(architecture.networks):
        of = f", member {member}" if architecture.networks > 1 else ""
        for number, layer in enumerate(architecture.layers):
            size = layer.units * layer.steps * (2 if layer.cell == "lstm" else 1)
            if at < size:
                kind = "c" if layer.cell == "lstm" and at >= layer.units else "h"
                return f"phase {phase}{of}, layer {number}, {kind}[{at % layer.units}]"
            at -= size
    return ""
