"""Streams that are not stepped for a while: their samples are declined, and counted."""

from stream_rnn.sample import Sample


class Pauses:
    """Which streams are paused.

    Attributes:
        any: Whether one is.
        declined: Samples not stepped.
    """

    def __init__(self) -> None:
        self.any = False
        self.declined = 0
        self._all, self._some = False, set[str]()

    @property
    def names(self) -> list[str]:
        """Streams that are not stepped; `*` stands for all."""
        return ["*"] if self._all else sorted(self._some)

    def pause(self, stream: str | None) -> None:
        """Decline the samples of one stream, or of all, from now on."""
        if stream is None:
            self._all = True
        else:
            self._some.add(stream)
        self.any = True

    def resume(self, stream: str | None) -> None:
        """Step one stream again, or all of them."""
        if stream is None:
            self._all = False
            self._some.clear()
        else:
            self._some.discard(stream)
        self.any = self._all or bool(self._some)

    def keep(self, samples: list[Sample]) -> list[Sample]:
        """The samples that are stepped; the others are counted."""
        kept = [] if self._all else [s for s in samples if s.stream not in self._some]
        self.declined += len(samples) - len(kept)
        return kept
