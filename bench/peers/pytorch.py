"""PyTorch: a loop over cells, and its fused nn.LSTM, nn.GRU, nn.RNN."""

from typing import Any

import numpy as np

from bench.peers.base import Step, module
from stream_rnn.model.model import Model, split_weights
from stream_rnn.sample import F32

CELLS = {"lstm": ("LSTMCell", "LSTM"), "gru": ("GRUCell", "GRU"), "elman": ("RNNCell", "RNN")}


def make(model: Model, streams: int) -> dict[str, Step]:
    """Two candidates: cells, and the fused layer where all layers are alike."""
    torch = module("torch")
    torch.set_num_threads(1)
    steps = {"PyTorch, cells": cell_step(torch, model, streams)}
    if len({(layer.cell, layer.units) for layer in model.card.architecture.layers}) == 1:
        steps["PyTorch, nn.LSTM / GRU / RNN"] = fused_step(torch, model, streams)
    return steps


def layer_weights(model: Model, i: int) -> tuple[F32, F32, F32, F32]:
    """weight_ih, weight_hh, bias_ih, bias_hh: their order of gates is ours."""
    weights = split_weights(model.card.architecture, model.weights)
    layer = model.card.architecture.layers[i]
    W, U, b = (weights[f"layers.{i}.{name}"] for name in ("W", "U", "b"))
    gates = W.shape[1]
    recurrent_bias = np.zeros(gates, dtype=np.float32)
    if layer.cell == "gru":
        U = np.hstack([U, weights[f"layers.{i}.U_n"]])
        recurrent_bias[2 * layer.units :] = b[gates:]
    return W.T.copy(), U.T.copy(), b[:gates].copy(), recurrent_bias


def fill(torch: Any, parameters: dict[str, Any], values: dict[str, F32]) -> None:  # noqa: ANN401
    """Put our weights into their module."""
    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(torch.from_numpy(value))


def readout(torch: Any, model: Model) -> Any:  # noqa: ANN401 - see `module`
    """The dense layer at the end."""
    weights = split_weights(model.card.architecture, model.weights)
    dense = torch.nn.Linear(*weights["readout.W"].shape)
    values = {"weight": weights["readout.W"].T.copy(), "bias": weights["readout.b"].copy()}
    fill(torch, dict(dense.named_parameters()), values)
    return dense.eval()


def cell_step(torch: Any, model: Model, streams: int) -> Step:  # noqa: ANN401 - see `module`
    """One cell a layer."""
    cells, states, width = [], [], model.card.architecture.inputs
    for i, layer in enumerate(model.card.architecture.layers):
        made = getattr(torch.nn, CELLS[layer.cell][0])(width, layer.units)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        values = dict(zip(names, layer_weights(model, i), strict=True))
        fill(torch, dict(made.named_parameters()), values)
        cells.append(made.eval())
        zero = torch.zeros(streams, layer.units)
        states.append((zero, zero.clone()) if layer.cell == "lstm" else zero)
        width = layer.units
    dense = readout(torch, model)

    def step(sample: F32) -> Any:  # noqa: ANN401 - torch has no types here
        x = torch.from_numpy(sample).view(streams, -1)
        for i, cell in enumerate(cells):
            states[i] = after = cell(x, states[i])
            x = after[0] if isinstance(after, tuple) else after
        return dense(x).numpy()

    unwatched: Step = torch.inference_mode()(step)
    return unwatched


def fused_step(torch: Any, model: Model, streams: int) -> Step:  # noqa: ANN401 - see `module`
    """All layers in one module, over a sequence of one sample."""
    layers = model.card.architecture.layers
    kind, L, H = layers[0].cell, len(layers), layers[0].units
    stack = getattr(torch.nn, CELLS[kind][1])(model.card.architecture.inputs, H, L)
    for i in range(L):
        names = (f"weight_ih_l{i}", f"weight_hh_l{i}", f"bias_ih_l{i}", f"bias_hh_l{i}")
        values = dict(zip(names, layer_weights(model, i), strict=True))
        fill(torch, dict(stack.named_parameters()), values)
    stack.eval()
    dense, zero = readout(torch, model), torch.zeros(L, streams, H)
    state = (zero, zero.clone()) if kind == "lstm" else zero

    def step(sample: F32) -> Any:  # noqa: ANN401 - torch has no types here
        nonlocal state
        outputs, state = stack(torch.from_numpy(sample).view(1, streams, -1), state)
        return dense(outputs).numpy()

    unwatched: Step = torch.inference_mode()(step)
    return unwatched
