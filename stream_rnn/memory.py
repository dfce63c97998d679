"""What one stream leaves behind between samples, and the compiled way of a sample through it."""

import struct

import numpy as np

from stream_rnn.errors import ModelError
from stream_rnn.kernels import network
from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels.engine import OWN_AT, fields, make_engine
from stream_rnn.kernels.engine import TICKET as LAST_TICKET
from stream_rnn.kernels.plan import state_size
from stream_rnn.model.model import Model
from stream_rnn.preprocess import all_finite, preprocess_step
from stream_rnn.sample import F32

_COUNT = struct.Struct("<q")

COUNT, TICKET = range(2)
"""Fields, int64, in front of a stream's memory: samples taken in, and the ticket of what was prepared for it."""
WINDOW_AT = 4  # float32: behind the two fields
BIN, MISSING, WIDTH, OUTPUTS = range(4)
"""Fields, int64, in front of what a predictor keeps in its engine, and behind them: constants, features."""
CONSTANTS_AT = 8


class Memory:
    """What one stream leaves behind between samples, in one array.

    Attributes:
        data: Two int64 (count, ticket), the window, the states.
    """

    __slots__ = ("_shape", "data")

    def __init__(self, shape: tuple[int, int, int]) -> None:
        bin_samples, D, size = self._shape = shape
        self.data: F32 = np.zeros(WINDOW_AT + (bin_samples + 1) * D + bin_samples * size, dtype=np.float32)

    @property
    def count(self) -> int:
        """Samples taken in."""
        return int(self.data[:WINDOW_AT].view(np.int64)[COUNT])

    @count.setter
    def count(self, value: int) -> None:
        self.data[:WINDOW_AT].view(np.int64)[COUNT] = value

    @property
    def window(self) -> F32:
        """The bin and the last finite values, (bin + 1, D)."""
        bin_samples, D, _ = self._shape
        return self.data[WINDOW_AT : WINDOW_AT + (bin_samples + 1) * D].reshape(bin_samples + 1, D)

    @property
    def states(self) -> F32:
        """Hidden states that take turns, (bin, state size)."""
        bin_samples, D, size = self._shape
        return self.data[WINDOW_AT + (bin_samples + 1) * D :].reshape(bin_samples, size)

    @classmethod
    def from_bytes(cls, data: bytes, shape: tuple[int, int, int]) -> "Memory":
        """The inverse of `to_bytes`.

        Raises:
            ModelError: A model of another shape wrote these bytes.
        """
        memory = cls(shape)
        expected = _COUNT.size + memory.data[WINDOW_AT:].nbytes
        if len(data) != expected:
            raise ModelError(f"state: expected {expected} bytes for this model, got {len(data)}")
        (memory.count,) = _COUNT.unpack_from(data)
        memory.data[WINDOW_AT:] = np.frombuffer(data, dtype="<f4", offset=_COUNT.size)
        return memory

    def to_bytes(self) -> bytes:
        """Everything, little-endian: count, window, states."""
        return _COUNT.pack(self.count) + self.data[WINDOW_AT:].tobytes()


@kernel
def advance(engine: F32, memory: F32, x: F32, y: F32) -> int:
    """Preprocess and step one sample, in place: the way of every sample, online and offline.

    Args:
        engine: The network, and in its own part what `Predictor` keeps there. Its scratch is overwritten.
        memory: Of the stream. Overwritten.
        x: Sample, (D,).
        y: Outputs, (K,). Overwritten; NaN where the sample failed.

    Returns:
        `Outcome` bits; -1 where x or y has another length, and nothing changed.
    """
    head = fields(engine)
    own = head[OWN_AT]
    settings = engine[own : own + CONSTANTS_AT].view(np.int64)
    size, D = settings[BIN], settings[WIDTH]
    if x.shape[0] != D or y.shape[0] != settings[OUTPUTS]:
        return -1
    constants_at = own + CONSTANTS_AT
    features_at = constants_at + 3 * D
    constants = engine[constants_at:features_at].reshape(3, D)
    kept = memory[:WINDOW_AT].view(np.int64)
    count, prepared = kept[COUNT], kept[TICKET] == head[LAST_TICKET]
    head[LAST_TICKET] += 1
    states_at = WINDOW_AT + (size + 1) * D
    window = memory[WINDOW_AT:states_at].reshape(size + 1, D)
    outcome = preprocess_step(settings, constants, x, count, window, engine[features_at : features_at + D])
    if outcome & 2:
        for k in range(y.shape[0]):
            y[k] = np.float32(np.nan)
        return outcome
    at = states_at + count % size * ((memory.shape[0] - states_at) // size)
    network.step(engine, engine, features_at, memory, at, y, prepared)
    kept[COUNT] = count + 1
    if not all_finite(y):
        outcome |= 8
    return outcome


@kernel
def prepare(engine: F32, memory: F32) -> None:
    """Do now what the next `advance` of this memory can do without its sample.

    Args:
        engine: As in `advance`.
        memory: Of the stream. Its ticket is overwritten.
    """
    head = fields(engine)
    own = head[OWN_AT]
    settings = engine[own : own + CONSTANTS_AT].view(np.int64)
    size, D = settings[BIN], settings[WIDTH]
    kept = memory[:WINDOW_AT].view(np.int64)
    states_at = WINDOW_AT + (size + 1) * D
    at = states_at + kept[COUNT] % size * ((memory.shape[0] - states_at) // size)
    network.prepare(engine, memory, at)
    kept[TICKET] = head[LAST_TICKET]


@kernel
def advance_run(engine: F32, memory: F32, xs: F32, ys: F32) -> None:
    """`advance` over a sequence, the same bits as T calls.

    Args:
        engine: As in `advance`.
        memory: Of the stream. Overwritten.
        xs: Samples, (T, D).
        ys: Outputs, (T, K). Overwritten.
    """
    for t in range(xs.shape[0]):
        advance(engine, memory, xs[t], ys[t])


def make_stepper(model: Model, first_ticket: int) -> F32:
    """The engine of a model with its preprocessing: what `advance` takes.

    Args:
        model: What is to be stepped.
        first_ticket: Where its tickets start: those of two engines must never meet in one memory.
    """
    D = model.preprocess.width
    plan = model.card.architecture.plan()
    engine = make_engine(plan, model.weights, CONSTANTS_AT + 4 * D)
    head = fields(engine)
    own = int(head[OWN_AT])
    settings = engine[own : own + CONSTANTS_AT].view(np.int64)
    settings[:] = *model.preprocess.settings(), D, model.card.architecture.outputs
    engine[own + CONSTANTS_AT : own + CONSTANTS_AT + 3 * D] = model.preprocess.constants().reshape(-1)
    head[LAST_TICKET] = first_ticket
    return engine


def memory_shape(model: Model) -> tuple[int, int, int]:
    """Samples of a bin, features, and values of one hidden state of a stream of this model."""
    return model.card.bin, model.preprocess.width, state_size(model.card.architecture.plan())
