"""What one stream leaves behind between samples, and the room where many streams keep it: a row each."""

import struct
from typing import NamedTuple

import numpy as np

from stream_rnn.errors import ModelError
from stream_rnn.kernels.plan import state_size
from stream_rnn.model.model import Model
from stream_rnn.sample import F32, I64

COUNT, TICKET, LAST_SEQ, T_NS, STEPPED, STATUS, PASS = range(0, 14, 2)
"""Fields in front of a stream's memory, int64 in the place of two float32 each: samples taken in, the ticket
of what was prepared for the next one; what a session keeps there: seq and time of its last sample, samples
stepped, whether anything is out of the ordinary; and the ticket of the last pass over many streams that took
it along."""
WINDOW_AT = 16

FIRST_ROWS = 16
MOST_COUNT = 2**62  # samples of a stream: at a million a second, more than a hundred thousand years
_COUNT = struct.Struct("<q")
_LINE = 16  # float32 of a cache line: no two rows share one


class Shape(NamedTuple):
    """What a stream of a model leaves behind.

    Attributes:
        bin: Samples of a bin: the window's rows, and the number of hidden states that take turns.
        width: Channels C.
        kept: Values of the stream's own mean and variance.
        state: Values of one hidden state.
    """

    bin: int
    width: int
    kept: int
    state: int

    @classmethod
    def of(cls, model: Model) -> "Shape":
        """That of a model."""
        preprocess = model.preprocess
        return cls(
            model.card.bin, preprocess.width, preprocess.kept, state_size(model.card.architecture.plan())
        )

    @property
    def values(self) -> int:
        """Float32 of window, what is kept, and states."""
        return self.states_at + self.bin * self.state

    @property
    def states_at(self) -> int:
        """Float32 in front of the states."""
        return self.bin * self.width + self.kept

    def check(self, data: bytes) -> None:
        """Refuse what no stream of this shape left behind.

        Raises:
            ModelError: The bytes are more or fewer than they should be, or say what cannot be.
        """
        expected = _COUNT.size + 4 * self.values
        if len(data) != expected:
            raise ModelError(f"state: expected {expected} bytes for this model, got {len(data)}")
        (count,) = _COUNT.unpack_from(data)
        if not 0 <= count <= MOST_COUNT:
            raise ModelError(f"state: expected a count of samples from 0, got {count}")


class Memory:
    """What one stream leaves behind between samples, in one array.

    Attributes:
        data: The fields, the window, the stream's own mean and variance, the states.
    """

    __slots__ = ("_shape", "data")

    def __init__(self, shape: Shape, data: F32 | None = None) -> None:
        self._shape = shape
        self.data: F32 = np.zeros(WINDOW_AT + shape.values, dtype=np.float32) if data is None else data

    @property
    def count(self) -> int:
        """Samples taken in."""
        return int(self.data[COUNT : COUNT + 2].view(np.int64)[0])

    @property
    def window(self) -> F32:
        """The last samples, whole, (bin, C)."""
        rows, C, *_ = self._shape
        return self.data[WINDOW_AT : WINDOW_AT + rows * C].reshape(rows, C)

    @property
    def states(self) -> F32:
        """Hidden states that take turns, (bin, state size)."""
        at = WINDOW_AT + self._shape.states_at
        return self.data[at : WINDOW_AT + self._shape.values].reshape(self._shape.bin, -1)

    def clear(self) -> None:
        """Back to before the first sample."""
        self.data[:] = 0

    def load(self, data: bytes) -> None:
        """The inverse of `to_bytes`.

        Raises:
            ModelError: A model of another shape wrote these bytes.
        """
        self._shape.check(data)
        self.clear()
        self.data[COUNT : COUNT + 2].view(np.int64)[0] = _COUNT.unpack_from(data)[0]
        self.data[WINDOW_AT : WINDOW_AT + self._shape.values] = np.frombuffer(data, "<f4", offset=_COUNT.size)

    def to_bytes(self) -> bytes:
        """Everything, little-endian: count, window, the stream's own mean and variance, states."""
        return _COUNT.pack(self.count) + self.data[WINDOW_AT : WINDOW_AT + self._shape.values].tobytes()


class Memories:
    """The memories of many streams, a row each: taken and given back in constant time.

    Args:
        shape: Of each.
        most: Rows there may be. None: as many as there are; the rows then move when they outgrow their room.

    Attributes:
        data: All rows, flat. What no stream has used yet costs nothing: the system gives the pages when they
            are first written.
        integers: The same as int64.
        stride: Float32 from row to row.

    Raises:
        MemoryError: The system does not promise so much.
    """

    def __init__(self, shape: Shape, most: int | None = None) -> None:
        self.shape = shape
        self.stride = -(-(WINDOW_AT + shape.values) // _LINE) * _LINE
        self._grows = most is None
        self._rows = most or FIRST_ROWS
        self._begun = 0
        self._free: list[int] = []
        self._allocate()

    @property
    def begun(self) -> int:
        """Rows that any stream has had."""
        return self._begun

    def take(self) -> int:
        """Index in `data` of a row for a new stream: all zeros.

        Raises:
            IndexError: Every row is taken.
        """
        if self._free:
            at = self._free.pop()
            self.data[at : at + self.stride] = 0
            return at
        if self._begun == self._rows:
            if not self._grows:
                raise IndexError(f"memories: expected at most {self._rows} streams, got one more")
            self._rows *= 2
            before = self.data
            self._allocate()
            self.data[: len(before)] = before
        self._begun += 1
        return (self._begun - 1) * self.stride

    def give_back(self, at: int) -> None:
        """A row that no stream uses any more."""
        self._free.append(at)

    def get(self, at: int, field: int) -> int:
        """A field of the row at this index."""
        return int(self.integers[(at + field) // 2])

    def set(self, at: int, field: int, value: int) -> None:
        """Change a field of the row at this index."""
        self.integers[(at + field) // 2] = value

    def forget(self, at: int) -> None:
        """Back to before the first sample; what a session keeps in the row stays."""
        self.data[at : at + LAST_SEQ] = 0
        self.data[at + WINDOW_AT : at + self.stride] = 0

    def of(self, at: int) -> Memory:
        """What lies in the row at this index; it sees what happens to the row."""
        return Memory(self.shape, self.data[at : at + self.stride])

    def _allocate(self) -> None:
        self.data: F32 = np.zeros(self._rows * self.stride, dtype=np.float32)
        self.integers: I64 = self.data.view(np.int64)
