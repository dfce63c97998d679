"""A model that steps: `step(x)` gives `y` and keeps the hidden state of each stream. It knows no messages."""

import struct
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from stream_rnn.errors import ModelError, SampleError
from stream_rnn.kernels import network
from stream_rnn.kernels._jit import kernel
from stream_rnn.model.file import load_model
from stream_rnn.model.model import Model
from stream_rnn.preprocess import Outcome, all_finite, preprocess_step
from stream_rnn.sample import F32, I64

GOLDEN_TOLERANCE = 1e-4
"""Largest difference, relative to the largest golden output, that another CPU's rounding may make."""

_COUNT = struct.Struct("<q")


class Memory:
    """What one stream leaves behind between samples.

    Attributes:
        count: Samples taken in.
        window: The bin and the last finite values, (bin + 1, D).
        states: Hidden states that take turns, (bin, state size).
    """

    __slots__ = ("count", "states", "window")

    def __init__(self, count: int, window: F32, states: F32) -> None:
        self.count, self.window, self.states = count, window, states

    def to_bytes(self) -> bytes:
        """Everything, little-endian: count, window, states."""
        return _COUNT.pack(self.count) + self.window.tobytes() + self.states.tobytes()


@kernel
def advance(
    settings: I64,
    constants: F32,
    plan: I64,
    weights: F32,
    x: F32,
    count: int,
    window: F32,
    states: F32,
    scratch: F32,
    y: F32,
) -> int:
    """Preprocess and step one sample, in place: the way of every sample, online and offline.

    Args:
        settings: Of the preprocessing.
        constants: Of the preprocessing, (3, D).
        plan: Layout of the network.
        weights: Weights, flat.
        x: Sample, (D,).
        count: Samples taken in before this one.
        window: (bin + 1, D). Overwritten.
        states: (bin, state size). The row whose turn it is is overwritten.
        scratch: D values, and behind them `scratch_size(plan)`. Overwritten.
        y: Outputs, (K,). Overwritten; NaN where the sample failed.

    Returns:
        `Outcome` bits.
    """
    D = x.shape[0]
    features = scratch[:D]
    outcome = preprocess_step(settings, constants, x, count, window, features)
    if outcome & 2:
        for k in range(y.shape[0]):
            y[k] = np.float32(np.nan)
    else:
        network.step(plan, weights, features, states[count % settings[0]], scratch[D:], y)
        if not all_finite(y):
            outcome |= 8
    return outcome


@kernel
def advance_run(
    settings: I64,
    constants: F32,
    plan: I64,
    weights: F32,
    xs: F32,
    count: int,
    window: F32,
    states: F32,
    scratch: F32,
    ys: F32,
) -> int:
    """`advance` over a sequence, the same bits as T calls.

    Args:
        settings: Of the preprocessing.
        constants: Of the preprocessing, (3, D).
        plan: Layout of the network.
        weights: Weights, flat.
        xs: Samples, (T, D).
        count: Samples taken in before these.
        window: (bin + 1, D). Overwritten.
        states: (bin, state size). Overwritten.
        scratch: As in `advance`. Overwritten.
        ys: Outputs, (T, K). Overwritten.

    Returns:
        Samples taken in after these: those that failed do not count.
    """
    for t in range(xs.shape[0]):
        outcome = advance(settings, constants, plan, weights, xs[t], count, window, states, scratch, ys[t])
        if not outcome & 2:
            count += 1
    return count


class Predictor:
    """A model, its compiled step, and a memory for each stream.

    >>> from stream_rnn.demo import demo_model
    >>> predictor = Predictor.load(demo_model())
    >>> y = predictor.step([0.0] * predictor.inputs)
    >>> y.shape, y.dtype
    ((2,), dtype('float32'))
    >>> predictor.model.card.outputs[0]
    Channel(name='velocity_x', unit='cm/s')

    Streams do not share memory; one without a name is a stream like any other:

    >>> left = predictor.step([1.0] * predictor.inputs, stream="left hand")
    >>> predictor.reset("left hand")

    Making one runs the model's golden vector: that compiles the step and proves that it computes here what it
    computed where it was saved.

    Raises:
        ModelError: The golden vector does not come out.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.hash = model.hash
        self.inputs = model.card.architecture.inputs
        self.outputs = model.card.architecture.outputs
        self._bin = model.card.bin
        self._plan = model.card.architecture.plan()
        self._settings = model.preprocess.settings()
        self._constants = model.preprocess.constants()
        self._scratch = np.zeros(self.inputs + network.scratch_size(self._plan), dtype=np.float32)
        self._streams: dict[str, Memory] = {}
        check_golden(self)

    @classmethod
    def load(cls, path: str | Path) -> "Predictor":
        """Read a model file.

        Raises:
            ModelError: The file is damaged, altered or of another version, or its golden vector differs.
        """
        return cls(load_model(Path(path)))

    def new_memory(self) -> Memory:
        """The memory of a stream before its first sample."""
        states = np.zeros((self._bin, network.state_size(self._plan)), dtype=np.float32)
        return Memory(0, self.model.preprocess.new_state(), states)

    def memory_from_bytes(self, data: bytes) -> Memory:
        """The inverse of `Memory.to_bytes`.

        Raises:
            ModelError: Another model wrote these bytes.
        """
        memory = self.new_memory()
        expected = _COUNT.size + memory.window.nbytes + memory.states.nbytes
        if len(data) != expected:
            raise ModelError(f"state: expected {expected} bytes for this model, got {len(data)}")
        (memory.count,) = _COUNT.unpack_from(data)
        values = np.frombuffer(data, dtype="<f4", offset=_COUNT.size)
        memory.window[:] = values[: memory.window.size].reshape(memory.window.shape)
        memory.states[:] = values[memory.window.size :].reshape(memory.states.shape)
        return memory

    def advance(self, memory: Memory, x: F32, y: F32) -> int:
        """One step without checks: the hot path.

        Args:
            memory: Of the stream. Overwritten.
            x: Sample, (D,), contiguous.
            y: Outputs, (K,). Overwritten.

        Returns:
            `Outcome` bits.
        """
        outcome = advance(
            self._settings,
            self._constants,
            self._plan,
            self.model.weights,
            x,
            memory.count,
            memory.window,
            memory.states,
            self._scratch,
            y,
        )
        if not outcome & Outcome.FAILED:
            memory.count += 1
        return outcome

    def step(self, x: ArrayLike, stream: str = "") -> F32:
        """Advance a stream by one sample.

        Args:
            x: Features, (D,), raw as they come from the sensor. NaN marks a missing one.
            stream: Key of the stream.

        Returns:
            Outputs, (K,), in the units of `model.card.outputs`.

        Raises:
            SampleError: x is not D numbers.
        """
        sample = np.array(x, dtype=np.float32)  # a copy: a read-only array would compile the step again
        if sample.shape != (self.inputs,):
            raise SampleError("width", f"sample: expected {self.inputs} features, got shape {sample.shape}")
        y = np.empty(self.outputs, dtype=np.float32)
        self.advance(self._memory(stream), sample, y)
        return y

    def run(self, xs: ArrayLike, stream: str = "") -> F32:
        """Advance a stream by T samples: the same bits as T calls of `step`.

        Args:
            xs: Features, (T, D).
            stream: Key of the stream.

        Returns:
            Outputs, (T, K).

        Raises:
            SampleError: xs is not rows of D numbers.
        """
        samples = np.require(xs, np.float32, ["C", "A", "W"])  # read-only ones would compile the step again
        if samples.ndim != 2 or samples.shape[1] != self.inputs:
            raise SampleError("width", f"samples: expected (T, {self.inputs}), got shape {samples.shape}")
        ys = np.empty((len(samples), self.outputs), dtype=np.float32)
        memory = self._memory(stream)
        memory.count = advance_run(
            self._settings,
            self._constants,
            self._plan,
            self.model.weights,
            samples,
            memory.count,
            memory.window,
            memory.states,
            self._scratch,
            ys,
        )
        return ys

    def reset(self, stream: str | None = None) -> None:
        """Forget one stream, or all of them."""
        if stream is None:
            self._streams.clear()
        else:
            self._streams.pop(stream, None)

    def state(self, stream: str = "") -> bytes:
        """The memory of a stream: give it to `restore`, here or in another process."""
        return self._memory(stream).to_bytes()

    def restore(self, state: bytes, stream: str = "") -> None:
        """Go on from where `state` was taken.

        Raises:
            ModelError: Another model wrote it.
        """
        self._streams[stream] = self.memory_from_bytes(state)

    @property
    def streams(self) -> tuple[str, ...]:
        """Keys of the streams that have a memory, oldest first."""
        return tuple(self._streams)

    def _memory(self, stream: str) -> Memory:
        memory = self._streams.get(stream)
        if memory is None:
            memory = self._streams[stream] = self.new_memory()
        return memory


def with_golden(model: Model, xs: F32) -> Model:
    """The model with `xs`, (G, D), and its answers to them from a fresh state as its golden vector."""
    none = np.empty((0, model.card.architecture.outputs), dtype=np.float32)
    bare = msgspec.structs.replace(model, golden_x=xs[:0], golden_y=none)
    return msgspec.structs.replace(model, golden_x=xs, golden_y=Predictor(bare).run(xs))


def check_golden(predictor: Predictor) -> None:
    """Run the golden vector, or one blank sample where there is none, and compare.

    Raises:
        ModelError: An output differs by more than rounding.
    """
    model = predictor.model
    xs = model.golden_x if len(model.golden_x) else np.zeros((1, predictor.inputs), dtype=np.float32)
    ys = predictor.run(xs, stream="golden")
    memory = predictor.new_memory()
    predictor.advance(memory, xs[0], ys[0].copy())  # compiles the single step as well
    predictor.reset()
    if not len(model.golden_x):
        return
    limit = GOLDEN_TOLERANCE * max(1.0, float(np.abs(model.golden_y).max()))
    wrong = ~(np.abs(ys - model.golden_y) <= limit)
    if wrong.any():
        row, k = (int(i) for i in np.argwhere(wrong)[0])
        name = model.card.outputs[k].name
        raise ModelError(
            f"model {model.hash}: golden row {row}, output {name!r}: "
            f"expected {model.golden_y[row, k]:.6g}, got {ys[row, k]:.6g}"
        )
