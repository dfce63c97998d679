"""LSTM cell with forget gate (Gers, Schmidhuber, Cummins 2000): gates i, f, g, o in this order of columns."""

import numpy as np

from stream_rnn.kernels._jit import hot, kernel
from stream_rnn.kernels.activations import sigmoid, sigmoid_of, tanh, tanh_of
from stream_rnn.kernels.linear import accumulate_outer, accumulate_rows, sum_rows
from stream_rnn.kernels.vector import LANES, fma, load, load_first, store_first
from stream_rnn.sample import F32

ONE = np.float32(1.0)


@hot
def lstm_update(sums: F32, a: int, q: int, state: F32, at: int, H: int) -> None:
    """c_t = f c_{t-1} + i g and h_t = o tanh(c_t), where i, f, o = sigmoid and g = tanh of x W + b + h U.

    Args:
        sums: Holds x W + b, 4H values from index `a`, and h U, 4H values from index `q`.
        a: See `sums`.
        q: See `sums`.
        state: Holds h and, behind it, c, H values each, from index `at`. Overwritten.
        at: See `state`.
        H: Number of units.
    """
    for j in range(0, H, LANES):
        i = sigmoid_of(load(sums, a + j) + load(sums, q + j))
        f = sigmoid_of(load(sums, a + H + j) + load(sums, q + H + j))
        g = tanh_of(load(sums, a + 2 * H + j) + load(sums, q + 2 * H + j))
        o = sigmoid_of(load(sums, a + 3 * H + j) + load(sums, q + 3 * H + j))
        c = fma(f, load_first(state, at + H + j, H - j), i * g)
        store_first(state, at + H + j, c, H - j)
        store_first(state, at + j, o * tanh_of(c), H - j)


@kernel
def lstm_forward(X: F32, W: F32, U: F32, b: F32, h0: F32, c0: F32, hs: F32, cs: F32, gates: F32) -> None:
    """Run B sequences of T samples and keep what `lstm_backward` needs.

    Args:
        X: Features, (T, B, D).
        W: Input weights, (D, 4H).
        U: Recurrent weights, (H, 4H).
        b: Biases, (4H,).
        h0: Hidden states before the first sample, (B, H).
        c0: Cell states before the first sample, (B, H).
        hs: Hidden states, (T, B, H). Overwritten.
        cs: Cell states and, behind them, their tanh, (T, B, 2H). Overwritten.
        gates: Gates, (T, B, 4H). Overwritten.
    """
    T, B, D = X.shape
    H = U.shape[0]
    gates[:] = b
    accumulate_rows(X.reshape(T * B, D), W, gates.reshape(T * B, 4 * H))
    for t in range(T):
        accumulate_rows(hs[t - 1] if t > 0 else h0, U, gates[t])
        for i in range(B):
            z = gates[t, i]
            sigmoid(z[: 2 * H])
            tanh(z[2 * H : 3 * H])
            sigmoid(z[3 * H :])
            before = cs[t - 1, i] if t > 0 else c0[i]
            c = cs[t, i]
            for j in range(H):
                c[j] = z[H + j] * before[j] + z[j] * z[2 * H + j]
                c[H + j] = c[j]
            tanh(c[H:])
            for j in range(H):
                hs[t, i, j] = z[3 * H + j] * c[H + j]


@kernel
def lstm_backward(
    X: F32,
    U: F32,
    h0: F32,
    c0: F32,
    hs: F32,
    cs: F32,
    gates: F32,
    dhs: F32,
    dW: F32,
    dU: F32,
    db: F32,
) -> None:
    """Gradient back through time.

    Args:
        X: Features, (T, B, D).
        U: Recurrent weights, (H, 4H).
        h0: Hidden states before the first sample, (B, H).
        c0: Cell states before the first sample, (B, H).
        hs: Hidden states from `lstm_forward`, (T, B, H).
        cs: Cell states and their tanh from `lstm_forward`, (T, B, 2H).
        gates: Gates from `lstm_forward`, (T, B, 4H). Overwritten by the gradient of their sums.
        dhs: Gradient of the loss by each hidden state, (T, B, H). Added to: what flows back in time.
        dW: Gradient of W, (D, 4H). Added to.
        dU: Gradient of U, (H, 4H). Added to.
        db: Gradient of b, (4H,). Added to.
    """
    T, B, D = X.shape
    H = U.shape[0]
    UT = np.ascontiguousarray(U.T)
    dc = np.zeros((B, H), dtype=hs.dtype)
    for t in range(T - 1, -1, -1):
        for i in range(B):
            z = gates[t, i]
            c = cs[t, i]
            before = cs[t - 1, i] if t > 0 else c0[i]
            for j in range(H):
                gate_i, gate_f, g, o = z[j], z[H + j], z[2 * H + j], z[3 * H + j]
                squashed = c[H + j]
                dh = dhs[t, i, j]
                flow = dc[i, j] + dh * o * (ONE - squashed * squashed)
                z[j] = flow * g * gate_i * (ONE - gate_i)
                z[H + j] = flow * before[j] * gate_f * (ONE - gate_f)
                z[2 * H + j] = flow * gate_i * (ONE - g * g)
                z[3 * H + j] = dh * squashed * o * (ONE - o)
                dc[i, j] = flow * gate_f
        if t > 0:
            accumulate_rows(gates[t], UT, dhs[t - 1])
    dz = gates.reshape(T * B, 4 * H)
    accumulate_outer(X.reshape(T * B, D), dz, dW)
    accumulate_outer(h0, gates[0], dU)
    accumulate_outer(hs[:-1].reshape((T - 1) * B, H), dz[B:], dU)
    sum_rows(dz, db)
