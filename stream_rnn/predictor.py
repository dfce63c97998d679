"""A model that steps: `step(x)` gives `y` and keeps the hidden state of each stream. It knows no messages."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from stream_rnn.errors import ModelError, SampleError
from stream_rnn.kernels._jit import seal
from stream_rnn.kernels.batch import make_batch
from stream_rnn.kernels.sparse import Clock, tune
from stream_rnn.memory import Memories, Memory, Shape
from stream_rnn.model.file import load_model
from stream_rnn.model.model import Model
from stream_rnn.sample import F32, I64
from stream_rnn.stepper import ANY, NO_TIME, advance, advance_many, advance_run, make_stepper, prepare

GOLDEN_TOLERANCE = 1e-4
"""Largest difference, relative to the largest golden output, that another CPU's rounding may make."""

_F32 = np.dtype(np.float32)
_TICKETS = 1 << 40  # of one predictor: the next one's begin above
_made = itertools.count(1)


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
        self.inputs = len(model.card.inputs)
        self.outputs = model.card.architecture.outputs
        self.shape = Shape.of(model)
        self.stepper = make_stepper(model, next(_made) * _TICKETS)
        self._batch = make_batch(model.card.architecture.plan())
        self._memories = Memories(self.shape)
        self._streams: dict[str, int] = {}  # where each one's memory lies
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
        return Memory(self.shape)

    def advance(self, memory: F32, at: int, x: F32, y: F32, seq: int = ANY, time: int = NO_TIME) -> int:
        """One step without checks: the hot path.

        Args:
            memory: Holds the stream's memory from index `at`. Overwritten.
            at: See `memory`.
            x: Sample, (D,), contiguous.
            y: Outputs, (K,). Overwritten.
            seq: Its number, for a session: see `stepper.advance`.
            time: Its own time, likewise.

        Returns:
            `Outcome` bits, or ALONE.
        """
        return advance(self.stepper, memory, at, x, y, seq, time)

    def advance_many(
        self, memory: F32, places: I64, seqs: I64, times: I64, N: int, X: F32, Y: F32, outcomes: I64
    ) -> int:
        """One step each of N different streams, the same bits as N calls of `advance`, also without checks.

        Args:
            memory: Holds the streams' memories. Overwritten.
            places: Index of each one's memory, (>= N,).
            seqs: As in `advance`, (>= N,).
            times: As in `advance`, (>= N,).
            N: Number of streams.
            X: Samples, (>= N, D).
            Y: Outputs, (>= N, K). Overwritten.
            outcomes: `Outcome` bits, or ALONE, (>= N,). Overwritten.

        Returns:
            How many were stepped.
        """
        return advance_many(self.stepper, self._batch, memory, places, seqs, times, N, X, Y, outcomes)

    def tune(self, clock: Clock) -> list[int]:
        """Measure where it pays to read only the weights of inputs that are not zero: the bits stay the same.

        Args:
            clock: Nanoseconds, monotonic: `time.perf_counter_ns`.

        Returns:
            For each layer, and the readout last: below how many inputs that are not zero it does. Spike
            counts often are fewer in the first layer, the outputs of rectified units in any other.
        """
        return tune(self.stepper, _room(self.model), clock, features=_maybe_zero(self.model))

    def prepare(self, memory: F32, at: int) -> None:
        """Compute ahead what the next step of this memory needs beside its sample: the same bits, sooner.

        Worth it where the stream's next sample comes later than this takes, and no other stream's before.
        """
        prepare(self.stepper, memory, at)

    def step(self, x: ArrayLike, stream: str = "", out: F32 | None = None) -> F32:
        """Advance a stream by one sample.

        Args:
            x: Features, (D,), raw as they come from the sensor. NaN marks a missing one. A contiguous
                float32 array is taken as it is, anything else is copied first.
            stream: Key of the stream.
            out: Where to write the outputs, (K,) float32, instead of a new array.

        Returns:
            Outputs, (K,), in the units of `model.card.outputs`.

        Raises:
            SampleError: x is not D numbers.
            ValueError: `out` is not K float32.
        """
        at = self._streams.get(stream, -1)
        y = np.empty(self.outputs, _F32) if out is None else out
        try:
            if at >= 0 and advance(self.stepper, self._memories.data, at, x, y, ANY, 0) >= 0:  # type: ignore[arg-type]
                return y
        except TypeError:  # not contiguous float32: the compiled step takes nothing else
            pass
        return self._step_other(x, stream, y)

    def _step_other(self, x: ArrayLike, stream: str, y: F32) -> F32:
        """`step` for the first sample of a stream, and for what is no vector of D float32."""
        sample = np.array(x, dtype=np.float32)
        if sample.shape != (self.inputs,):
            raise SampleError("width", f"sample: expected {self.inputs} features, got shape {sample.shape}")
        if y.shape != (self.outputs,) or y.dtype != np.float32 or not y.flags.carray:
            raise ValueError(f"out: expected a contiguous array of {self.outputs} float32, got {y!r}")
        at = self._place(stream)
        self.advance(self._memories.data, at, sample, y)
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
        at = self._place(stream)
        advance_run(self.stepper, self._memories.data, at, samples, ys)
        return ys

    def step_many(self, xs: ArrayLike, streams: Sequence[str]) -> F32:
        """Advance many streams by one sample each: the same bits as N calls of `step`, weights loaded once.

        Args:
            xs: A sample a stream, (N, D).
            streams: Keys of N streams, each once.

        Returns:
            Outputs, (N, K).

        Raises:
            SampleError: xs is not a row of D numbers for each stream.
            ValueError: A stream is named twice.
        """
        samples = np.require(xs, np.float32, ["C", "A", "W"])
        N = len(streams)
        if samples.shape != (N, self.inputs):
            raise SampleError("width", f"samples: expected ({N}, {self.inputs}), got shape {samples.shape}")
        if len(set(streams)) < N:
            raise ValueError(f"streams: expected each once, got {N - len(set(streams))} again")
        places = np.fromiter((self._place(stream) for stream in streams), np.int64, N)
        ys, seqs, none = np.empty((N, self.outputs), _F32), np.full(N, ANY), np.empty(N, dtype=np.int64)
        self.advance_many(self._memories.data, places, seqs, none, N, samples, ys, none)
        return ys

    def reset(self, stream: str | None = None) -> None:
        """Forget one stream, or all of them."""
        for key in tuple(self._streams) if stream is None else (stream,):
            at = self._streams.pop(key, None)
            if at is not None:
                self._memories.give_back(at)

    def state(self, stream: str = "") -> bytes:
        """The memory of a stream: give it to `restore`, here or in another process."""
        at = self._place(stream)
        return self._memories.of(at).to_bytes()

    def restore(self, state: bytes, stream: str = "") -> None:
        """Go on from where `state` was taken.

        Raises:
            ModelError: Another model wrote it.
        """
        self.shape.check(state)
        at = self._place(stream)
        self._memories.of(at).load(state)

    @property
    def streams(self) -> tuple[str, ...]:
        """Keys of the streams that have a memory, oldest first."""
        return tuple(self._streams)

    def _place(self, stream: str) -> int:
        at = self._streams.get(stream)
        if at is None:
            at = self._streams[stream] = self._memories.take()
        return at


def with_golden(model: Model, xs: F32) -> Model:
    """The model with `xs`, (G, D), and its answers to them from a fresh state as its golden vector."""
    none = np.empty((0, model.card.architecture.outputs), dtype=np.float32)
    bare = msgspec.structs.replace(model, golden_x=xs[:0], golden_y=none)
    return msgspec.structs.replace(model, golden_x=xs, golden_y=Predictor(bare).run(xs))


def compile_one(model: Model, *, sparse: bool) -> None:
    """Compile what steps one stream, or read it from the cache, and prove nothing: a `Predictor` does.

    Args:
        model: What is to be stepped.
        sparse: Compile what `tune` measures, too.
    """
    stepper, memory = make_stepper(model, 0), Memory(Shape.of(model)).data
    x, y = _blank(model)
    prepare(stepper, memory, 0)
    advance(stepper, memory, 0, x[0], y[0], ANY, NO_TIME)
    if sparse:
        tune(stepper, _room(model), lambda: 0, features=_maybe_zero(model))


def compile_many(model: Model) -> None:
    """The same for what steps many streams."""
    stepper, memory = make_stepper(model, 0), Memory(Shape.of(model)).data
    x, y = _blank(model)
    batch, (place, seq, time, outcome) = (
        make_batch(model.card.architecture.plan()),
        np.zeros((4, 1), np.int64),
    )
    seq[:] = ANY
    advance_many(stepper, batch, memory, place, seq, time, 1, x, y, outcome)


def _blank(model: Model) -> tuple[F32, F32]:
    """A sample, (1, D), and room for its outputs, (1, K)."""
    card = model.card
    return np.zeros((1, len(card.inputs)), _F32), np.zeros((1, card.architecture.outputs), _F32)


def _room(model: Model) -> F32:
    """For the inputs of the widest layer."""
    architecture = model.card.architecture
    return np.zeros(max(architecture.inputs, *(layer.units for layer in architecture.layers)), _F32)


def _maybe_zero(model: Model) -> bool:
    """Whether a feature of 0 is 0 at the network's input."""
    return model.preprocess.folds and not model.half


def check_golden(predictor: Predictor) -> None:
    """Run the golden vector, or one blank sample where there is none, and compare.

    Raises:
        ModelError: An output differs by more than rounding.
    """
    model = predictor.model
    kernels = (advance, advance_many, prepare)  # `run` is compiled when it is first called: no daemon does
    for compiled in kernels:
        seal(compiled, sealed=False)
    xs = model.golden_x if len(model.golden_x) else np.zeros((1, predictor.inputs), dtype=np.float32)
    memory, ys = predictor.new_memory().data, np.empty((len(xs), predictor.outputs), dtype=np.float32)
    for x, y in zip(np.require(xs, requirements=["C", "A", "W"]), ys, strict=True):
        predictor.prepare(memory, 0)
        predictor.advance(memory, 0, x, y)
    predictor.step_many(xs[:1], ("golden",))
    for compiled in kernels:
        seal(compiled)
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
