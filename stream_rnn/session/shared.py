"""What all sessions of a daemon share, and the little that one keeps beside its row of memory."""

from collections.abc import Callable

from stream_rnn.interval import Interval
from stream_rnn.memory import Memories
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32, Sample
from stream_rnn.session.bins import Bins
from stream_rnn.session.rules import Counters, Packets, Rules


class Shared:
    """Model, rules, the room for hidden states, and counters.

    Args:
        predictor: The model, compiled.
        rules: What a session does with samples that do not follow each other.
        run: Name of this run, in every prediction.
        most: Sessions there may be.
        interval: How predictions get an interval, or None where none is asked for.

    Attributes:
        totals: What happened to all samples, those of forgotten sessions among them.
        packets: What happened to all packets of spikes, likewise.
        memories: A row a session.
        redelivering: Whether the samples that are fed now may have been fed before: then even many in a row
            that are not newer do not tell that their producer started again.
        alike: Models beside the served one whose stored states mean the same to it.
        renumbered: Takes the key of a stream whose producer started again: its numbers mean other samples.
    """

    def __init__(
        self, predictor: Predictor, rules: Rules, run: str, most: int = 1, interval: Interval | None = None
    ) -> None:
        self.predictor, self.rules, self.run, self.interval = predictor, rules, run, interval
        self.totals, self.packets = Counters(), Packets()
        self.memories = Memories(predictor.shape, most)
        self.redelivering = False
        self.alike: tuple[str, ...] = ()
        self.renumbered: Callable[[str], None] = lambda _stream: None


class Unusual:
    """What a session keeps only once something out of the ordinary happened to it.

    Attributes:
        counters: What happened, but for `stepped`.
        owed: Flags of the next prediction.
        late_seq: Seq of the last late sample.
        late_run: Late samples in a row.
        gaps: The last gaps, (first missing, first there again).
        waiting: Samples that wait for an earlier one, and when they came, by seq.
        last_x: The last sample as it came, where the window of the memory does not hold it.
        bins: Where its spikes are counted, if it gets any.
    """

    __slots__ = ("bins", "counters", "gaps", "last_x", "late_run", "late_seq", "owed", "waiting")

    def __init__(self) -> None:
        self.counters = Counters()
        self.owed, self.late_seq, self.late_run = 0, -1, 0
        self.gaps: list[tuple[int, int]] = []
        self.waiting: dict[int, tuple[Sample, int]] = {}
        self.last_x: F32 | None = None
        self.bins: Bins | None = None

    @property
    def pending(self) -> bool:
        """Whether the next sample must be looked at one by one."""
        return bool(self.owed or self.late_run or self.waiting) or self.last_x is not None
