"""Elman cell (Elman 1990): h_t = f(x_t W + h_{t-1} U + b), f = tanh or relu."""

import numpy as np

from stream_rnn.kernels._jit import hot, kernel
from stream_rnn.kernels.activations import relu, relu_of, tanh, tanh_of
from stream_rnn.kernels.linear import accumulate_outer, accumulate_rows, sum_rows
from stream_rnn.kernels.vector import LANES, load, store_first
from stream_rnn.sample import F32

ONE = np.float32(1.0)
ZERO = np.float32(0.0)


@hot
def elman_update(sums: F32, a: int, q: int, rectify: bool, state: F32, at: int, H: int) -> None:
    """h_t = f(x W + b + h U).

    Args:
        sums: Holds x W + b, H values from index `a`, and h U, H values from index `q`.
        a: See `sums`.
        q: See `sums`.
        rectify: f is relu if true, else tanh.
        state: Holds h, H values from index `at`. Overwritten.
        at: See `state`.
        H: Number of units.
    """
    for j in range(0, H, LANES):
        z = load(sums, a + j) + load(sums, q + j)
        store_first(state, at + j, relu_of(z) if rectify else tanh_of(z), H - j)


@kernel
def elman_forward(X: F32, W: F32, U: F32, b: F32, rectify: bool, h0: F32, hs: F32) -> None:
    """Run B sequences of T samples and keep every hidden state for `elman_backward`.

    Args:
        X: Features, (T, B, D).
        W: Input weights, (D, H).
        U: Recurrent weights, (H, H).
        b: Biases, (H,).
        rectify: f is relu if true, else tanh.
        h0: Hidden states before the first sample, (B, H).
        hs: Hidden states, (T, B, H). Overwritten.
    """
    T, B, D = X.shape
    H = U.shape[0]
    hs[:] = b
    accumulate_rows(X.reshape(T * B, D), W, hs.reshape(T * B, H))
    for t in range(T):
        accumulate_rows(hs[t - 1] if t > 0 else h0, U, hs[t])
        flat = hs[t].reshape(B * H)
        if rectify:
            relu(flat)
        else:
            tanh(flat)


@kernel
def elman_backward(
    X: F32, U: F32, rectify: bool, h0: F32, hs: F32, dhs: F32, dW: F32, dU: F32, db: F32
) -> None:
    """Gradient back through time.

    Args:
        X: Features, (T, B, D).
        U: Recurrent weights, (H, H).
        rectify: f is relu if true, else tanh.
        h0: Hidden states before the first sample, (B, H).
        hs: Hidden states from `elman_forward`, (T, B, H).
        dhs: Gradient of the loss by each hidden state, (T, B, H). Overwritten by the gradient of the sums.
        dW: Gradient of W, (D, H). Added to.
        dU: Gradient of U, (H, H). Added to.
        db: Gradient of b, (H,). Added to.
    """
    T, B, D = X.shape
    H = U.shape[0]
    UT = np.ascontiguousarray(U.T)
    for t in range(T - 1, -1, -1):
        for i in range(B):
            for j in range(H):
                h = hs[t, i, j]
                slope = (ONE if h > ZERO else ZERO) if rectify else ONE - h * h
                dhs[t, i, j] *= slope
        if t > 0:
            accumulate_rows(dhs[t], UT, dhs[t - 1])
    dz = dhs.reshape(T * B, H)
    accumulate_outer(X.reshape(T * B, D), dz, dW)
    accumulate_outer(h0, dhs[0], dU)
    accumulate_outer(hs[:-1].reshape((T - 1) * B, H), dz[B:], dU)
    sum_rows(dz, db)
