"""Messages that wait to be stepped, never more than may: what does not fit is dropped and counted."""

from collections import deque
from typing import Generic, Literal, TypeVar

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """A bounded queue whose policy is in its name.

    Attributes:
        dropped: Items given up.
    """

    def __init__(self, policy: Literal["drop_oldest", "latest"], size: int) -> None:
        self.dropped = 0
        self._size = size
        self._latest = policy == "latest"
        self._items: deque[tuple[str, Item]] = deque()
        self._newest: dict[str, Item] = {}

    def __len__(self) -> int:
        return len(self._newest) if self._latest else len(self._items)

    def put(self, stream: str, item: Item) -> None:
        """Add one item; under `latest` it takes the place of its stream's last one."""
        if self._latest:
            if self._newest.pop(stream, None) is not None:
                self.dropped += 1
            elif len(self._newest) >= self._size:
                del self._newest[next(iter(self._newest))]
                self.dropped += 1
            self._newest[stream] = item
            return
        if len(self._items) >= self._size:
            self._items.popleft()
            self.dropped += 1
        self._items.append((stream, item))

    def take(self, most: int) -> list[Item]:
        """Remove and return the oldest items, at most so many."""
        if self._latest:
            streams = list(self._newest)[:most]
            return [self._newest.pop(stream) for stream in streams]
        return [self._items.popleft()[1] for _ in range(min(most, len(self._items)))]
