"""A network's passes over a batch of windows: cells forward, the readout and its loss, cells back."""

import numpy as np

from stream_rnn.kernels._jit import kernel
from stream_rnn.kernels.activations import SIGMOID, SOFTMAX, TANH, ZERO, activate
from stream_rnn.kernels.elman import ONE
from stream_rnn.kernels.passes.elman import elman_backward, elman_forward
from stream_rnn.kernels.passes.gru import gru_backward, gru_forward
from stream_rnn.kernels.passes.lstm import lstm_backward, lstm_forward
from stream_rnn.kernels.passes.sums import inputs_back, recurrent_weights_back, take_in, weights_back
from stream_rnn.kernels.passes.tape import ACTIVATION, KIND, UNITS, Z_STRIDE, A
from stream_rnn.kernels.plan import GRU_RESET_AFTER, GRU_RESET_BEFORE, LSTM
from stream_rnn.sample import F32, I64


@kernel
def forward(tape: F32, table: I64, steps: int, batch: int) -> None:
    """Every cell over all steps, from zero states: the very hidden states that single steps go through.

    Args:
        tape: Values of a tape, where the weights are packed and the first layer's inputs stand. Overwritten.
        table: Of the tape.
        steps: Steps T.
        batch: Windows B.
    """
    for layer in range(table.shape[0] - 1):
        row = table[layer]
        take_in(tape, row, steps * batch)
        if row[KIND] == LSTM:
            lstm_forward(tape, row, steps, batch)
        elif row[KIND] in (GRU_RESET_AFTER, GRU_RESET_BEFORE):
            gru_forward(tape, row, steps, batch)
        else:
            elman_forward(tape, row, steps, batch)


@kernel
def readout(tape: F32, table: I64, Y: F32, scored_from: int, batch: int) -> tuple[float, int]:
    """Outputs, their errors, and the gradients of the readout and of the last cell's hidden states.

    Args:
        tape: Values of a tape, where the readout's inputs stand. Overwritten.
        table: Of the tape.
        Y: Targets, (M, K). NaN is not scored.
        scored_from: First row that is scored.
        batch: Windows B.

    Returns:
        Half the sum of squared errors, and the number of outputs it is summed over.
    """
    M, K = Y.shape
    row = table[-1]
    take_in(tape, row, M)
    loss, count = 0.0, 0
    for m in range(M):
        at = row[A] + m * row[Z_STRIDE]
        y = tape[at : at + K]
        activate(row[ACTIVATION], y)
        part, scored = _errors(row[ACTIVATION], y, Y[m], m >= scored_from)
        loss += part
        count += scored
    weights_back(tape, row, M)
    inputs_back(tape, row, M, K, batch)
    return loss, count


@kernel
def _errors(activation: int, y: F32, target: F32, scored: bool) -> tuple[float, int]:
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


@kernel
def backward(tape: F32, table: I64, steps: int, batch: int) -> None:
    """Gradient of every cell's weights, back through time, from the last layer to the first.

    Args:
        tape: Values of a tape after `forward`, holding the gradient of the last hidden states. Overwritten.
        table: Of the tape.
        steps: Steps T.
        batch: Windows B.
    """
    M = steps * batch
    for layer in range(table.shape[0] - 2, -1, -1):
        row = table[layer]
        if row[KIND] == LSTM:
            lstm_backward(tape, row, steps, batch)
            sums = 4 * row[UNITS]
        elif row[KIND] in (GRU_RESET_AFTER, GRU_RESET_BEFORE):
            gru_backward(tape, row, steps, batch)
            sums = 3 * row[UNITS]
        else:
            elman_backward(tape, row, steps, batch)
            sums = row[UNITS]
        recurrent_weights_back(tape, row, M)
        weights_back(tape, row, M)
        if layer > 0:
            inputs_back(tape, row, M, sums, batch)
