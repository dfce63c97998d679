"""ONNX Runtime: one node a layer, states in and out; with IO binding they never leave its memory."""

from typing import Any

import numpy as np

from bench.peers.base import Step, module
from stream_rnn.model.architecture import Layer
from stream_rnn.model.model import Model, split_weights
from stream_rnn.sample import F32

OPSET, IR_VERSION = 17, 9
OPERATORS = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN"}
ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "elman": (0,)}
"""Which of our gates stands where in theirs: i, o, f, c of our i, f, g, o; z, r, h of our r, z, n."""


def make(model: Model, streams: int) -> dict[str, Step]:
    """Two candidates: with IO binding, and `run()`, which copies states in and out."""
    runtime = module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = runtime.InferenceSession(build(model, streams), options, providers=["CPUExecutionProvider"])
    return {
        "ONNX Runtime, IO binding": bound_step(runtime, session, model, streams),
        "ONNX Runtime, run()": run_step(session, model, streams),
    }


def state_names(model: Model) -> dict[str, int]:
    """Width of every state of the network, by name."""
    names = {}
    for i, layer in enumerate(model.card.architecture.layers):
        names[f"h{i}"] = layer.units
        if layer.cell == "lstm":
            names[f"c{i}"] = layer.units
    return names


def build(model: Model, streams: int) -> bytes:
    """The network as an ONNX file: inputs x and each state; outputs y and each state, named `_next`."""
    onnx = module("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    architecture = model.card.architecture
    weights = split_weights(architecture, model.weights)
    nodes, initializers, x = [], [], "x"

    def constant(name: str, values: F32) -> str:
        initializers.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    for i, layer in enumerate(architecture.layers):
        arrays = [
            constant(f"{part}{i}", value)
            for part, value in zip("WRB", packed(layer, weights, i), strict=True)
        ]
        lstm = layer.cell == "lstm"
        inputs = [x, *arrays, "", f"h{i}", *([f"c{i}"] if lstm else [])]
        outputs = ["", f"h{i}_next", *([f"c{i}_next"] if lstm else [])]
        more = {"linear_before_reset": 1} if layer.cell == "gru" else {}
        nodes.append(
            helper.make_node(OPERATORS[layer.cell], inputs, outputs, hidden_size=layer.units, **more)
        )
        x = f"h{i}_next"
    readout = constant("readout", weights["readout.W"]), constant("bias", weights["readout.b"])
    nodes += [
        helper.make_node("MatMul", [x, readout[0]], ["product"]),
        helper.make_node("Add", ["product", readout[1]], ["y"]),
    ]
    states = state_names(model)

    def infos(end: str, **first: int) -> list[Any]:
        widths = first | {name + end: width for name, width in states.items()}
        return [helper.make_tensor_value_info(n, floats, [1, streams, width]) for n, width in widths.items()]

    ends = infos("", x=architecture.inputs), infos("_next", y=architecture.outputs)
    graph = helper.make_graph(nodes, "network", *ends, initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(made.SerializeToString())


def packed(layer: Layer, weights: dict[str, F32], i: int) -> tuple[F32, F32, F32]:
    """W (1, gates H, D), R (1, gates H, H), B (1, 2 gates H) in ONNX's order of gates."""
    H, order = layer.units, ORDER[layer.cell]
    W, U, b = (weights[f"layers.{i}.{name}"] for name in ("W", "U", "b"))
    recurrent_bias = np.zeros(len(order) * H, dtype=np.float32)
    if layer.cell == "gru":
        U = np.hstack([U, weights[f"layers.{i}.U_n"]])
        recurrent_bias[2 * H :] = b[3 * H :]

    def gates(columns: F32) -> F32:
        parts = [columns[..., gate * H : (gate + 1) * H] for gate in order]
        return np.concatenate(parts, axis=-1).T

    bias = np.concatenate([gates(b[: len(order) * H]), gates(recurrent_bias)])
    return gates(W)[None], gates(U)[None], bias[None]


def bound_step(runtime: Any, session: Any, model: Model, streams: int) -> Step:  # noqa: ANN401 - see `module`
    """A step between two sets of states: what one call writes, the next one reads."""
    x = np.zeros((1, streams, model.card.architecture.inputs), dtype=np.float32)
    y = np.zeros((1, streams, model.card.architecture.outputs), dtype=np.float32)
    value = runtime.OrtValue.ortvalue_from_numpy
    x_value, y_value = value(x), value(y)
    sets = [
        {
            name: value(np.zeros((1, streams, width), dtype=np.float32))
            for name, width in state_names(model).items()
        }
        for _ in range(2)
    ]
    bindings = []
    for before, after in (sets, sets[::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", x_value)
        binding.bind_ortvalue_output("y", y_value)
        for name in before:
            binding.bind_ortvalue_input(name, before[name])
            binding.bind_ortvalue_output(f"{name}_next", after[name])
        bindings.append(binding)
    turn = 0

    def step(sample: F32) -> F32:
        nonlocal turn
        x[0] = sample
        session.run_with_iobinding(bindings[turn])
        turn = 1 - turn
        return y

    return step


def run_step(session: Any, model: Model, streams: int) -> Step:  # noqa: ANN401 - see `module`
    """A step that hands every state over and takes it back."""
    feed = {
        name: np.zeros((1, streams, width), dtype=np.float32) for name, width in state_names(model).items()
    }
    names, wanted = list(feed), ["y", *(f"{name}_next" for name in feed)]

    def step(sample: F32) -> F32:
        feed["x"] = sample.reshape(1, streams, -1)
        y, *after = session.run(wanted, feed)
        feed.update(zip(names, after, strict=True))
        result: F32 = y
        return result

    return step
