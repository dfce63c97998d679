"""The LSTM's passes; its equations stand in `kernels/lstm.py`.

Vectors go from the last units to the first, gate after gate: what a vector writes beyond a gate's last unit
is overwritten by the next gate.
"""

from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels.activations import ZERO, sigmoid_of, tanh_of
from stream_rnn.kernels.lstm import ONE
from stream_rnn.kernels.packed import padded
from stream_rnn.kernels.passes.sums import recur, recur_back
from stream_rnn.kernels.passes.tape import (
    DC,
    DH,
    DZ,
    GATES_AT,
    H_STRIDE,
    HS,
    KEPT,
    SQUASHED,
    UNITS,
    Z_STRIDE,
    A,
    Q,
)
from stream_rnn.kernels.vector import LANES, fma, load, splat, store
from stream_rnn.sample import F32, I64


@kernel
def lstm_forward(tape: F32, row: I64, steps: int, batch: int) -> None:
    """Every step of a batch, keeping gates, c (KEPT), tanh c (SQUASHED) and h.

    Args:
        tape: Values of a tape, where A = b + X W. What is kept is overwritten.
        row: Of the layer.
        steps: Steps T.
        batch: Windows B.
    """
    Z, S = row[Z_STRIDE], row[H_STRIDE]
    for first in range(0, steps * batch, batch):
        recur(tape, row, first, batch)
        for i in range(batch):
            m = first + i
            a, q, gates = row[A] + m * Z, row[Q] + i * Z, row[GATES_AT] + m * Z
            c, h = row[KEPT] + m * S, row[HS] + (m + batch) * S
            _update(tape, a, q, gates, c, c + batch * S, row[SQUASHED] + m * S, h, row[UNITS])


@kernel
def _update(
    tape: F32, a: int, q: int, gates: int, older: int, newer: int, squashed: int, h: int, H: int
) -> None:
    """`lstm_update` of one row, the same operations.

    Args:
        tape: Holds all of them.
        a: Place of x W + b.
        q: Place of h U.
        gates: Place of i, f, g, o. Overwritten.
        older: Place of c_{t-1}.
        newer: Place of c_t. Overwritten.
        squashed: Place of tanh c_t. Overwritten.
        h: Place of h_t. Overwritten.
        H: Number of units.
    """
    for j in range(padded(H) - LANES, -1, -LANES):
        i = sigmoid_of(load(tape, a + j) + load(tape, q + j))
        f = sigmoid_of(load(tape, a + H + j) + load(tape, q + H + j))
        g = tanh_of(load(tape, a + 2 * H + j) + load(tape, q + 2 * H + j))
        o = sigmoid_of(load(tape, a + 3 * H + j) + load(tape, q + 3 * H + j))
        c = fma(f, load(tape, older + j), i * g)
        tanh_c = tanh_of(c)
        store(tape, gates + j, i)
        store(tape, gates + H + j, f)
        store(tape, gates + 2 * H + j, g)
        store(tape, gates + 3 * H + j, o)
        store(tape, newer + j, c)
        store(tape, squashed + j, tanh_c)
        store(tape, h + j, o * tanh_c)


@kernel
def lstm_backward(tape: F32, row: I64, steps: int, batch: int) -> None:
    """Back through time: the gradient of the sums, from the gradient of each h.

    Args:
        tape: Values of a tape after `lstm_forward`. DZ is overwritten, DH added to: what flows back in time.
        row: Of the layer.
        steps: Steps T.
        batch: Windows B.
    """
    Z, S, H = row[Z_STRIDE], row[H_STRIDE], row[UNITS]
    tape[row[DC] : row[DC] + batch * S] = ZERO
    for first in range((steps - 1) * batch, -1, -batch):
        for i in range(batch):
            m = first + i
            gates, dz = row[GATES_AT] + m * Z, row[DZ] + m * Z
            dh, dc = row[DH] + (m + batch) * S, row[DC] + i * S
            _update_back(tape, gates, row[KEPT] + m * S, row[SQUASHED] + m * S, dh, dc, dz, H)
        if first > 0:
            recur_back(tape, row, first, batch)


@kernel
def _update_back(tape: F32, gates: int, older: int, squashed: int, dh: int, dc: int, dz: int, H: int) -> None:
    """The gradient of one row's sums.

    Args:
        tape: Holds all of them.
        gates: Place of i, f, g, o.
        older: Place of c_{t-1}.
        squashed: Place of tanh c_t.
        dh: Place of the gradient of h_t.
        dc: Place of the gradient of c_t by the steps behind. Overwritten by that of c_{t-1}.
        dz: Place of the gradient of the sums. Overwritten.
        H: Number of units.
    """
    one = splat(ONE)
    for j in range(padded(H) - LANES, -1, -LANES):
        i, f = load(tape, gates + j), load(tape, gates + H + j)
        g, o = load(tape, gates + 2 * H + j), load(tape, gates + 3 * H + j)
        tanh_c, by_h = load(tape, squashed + j), load(tape, dh + j)
        by_c = fma(by_h * o, one - tanh_c * tanh_c, load(tape, dc + j))
        store(tape, dz + j, by_c * g * i * (one - i))
        store(tape, dz + H + j, by_c * load(tape, older + j) * f * (one - f))
        store(tape, dz + 2 * H + j, by_c * i * (one - g * g))
        store(tape, dz + 3 * H + j, by_h * tanh_c * o * (one - o))
        store(tape, dc + j, by_c * f)
