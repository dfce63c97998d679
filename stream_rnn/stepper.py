"""A model compiled: one sample in, outputs out, a stream's memory moved on. The same way online and offline.

A *stepper* is the model's engine, and in the engine's own part the preprocessing and what this room keeps.
"""

import numpy as np

from stream_rnn.kernels import network
from stream_rnn.kernels._jit import hot
from stream_rnn.kernels.batch import A_AT, BLOCK, PLACES_AT, STRIDE, X_AT, X_STRIDE, step_batch
from stream_rnn.kernels.engine import OWN_AT, make_engine
from stream_rnn.kernels.engine import TICKET as LAST_TICKET
from stream_rnn.kernels.plan import state_size
from stream_rnn.kernels.vector import integer, set_integer
from stream_rnn.memory import COUNT, TICKET, WINDOW_AT
from stream_rnn.model.model import Model
from stream_rnn.preprocess import BIN, WIDTH, all_finite, preprocess_step
from stream_rnn.sample import F32, I64

OUTPUTS, STATE, FEATURES_AT = range(0, 6, 2)
"""Fields of the engine's own part: outputs K, values of a hidden state, where features are put."""
STAGE = 8
"""Behind them: the preprocessing's stage."""


@hot
def take_in(engine: F32, memory: F32, at: int, x: F32, x_at: int, out: F32, out_at: int) -> int:
    """Preprocess one sample of a stream.

    Args:
        engine: As made by `make_stepper`.
        memory: Holds the stream's memory from index `at`. Its window is overwritten.
        at: See `memory`.
        x: Holds the sample, D values from index `x_at`.
        x_at: See `x`.
        out: Features, D values from index `out_at`. Overwritten.
        out_at: See `out`.

    Returns:
        `Outcome` bits.
    """
    stage = integer(engine, OWN_AT) + STAGE
    size, count = integer(engine, stage + BIN), integer(memory, at + COUNT)
    slot = count % size if size > 1 else 0
    return preprocess_step(engine, stage, x, x_at, count, slot, memory, at + WINDOW_AT, out, out_at)


@hot
def state_at(engine: F32, memory: F32, at: int) -> int:
    """Index of the hidden state whose turn it is.

    Args:
        engine: As made by `make_stepper`.
        memory: Holds the stream's memory from index `at`.
        at: See `memory`.
    """
    own = integer(engine, OWN_AT)
    size, D = integer(engine, own + STAGE + BIN), integer(engine, own + STAGE + WIDTH)
    slot = integer(memory, at + COUNT) % size if size > 1 else 0
    return at + WINDOW_AT + size * D + slot * integer(engine, own + STATE)


@hot
def advance(engine: F32, memory: F32, at: int, x: F32, y: F32) -> int:
    """Preprocess and step one sample, in place.

    Args:
        engine: As made by `make_stepper`. Its scratch is overwritten.
        memory: Holds the stream's memory from index `at`. Overwritten.
        at: See `memory`.
        x: Sample, (D,).
        y: Outputs, (K,). Overwritten; NaN where the sample failed.

    Returns:
        `Outcome` bits; -1 where x or y has another length, and nothing changed.
    """
    own = integer(engine, OWN_AT)
    K = y.shape[0]
    if x.shape[0] != integer(engine, own + STAGE + WIDTH) or integer(engine, own + OUTPUTS) != K:
        return -1
    features = integer(engine, own + FEATURES_AT)
    prepared = integer(memory, at + TICKET) == integer(engine, LAST_TICKET)
    set_integer(engine, LAST_TICKET, integer(engine, LAST_TICKET) + 1)
    outcome = take_in(engine, memory, at, x, 0, engine, features)
    if outcome & 2:
        for k in range(K):
            y[k] = np.float32(np.nan)
        return outcome
    network.step(engine, engine, features, memory, state_at(engine, memory, at), y, prepared)
    set_integer(memory, at + COUNT, integer(memory, at + COUNT) + 1)
    return outcome if all_finite(y, 0, K) else outcome | 8


@hot
def prepare(engine: F32, memory: F32, at: int) -> None:
    """Do now what the next `advance` of this memory can do without its sample.

    Args:
        engine: As in `advance`.
        memory: Holds the stream's memory from index `at`. Its ticket is overwritten.
        at: See `memory`.
    """
    network.prepare(engine, memory, state_at(engine, memory, at))
    set_integer(memory, at + TICKET, integer(engine, LAST_TICKET))


@hot
def advance_run(engine: F32, memory: F32, at: int, xs: F32, ys: F32) -> None:
    """`advance` over a sequence, the same bits as T calls.

    Args:
        engine: As in `advance`.
        memory: Holds the stream's memory from index `at`. Overwritten.
        at: See `memory`.
        xs: Samples, (T, D).
        ys: Outputs, (T, K). Overwritten.
    """
    for t in range(xs.shape[0]):
        advance(engine, memory, at, xs[t], ys[t])


@hot
def advance_many(
    engine: F32, batch: F32, memory: F32, places: I64, N: int, X: F32, Y: F32, outcomes: I64
) -> None:
    """`advance` for one sample each of N different streams, the same bits as N calls.

    Args:
        engine: As in `advance`.
        batch: As made by `make_batch` for this network. Overwritten.
        memory: Holds the streams' memories. Overwritten.
        places: Index of each stream's memory, (>= N,); a stream whose place is negative is left alone.
        N: Number of streams.
        X: Samples, (>= N, D).
        Y: Outputs, (>= N, K). Overwritten; NaN where a sample failed.
        outcomes: `Outcome` bits, (>= N,). Overwritten.
    """
    set_integer(engine, LAST_TICKET, integer(engine, LAST_TICKET) + 1)
    x_at, x_stride = integer(batch, X_AT), integer(batch, X_STRIDE)
    first = 0
    while first < N:
        M, i = 0, first
        while i < N and M < BLOCK:
            if places[i] >= 0:
                at = places[i]
                outcomes[i] = take_in(engine, memory, at, X[i], 0, batch, x_at + M * x_stride)
                if not outcomes[i] & 2:
                    set_integer(batch, PLACES_AT + 2 * M, state_at(engine, memory, at))
                    set_integer(memory, at + COUNT, integer(memory, at + COUNT) + 1)
                    M += 1
            i += 1
        step_batch(engine, batch, M, memory)
        _give(batch, first, i, places, Y, outcomes)
        first = i


@hot
def _give(batch: F32, first: int, end: int, places: I64, Y: F32, outcomes: I64) -> None:
    """Copy the outputs of one pass to the streams they belong to."""
    K, m = Y.shape[1], 0
    a_at, stride = integer(batch, A_AT), integer(batch, STRIDE)
    for i in range(first, end):
        if places[i] < 0:
            continue
        if outcomes[i] & 2:
            for k in range(K):
                Y[i, k] = np.float32(np.nan)
            continue
        at = a_at + m * stride
        for k in range(K):
            Y[i, k] = batch[at + k]
        if not all_finite(batch, at, K):
            outcomes[i] |= 8
        m += 1


def make_stepper(model: Model, first_ticket: int) -> F32:
    """The engine of a model with its preprocessing: what `advance` takes.

    Args:
        model: What is to be stepped.
        first_ticket: Where its tickets start: those of two engines must never meet in one memory.
    """
    plan = model.card.architecture.plan()
    stage = model.preprocess.stage()
    room = STAGE + len(stage)
    engine = make_engine(plan, model.weights, room + model.preprocess.width)
    own = int(engine[OWN_AT : OWN_AT + 2].view(np.int64)[0])
    engine[LAST_TICKET : LAST_TICKET + 2].view(np.int64)[0] = first_ticket
    fields = model.card.architecture.outputs, state_size(plan), own + room, 0
    engine[own : own + STAGE].view(np.int64)[:] = fields
    engine[own + STAGE : own + room] = stage
    return engine
