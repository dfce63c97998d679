"""The ordinary sample, compiled: the next of its stream, whose session has nothing out of the ordinary to look at."""

from stream_rnn.kernels._jit import hot
from stream_rnn.kernels.vector import integer, set_integer
from stream_rnn.memory import LAST_SEQ, STATUS, STEPPED, T_NS
from stream_rnn.sample import F32, I64
from stream_rnn.stepper import advance

FRESH, SETTLED, ODD = range(3)
"""Of a session: no step yet since its state is new; nothing out of the ordinary; look at the next sample closely."""
MAX_SEQ = 2**63 - 1  # what the encodings can carry
NO_SEQ = -1
NO_TIME = -(2**63)
ALONE = -1
"""Instead of an outcome, or of a stream's memory: this sample must be looked at closely."""


@hot
def take_ordinary(engine: F32, memory: F32, at: int, x: F32, y: F32, seq: int, time: int) -> int:
    """Step one sample if it is ordinary.

    Args:
        engine: As made by `make_stepper`.
        memory: Holds the stream's memory from index `at`. Overwritten.
        at: See `memory`.
        x: Sample, (D,).
        y: Outputs, (K,). Overwritten.
        seq: Of the sample, or NO_SEQ.
        time: Its own time, or NO_TIME.

    Returns:
        `Outcome` bits, or ALONE where it is not ordinary, and nothing changed.
    """
    last = integer(memory, at + LAST_SEQ)
    expected = last + 1
    if integer(memory, at + STATUS) != SETTLED or last == MAX_SEQ or (seq != NO_SEQ and seq != expected):
        return ALONE
    outcome = advance(engine, memory, at, x, y)
    if outcome >= 0:
        set_integer(memory, at + LAST_SEQ, expected)
        set_integer(memory, at + T_NS, time)
        if not outcome & 2:
            set_integer(memory, at + STEPPED, integer(memory, at + STEPPED) + 1)
    return outcome


@hot
def admit(memory: F32, places: I64, seqs: I64, N: int) -> int:
    """Sort out what is not wholly in order, and number what has no number.

    Args:
        memory: Holds the streams' memories.
        places: Index of each one's memory, (>= N,). Overwritten by ALONE where a sample must be looked at closely.
        seqs: Seq of each sample or NO_SEQ, (>= N,). Overwritten where it was NO_SEQ.
        N: Number of samples.

    Returns:
        How many are in order.
    """
    admitted = 0
    for i in range(N):
        at = places[i]
        last = integer(memory, at + LAST_SEQ)
        expected = last + 1
        odd = integer(memory, at + STATUS) != SETTLED or last == MAX_SEQ
        if odd or (seqs[i] != NO_SEQ and seqs[i] != expected):
            places[i] = ALONE
        else:
            seqs[i] = expected
            admitted += 1
    return admitted


@hot
def settle(memory: F32, places: I64, seqs: I64, times: I64, outcomes: I64, N: int) -> int:
    """Note in each stream's memory what it took in.

    Args:
        memory: Holds the streams' memories. Overwritten.
        places: Index of each one's memory, or ALONE, (>= N,).
        seqs: Seq of each sample, (>= N,).
        times: Its own time, or NO_TIME, (>= N,).
        outcomes: `Outcome` bits of its step, (>= N,).
        N: Number of samples.

    Returns:
        How many were stepped.
    """
    stepped = 0
    for i in range(N):
        at = places[i]
        if at >= 0:
            set_integer(memory, at + LAST_SEQ, seqs[i])
            set_integer(memory, at + T_NS, times[i])
            if not outcomes[i] & 2:
                set_integer(memory, at + STEPPED, integer(memory, at + STEPPED) + 1)
                stepped += 1
    return stepped


