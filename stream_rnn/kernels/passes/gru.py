"""The GRU's passes; its equations stand in `kernels/gru.py`.

Vectors go from the last units to the first, gate after gate: what a vector writes beyond a gate's last unit
is overwritten by the next gate.
"""

from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels.activations import ZERO, sigmoid_of, tanh_of
from stream_rnn.kernels.gru import ONE
from stream_rnn.kernels.packed import padded, product_rows
from stream_rnn.kernels.passes.outer import outer
from stream_rnn.kernels.passes.sums import recur, recur_back
from stream_rnn.kernels.passes.tape import (
    DC,
    DH,
    DQ,
    DU_N,
    DZ,
    GATES_AT,
    H_STRIDE,
    HS,
    KEPT,
    KIND,
    U_N,
    U_N_T,
    UNITS,
    Z_STRIDE,
    ZERO_AT,
    A,
    Q,
)
from stream_rnn.kernels.plan import GRU_RESET_AFTER
from stream_rnn.kernels.vector import LANES, fma, load, splat, store
from stream_rnn.sample import F32, I64


@kernel
def gru_forward(tape: F32, row: I64, steps: int, batch: int) -> None:
    """Every step of a batch, keeping gates, h, and (KEPT) q_n, or r h where the reset comes before U_n.

    Args:
        tape: Values of a tape, where A = b + X W. What is kept is overwritten.
        row: Of the layer.
        steps: Steps T.
        batch: Windows B.
    """
    Z, S, H, after = row[Z_STRIDE], row[H_STRIDE], row[UNITS], row[KIND] == GRU_RESET_AFTER
    for first in range(0, steps * batch, batch):
        recur(tape, row, first, batch)
        if not after:
            _reset(tape, row, first, batch)
        for i in range(batch):
            m = first + i
            a, q, gates = row[A] + m * Z, row[Q] + i * Z, row[GATES_AT] + m * Z
            h = row[HS] + m * S
            _update(tape, a, q, after, gates, row[KEPT] + m * S, h, h + batch * S, H)


@kernel
def _reset(tape: F32, row: I64, first: int, batch: int) -> None:
    """KEPT = r h and, into its place in Q, q_n = r h U_n, for the step that begins at row `first`.

    Args:
        tape: Values of a tape, where Q = h U. KEPT and Q are overwritten.
        row: Of the layer.
        first: Number of the step's first row.
        batch: Windows B.
    """
    Z, S, H = row[Z_STRIDE], row[H_STRIDE], row[UNITS]
    for i in range(batch):
        m = first + i
        a, q, h, kept = row[A] + m * Z, row[Q] + i * Z, row[HS] + m * S, row[KEPT] + m * S
        for j in range(0, H, LANES):
            r = sigmoid_of(load(tape, a + j) + load(tape, q + j))
            store(tape, kept + j, r * load(tape, h + j))
    q_n, kept = row[Q] + 2 * H, row[KEPT] + first * S
    product_rows(tape, q_n, Z, tape, row[ZERO_AT], 0, tape, kept, S, tape, row[U_N], batch, H, padded(H))


@kernel
def _update(
    tape: F32, a: int, q: int, reset_after: bool, gates: int, kept: int, older: int, newer: int, H: int
) -> None:
    """`gru_update` of one row, the same operations.

    Args:
        tape: Holds all of them.
        a: Place of x W + b.
        q: Place of what h adds to it.
        reset_after: Whether the reset gate multiplies the recurrent part of the candidate.
        gates: Place of r, z, n. Overwritten.
        kept: Place of the recurrent part. Overwritten if `reset_after`.
        older: Place of h_{t-1}.
        newer: Place of h_t. Overwritten.
        H: Number of units.
    """
    for j in range(padded(H) - LANES, -1, -LANES):
        r = sigmoid_of(load(tape, a + j) + load(tape, q + j))
        z = sigmoid_of(load(tape, a + H + j) + load(tape, q + H + j))
        n, q_n = load(tape, a + 2 * H + j), load(tape, q + 2 * H + j)
        if reset_after:
            n = tanh_of(fma(r, q_n, n))
            store(tape, kept + j, q_n)
        else:
            n = tanh_of(n + q_n)
        store(tape, gates + j, r)
        store(tape, gates + H + j, z)
        store(tape, gates + 2 * H + j, n)
        store(tape, newer + j, fma(splat(ONE) - z, n, z * load(tape, older + j)))


@kernel
def gru_backward(tape: F32, row: I64, steps: int, batch: int) -> None:
    """Back through time: the gradient of the sums, from the gradient of each h.

    Args:
        tape: Values of a tape after `gru_forward`. DZ, DQ and, where the reset comes before U_n, DU_N are
            overwritten, DH added to: what flows back in time.
        row: Of the layer.
        steps: Steps T.
        batch: Windows B.
    """
    Z, S, H, after = row[Z_STRIDE], row[H_STRIDE], row[UNITS], row[KIND] == GRU_RESET_AFTER
    tape[row[DH] : row[DH] + batch * S] = ZERO
    for first in range((steps - 1) * batch, -1, -batch):
        for m in range(first, first + batch):
            gates, kept, h = row[GATES_AT] + m * Z, row[KEPT] + m * S, row[HS] + m * S
            dh, dz, dq = row[DH] + m * S, row[DZ] + m * Z, row[DQ] + m * Z
            _update_back(tape, gates, kept, after, h, dh + batch * S, dh, dz, dq, H)
        if not after:
            _reset_back(tape, row, first, batch)
        if first > 0:
            recur_back(tape, row, first, batch)
    if not after:
        M, dz_n = steps * batch, row[DZ] + 2 * H
        outer(tape, row[DU_N], row[ZERO_AT], row[KEPT], S, dz_n, Z, M, H, padded(H))


@kernel
def _update_back(
    tape: F32, gates: int, kept: int, reset_after: bool, h: int, dh: int, back: int, dz: int, dq: int, H: int
) -> None:
    """The gradient of one row's sums, of r only where the reset comes after; and z's part of what flows back.

    Args:
        tape: Holds all of them.
        gates: Place of r, z, n.
        kept: Place of q_n.
        reset_after: Whether the reset gate multiplies the recurrent part of the candidate.
        h: Place of h_{t-1}.
        dh: Place of the gradient of h_t.
        back: Place of the gradient of h_{t-1}. Added to.
        dz: Place of the gradient of x W + b. Overwritten.
        dq: Place of the gradient of h U. Overwritten if `reset_after`.
        H: Number of units.
    """
    one = splat(ONE)
    for j in range(padded(H) - LANES, -1, -LANES):
        r, z, n = load(tape, gates + j), load(tape, gates + H + j), load(tape, gates + 2 * H + j)
        by_h = load(tape, dh + j)
        by_z = by_h * (load(tape, h + j) - n) * z * (one - z)
        by_n = by_h * (one - z) * (one - n * n)
        if reset_after:
            by_r = by_n * load(tape, kept + j) * r * (one - r)
            store(tape, dz + j, by_r)
            store(tape, dq + j, by_r)
            store(tape, dq + H + j, by_z)
            store(tape, dq + 2 * H + j, by_n * r)
        store(tape, dz + H + j, by_z)
        store(tape, dz + 2 * H + j, by_n)
        store(tape, back + j, fma(by_h, z, load(tape, back + j)))


@kernel
def _reset_back(tape: F32, row: I64, first: int, batch: int) -> None:
    """The gradient of r, where the reset comes before U_n, and r's part of what flows back.

    Args:
        tape: Values of a tape, where DZ is complete for z and n. DZ, DH and DC are overwritten.
        row: Of the layer.
        first: Number of the step's first row.
        batch: Windows B.
    """
    Z, S, H = row[Z_STRIDE], row[H_STRIDE], row[UNITS]
    dn, through = row[DZ] + first * Z + 2 * H, row[DC]  # the gradient of r h
    product_rows(tape, through, S, tape, row[ZERO_AT], 0, tape, dn, Z, tape, row[U_N_T], batch, H, padded(H))
    for i in range(batch):
        m = first + i
        gates, dz, h, dh = row[GATES_AT] + m * Z, row[DZ] + m * Z, row[HS] + m * S, row[DH] + m * S
        for j in range(H):
            r, by_rh = tape[gates + j], tape[through + i * S + j]
            tape[dz + j] = by_rh * tape[h + j] * r * (ONE - r)
            tape[dh + j] += by_rh * r
