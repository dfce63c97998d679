"""One step of many streams at once, the same bits as one by one: each weight that is loaded serves several.

The streams' states lie where they lie; what the products read and write stands row by row in a batch's own
buffer. A stream that is there more than once has one sample in each *wave*: what a layer takes from below is
summed over all rows at once, what it takes from its own past wave after wave.
"""

import numpy as np

from stream_rnn.kernels._jit import part
from stream_rnn.kernels.activations import activate
from stream_rnn.kernels.elman import elman_update
from stream_rnn.kernels.engine import (
    ACTIVATION,
    B_U,
    INPUTS,
    KIND,
    LAGS,
    RECURRENT_SUMS,
    ROWS,
    STATE_AT,
    SUMS,
    U_N,
    UNITS,
    B,
    U,
    W,
    row_of,
    sums_of,
)
from stream_rnn.kernels.fir import fir_update
from stream_rnn.kernels.gru import gru_reset, gru_update
from stream_rnn.kernels.lstm import lstm_update
from stream_rnn.kernels.network import add_outputs
from stream_rnn.kernels.packed import padded, product, product_rows
from stream_rnn.kernels.plan import FIR, GRU_RESET_AFTER, GRU_RESET_BEFORE, LSTM, READOUT, first_layers
from stream_rnn.kernels.plan import INPUTS as PLAN_INPUTS
from stream_rnn.kernels.plan import UNITS as PLAN_UNITS
from stream_rnn.kernels.vector import LANES, integer
from stream_rnn.sample import F32, I64

BLOCK = 96
"""Most samples of one pass: a multiple of the rows of every tile; its sums stay in the second-level cache."""

X_AT, X_STRIDE, H_AT, H_STRIDE, A_AT, Q_AT, STRIDE, BELOW_AT, OUT_AT = range(0, 18, 2)
"""Fields of a batch: features, h of the layer, its sums a and q, what it takes from below, and the outputs;
each a row a stream. Of one network, what is below takes the features' place, and the outputs are a."""
PLACES_AT = 32
"""Behind the fields: where each stream's state starts, int64."""
ENDS_AT = PLACES_AT + 2 * BLOCK
"""Behind those: where each wave ends, int64."""


def make_batch(plan: I64) -> F32:
    """Room for one pass of a network: `step_batch` takes it.

    Args:
        plan: As made by `make_plan`.
    """
    inputs = _whole(int(max(plan[:, PLAN_INPUTS].max(), plan[:-1, PLAN_UNITS].max())))
    units = _whole(int(plan[:, PLAN_UNITS].max()) + LANES)
    sums = _whole(max(4 * int(plan[:, PLAN_UNITS].max()), *map(sums_of, plan)) + 2 * LANES)
    x_at = ENDS_AT + 2 * BLOCK
    h_at = x_at + BLOCK * inputs
    a_at = h_at + BLOCK * units
    q_at = a_at + BLOCK * sums
    end = q_at + BLOCK * sums
    below_at, out_at = x_at, a_at
    if len(first_layers(plan)) > 1:
        below_at, out_at = end, end + BLOCK * inputs
        end = out_at + BLOCK * sums
    batch = np.zeros(end, dtype=np.float32)
    fields = np.array([x_at, inputs, h_at, units, a_at, q_at, sums, below_at, out_at], dtype=np.int64)
    batch[: 2 * len(fields)] = fields.view(np.float32)
    return batch


def _whole(size: int) -> int:
    return -(-size // 16) * 16


@part
def step_batch(engine: F32, batch: F32, M: int, waves: int, states: F32) -> None:
    """Advance streams by M samples; the outputs are left in the batch.

    Args:
        engine: As made by `make_engine`.
        batch: As made by `make_batch`, with the features of M <= BLOCK samples in its rows X, the index of
            each one's state in its places, and the end of each wave. Its scratch is overwritten.
        M: Number of samples.
        waves: Number of waves; no state is twice in one.
        states: Holds the states. Overwritten.
    """
    rows = integer(engine, ROWS)
    from_at, x_stride = integer(batch, X_AT), integer(batch, X_STRIDE)
    a_at, stride, read_out = integer(batch, A_AT), integer(batch, STRIDE), False
    for layer in range(rows):
        row = row_of(layer)
        D, N = integer(engine, row + INPUTS), integer(engine, row + SUMS)
        b, w = integer(engine, row + B), integer(engine, row + W)
        product_rows(batch, a_at, stride, engine, b, 0, batch, from_at, x_stride, engine, w, M, D, N)
        if integer(engine, row + KIND) == READOUT:
            _add_outputs(batch, M, integer(engine, row + UNITS), read_out)
            from_at, read_out = integer(batch, X_AT), True
            continue
        first = 0
        for wave in range(waves):
            end = integer(batch, ENDS_AT + 2 * wave)
            _recur(engine, batch, row, first, end, states)
            _update(engine, batch, row, first, end, states)
            first = end
        from_at = integer(batch, BELOW_AT)
    row = row_of(rows - 1)
    K, code = integer(engine, row + UNITS), integer(engine, row + ACTIVATION)
    for m in range(M):
        at = integer(batch, OUT_AT) + m * stride
        activate(code, batch[at : at + K])


@part
def _add_outputs(batch: F32, M: int, K: int, more: bool) -> None:
    """One readout's sums become the outputs, or are added to them; where they are the outputs, nothing."""
    a_at, out_at, stride = integer(batch, A_AT), integer(batch, OUT_AT), integer(batch, STRIDE)
    if a_at == out_at:
        return
    for m in range(M):
        add_outputs(batch, a_at + m * stride, batch[out_at + m * stride : out_at + m * stride + K], more)


@part
def _recur(engine: F32, batch: F32, row: int, first: int, end: int, states: F32) -> None:
    """q = h U of one layer that has a U, for the samples of one wave."""
    h_at, h_stride = integer(batch, H_AT), integer(batch, H_STRIDE)
    q_at, stride = integer(batch, Q_AT), integer(batch, STRIDE)
    H, N = integer(engine, row + UNITS), integer(engine, row + RECURRENT_SUMS)
    b, w = integer(engine, row + B_U), integer(engine, row + U)
    if N == 0:
        return
    if end - first == 1:
        at = integer(batch, PLACES_AT + 2 * first) + integer(engine, row + STATE_AT)
        product(batch, q_at + first * stride, engine, b, states, at, engine, w, H, N)
        return
    for m in range(first, end):
        at = integer(batch, PLACES_AT + 2 * m) + integer(engine, row + STATE_AT)
        to = h_at + m * h_stride
        for j in range(H):
            batch[to + j] = states[at + j]
    q, h = q_at + first * stride, h_at + first * h_stride
    product_rows(batch, q, stride, engine, b, 0, batch, h, h_stride, engine, w, end - first, H, N)


@part
def _update(engine: F32, batch: F32, row: int, first: int, end: int, states: F32) -> None:
    """h and c of one layer, for the samples of one wave; h becomes the next layer's input."""
    kind, H = integer(engine, row + KIND), integer(engine, row + UNITS)
    below_at, x_stride = integer(batch, BELOW_AT), integer(batch, X_STRIDE)
    h_at, h_stride = integer(batch, H_AT), integer(batch, H_STRIDE)
    a_at, q_at, stride = integer(batch, A_AT), integer(batch, Q_AT), integer(batch, STRIDE)
    if kind == GRU_RESET_BEFORE:
        for m in range(first, end):
            at = integer(batch, PLACES_AT + 2 * m) + integer(engine, row + STATE_AT)
            gru_reset(batch, a_at + m * stride, q_at + m * stride, h_at + m * h_stride, states, at, H)
        b, w, N = integer(engine, row + B_U), integer(engine, row + U_N), padded(H)
        q_n, h = q_at + first * stride + 2 * H, h_at + first * h_stride
        product_rows(batch, q_n, stride, engine, b, 0, batch, h, h_stride, engine, w, end - first, H, N)
    for m in range(first, end):
        at = integer(batch, PLACES_AT + 2 * m) + integer(engine, row + STATE_AT)
        a, q = a_at + m * stride, q_at + m * stride
        if kind == LSTM:
            lstm_update(batch, a, q, states, at, H)
        elif kind in (GRU_RESET_AFTER, GRU_RESET_BEFORE):
            gru_update(batch, a, q, kind == GRU_RESET_AFTER, states, at, H)
        elif kind == FIR:
            fir_update(batch, a, states, at, H, integer(engine, row + LAGS))
        else:
            elman_update(batch, a, q, kind, states, at, H)
        to = below_at + m * x_stride
        for j in range(H):
            batch[to + j] = states[at + j]
