"""Keras: cells with explicit state, as one traced function where TensorFlow is its backend."""

import importlib.util
import os
from typing import Any

import numpy as np

from bench.peers.base import Step, module
from stream_rnn.model.model import Model, split_weights
from stream_rnn.sample import F32

CELLS = {"lstm": "LSTMCell", "gru": "GRUCell", "elman": "SimpleRNNCell"}


def make(model: Model, streams: int) -> dict[str, Step]:
    """One candidate."""
    backend = next((n for n in ("tensorflow", "jax") if importlib.util.find_spec(n)), "torch")
    os.environ.setdefault("KERAS_BACKEND", backend)
    keras = module("keras")
    backend = keras.backend.backend()
    layers = model.card.architecture.layers
    cells = [keras_cell(keras, model, i) for i in range(len(layers))]
    dense = keras.layers.Dense(model.card.architecture.outputs)
    dense.build((streams, layers[-1].units))
    weights = split_weights(model.card.architecture, model.weights)
    dense.set_weights([weights["readout.W"], weights["readout.b"]])

    def network(x: Any, states: Any) -> Any:  # noqa: ANN401 - tensors of any backend
        after = []
        for cell, state in zip(cells, states, strict=True):
            x, state = cell(x, state)  # noqa: PLW2901 - the state goes on
            after.append(list(state) if isinstance(state, (list, tuple)) else [state])
        return dense(x), after

    call = without_gradients(backend, network)
    held = [
        [keras.ops.zeros((streams, layer.units)) for _ in range(2 if layer.cell == "lstm" else 1)]
        for layer in layers
    ]

    def step(sample: F32) -> Any:  # noqa: ANN401 - see `module`
        y, held[:] = call(keras.ops.convert_to_tensor(sample.reshape(streams, -1)), held)
        return keras.ops.convert_to_numpy(y)

    return {f"Keras on {backend}": step}


def without_gradients(backend: str, network: Any) -> Any:  # noqa: ANN401 - see `module`
    """The fastest form of a function on this backend."""
    if backend == "tensorflow":
        return module("tensorflow").function(network)
    if backend == "jax":
        return module("jax").jit(network)
    torch = module("torch")
    torch.set_num_threads(1)
    return torch.no_grad()(network)


def keras_cell(keras: Any, model: Model, i: int) -> Any:  # noqa: ANN401 - see `module`
    """A layer's cell with our weights; a GRU's gates are z, r, h there."""
    layer = model.card.architecture.layers[i]
    weights = split_weights(model.card.architecture, model.weights)
    W, U, b = (weights[f"layers.{i}.{name}"] for name in ("W", "U", "b"))
    H = layer.units
    more = {"reset_after": True} if layer.cell == "gru" else {}
    cell = getattr(keras.layers, CELLS[layer.cell])(H, **more)
    cell.build((1, W.shape[0]))
    if layer.cell == "gru":
        recurrent_bias = np.concatenate([np.zeros(2 * H, dtype=np.float32), b[3 * H :]])
        U = np.hstack([U, weights[f"layers.{i}.U_n"]])
        W, U, b = (exchanged(part, H) for part in (W, U, np.stack([b[: 3 * H], recurrent_bias])))
    cell.set_weights([W, U, b])
    return cell


def exchanged(columns: F32, H: int) -> F32:
    """Columns r, z, n as z, r, n."""
    return np.concatenate([columns[..., H : 2 * H], columns[..., :H], columns[..., 2 * H :]], axis=-1)
