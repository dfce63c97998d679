"""Sums over the rows of a batch: the gradient of weights and of biases, always in the same order."""

from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels._panel import ROWS, TILE, outer_tile
from stream_rnn.kernels.activations import ZERO
from stream_rnn.kernels.vector import LANES, load, splat, store
from stream_rnn.sample import F32

__all__ = ["ROWS", "outer", "sum_rows"]

BLOCK = 128
"""Rows that are taken at once: their part of dZ under one tile stays in the first cache."""


@kernel
def outer_in_vectors(
    tape: F32, dw: int, zero: int, x: int, x_stride: int, dz: int, dz_stride: int, M: int, D: int, N: int
) -> None:
    """dW = X^T dZ.

    Args:
        tape: Holds all of them.
        dw: Place of dW, (D, N), with room for ROWS - 1 rows more. Overwritten.
        zero: Place of N zeros.
        x: Place of X, (M, D), each row with room up to whole ROWS.
        x_stride: Distance of its rows.
        dz: Place of dZ, (M, N).
        dz_stride: Distance of its rows.
        M: Number of rows.
        D: Number of inputs.
        N: Number of sums, padded.
    """
    for m in range(0, M, BLOCK):
        rows = min(BLOCK, M - m)
        for j in range(0, N, TILE * LANES):
            width = min(TILE, (N - j) // LANES)
            z = dz + m * dz_stride + j
            for d in range(0, D, ROWS):
                to = dw + d * N + j
                start, start_stride = (zero, 0) if m == 0 else (to, N)
                come = x + m * x_stride + d
                outer_tile(
                    tape,
                    to,
                    N,
                    tape,
                    start,
                    start_stride,
                    tape,
                    come,
                    x_stride,
                    tape,
                    z,
                    dz_stride,
                    rows,
                    width,
                )


@kernel
def outer_plain(
    tape: F32, dw: int, zero: int, x: int, x_stride: int, dz: int, dz_stride: int, M: int, D: int, N: int
) -> None:
    """The same without vectors of our own.

    Args:
        tape: As in `outer_in_vectors`.
        dw: Likewise.
        zero: Likewise.
        x: Likewise.
        x_stride: Likewise.
        dz: Likewise.
        dz_stride: Likewise.
        M: Likewise.
        D: Likewise.
        N: Likewise.
    """
    for d in range(D):
        to = dw + d * N
        for j in range(N):
            tape[to + j] = tape[zero + j]
        for m in range(M):
            factor, z = tape[x + m * x_stride + d], dz + m * dz_stride
            for j in range(N):
                tape[to + j] += factor * tape[z + j]


outer = outer_in_vectors if LANES > 1 else outer_plain
"""dW = X^T dZ."""


@kernel
def sum_rows(tape: F32, db: int, dz: int, dz_stride: int, M: int, N: int) -> None:
    """db = the sum of dZ over its rows.

    Args:
        tape: Holds both.
        db: Place of db, (N,). Overwritten.
        dz: Place of dZ, (M, N).
        dz_stride: Distance of its rows.
        M: Number of rows.
        N: Number of sums, padded.
    """
    for j in range(0, N, LANES):
        total = splat(ZERO)
        for m in range(M):
            total = total + load(tape, dz + m * dz_stride + j)
        store(tape, db + j, total)
