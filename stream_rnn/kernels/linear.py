"""Products with a weight matrix, summed in the order of the inputs: the same bits for one row or many."""

from stream_rnn.kernels._jit import kernel
from stream_rnn.sample import F32


@kernel
def accumulate(x: F32, W: F32, z: F32) -> None:
    """z += x W.

    Four rows of W a pass: a quarter of the loads and stores of z; each z[j] still sums i = 0, 1, 2, ...

    Args:
        x: Input, (D,).
        W: Weights, (D, N).
        z: Sums, (N,). Added to.
    """
    D, N = W.shape
    whole = D - D % 4
    for i in range(0, whole, 4):
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        for j in range(N):
            z[j] = z[j] + x0 * W[i, j] + x1 * W[i + 1, j] + x2 * W[i + 2, j] + x3 * W[i + 3, j]
    for i in range(whole, D):
        x0 = x[i]
        for j in range(N):
            z[j] = z[j] + x0 * W[i, j]


@kernel
def accumulate_rows(X: F32, W: F32, Z: F32) -> None:
    """Z += X W, row by row the same bits as `accumulate`.

    Two rows of X share each load of W.

    Args:
        X: Inputs, (M, D).
        W: Weights, (D, N).
        Z: Sums, (M, N). Added to.
    """
    M, D = X.shape
    N = W.shape[1]
    whole = D - D % 4
    for m in range(0, M - M % 2, 2):
        for i in range(0, whole, 4):
            a0, a1, a2, a3 = X[m, i], X[m, i + 1], X[m, i + 2], X[m, i + 3]
            b0, b1, b2, b3 = X[m + 1, i], X[m + 1, i + 1], X[m + 1, i + 2], X[m + 1, i + 3]
            for j in range(N):
                w0, w1, w2, w3 = W[i, j], W[i + 1, j], W[i + 2, j], W[i + 3, j]
                Z[m, j] = Z[m, j] + a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                Z[m + 1, j] = Z[m + 1, j] + b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
        for i in range(whole, D):
            a0, b0 = X[m, i], X[m + 1, i]
            for j in range(N):
                Z[m, j] = Z[m, j] + a0 * W[i, j]
                Z[m + 1, j] = Z[m + 1, j] + b0 * W[i, j]
    if M % 2:
        accumulate(X[M - 1], W, Z[M - 1])


@kernel
def accumulate_outer(X: F32, Z: F32, dW: F32) -> None:
    """dW += X^T Z: the gradient of the weights from inputs and output gradients.

    Args:
        X: Inputs, (M, D).
        Z: Gradients of the sums, (M, N).
        dW: Gradient of the weights, (D, N). Added to.
    """
    M, D = X.shape
    N = Z.shape[1]
    whole = M - M % 4
    # Blocks of rows, so that a block of Z stays in the first-level cache while every input passes over it.
    block = 64
    for start in range(0, whole, block):
        stop = min(start + block, whole)
        for d in range(D):
            for m in range(start, stop, 4):
                x0, x1, x2, x3 = X[m, d], X[m + 1, d], X[m + 2, d], X[m + 3, d]
                for j in range(N):
                    dW[d, j] = (
                        dW[d, j] + x0 * Z[m, j] + x1 * Z[m + 1, j] + x2 * Z[m + 2, j] + x3 * Z[m + 3, j]
                    )
    for m in range(whole, M):
        for d in range(D):
            for j in range(N):
                dW[d, j] += X[m, d] * Z[m, j]


@kernel
def sum_rows(Z: F32, db: F32) -> None:
    """db += the sum of Z over its rows.

    Args:
        Z: Gradients of the sums, (M, N).
        db: Gradient of the biases, (N,). Added to.
    """
    for m in range(Z.shape[0]):
        for j in range(Z.shape[1]):
            db[j] += Z[m, j]
