"""The Wiener filter: each output a weighted sum of the features of the last bins, fitted by ridge regression.

With phi_t = (1, z_t, z_{t-b}, ..., z_{t-(L-1)b}), b rows a bin, and N rows, penalising all but the constant:

    w = (Phi' Phi + N s I)^-1 Phi' Y

What came before a stretch counts as zero, which is its mean: so it is where a stream begins.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream_rnn.sample import F32
from stream_rnn.training.windows import Rows

F64: TypeAlias = NDArray[np.float64]
I64: TypeAlias = NDArray[np.int64]

CHUNK = 4096  # rows that are lagged at a time: bounds the memory
BLOCK = 64  # of a triangle: numpy solves no triangles, small squares cost little


class Moments(NamedTuple):
    """Sums over rows: all that a fit and its score need of them.

    Attributes:
        gram: Phi' Phi, (1 + L D, 1 + L D). That of fewer lags is its upper left.
        cross: Phi' Y, (1 + L D, K).
        squares: Sum of y^2, (K,).
        rows: Number of rows N.
    """

    gram: F64
    cross: F64
    squares: F64
    rows: int

    def __add__(self, other: "Moments") -> "Moments":  # type: ignore[override]  # sums, no chain of values
        """Of both's rows."""
        return Moments(
            self.gram + other.gram,
            self.cross + other.cross,
            self.squares + other.squares,
            self.rows + other.rows,
        )


def lagged(z: F32, first: int, rows: I64, bin_rows: int, lags: int) -> F64:
    """Phi of some rows, (M, 1 + L D).

    Args:
        z: Features of every row, (N, D).
        first: Row where the stretch begins.
        rows: Rows of the stretch, (M,).
        bin_rows: Rows b of a bin.
        lags: Number of lags L.
    """
    D = z.shape[1]
    phi = np.zeros((len(rows), 1 + lags * D))
    phi[:, 0] = 1.0
    for lag in range(lags):
        past = rows - lag * bin_rows
        there = past >= first
        phi[there, 1 + lag * D : 1 + (lag + 1) * D] = z[past[there]]
    return phi


def moments(
    z: F32, y: F32, stretches: list[tuple[int, int]], chosen: Rows, bin_rows: int, lags: int
) -> Moments:
    """Sum over the chosen rows that have every target.

    Args:
        z: Features of every row, (N, D).
        y: Targets, (N, K).
        stretches: First row and end of every stretch that lags may reach into.
        chosen: Rows to sum over, (N,).
        bin_rows: Rows b of a bin.
        lags: Number of lags L.
    """
    P, K = 1 + lags * z.shape[1], y.shape[1]
    total = Moments(np.zeros((P, P)), np.zeros((P, K)), np.zeros(K), 0)
    usable = chosen & np.isfinite(y).all(axis=1)
    for first, end in stretches:
        numbers = first + np.flatnonzero(usable[first:end])
        for start in range(0, len(numbers), CHUNK):
            rows = numbers[start : start + CHUNK]
            phi, targets = lagged(z, first, rows, bin_rows, lags), y[rows].astype(np.float64)
            total += Moments(phi.T @ phi, phi.T @ targets, (targets**2).sum(axis=0), len(rows))
    return total


def ridges(sums: Moments, sizes: list[int], strength: float) -> list[F64]:
    """Weights of the constant and of the first P - 1 lagged features, (P, K), for each P.

    One Cholesky factor serves them all: that of fewer lags is its upper left.

    Args:
        sums: Of the rows to fit.
        sizes: Each P, in ascending order.
        strength: The penalty s.
    """
    most = sizes[-1]
    gram = sums.gram[:most, :most].copy()
    penalised = np.arange(1, most)
    gram[penalised, penalised] += sums.rows * strength
    factor: F64 = np.linalg.cholesky(gram).astype(np.float64, copy=False)
    halfway = _forward(factor, sums.cross[:most])
    return [_backward(factor[:P, :P], halfway[:P]) for P in sizes]


def _forward(L: F64, b: F64) -> F64:
    """L^-1 b, L lower triangular."""
    x = b.copy()
    for at in range(0, len(L), BLOCK):
        here = slice(at, at + BLOCK)
        x[here] = np.linalg.solve(L[here, here], b[here] - L[here, :at] @ x[:at])
    return x


def _backward(L: F64, b: F64) -> F64:
    """L'^-1 b, L lower triangular."""
    x = b.copy()
    for at in reversed(range(0, len(L), BLOCK)):
        here, after = slice(at, at + BLOCK), slice(at + BLOCK, None)
        x[here] = np.linalg.solve(L[here, here].T, b[here] - L[after, here].T @ x[after])
    return x


def r2_mean(sums: Moments, w: F64) -> float:
    """Mean R2 over the rows of `sums`, of the outputs that vary; NaN where none does."""
    P = len(w)
    wrong = sums.squares - 2 * (w * sums.cross[:P]).sum(axis=0) + (w * (sums.gram[:P, :P] @ w)).sum(axis=0)
    spread = sums.squares - sums.cross[0] ** 2 / max(sums.rows, 1)
    varies = spread > 1e-12 * sums.squares
    return float(np.mean(1.0 - wrong[varies] / spread[varies])) if varies.any() else float("nan")


def filter_weights(w: F64, lags: int) -> tuple[dict[str, F64], dict[str, F64]]:
    """The arrays of an FIR layer and of the readout over it.

    Args:
        w: Weights, (1 + L D, K).
        lags: Number of lags L.
    """
    K = w.shape[1]
    taps = w[1:].reshape(lags, -1, K).transpose(1, 0, 2).reshape(-1, lags * K)
    return {"W": taps, "b": np.zeros(lags * K)}, {"W": np.eye(K), "b": w[0]}
