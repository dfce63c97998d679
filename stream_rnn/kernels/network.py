"""Stacks of cells, each with a dense readout, stepped in place: one compiled step for every architecture.

What a step adds up: a = b + x W over the inputs and, apart, q = h U over the units; a cell sees a + q.
So q can be computed before the sample is there (`prepare`), and the bits are the same.
"""

from stream_rnn.kernels._jit import hot, part
from stream_rnn.kernels.activations import activate
from stream_rnn.kernels.elman import elman_update
from stream_rnn.kernels.engine import (
    A_AT,
    ACTIVATION,
    B_U,
    FEW,
    INPUTS,
    KIND,
    LAGS,
    NUMBERS_AT,
    PAUSE,
    Q_AT,
    RECURRENT_SUMS,
    RESET_AT,
    ROWS,
    STATE_AT,
    SUMS,
    U_N,
    UNITS,
    B,
    U,
    W,
    row_of,
)
from stream_rnn.kernels.fir import fir_update
from stream_rnn.kernels.gru import gru_reset, gru_update
from stream_rnn.kernels.lstm import lstm_update
from stream_rnn.kernels.packed import not_zero, padded, product, product_listed
from stream_rnn.kernels.plan import FIR, GRU_RESET_AFTER, GRU_RESET_BEFORE, LSTM, READOUT
from stream_rnn.kernels.vector import integer, number, set_integer
from stream_rnn.sample import F32

NOWHERE = -1
"""Where the input of a layer lies that takes the features."""
PAUSE_STEPS = 15
"""Steps for which inputs are not counted after they were too many: a sixteenth of the cost of counting."""


@part
def take_in(engine: F32, row: int, x: F32, x_at: int) -> None:
    """a = b + x W of one layer, into the engine.

    Args:
        engine: As made by `make_engine`. Its scratch is overwritten.
        row: Where the layer's row of the table starts.
        x: Holds what the layer takes, D values from index `x_at`.
        x_at: See `x`.
    """
    a, b, w = integer(engine, row + A_AT), integer(engine, row + B), integer(engine, row + W)
    D, N, few = integer(engine, row + INPUTS), integer(engine, row + SUMS), integer(engine, row + FEW)
    numbers, n = integer(engine, row + NUMBERS_AT), D
    if few > 0:
        pause = integer(engine, row + PAUSE)
        if pause == 0:
            n = not_zero(x, x_at, D, engine, numbers)
            pause = 0 if n < few else PAUSE_STEPS
        else:
            pause -= 1
        set_integer(engine, row + PAUSE, pause)
    if n < few:
        product_listed(engine, a, engine, b, x, x_at, engine, w, D, N, n, numbers)
    else:
        product(engine, a, engine, b, x, x_at, engine, w, D, N)


@part
def recur(engine: F32, row: int, state: F32, at: int) -> None:
    """q = h U of one layer that has a U, into the engine.

    Args:
        engine: As made by `make_engine`. Its scratch is overwritten.
        row: Where the layer's row of the table starts.
        state: Holds h of this layer from index `at`.
        at: See `state`.
    """
    q, b, w = integer(engine, row + Q_AT), integer(engine, row + B_U), integer(engine, row + U)
    H, N = integer(engine, row + UNITS), integer(engine, row + RECURRENT_SUMS)
    if N > 0:
        product(engine, q, engine, b, state, at, engine, w, H, N)


@part
def update(engine: F32, row: int, state: F32, at: int) -> None:
    """h and c of one layer from its sums a and q.

    Args:
        engine: As made by `make_engine`. Its scratch is overwritten.
        row: Where the layer's row of the table starts.
        state: Holds h and c of this layer from index `at`. Overwritten.
        at: See `state`.
    """
    kind, H = integer(engine, row + KIND), integer(engine, row + UNITS)
    a, q = integer(engine, row + A_AT), integer(engine, row + Q_AT)
    if kind == LSTM:
        lstm_update(engine, a, q, state, at, H)
    elif kind in (GRU_RESET_AFTER, GRU_RESET_BEFORE):
        if kind == GRU_RESET_BEFORE:
            kept, w, b = (
                integer(engine, row + RESET_AT),
                integer(engine, row + U_N),
                integer(engine, row + B_U),
            )
            gru_reset(engine, a, q, kept, state, at, H)
            product(engine, q + 2 * H, engine, b, engine, kept, engine, w, H, padded(H))
        gru_update(engine, a, q, kind == GRU_RESET_AFTER, state, at, H)
    elif kind == FIR:
        fir_update(engine, a, state, at, H, integer(engine, row + LAGS))
    else:
        elman_update(engine, a, q, kind, state, at, H)


@part
def add_outputs(sums: F32, a: int, y: F32, more: bool) -> None:
    """One readout's sums become the outputs, or are added to them.

    Args:
        sums: Holds the sums, K from index `a`.
        a: See `sums`.
        y: Outputs, (K,). Overwritten.
        more: Whether another readout's are there already.
    """
    for k in range(y.shape[0]):
        y[k] = y[k] + number(sums, a + k) if more else number(sums, a + k)


@part
def stepped(engine: F32, x: F32, x_at: int, state: F32, state_at: int, y: F32, prepared: bool) -> None:
    """`step`, for kernels that call it.

    Args:
        engine: As made by `make_engine`. Its scratch is overwritten.
        x: Holds the features, D values from index `x_at`.
        x_at: See `x`.
        state: Holds the state of one stream, `state_size(plan)` values from index `state_at`. Overwritten.
        state_at: See `state`.
        y: Outputs, (K,). Overwritten.
        prepared: Whether `prepare` was called for this state as it is, and nothing with this engine since.
    """
    rows, below, read_out = integer(engine, ROWS), NOWHERE, False
    for layer in range(rows):
        row = row_of(layer)
        if below == NOWHERE:
            take_in(engine, row, x, x_at)
        else:
            take_in(engine, row, state, below)
        if integer(engine, row + KIND) == READOUT:
            add_outputs(engine, integer(engine, row + A_AT), y, read_out)
            below, read_out = NOWHERE, True
            continue
        below = state_at + integer(engine, row + STATE_AT)
        if not prepared:
            recur(engine, row, state, below)
        update(engine, row, state, below)
    activate(integer(engine, row_of(rows - 1) + ACTIVATION), y)


@hot
def step(engine: F32, x: F32, x_at: int, state: F32, state_at: int, y: F32, prepared: bool) -> None:
    """Advance the whole network by one sample, in place.

    Args:
        engine: As in `stepped`.
        x: Likewise.
        x_at: Likewise.
        state: Likewise.
        state_at: Likewise.
        y: Likewise.
        prepared: Likewise.
    """
    stepped(engine, x, x_at, state, state_at, y, prepared)


@part
def recurred(engine: F32, state: F32, state_at: int) -> None:
    """`prepare`, for kernels that call it.

    Args:
        engine: As made by `make_engine`. Its scratch is overwritten.
        state: Holds the state of one stream from index `state_at`.
        state_at: See `state`.
    """
    for layer in range(integer(engine, ROWS)):
        row = row_of(layer)
        recur(engine, row, state, state_at + integer(engine, row + STATE_AT))


@hot
def prepare(engine: F32, state: F32, state_at: int) -> None:
    """Compute every layer's h U for the next step of this state, before its sample is there.

    Args:
        engine: As in `recurred`.
        state: Likewise.
        state_at: Likewise.
    """
    recurred(engine, state, state_at)


@hot
def run(engine: F32, xs: F32, state: F32, ys: F32) -> None:
    """Step through a sequence of one stream: the same bits as T calls of `step`.

    Args:
        engine: As made by `make_engine`. Its scratch is overwritten.
        xs: Features, (T, D).
        state: State of the stream, flat. Overwritten.
        ys: Outputs, (T, K). Overwritten.
    """
    for t in range(xs.shape[0]):
        nothing = 0 * t  # no constant: numba would compile another step for it
        stepped(engine, xs[t], nothing, state, nothing, ys[t], nothing > 0)
