"""The laws that every network obeys, whatever its cells. Each raises AssertionError where it is broken."""

import numpy as np

from stream_rnn.kernels import network
from stream_rnn.kernels import plan as layout
from stream_rnn.kernels.engine import make_engine
from stream_rnn.model.architecture import Architecture
from stream_rnn.model.model import split_weights
from stream_rnn.sample import F32, I64
from stream_rnn.training.gradient import Backpropagation
from tests import reference
from tests.small import calm

TOLERANCE = 2e-5  # from float64, over a thousand steps, for outputs of the order of one


class Made:
    """A network with seeded weights, and inputs for it."""

    def __init__(self, architecture: Architecture, steps: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.architecture = architecture
        self.plan: I64 = architecture.plan()
        size = layout.weights_size(self.plan)
        spread = 0.8 / np.sqrt(max(layer.units * layer.steps for layer in architecture.layers))
        self.weights: F32 = (rng.standard_normal(size) * spread).astype(np.float32)
        calm(self.plan, self.weights, 0.5)
        self.xs: F32 = rng.standard_normal((steps, architecture.inputs)).astype(np.float32)
        self.engine = make_engine(self.plan, self.weights)

    def state(self) -> F32:
        return np.zeros(layout.state_size(self.plan), dtype=np.float32)

    def run(self, xs: F32, state: F32 | None = None) -> F32:
        ys = np.empty((len(xs), self.architecture.outputs), dtype=np.float32)
        network.run(self.engine, xs, self.state() if state is None else state, ys)
        return ys

    def step(self, x: F32, state: F32, *, prepared: bool = False) -> F32:
        y = np.empty(self.architecture.outputs, dtype=np.float32)
        if prepared:
            network.prepare(self.engine, state, 0)
        network.step(self.engine, x, 0, state, 0, y, prepared)
        return y


def run_equals_repeated_step(made: Made) -> None:
    state = made.state()
    stepped = np.array([made.step(x, state) for x in made.xs])
    np.testing.assert_array_equal(made.run(made.xs), stepped)


def a_cut_sequence_equals_the_whole(made: Made) -> None:
    state, cut = made.state(), len(made.xs) // 3
    parts = [made.run(made.xs[:cut], state), made.run(made.xs[cut:], state)]
    np.testing.assert_array_equal(np.concatenate(parts), made.run(made.xs))


def prepared_step_equals_the_whole(made: Made) -> None:
    state, split = made.state(), made.state()
    for x in made.xs:
        np.testing.assert_array_equal(made.step(x, split, prepared=True), made.step(x, state))
    np.testing.assert_array_equal(split, state)


def float32_stays_near_float64(made: Made) -> None:
    twin = reference.Network(made.architecture, split_weights(made.architecture, made.weights))
    np.testing.assert_allclose(
        made.run(made.xs), twin.run(made.xs.astype(np.float64)), atol=TOLERANCE, rtol=0
    )


def training_pass_equals_repeated_step(made: Made) -> None:
    """The forward pass of training keeps the very hidden states that single steps go through.

    A filter is fitted in closed form: it has none. The members of an ensemble are trained one by one.
    """
    if (made.plan[:, layout.KIND] == layout.FIR).any() or made.architecture.networks > 1:
        return
    T, B = len(made.xs) // 3, 3
    X = np.ascontiguousarray(made.xs[: T * B].reshape(T, B, -1))
    passes = Backpropagation(made.plan, T, B)
    passes.forward(made.weights, X)
    for i in range(B):
        state = made.state()
        for t in range(T):
            made.step(X[t, i], state)
            for layer, row in enumerate(made.plan[:-1]):
                at = row[layout.STATE_AT]
                h = state[at : at + row[layout.UNITS]]
                np.testing.assert_array_equal(passes.hidden(layer)[t, i], h)


LAWS = (
    run_equals_repeated_step,
    a_cut_sequence_equals_the_whole,
    prepared_step_equals_the_whole,
    float32_stays_near_float64,
    training_pass_equals_repeated_step,
)
