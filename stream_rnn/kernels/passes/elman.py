"""The Elman cell's passes; its equation stands in `kernels/elman.py`."""

from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels.activations import ZERO
from stream_rnn.kernels.elman import ONE, elman_of
from stream_rnn.kernels.passes.sums import recur, recur_back
from stream_rnn.kernels.passes.tape import DH, DZ, H_STRIDE, HS, KIND, UNITS, Z_STRIDE, A, Q
from stream_rnn.kernels.plan import ELMAN_LINEAR, ELMAN_RELU
from stream_rnn.kernels.vector import LANES, load, splat, store
from stream_rnn.sample import F32, I64


@kernel
def elman_forward(tape: F32, row: I64, steps: int, batch: int) -> None:
    """Every step of a batch, keeping h.

    Args:
        tape: Values of a tape, where A = b + X W. HS is overwritten.
        row: Of the layer.
        steps: Steps T.
        batch: Windows B.
    """
    Z, S, kind = row[Z_STRIDE], row[H_STRIDE], row[KIND]
    for first in range(0, steps * batch, batch):
        recur(tape, row, first, batch)
        for i in range(batch):
            m = first + i
            _update(tape, row[A] + m * Z, row[Q] + i * Z, kind, row[HS] + (m + batch) * S, row[UNITS])


@kernel
def _update(tape: F32, a: int, q: int, kind: int, h: int, H: int) -> None:
    """`elman_update` of one row, the same operations.

    Args:
        tape: Holds all of them.
        a: Place of x W + b.
        q: Place of h U.
        kind: Tells f.
        h: Place of h_t. Overwritten.
        H: Number of units.
    """
    for j in range(0, H, LANES):
        z = load(tape, a + j) + load(tape, q + j)
        store(tape, h + j, elman_of(kind, z))


@kernel
def elman_backward(tape: F32, row: I64, steps: int, batch: int) -> None:
    """Back through time: the gradient of the sums, from the gradient of each h.

    Args:
        tape: Values of a tape after `elman_forward`. DZ is overwritten, DH added to: what flows back in time.
        row: Of the layer.
        steps: Steps T.
        batch: Windows B.
    """
    Z, S, H, kind = row[Z_STRIDE], row[H_STRIDE], row[UNITS], row[KIND]
    for first in range((steps - 1) * batch, -1, -batch):
        for m in range(first, first + batch):
            at = (m + batch) * S
            _update_back(tape, row[HS] + at, row[DH] + at, row[DZ] + m * Z, kind, H)
        if first > 0:
            recur_back(tape, row, first, batch)


@kernel
def _update_back(tape: F32, h: int, dh: int, dz: int, kind: int, H: int) -> None:
    """dz = dh f'(z), the slope told by h = f(z).

    Args:
        tape: Holds all of them.
        h: Place of h_t.
        dh: Place of its gradient.
        dz: Place of the gradient of the sums. Overwritten.
        kind: Tells f.
        H: Number of units.
    """
    if kind == ELMAN_LINEAR:
        for j in range(H):
            tape[dz + j] = tape[dh + j]
    elif kind == ELMAN_RELU:
        for j in range(H):
            tape[dz + j] = tape[dh + j] if tape[h + j] > ZERO else ZERO
    else:
        for j in range(0, H, LANES):
            value = load(tape, h + j)
            store(tape, dz + j, load(tape, dh + j) * (splat(ONE) - value * value))
