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
    A_, Z, X_ = row[A], row[Z_STRIDE], row[X]
    product_rows(
        tape, A_, Z, tape, row[B], 0, tape, X_, row[X_STRIDE], tape, row[W], M, row[INPUTS], row[SUMS]
    )


@kernel
def recur(tape: F32, row: I64, m: int, batch: int) -> None:
    """q = b_u + h U of one layer and the step that begins at row m.

    Args:
        tape: Values of a tape. Q is overwritten.
        row: Of the layer.
        m: Number of the step's first row.
        batch: Rows of a step.
    """
    h, H = row[HS] + m * row[H_STRIDE], row[H_STRIDE]
    product_rows(
        tape,
        row[Q],
        row[Z_STRIDE],
        tape,
        row[B_U],
        0,
        tape,
        h,
        H,
        tape,
        row[U],
        batch,
        row[UNITS],
        row[RECURRENT_SUMS],
    )


@kernel
def recur_back(tape: F32, row: I64, m: int, batch: int, sums: int) -> None:
    """dh += dq U^T, from the step that begins at row m to the hidden states before it.

    Args:
        tape: Values of a tape. DH is added to.
        row: Of the layer.
        m: Number of the step's first row.
        batch: Rows of a step.
        sums: Columns of q.
    """
    dh, H = row[DH] + m * row[H_STRIDE], row[H_STRIDE]
    dq, Z, N = row[DQ] + m * row[Z_STRIDE], row[Z_STRIDE], padded(row[UNITS])
    product_rows(tape, dh, H, tape, dh, H, tape, dq, Z, tape, row[U_T], batch, sums, N)


@kernel
def inputs_back(tape: F32, row: I64, M: int, sums: int, batch: int) -> None:
    """dX = dZ W^T, which are the hidden states of the layer below.

    Args:
        tape: Values of a tape. DH of the layer below is overwritten.
        row: Of the layer.
        M: Number of rows.
        sums: Columns of dZ.
        batch: Rows of a step.
    """
    dx, X_ = row[DH] + batch * row[X_STRIDE], row[X_STRIDE]
    dz, Z, N = row[DZ], row[Z_STRIDE], padded(row[INPUTS])
    product_rows(tape, dx, X_, tape, row[ZERO_AT], 0, tape, dz, Z, tape, row[W_T], M, sums, N)


@kernel
def weights_back(tape: F32, row: I64, M: int) -> None:
    """dW = X^T dZ and db = the sum of dZ.

    Args:
        tape: Values of a tape. DW and DB are overwritten.
        row: Of the layer.
        M: Number of rows.
    """
    dz, Z, N = row[DZ], row[Z_STRIDE], row[SUMS]
    outer(tape, row[DW], row[ZERO_AT], row[X], row[X_STRIDE], dz, Z, M, row[INPUTS], N)
    sum_rows(tape, row[DB], dz, Z, M, N)


@kernel
def recurrent_weights_back(tape: F32, row: I64, M: int) -> None:
    """dU = h^T dQ and db_u = the sum of dQ, h being the state before each row.

    Args:
        tape: Values of a tape. DU and DB_U are overwritten.
        row: Of the layer.
        M: Number of rows.
    """
    dq, Z, N = row[DQ], row[Z_STRIDE], row[RECURRENT_SUMS]
    outer(tape, row[DU], row[ZERO_AT], row[HS], row[H_STRIDE], dq, Z, M, row[UNITS], N)
    if row[DQ] != row[DZ]:
        sum_rows(tape, row[DB_U], dq, Z, M, N)
