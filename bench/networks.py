"""The networks that are measured, with seeded weights."""

import numpy as np

from stream_rnn.kernels.plan import weights_size
from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.model.model import Card, Channel, Model
from stream_rnn.sample import F32

INPUTS = 96
NETWORKS = {
    "A LSTM50x3+Dense1": ((Layer("lstm", 50),) * 3, 1),
    "B LSTM128+Dense2": ((Layer("lstm", 128),), 2),
    "C Elman32+Dense2": ((Layer("elman", 32),), 2),
    "D LSTM512x2+Dense2": ((Layer("lstm", 512),) * 2, 2),
    "E GRU128+Dense2": ((Layer("gru", 128),), 2),
}


def network(layers: tuple[Layer, ...], outputs: int, inputs: int = INPUTS) -> Model:
    """A network with seeded weights and no golden vector."""
    rng = np.random.default_rng(0)
    architecture = Architecture(inputs=inputs, layers=layers, outputs=outputs)
    scale = min(0.1, 1.5 / np.sqrt(max(layer.units for layer in layers)))
    weights = rng.standard_normal(weights_size(architecture.plan())) * scale
    card = Card(
        architecture=architecture,
        inputs=tuple(Channel(f"x{i}") for i in range(inputs)),
        outputs=tuple(Channel(f"y{i}") for i in range(outputs)),
        rate_hz=1000.0,
        bin=1,
        missing="hold",
        horizon=0,
    )
    zeros, ones = np.zeros(inputs, dtype=np.float32), np.ones(inputs, dtype=np.float32)
    golden = np.empty((0, inputs), dtype=np.float32), np.empty((0, outputs), dtype=np.float32)
    return Model(card, weights.astype(np.float32), zeros, ones, *golden)


def named(letter: str) -> Model:
    """The network whose name begins with this letter."""
    layers, outputs = next(made for name, made in NETWORKS.items() if name.startswith(letter))
    return network(layers, outputs)


def samples(*shape: int) -> F32:
    """Seeded samples, (*shape) float32."""
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def weight_bytes(model: Model) -> int:
    """Bytes of weights that one step reads."""
    return int(model.weights.nbytes)
