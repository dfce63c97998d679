"""Publications that wait until what they tell is on disk: whoever has read one may rely on it."""

from collections import deque
from collections.abc import Callable

from stream_rnn.transports.base import Publisher


class Held:
    """What waits, in order, whatever it is to be published by."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._released = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def around(self, publisher: Publisher) -> Publisher:
        """A publisher whose publications wait."""
        return HeldPublisher(publisher, self._waiting.append)

    def mark(self) -> int:
        """What was published until now."""
        return self._released + len(self._waiting)

    def release(self, mark: int) -> None:
        """Publish what waited at a mark."""
        while self._released < mark:
            self._released += 1
            self._waiting.popleft()()


class HeldPublisher:
    """A publisher that has everything wait."""

    def __init__(self, publisher: Publisher, hold: Callable[[Callable[[], object]], object]) -> None:
        self.counters = publisher.counters
        self._publish, self._hold = publisher.publish, hold

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Have one payload wait; what is not accepted in the end is counted then."""
        self._hold(lambda: self._publish(topic, payload, qos=qos, retain=retain))
        return True
