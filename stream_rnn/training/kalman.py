"""The Kalman filter of movement (Wu et al., Neural Computation 18, 2006), with the gain that it settles at.

The targets, and of order 2 their change since the last bin, are the state x of a linear system; features are
what is seen of it. Both without their means:

    x_t = A x_{t-1} + noise of covariance W         z_t = H x_t + noise of covariance Q

all four by least squares. The gain depends on no sample, so it is what it settles at, and the filter is

    x_t = (A - K H A) x_{t-1} + K z_t

which is an Elman cell without a squashing function.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream_rnn.errors import StreamRnnError
from stream_rnn.sample import F32
from stream_rnn.training.windows import Rows

F64: TypeAlias = NDArray[np.float64]

JITTER = 1e-6  # of a feature's variance: one that never varies has none
SETTLED = 1e-12  # largest relative change of the covariance between two steps
MOST_STEPS = 100_000


class System(NamedTuple):
    """A linear system with n values of state.

    Attributes:
        A: How the state goes on, (n, n).
        W: Covariance of what it does else, (n, n).
        H: What features show of it, (D, n).
        Q: Covariance of what they show else, (D, D).
        x_mean: Mean of the state, (n,).
        z_mean: Mean of the features, (D,).
    """

    A: F64
    W: F64
    H: F64
    Q: F64
    x_mean: F64
    z_mean: F64


def states(y: F32, stretches: list[tuple[int, int]], bin_rows: int, order: int) -> F64:
    """The state at every row, (N, order K); NaN where it is not known, and outside of the stretches.

    Args:
        y: Targets, (N, K).
        stretches: First row and end of every stretch that is fitted to.
        bin_rows: Rows of a bin.
        order: 1: the targets; 2: and their change since the last bin.
    """
    x = np.full((len(y), order * y.shape[1]), np.nan)
    for first, end in stretches:
        here = y[first:end].astype(np.float64)
        change = np.full_like(here, np.nan)
        change[bin_rows:] = here[bin_rows:] - here[: max(0, len(here) - bin_rows)]
        x[first:end] = np.hstack([here, change][:order])
    return x


def fit_system(z: F32, y: F32, stretches: list[tuple[int, int]], bin_rows: int, order: int) -> System:
    """Fit a system by least squares.

    Args:
        z: Features of every row, (N, D).
        y: Targets, (N, K).
        stretches: First row and end of every stretch that is fitted to.
        bin_rows: Rows of a bin.
        order: As in `states`.

    Raises:
        StreamRnnError: Too few rows have targets.
    """
    x = states(y, stretches, bin_rows, order)
    known = _known(x)
    pairs = known.copy()
    pairs[:bin_rows] = False
    pairs[bin_rows:] &= known[:-bin_rows]
    for first, _ in stretches:
        pairs[first : first + bin_rows] = False  # what came before lies in another one
    now = np.flatnonzero(pairs)
    if len(now) <= x.shape[1] + z.shape[1]:
        raise StreamRnnError(f"kalman: expected more rows with targets than features, got {len(now)}")
    seen = z[known].astype(np.float64)
    x_mean, z_mean = x[known].mean(axis=0), seen.mean(axis=0)
    A, W = _regression(x[now - bin_rows] - x_mean, x[now] - x_mean)
    H, Q = _regression(x[known] - x_mean, seen - z_mean)
    return System(A, W, H, Q + JITTER * np.eye(len(Q)), x_mean, z_mean)


def _known(x: F64) -> Rows:
    """Which rows have every value."""
    return np.asarray(np.isfinite(x).all(axis=1), dtype=np.bool_)


def _regression(given: F64, wanted: F64) -> tuple[F64, F64]:
    """The matrix M of wanted = M given + noise by least squares, and the covariance of the noise."""
    M: F64 = np.linalg.lstsq(given, wanted, rcond=None)[0].T.astype(np.float64)
    left = wanted - given @ M.T
    return M, left.T @ left / len(left)


def settled_gain(system: System) -> F64:
    """The gain K that the filter's recursion settles at, (n, D).

    With J = H' Q^-1 H, which is small, a step from the covariance P of the last estimate is

        M = A P A' + W      P = M (I + J M)^-1      K = P H' Q^-1

    Raises:
        StreamRnnError: It does not settle.
    """
    A, W = system.A, system.W
    weighted = np.linalg.solve(system.Q, system.H).T
    J, one = weighted @ system.H, np.eye(len(A))
    P = W
    for _ in range(MOST_STEPS):
        M = A @ P @ A.T + W
        after = M @ np.linalg.inv(one + J @ M)
        after = (after + after.T) / 2
        change = np.abs(after - P).max()
        P = after
        if change <= SETTLED * np.abs(P).max():
            gain: F64 = P @ weighted
            return gain
    raise StreamRnnError(f"kalman: expected a gain that settles, got none within {MOST_STEPS} steps")


def filter_weights(system: System, outputs: int, noise: float = 1.0) -> tuple[dict[str, F64], dict[str, F64]]:
    """The arrays of a linear Elman layer and of the readout over it.

    Args:
        system: As fitted.
        outputs: Number of outputs K: the first values of the state.
        noise: How much more features err than Q says: it counts so many times.
    """
    gain = settled_gain(system._replace(Q=noise * system.Q))
    onward = system.A - gain @ system.H @ system.A
    layer = {"W": gain.T, "U": onward.T, "b": -gain @ system.z_mean}
    return layer, {"W": np.eye(len(onward))[:, :outputs], "b": system.x_mean[:outputs]}
