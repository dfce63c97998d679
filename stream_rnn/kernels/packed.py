"""A weight matrix in panels of columns, and its products: summed in the order of the inputs, always alike.

Columns are padded to whole vectors and split into panels of at most PANEL vectors, as even as can be. The
rows of a panel lie one behind the other, so that a product reads the weights as one stream.
"""

import numpy as np

from stream_rnn.kernels._jit import either, part
from stream_rnn.kernels._panel import (
    PAIR,
    PANEL,
    ROWS,
    SMALL,
    TILE,
    first_weight,
    pair,
    panel,
    panel_listed,
    tile,
)
from stream_rnn.kernels.half import halved
from stream_rnn.kernels.vector import LANES, integer, number, set_integer
from stream_rnn.sample import F32

ZERO = np.float32(0.0)


@either
def padded(columns: int) -> int:
    """Columns of a packed matrix: whole vectors."""
    return (columns + LANES - 1) // LANES * LANES


@either
def panels_of(D: int, columns: int) -> int:
    """Panels of a packed matrix (D, columns).

    One that does not fit into the caches has narrow ones: then a tile, too, reads it as one stream.
    """
    widest = PANEL if D * columns <= SMALL else TILE
    return -(-((columns + LANES - 1) // LANES) // widest)


def pack(W: F32, *, half: bool = False) -> F32:
    """Pack a matrix (D, N): D `padded(N)` values, or `half` as many that hold the upper half of each."""
    D, N = W.shape
    whole = np.zeros((D, padded(N)), dtype=np.float32)
    whole[:, :N] = W
    if LANES == 1:
        return whole.reshape(-1)
    vectors = whole.shape[1] // LANES
    panels = panels_of(D, N)
    cuts = np.cumsum([LANES * (vectors // panels + (p < vectors % panels)) for p in range(panels)])
    columns = np.split(whole, cuts[:-1], axis=1)
    if not half:
        return np.concatenate([panel.reshape(-1) for panel in columns])
    return np.concatenate([halved(panel).reshape(-1) for panel in columns]).view(np.float32)


@part
def product_in_vectors(
    z: F32, z_at: int, start: F32, start_at: int, x: F32, x_at: int, w: F32, w_at: int, D: int, N: int
) -> None:
    """z = start + x W.

    Args:
        z: Sums, N from `z_at`. Overwritten.
        z_at: Index of the first of them.
        start: Where each sum starts, N from `start_at`.
        start_at: Index of the first of them.
        x: Input, D from `x_at`.
        x_at: Index of the first of them.
        w: Packed weights, from `w_at`.
        w_at: Index of the first of them.
        D: Number of inputs.
        N: Number of sums, padded.
    """
    vectors = N // LANES
    panels = panels_of(D, N)
    least, more = vectors // panels, vectors % panels
    w_at = first_weight(w, w_at)
    at = 0
    for p in range(panels):
        width = least + 1 if p < more else least
        stride = width * LANES
        panel(z, z_at + at, 0, start, start_at + at, 0, x, x_at, 0, w, w_at, stride, D, width)
        w_at += D * stride
        at += stride


@part
def product_plain(
    z: F32, z_at: int, start: F32, start_at: int, x: F32, x_at: int, w: F32, w_at: int, D: int, N: int
) -> None:
    """The same without vectors of our own: W lies row by row.

    Args:
        z: As in `product_in_vectors`.
        z_at: Likewise.
        start: Likewise.
        start_at: Likewise.
        x: Likewise.
        x_at: Likewise.
        w: Likewise.
        w_at: Likewise.
        D: Likewise.
        N: Likewise.
    """
    for j in range(N):
        z[z_at + j] = start[start_at + j]
    for i in range(D):
        xi = x[x_at + i]
        for j in range(N):
            z[z_at + j] = z[z_at + j] + xi * w[w_at + i * N + j]


@part
def not_zero(x: F32, x_at: int, D: int, numbers: F32, numbers_at: int) -> int:
    """List the inputs that are not zero.

    Args:
        x: Holds D inputs from index `x_at`.
        x_at: See `x`.
        D: See `x`.
        numbers: Their numbers, in order, int64 in the place of two float32 each. Up to D are overwritten.
        numbers_at: Index of the first of them.

    Returns:
        How many they are.
    """
    n = 0
    for i in range(D):
        set_integer(numbers, numbers_at + 2 * n, i)
        n += number(x, x_at + i) != ZERO  # without a branch that could be guessed wrong
    return n


@part
def product_listed_in_vectors(
    z: F32,
    z_at: int,
    start: F32,
    start_at: int,
    x: F32,
    x_at: int,
    w: F32,
    w_at: int,
    D: int,
    N: int,
    n: int,
    numbers_at: int,
) -> None:
    """`product` over the n inputs that are not zero: a list of their numbers starts at `numbers_at` of z.

    Args:
        z: As in `product_in_vectors`.
        z_at: Likewise.
        start: Likewise.
        start_at: Likewise.
        x: Likewise.
        x_at: Likewise.
        w: Likewise.
        w_at: Likewise.
        D: Likewise.
        N: Likewise.
        n: How many inputs are not zero.
        numbers_at: Where their numbers are, int64 in the place of two float32 each.
    """
    vectors = N // LANES
    panels = panels_of(D, N)
    least, more = vectors // panels, vectors % panels
    w_at = first_weight(w, w_at)
    to, come = z_at, start_at
    for p in range(panels):
        width = least + 1 if p < more else least
        stride = width * LANES
        panel_listed(z, to, 0, start, come, 0, x, x_at, 0, w, w_at, stride, n, width, z, numbers_at)
        w_at += D * stride
        to += stride
        come += stride


@part
def product_listed_plain(
    z: F32,
    z_at: int,
    start: F32,
    start_at: int,
    x: F32,
    x_at: int,
    w: F32,
    w_at: int,
    D: int,  # noqa: ARG001 - takes what product_listed_in_vectors takes
    N: int,
    n: int,
    numbers_at: int,
) -> None:
    """The same without vectors of our own: W lies row by row.

    Args:
        z: As in `product_listed_in_vectors`.
        z_at: Likewise.
        start: Likewise.
        start_at: Likewise.
        x: Likewise.
        x_at: Likewise.
        w: Likewise.
        w_at: Likewise.
        D: Likewise.
        N: Likewise.
        n: Likewise.
        numbers_at: Likewise.
    """
    for j in range(N):
        z[z_at + j] = start[start_at + j]
    for listed in range(n):
        i = integer(z, numbers_at + 2 * listed)
        xi = x[x_at + i]
        for j in range(N):
            z[z_at + j] = z[z_at + j] + xi * w[w_at + i * N + j]


product_listed = product_listed_in_vectors if LANES > 1 else product_listed_plain
"""z = start + x W over the inputs that are not zero."""
product = product_in_vectors if LANES > 1 else product_plain
"""z = start + x W."""


@part
def product_rows_in_vectors(
    Z: F32,
    z_at: int,
    z_stride: int,
    start: F32,
    start_at: int,
    start_stride: int,
    X: F32,
    x_at: int,
    x_stride: int,
    w: F32,
    w_at: int,
    M: int,
    D: int,
    N: int,
) -> None:
    """Z = start + X W, row by row the same bits as `product`.

    Each matrix lies in a flat array: the index of its first value, and the distance from row to row.

    Args:
        Z: Sums, (M, N). Overwritten.
        z_at: Index of the first of them.
        z_stride: Distance of its rows.
        start: Where each sum starts, (M, N); may be Z.
        start_at: Index of the first of them.
        start_stride: Distance of its rows; 0 where all start alike.
        X: Inputs, (M, D).
        x_at: Index of the first of them.
        x_stride: Distance of its rows.
        w: Packed weights, from `w_at`.
        w_at: Index of the first of them.
        M: Number of rows.
        D: Number of inputs.
        N: Number of sums, padded.
    """
    vectors = N // LANES
    panels = panels_of(D, N)
    least, more = vectors // panels, vectors % panels
    w_at = first_weight(w, w_at)
    tiled = M - M % ROWS
    paired = M - M % PAIR
    at = 0
    for p in range(panels):
        width = least + 1 if p < more else least
        stride = width * LANES
        for first in range(0, width, TILE):
            some = min(TILE, width - first)
            part = first * LANES
            to, v = at + part, w_at + part
            for m in range(0, tiled, ROWS):
                z, s, x = z_at + m * z_stride, start_at + m * start_stride, x_at + m * x_stride
                tile(Z, z + to, z_stride, start, s + to, start_stride, X, x, x_stride, w, v, stride, D, some)
            for m in range(tiled, paired, PAIR):
                z, s, x = z_at + m * z_stride, start_at + m * start_stride, x_at + m * x_stride
                pair(Z, z + to, z_stride, start, s + to, start_stride, X, x, x_stride, w, v, stride, D, some)
        for m in range(paired, M):
            z, s, x = z_at + m * z_stride, start_at + m * start_stride, x_at + m * x_stride
            panel(Z, z + at, 0, start, s + at, 0, X, x, 0, w, w_at, stride, D, width)
        w_at += D * stride
        at += stride


@part
def product_rows_plain(
    Z: F32,
    z_at: int,
    z_stride: int,
    start: F32,
    start_at: int,
    start_stride: int,
    X: F32,
    x_at: int,
    x_stride: int,
    w: F32,
    w_at: int,
    M: int,
    D: int,
    N: int,
) -> None:
    """The same without vectors of our own.

    Args:
        Z: As in `product_rows_in_vectors`.
        z_at: Likewise.
        z_stride: Likewise.
        start: Likewise.
        start_at: Likewise.
        start_stride: Likewise.
        X: Likewise.
        x_at: Likewise.
        x_stride: Likewise.
        w: Likewise.
        w_at: Likewise.
        M: Likewise.
        D: Likewise.
        N: Likewise.
    """
    for m in range(M):
        to, come, by = z_at + m * z_stride, start_at + m * start_stride, x_at + m * x_stride
        product_plain(Z, to, start, come, X, by, w, w_at, D, N)


product_rows = product_rows_in_vectors if LANES > 1 else product_rows_plain
"""Z = start + X W."""
