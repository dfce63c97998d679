"""What the passes of all cells have in common: a = b + X W, q = h U, and the gradients of both."""

from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels.packed import padded, product_rows
from stream_rnn.kernels.passes.outer import outer, sum_rows
from stream_rnn.kernels.passes.tape import (
    B_U,
    DB,
    DB_U,
    DH,
    DQ,
    DU,
    DW,
    DZ,
    H_STRIDE,
    HS,
    INPUTS,
    RECURRENT_SUMS,
    SUMS,
    U_T,
    UNITS,
    W_T,
    X_STRIDE,
    Z_STRIDE,
    ZERO_AT,
    A,
    B,
    Q,
    U,
    W,
    X,
)
from stream_rnn.sample import F32, I64


@kernel
def take_in(tape: F32, row: I64, M: int) -> None:
    """a = b + X W of one layer, over all rows.

    Args:
        tape: Values of a tape. A is overwritten.
        row: Of the layer, from its table.
        M: Number of rows.
    """
    a, Z, x, X_ = row[A], row[Z_STRIDE], row[X], row[X_STRIDE]
    D, N = row[INPUTS], padded(row[SUMS])
    product_rows(tape, a, Z, tape, row[B], 0, tape, x, X_, tape, row[W], M, D, N)


@kernel
def recur(tape: F32, row: I64, m: int, batch: int) -> None:
    """q = b_u + h U of one layer and the step that begins at row m.

    Args:
        tape: Values of a tape. Q is overwritten.
        row: Of the layer.
        m: Number of the step's first row.
        batch: Rows of a step.
    """
    q, Z, S = row[Q], row[Z_STRIDE], row[H_STRIDE]
    h, H, N = row[HS] + m * S, row[UNITS], padded(row[RECURRENT_SUMS])
    product_rows(tape, q, Z, tape, row[B_U], 0, tape, h, S, tape, row[U], batch, H, N)


@kernel
def recur_back(tape: F32, row: I64, m: int, batch: int) -> None:
    """dh += dq U^T, from the step that begins at row m to the hidden states before it.

    Args:
        tape: Values of a tape. DH is added to.
        row: Of the layer.
        m: Number of the step's first row.
        batch: Rows of a step.
    """
    Z, S = row[Z_STRIDE], row[H_STRIDE]
    dh, dq = row[DH] + m * S, row[DQ] + m * Z
    D, N = row[RECURRENT_SUMS], padded(row[UNITS])
    product_rows(tape, dh, S, tape, dh, S, tape, dq, Z, tape, row[U_T], batch, D, N)


@kernel
def layer_back(tape: F32, row: I64, M: int, batch: int) -> None:
    """From the gradient of one layer's sums to those of its weights and of its inputs.

    dW = X^T dZ, dU = h^T dQ with the state before each row, dX = dZ W^T; for biases, sums over rows.

    Args:
        tape: Values of a tape. DW, DB, DU, DB_U and DH of the layer below are overwritten.
        row: Of the layer.
        M: Number of rows.
        batch: Rows of a step.
    """
    dz, Z, X_, zero = row[DZ], row[Z_STRIDE], row[X_STRIDE], row[ZERO_AT]
    D, N = row[INPUTS], padded(row[SUMS])
    outer(tape, row[DW], zero, row[X], X_, dz, Z, M, D, N)
    sum_rows(tape, row[DB], dz, Z, M, N)
    if row[U]:
        dq, N_u = row[DQ], padded(row[RECURRENT_SUMS])
        outer(tape, row[DU], zero, row[HS], row[H_STRIDE], dq, Z, M, row[UNITS], N_u)
        if dq != dz:
            sum_rows(tape, row[DB_U], dq, Z, M, N_u)
    if row[W_T]:
        dx, N_x = row[DH] + batch * X_, padded(D)
        product_rows(tape, dx, X_, tape, zero, 0, tape, dz, Z, tape, row[W_T], M, row[SUMS], N_x)
