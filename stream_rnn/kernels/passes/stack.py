"""A network's passes over a batch of windows: cells forward, the readout and its loss, cells back.

Each is a few calls of kernels, so that only those of the cells in use are ever compiled.
"""

from collections.abc import Callable

import numpy as np

from stream_rnn.kernels import plan as layout
from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels.activations import SIGMOID, SOFTMAX, TANH, ZERO, activate
from stream_rnn.kernels.elman import ONE
from stream_rnn.kernels.passes.elman import elman_backward, elman_forward
from stream_rnn.kernels.passes.gru import gru_backward, gru_forward
from stream_rnn.kernels.passes.lstm import lstm_backward, lstm_forward
from stream_rnn.kernels.passes.sums import layer_back, take_in
from stream_rnn.kernels.passes.tape import ACTIVATION, KIND, Z_STRIDE, A, Tape
from stream_rnn.sample import F32, I64

Pass = Callable[[F32, I64, int, int], None]
FORWARD: dict[int, Pass] = {
    layout.ELMAN_TANH: elman_forward,
    layout.ELMAN_RELU: elman_forward,
    layout.ELMAN_LINEAR: elman_forward,
    layout.GRU_RESET_AFTER: gru_forward,
    layout.GRU_RESET_BEFORE: gru_forward,
    layout.LSTM: lstm_forward,
}
BACKWARD: dict[int, Pass] = {
    layout.ELMAN_TANH: elman_backward,
    layout.ELMAN_RELU: elman_backward,
    layout.ELMAN_LINEAR: elman_backward,
    layout.GRU_RESET_AFTER: gru_backward,
    layout.GRU_RESET_BEFORE: gru_backward,
    layout.LSTM: lstm_backward,
}


def forward(tape: Tape) -> None:
    """Every cell over all steps, from zero states: the very hidden states that single steps go through.

    The weights must be packed and the features in their place.
    """
    for row in tape.layers[:-1]:
        take_in(tape.values, row, tape.rows)
        FORWARD[int(row[KIND])](tape.values, row, tape.steps, tape.batch)


def readout(tape: Tape, Y: F32, scored_from: int) -> tuple[float, int]:
    """Outputs, their errors, and the gradients of the readout and of the last cell's hidden states.

    Args:
        tape: Holds the readout's inputs.
        Y: Targets, (M, K). NaN is not scored.
        scored_from: First row that is scored.

    Returns:
        Half the sum of squared errors, and the number of outputs it is summed over.
    """
    row = tape.layers[-1]
    take_in(tape.values, row, tape.rows)
    loss, count = errors(tape.values, row, Y, scored_from)
    layer_back(tape.values, row, tape.rows, tape.batch)
    return loss, count


def backward(tape: Tape) -> None:
    """Gradient of every cell's weights, back through time, from the last layer to the first.

    The tape must hold the gradient of the last cell's hidden states.
    """
    for row in tape.layers[-2::-1]:
        BACKWARD[int(row[KIND])](tape.values, row, tape.steps, tape.batch)
        layer_back(tape.values, row, tape.rows, tape.batch)


@kernel
def errors(tape: F32, row: I64, Y: F32, scored_from: int) -> tuple[float, int]:
    """The readout's sums become outputs and, in the same place, the gradient of the sums.

    Args:
        tape: Values of a tape, where A = b + X W. DZ, which is A, is overwritten.
        row: Of the readout.
        Y: Targets, (M, K). NaN is not scored.
        scored_from: First row that is scored.

    Returns:
        Half the sum of squared errors, and the number of outputs it is summed over.
    """
    M, K = Y.shape
    loss, count = 0.0, 0
    for m in range(M):
        at = row[A] + m * row[Z_STRIDE]
        y = tape[at : at + K]
        activate(row[ACTIVATION], y)
        part, scored = _row_errors(row[ACTIVATION], y, Y[m], m >= scored_from)
        loss += part
        count += scored
    return loss, count


@kernel
def _row_errors(activation: int, y: F32, target: F32, scored: bool) -> tuple[float, int]:
    """One row's outputs become the gradient of the sums they were made of.

    Args:
        activation: Of the readout.
        y: Outputs, (K,). Overwritten by the gradient.
        target: Targets, (K,).
        scored: Whether the row is scored.

    Returns:
        Half the sum of squared errors, and the number of outputs it is summed over.
    """
    loss, count, inner = 0.0, 0, ZERO
    K = y.shape[0]
    if activation == SOFTMAX:  # its outputs hang together: sum y dy is in every gradient
        for k in range(K):
            if scored and np.isfinite(target[k]):
                inner += y[k] * (y[k] - target[k])
    for k in range(K):
        error = ZERO
        # Asked of the target alone: a network that diverged must show in the loss.
        if scored and np.isfinite(target[k]):
            error = y[k] - target[k]
            loss += 0.5 * np.float64(error) * np.float64(error)
            count += 1
        if activation == TANH:
            error *= ONE - y[k] * y[k]
        elif activation == SIGMOID:
            error *= y[k] * (ONE - y[k])
        elif activation == SOFTMAX:
            error = y[k] * (error - inner)
        y[k] = error
    return loss, count
