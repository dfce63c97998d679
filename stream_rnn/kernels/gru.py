"""GRU cell (Cho et al. 2014): gates r, z, n in this order of columns; reset before or after U_n.

h_t = (1 - z) n + z h_{t-1}
reset after:  n = tanh(x W_n + b_n + r (h U_n + b_u))   (cuDNN, PyTorch, Keras' default)
reset before: n = tanh(x W_n + b_n + (r h) U_n)         (the paper, ONNX' default)
"""

import numpy as np

from stream_rnn.kernels._jit import hot, kernel
from stream_rnn.kernels.activations import sigmoid, sigmoid_of, tanh, tanh_of
from stream_rnn.kernels.linear import accumulate_outer, accumulate_rows, sum_rows
from stream_rnn.kernels.vector import LANES, fma, load, load_first, splat, store_first
from stream_rnn.sample import F32

ONE = np.float32(1.0)
ZERO = np.float32(0.0)


@hot
def gru_update(sums: F32, a: int, q: int, reset_after: bool, state: F32, at: int, H: int) -> None:
    """h_t = (1 - z) n + z h_{t-1}, with n = tanh(x W_n + b_n + r q_n), or without r where it was applied before.

    Args:
        sums: Holds x W + b, 3H values from index `a`, and what h adds to them, 3H values from index `q`.
        a: See `sums`.
        q: See `sums`.
        reset_after: Whether the reset gate multiplies the recurrent part of the candidate.
        state: Holds h, H values from index `at`. Overwritten.
        at: See `state`.
        H: Number of units.
    """
    for j in range(0, H, LANES):
        z = sigmoid_of(load(sums, a + H + j) + load(sums, q + H + j))
        n, q_n = load(sums, a + 2 * H + j), load(sums, q + 2 * H + j)
        if reset_after:
            r = sigmoid_of(load(sums, a + j) + load(sums, q + j))
            n = tanh_of(fma(r, q_n, n))
        else:
            n = tanh_of(n + q_n)
        h = load_first(state, at + j, H - j)
        store_first(state, at + j, fma(splat(ONE) - z, n, z * h), H - j)


@hot
def gru_reset(sums: F32, a: int, q: int, kept: int, state: F32, at: int, H: int) -> None:
    """r h, which U_n multiplies where the reset comes before.

    Args:
        sums: Holds x W + b from index `a` and h U from index `q`, of each the first H values for r; r h is
            written from index `kept`.
        a: See `sums`.
        q: See `sums`.
        kept: See `sums`.
        state: Holds h, H values from index `at`.
        at: See `state`.
        H: Number of units.
    """
    for j in range(0, H, LANES):
        r = sigmoid_of(load(sums, a + j) + load(sums, q + j))
        store_first(sums, kept + j, r * load_first(state, at + j, H - j), H - j)


@kernel
def gru_forward(
    X: F32,
    W: F32,
    U: F32,
    U_n: F32,
    b: F32,
    reset_after: bool,
    h0: F32,
    hs: F32,
    gates: F32,
    recurrent: F32,
) -> None:
    """Run B sequences of T samples and keep what `gru_backward` needs.

    Args:
        X: Features, (T, B, D).
        W: Input weights, (D, 3H).
        U: Recurrent weights of the gates, (H, 2H).
        U_n: Recurrent weights of the candidate, (H, H).
        b: Biases, (4H,).
        reset_after: As in `gru_step`.
        h0: Hidden states before the first sample, (B, H).
        hs: Hidden states, (T, B, H). Overwritten.
        gates: r, z, n, (T, B, 3H). Overwritten.
        recurrent: h U_n + b_u if `reset_after`, else r h, (T, B, H). Overwritten.
    """
    T, B, D = X.shape
    H = U.shape[0]
    gates[:] = b[: 3 * H]
    accumulate_rows(X.reshape(T * B, D), W, gates.reshape(T * B, 3 * H))
    rz = np.empty((B, 2 * H), dtype=hs.dtype)
    n = np.empty((B, H), dtype=hs.dtype)
    for t in range(T):
        h = hs[t - 1] if t > 0 else h0
        rz[:] = gates[t, :, : 2 * H]
        n[:] = gates[t, :, 2 * H :]
        accumulate_rows(h, U, rz)
        sigmoid(rz.reshape(B * 2 * H))
        if reset_after:
            recurrent[t] = b[3 * H :]
            accumulate_rows(h, U_n, recurrent[t])
            for i in range(B):
                for j in range(H):
                    n[i, j] += rz[i, j] * recurrent[t, i, j]
        else:
            for i in range(B):
                for j in range(H):
                    recurrent[t, i, j] = rz[i, j] * h[i, j]
            accumulate_rows(recurrent[t], U_n, n)
        tanh(n.reshape(B * H))
        for i in range(B):
            for j in range(H):
                hs[t, i, j] = (ONE - rz[i, H + j]) * n[i, j] + rz[i, H + j] * h[i, j]
        gates[t, :, : 2 * H] = rz
        gates[t, :, 2 * H :] = n


@kernel
def gru_backward(
    X: F32,
    U: F32,
    U_n: F32,
    reset_after: bool,
    h0: F32,
    hs: F32,
    gates: F32,
    recurrent: F32,
    dhs: F32,
    dW: F32,
    dU: F32,
    dU_n: F32,
    db: F32,
) -> None:
    """Gradient back through time.

    Args:
        X: Features, (T, B, D).
        U: Recurrent weights of the gates, (H, 2H).
        U_n: Recurrent weights of the candidate, (H, H).
        reset_after: As in `gru_step`.
        h0: Hidden states before the first sample, (B, H).
        hs: Hidden states from `gru_forward`, (T, B, H).
        gates: r, z, n from `gru_forward`, (T, B, 3H). Overwritten by the gradient of their sums.
        recurrent: From `gru_forward`, (T, B, H). Overwritten where `reset_after`.
        dhs: Gradient of the loss by each hidden state, (T, B, H). Added to: what flows back in time.
        dW: Gradient of W, (D, 3H). Added to.
        dU: Gradient of U, (H, 2H). Added to.
        dU_n: Gradient of U_n, (H, H). Added to.
        db: Gradient of b, (4H,). Added to.
    """
    T, B, D = X.shape
    H = U.shape[0]
    UT = np.ascontiguousarray(U.T)
    UT_n = np.ascontiguousarray(U_n.T)
    drz = np.empty((T, B, 2 * H), dtype=hs.dtype)
    dn = np.empty((B, H), dtype=hs.dtype)
    through = np.empty((B, H), dtype=hs.dtype)
    back = np.empty((B, H), dtype=hs.dtype)
    for t in range(T - 1, -1, -1):
        h = hs[t - 1] if t > 0 else h0
        for i in range(B):
            for j in range(H):
                r, z, n = gates[t, i, j], gates[t, i, H + j], gates[t, i, 2 * H + j]
                dh = dhs[t, i, j]
                dn[i, j] = dh * (ONE - z) * (ONE - n * n)
                drz[t, i, H + j] = dh * (h[i, j] - n) * z * (ONE - z)
                back[i, j] = dh * z
                if reset_after:
                    drz[t, i, j] = dn[i, j] * recurrent[t, i, j] * r * (ONE - r)
                    recurrent[t, i, j] = dn[i, j] * r  # from here on the gradient of h U_n + b_u
        if reset_after:
            accumulate_rows(recurrent[t], UT_n, back)
        else:
            through[:] = ZERO
            accumulate_rows(dn, UT_n, through)  # the gradient of r h
            for i in range(B):
                for j in range(H):
                    r = gates[t, i, j]
                    drz[t, i, j] = through[i, j] * h[i, j] * r * (ONE - r)
                    back[i, j] += through[i, j] * r
            accumulate_outer(recurrent[t], dn, dU_n)
        accumulate_rows(drz[t], UT, back)
        gates[t, :, : 2 * H] = drz[t]
        gates[t, :, 2 * H :] = dn
        if t > 0:
            dhs[t - 1] += back
    older = hs[:-1].reshape((T - 1) * B, H)
    accumulate_outer(h0, drz[0], dU)
    accumulate_outer(older, drz.reshape(T * B, 2 * H)[B:], dU)
    if reset_after:
        dq = recurrent.reshape(T * B, H)
        accumulate_outer(h0, recurrent[0], dU_n)
        accumulate_outer(older, dq[B:], dU_n)
        sum_rows(dq, db[3 * H :])
    dz = gates.reshape(T * B, 3 * H)
    accumulate_outer(X.reshape(T * B, D), dz, dW)
    sum_rows(dz, db[: 3 * H])
