"""A model compiled: one sample in, outputs out, a stream's memory moved on. The same way online and offline.

A *stepper* is the model's engine, and in the engine's own part the preprocessing and what this room keeps.
"""

import numpy as np

from stream_rnn.kernels import network
from stream_rnn.kernels._jit import hot, part
from stream_rnn.kernels.batch import BLOCK, ENDS_AT, OUT_AT, PLACES_AT, STRIDE, X_AT, X_STRIDE, step_batch
from stream_rnn.kernels.engine import OWN_AT, make_engine
from stream_rnn.kernels.engine import TICKET as LAST_TICKET
from stream_rnn.kernels.plan import arrays, first_layers, state_size
from stream_rnn.kernels.vector import integer, set_integer
from stream_rnn.memory import COUNT, LAST_SEQ, PASS, STATUS, STEPPED, T_NS, TICKET, WINDOW_AT
from stream_rnn.model.model import Model
from stream_rnn.preprocess import BIN, KEPT, WIDTH, all_finite, preprocess_step
from stream_rnn.sample import F32, I64

OUTPUTS, STATE, FEATURES_AT = range(0, 6, 2)
"""Fields of the engine's own part: outputs K, values of a hidden state, where features are put."""
FRESH, SETTLED, ODD = range(3)
"""Status of a session: no step yet since its state is new; nothing unusual; look at what comes closely."""
MAX_SEQ = 2**63 - 1  # what the encodings can carry
NO_SEQ, ANY = -1, -2
NO_TIME = -(2**63)
ALONE = -1
"""Instead of an outcome: this sample is not stepped, and must be looked at closely."""
STAGE = 8
"""Behind the fields: the preprocessing's stage."""


@part
def take_in(engine: F32, memory: F32, at: int, x: F32, x_at: int, out: F32, out_at: int) -> int:
    """Preprocess one sample of a stream.

    Args:
        engine: As made by `make_stepper`.
        memory: Holds the stream's memory from index `at`. Its window is overwritten.
        at: See `memory`.
        x: Holds the sample, C values from index `x_at`.
        x_at: See `x`.
        out: What the network gets, from index `out_at`. Overwritten.
        out_at: See `out`.

    Returns:
        `Outcome` bits.
    """
    stage = integer(engine, OWN_AT) + STAGE
    size, count = integer(engine, stage + BIN), integer(memory, at + COUNT)
    slot = count % size if size > 1 else 0
    return preprocess_step(engine, stage, x, x_at, count, slot, memory, at + WINDOW_AT, out, out_at)


@part
def state_at(engine: F32, memory: F32, at: int) -> int:
    """Index of the hidden state whose turn it is.

    Args:
        engine: As made by `make_stepper`.
        memory: Holds the stream's memory from index `at`.
        at: See `memory`.
    """
    own = integer(engine, OWN_AT)
    size, C = integer(engine, own + STAGE + BIN), integer(engine, own + STAGE + WIDTH)
    slot = integer(memory, at + COUNT) % size if size > 1 else 0
    kept = size * C + integer(engine, own + STAGE + KEPT)
    return at + WINDOW_AT + kept + slot * integer(engine, own + STATE)


@part
def _expected(memory: F32, at: int, seq: int) -> int:
    """The seq that a stream's next sample has, if this sample is the ordinary next one; else ALONE."""
    if seq == ANY:
        return 0
    last = integer(memory, at + LAST_SEQ)
    if integer(memory, at + STATUS) != SETTLED or last == MAX_SEQ or (seq != NO_SEQ and seq != last + 1):
        return ALONE
    return last + 1


@part
def _look_closely(memory: F32, at: int) -> None:
    """Let what follows of a stream be looked at closely too, so that its samples keep their order."""
    if integer(memory, at + STATUS) == SETTLED:
        set_integer(memory, at + STATUS, ODD)


@part
def _note(memory: F32, at: int, outcome: int, seq: int, time: int) -> None:
    """Write down what a session must know of a sample that was taken in."""
    set_integer(memory, at + LAST_SEQ, seq)
    set_integer(memory, at + T_NS, time)
    if outcome & 3:
        _look_closely(memory, at)
    if not outcome & 2:
        set_integer(memory, at + STEPPED, integer(memory, at + STEPPED) + 1)


@hot
def advance(engine: F32, memory: F32, at: int, x: F32, y: F32, seq: int, time: int) -> int:
    """Preprocess and step one sample, in place.

    Args:
        engine: As made by `make_stepper`. Its scratch is overwritten.
        memory: Holds the stream's memory from index `at`. Overwritten.
        at: See `memory`.
        x: Sample, (C,).
        y: Outputs, (K,). Overwritten; NaN where the sample failed.
        seq: Its number, which is then written down, or NO_SEQ where the order of arrival counts; ANY where
            numbers mean nothing.
        time: Its own time, epoch nanoseconds, or NO_TIME.

    Returns:
        `Outcome` bits; ALONE, and nothing changed, where x or y has another length, or the sample is not the
        next of a session that has nothing out of the ordinary to look at.
    """
    own = integer(engine, OWN_AT)
    K = y.shape[0]
    if x.shape[0] != integer(engine, own + STAGE + WIDTH) or integer(engine, own + OUTPUTS) != K:
        return ALONE
    number = _expected(memory, at, seq)
    if number == ALONE:
        return ALONE
    features = integer(engine, own + FEATURES_AT)
    prepared = integer(memory, at + TICKET) == integer(engine, LAST_TICKET)
    set_integer(engine, LAST_TICKET, integer(engine, LAST_TICKET) + 1)
    outcome = take_in(engine, memory, at, x, 0, engine, features)
    if outcome & 2:
        for k in range(K):
            y[k] = np.float32(np.nan)
    else:
        network.stepped(engine, engine, features, memory, state_at(engine, memory, at), y, prepared)
        set_integer(memory, at + COUNT, integer(memory, at + COUNT) + 1)
        if not all_finite(y, 0 * K, K):  # no constant, likewise
            outcome |= 8
    if seq != ANY:
        _note(memory, at, outcome, number, time)
    return outcome


@hot
def prepare(engine: F32, memory: F32, at: int) -> None:
    """Do now what the next `advance` of this memory can do without its sample.

    Args:
        engine: As in `advance`.
        memory: Holds the stream's memory from index `at`. Its ticket is overwritten.
        at: See `memory`.
    """
    ticket = integer(engine, LAST_TICKET) + 1  # a new one: what was prepared for another memory is gone
    set_integer(engine, LAST_TICKET, ticket)
    network.recurred(engine, memory, state_at(engine, memory, at))
    set_integer(memory, at + TICKET, ticket)


@hot
def advance_run(engine: F32, memory: F32, at: int, xs: F32, ys: F32) -> None:
    """`advance` over a sequence, the same bits as T calls.

    Args:
        engine: As in `advance`.
        memory: Holds the stream's memory from index `at`. Overwritten.
        at: See `memory`.
        xs: Samples, (T, C).
        ys: Outputs, (T, K). Overwritten.
    """
    for t in range(xs.shape[0]):
        nothing = 0 * t  # no constants: they would compile it anew
        advance(engine, memory, at, xs[t], ys[t], ANY - nothing, nothing)


@hot
def advance_many(
    engine: F32,
    batch: F32,
    memory: F32,
    places: I64,
    seqs: I64,
    times: I64,
    N: int,
    X: F32,
    Y: F32,
    outcomes: I64,
) -> int:
    """`advance` for N samples that came together, the same bits as N calls: different streams in one step.

    Args:
        engine: As in `advance`.
        batch: As made by `make_batch` for this network. Overwritten.
        memory: Holds the streams' memories. Overwritten.
        places: Index of the memory of each one's stream, (>= N,); a stream may be there more than once.
        seqs: As in `advance`, (>= N,). Overwritten where it was NO_SEQ.
        times: As in `advance`, (>= N,).
        N: Number of samples.
        X: Samples, (>= N, C).
        Y: Outputs, (>= N, K). Overwritten; NaN where a sample failed.
        outcomes: `Outcome` bits, or ALONE, (>= N,). Overwritten. Behind a sample of a stream that is not
            stepped none of it is.

    Returns:
        How many were stepped.
    """
    x_at, x_stride = integer(batch, X_AT), integer(batch, X_STRIDE)
    first = stepped = 0 * N  # no constant: numba would compile `_give` once more for it
    while first < N:
        ticket = integer(engine, LAST_TICKET) + 1
        M, waves, i = 0, 0, first
        while i < N and M < BLOCK:
            at = places[i]
            if integer(memory, at + PASS) == ticket:  # a stream's second sample waits for the next wave
                set_integer(batch, ENDS_AT + 2 * waves, M)
                waves += 1
                ticket += 1
            number = _expected(memory, at, seqs[i])
            if number == ALONE:
                outcomes[i] = ALONE
                _look_closely(memory, at)
            else:
                outcomes[i] = take_in(engine, memory, at, X[i], 0, batch, x_at + M * x_stride)
                if seqs[i] != ANY:
                    _note(memory, at, outcomes[i], number, times[i])
                    seqs[i] = number
                if not outcomes[i] & 2:
                    set_integer(batch, PLACES_AT + 2 * M, state_at(engine, memory, at))
                    set_integer(memory, at + COUNT, integer(memory, at + COUNT) + 1)
                    set_integer(memory, at + PASS, ticket)
                    M += 1
            i += 1
        set_integer(batch, ENDS_AT + 2 * waves, M)
        set_integer(engine, LAST_TICKET, ticket)
        step_batch(engine, batch, M, waves + 1, memory)
        _give(batch, first, i, Y, outcomes)
        first = i
        stepped += M
    return stepped


@part
def _give(batch: F32, first: int, end: int, Y: F32, outcomes: I64) -> None:
    """Copy the outputs of one pass to the streams they belong to."""
    K, m = Y.shape[1], 0
    out_at, stride = integer(batch, OUT_AT), integer(batch, STRIDE)
    for i in range(first, end):
        if outcomes[i] == ALONE:
            continue
        if outcomes[i] & 2:
            for k in range(K):
                Y[i, k] = np.float32(np.nan)
            continue
        at = out_at + m * stride
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
    stage = model.preprocess.stage(folded=not model.half)
    room = STAGE + len(stage)
    weights = model.weights
    half = model.half
    if model.preprocess.folds and not half:
        weights = weights.copy()
        for row in first_layers(plan):
            first = arrays(plan[row], weights)
            W, b = first["W"], first["b"][: first["W"].shape[1]]
            W[:], b[:] = model.preprocess.folded(W, b)
    engine = make_engine(plan, weights, room + model.preprocess.inputs, half=half)
    own = int(engine[OWN_AT : OWN_AT + 2].view(np.int64)[0])
    engine[LAST_TICKET : LAST_TICKET + 2].view(np.int64)[0] = first_ticket
    fields = model.card.architecture.outputs, state_size(plan), own + room, 0
    engine[own : own + STAGE].view(np.int64)[:] = fields
    engine.view(np.float32)[own + STAGE : own + room] = stage
    return engine
