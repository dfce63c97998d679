"""Loss and gradient of a batch of windows: backpropagation through time over a stack of cells.

L = 1/(2N) sum (y - y*)^2 over the N scored outputs (the first `scored_from` steps of a window only warm the
state; targets that are NaN do not count).
"""

from typing import NamedTuple

import numpy as np

from stream_rnn.errors import ConfigError
from stream_rnn.kernels.passes import stack
from stream_rnn.kernels.passes.copies import collect, make_copies, pack_all
from stream_rnn.kernels.passes.tape import make_tape
from stream_rnn.kernels.plan import FIR, KIND, arrays, first_layers
from stream_rnn.sample import F32, I64

Arrays = dict[str, F32]


class Dropout(NamedTuple):
    """Shares of values set to zero while training."""

    inputs: float = 0.0
    readout: float = 0.0


NO_DROPOUT = Dropout()


def views(plan: I64, flat: F32) -> list[Arrays]:
    """Each layer's arrays by name, as views of the flat buffer; the readout's are last."""
    return [arrays(row, flat) for row in plan]


class Backpropagation:
    """Gradients of windows of one shape. Its tape is written to: not two at a time.

    Args:
        plan: Layout of the network.
        steps: Steps T of a window.
        batch: Windows B.

    Raises:
        ConfigError: A layer that is not trained but fitted in closed form, or several networks.
    """

    def __init__(self, plan: I64, steps: int, batch: int) -> None:
        if (members := len(first_layers(plan))) > 1:
            raise ConfigError(f"training: expected one network at a time, got an ensemble of {members}")
        if (plan[:, KIND] == FIR).any():
            raise ConfigError(
                "training: expected elman, gru or lstm layers, got fir, which is fitted in closed form"
            )
        self._tape = make_tape(plan, steps, batch)
        self._copies = make_copies(plan, self._tape.table)
        self._features, self._top_inputs = self._tape.inputs(0), self._tape.inputs(-1)
        self._top, self._dtop = self._tape.hidden(-2), self._tape.dhidden(-2)

    def forward(self, weights: F32, X: F32) -> None:
        """Run every cell over windows from zero states.

        Args:
            weights: Weights, flat.
            X: Features, (T, B, D).
        """
        tape = self._tape
        pack_all(self._copies.packing, weights, tape.values)
        self._features[:] = X.reshape(tape.rows, -1)
        stack.forward(tape)

    def hidden(self, layer: int) -> F32:
        """Hidden states of a layer after each step of the last forward pass, (T, B, H)."""
        tape = self._tape
        return tape.hidden(layer).reshape(tape.steps, tape.batch, -1)

    def add_gradient(
        self,
        weights: F32,
        X: F32,
        Y: F32,
        scored_from: int,
        dweights: F32,
        dropout: Dropout,
        rng: np.random.Generator,
    ) -> tuple[float, int]:
        """Add the gradient of half the sum of squared errors over a batch of windows.

        The caller divides by N: so several shards of one batch add up to the gradient of the whole.

        Args:
            weights: Weights, flat.
            X: Features, (T, B, D).
            Y: Targets, (T, B, K). NaN is not scored.
            scored_from: First step that is scored.
            dweights: Gradient, flat. Added to.
            dropout: Shares dropped on the inputs and before the readout.
            rng: Draws what is dropped.

        Returns:
            Half the sum of squared errors, and the number N of outputs it is summed over.
        """
        tape, copies = self._tape, self._copies
        pack_all(copies.packing, weights, tape.values)
        _drop(X, dropout.inputs, rng, self._features)
        stack.forward(tape)
        kept = _drop(self._top, dropout.readout, rng, self._top_inputs)
        targets = np.ascontiguousarray(Y.reshape(tape.rows, -1))
        loss, count = stack.readout(tape, targets, scored_from * tape.batch)
        if not np.isfinite(loss):
            return loss, count  # the caller stops; there is no gradient to speak of
        if kept is not None:
            self._dtop *= kept
        stack.backward(tape)
        collect(copies.collecting, tape.values, dweights)
        return loss, count


def _drop(values: F32, share: float, rng: np.random.Generator, out: F32) -> F32 | None:
    """Inverted dropout into `out`, (M, N); return the mask (0 or 1 / kept share), None if nothing drops."""
    rows = values.reshape(out.shape)
    if share == 0.0:
        out[:] = rows
        return None
    mask = (rng.random(out.shape, dtype=np.float32) >= share) * np.float32(1.0 / (1.0 - share))
    np.multiply(rows, mask, out=out)
    return mask
