"""LiteRT with explicit state: a .tflite file written here, operator by operator, without TensorFlow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.peers.base import Absent, Step, module
from stream_rnn.model.architecture import Layer
from stream_rnn.model.model import Model, split_weights
from stream_rnn.sample import F32

I32 = NDArray[np.int32]

SCHEMA_VERSION, IDENTIFIER = 3, b"TFL3"


def make(model: Model, streams: int) -> dict[str, Step]:
    """One candidate: XNNPACK on one thread, states handed over and taken back."""
    runtime = module("ai_edge_litert.interpreter")
    content, states = build(model, streams)
    engine = runtime.Interpreter(model_content=content, num_threads=1)
    engine.allocate_tensors()
    inputs = [tensor["index"] for tensor in engine.get_input_details()]
    outputs = [tensor["index"] for tensor in engine.get_output_details()]
    held = [np.zeros(shape, dtype=np.float32) for shape in states]

    def step(sample: F32) -> F32:
        engine.set_tensor(inputs[0], sample.reshape(streams, -1))
        for index, state in zip(inputs[1:], held, strict=True):
            engine.set_tensor(index, state)
        engine.invoke()
        held[:] = [engine.get_tensor(index) for index in outputs[1:]]
        y: F32 = engine.get_tensor(outputs[0])
        return y

    return {"LiteRT, explicit state": step}


class Graph:
    """A model under construction: tensors are numbers."""

    def __init__(self, schema: Any) -> None:  # noqa: ANN401 - see `module`
        self._schema = schema
        self._tensors: list[Any] = []
        self._buffers = [schema.BufferT()]  # the first is empty by definition
        self._codes: list[int] = []
        self._operators: list[Any] = []

    def tensor(self, shape: Sequence[int], values: F32 | I32 | None = None) -> int:
        """A tensor that is computed, or a constant."""
        made = self._schema.TensorT()
        made.shape, made.name, made.buffer = list(shape), f"t{len(self._tensors)}", 0
        integer = values is not None and values.dtype == np.int32
        made.type = self._schema.TensorType.INT32 if integer else self._schema.TensorType.FLOAT32
        if values is not None:
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
            made.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._tensors.append(made)
        return len(self._tensors) - 1

    def shape(self, tensor: int) -> list[int]:
        """Of a tensor."""
        return list(self._tensors[tensor].shape)

    def add(
        self, code: str, inputs: Sequence[int], shapes: Sequence[Sequence[int]], **options: float
    ) -> list[int]:
        """An operator; its outputs."""
        schema = self._schema
        number = getattr(schema.BuiltinOperator, code)
        if number not in self._codes:
            self._codes.append(number)
        made, name = schema.OperatorT(), OPTIONS.get(code, "")
        made.opcodeIndex, made.inputs = self._codes.index(number), list(inputs)
        made.outputs = [self.tensor(shape) for shape in shapes]
        if name:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            made.builtinOptions = getattr(schema, f"{name}T")()
            for key, value in options.items():
                setattr(made.builtinOptions, key, value)
        self._operators.append(made)
        return list(made.outputs)

    def one(self, code: str, *inputs: int) -> int:
        """An elementwise operator; its output."""
        return self.add(code, inputs, [self.shape(inputs[0])])[0]

    def dense(self, x: int, W: F32, b: F32) -> int:
        """X W + b, of W (D, N)."""
        weights, bias = self.tensor(W.shape[::-1], W.T), self.tensor(b.shape, b)
        return self.add("FULLY_CONNECTED", [x, weights, bias], [[self.shape(x)[0], W.shape[1]]])[0]

    def joined(self, *parts: int) -> int:
        """Side by side."""
        width = sum(self.shape(part)[1] for part in parts)
        return self.add("CONCATENATION", parts, [[self.shape(parts[0])[0], width]], axis=1)[0]

    def split(self, x: int, count: int) -> list[int]:
        """Into so many of equal width."""
        rows, width = self.shape(x)
        axis = self.tensor([], np.array(1, dtype=np.int32))
        return self.add("SPLIT", [axis, x], [[rows, width // count]] * count, numSplits=count)

    def packed(self, inputs: list[int], outputs: list[int]) -> bytes:
        """The file."""
        schema = self._schema
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = (
            self._tensors,
            self._operators,
            inputs,
            outputs,
        )
        model.version, model.subgraphs, model.buffers = SCHEMA_VERSION, [graph], self._buffers
        model.operatorCodes = []
        for number in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = number, number, 1
            model.operatorCodes.append(code)
        builder = module("flatbuffers").Builder(1 << 16)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


OPTIONS = {
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "CONCATENATION": "ConcatenationOptions",
    "SPLIT": "SplitOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
}


def build(model: Model, streams: int) -> tuple[bytes, list[tuple[int, int]]]:
    """The file, and the shapes of its states in the order of its inputs behind x."""
    graph = Graph(module("ai_edge_litert.schema_py_generated"))
    architecture = model.card.architecture
    weights = split_weights(architecture, model.weights)
    x = first = graph.tensor((streams, architecture.inputs))
    states, after = [], []
    for i, layer in enumerate(architecture.layers):
        prefix = f"layers.{i}."
        arrays = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        before = [graph.tensor((streams, layer.units)) for _ in range(2 if layer.cell == "lstm" else 1)]
        states += before
        after += (results := CELLS[layer.cell](graph, layer, arrays, x, before))
        x = results[0]
    y = graph.dense(x, weights["readout.W"], weights["readout.b"])
    shapes = [(streams, graph.shape(state)[1]) for state in states]
    return graph.packed([first, *states], [y, *after]), shapes


def lstm(graph: Graph, _: Layer, w: dict[str, F32], x: int, state: list[int]) -> list[int]:
    """Gates i, f, g, o from one product."""
    h, c = state
    i, f, g, o = graph.split(graph.dense(graph.joined(x, h), np.vstack([w["W"], w["U"]]), w["b"]), 4)
    kept = graph.one("MUL", graph.one("LOGISTIC", f), c)
    new = graph.one("MUL", graph.one("LOGISTIC", i), graph.one("TANH", g))
    c = graph.one("ADD", kept, new)
    return [graph.one("MUL", graph.one("LOGISTIC", o), graph.one("TANH", c)), c]


def gru(graph: Graph, layer: Layer, w: dict[str, F32], x: int, state: list[int]) -> list[int]:
    """Gates r, z, n; reset after the product."""
    if layer.reset != "after":
        raise Absent("a GRU that resets before the product is not written")
    (h,), H = state, layer.units
    recurrent_bias = np.concatenate([np.zeros(2 * H, dtype=np.float32), w["b"][3 * H :]])
    x_r, x_z, x_n = graph.split(graph.dense(x, w["W"], w["b"][: 3 * H]), 3)
    h_r, h_z, h_n = graph.split(graph.dense(h, np.hstack([w["U"], w["U_n"]]), recurrent_bias), 3)
    r, z = (graph.one("LOGISTIC", graph.one("ADD", a, b)) for a, b in ((x_r, h_r), (x_z, h_z)))
    n = graph.one("TANH", graph.one("ADD", x_n, graph.one("MUL", r, h_n)))
    return [graph.one("ADD", n, graph.one("MUL", z, graph.one("SUB", h, n)))]


def elman(graph: Graph, _: Layer, w: dict[str, F32], x: int, state: list[int]) -> list[int]:
    """One tanh of one product."""
    return [graph.one("TANH", graph.dense(graph.joined(x, state[0]), np.vstack([w["W"], w["U"]]), w["b"]))]


CELLS = {"lstm": lstm, "gru": gru, "elman": elman}
