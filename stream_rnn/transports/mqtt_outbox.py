"""Publications of qos 1 from acceptance to confirmation: numbered, limited, sent again. No I/O."""

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from stream_rnn.transports.mqtt_packets import again

LAST_NUMBER = 65535

Numbered: TypeAlias = Callable[[int], bytes]
"""Makes a packet of its number."""

Text: TypeAlias = tuple[int, str, bytes] | None
"""Serial number, topic and payload of what a later run publishes again; None for any other publication."""


class Outbox:
    """What the broker has not confirmed yet, in the order it was accepted.

    Attributes:
        limit: How many may be under way at a time; the others wait for their turn.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._numbered: dict[int, bytes] = {}
        self._again: deque[int] = deque()  # numbered on a former connection, and not sent yet on this one
        self._waiting: deque[tuple[Numbered, Text]] = deque()
        self._texts: dict[int, tuple[int, str, bytes]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._numbered) + len(self._waiting)

    def number(self) -> int:
        """A packet number that nothing under way has."""
        number = self._last
        while True:
            number = number % LAST_NUMBER + 1
            if number not in self._numbered:
                self._last = number
                return number

    def add(self, make: Numbered, text: Text = None, *, first: bool = False) -> bytes | None:
        """Accept one publication; give its packet, or None while as many as may be are under way.

        Args:
            make: Makes the packet.
            text: What `unconfirmed` gives of it.
            first: Whether it goes before what waits, and beyond the limit.
        """
        if not first and (self._again or self._waiting or len(self._numbered) >= self.limit):
            self._waiting.append((make, text))
            return None
        number = self.number()
        if text is not None:
            self._texts[number] = text
        packet = self._numbered[number] = make(number)
        return packet

    def confirm(self, number: int) -> bytes | None:
        """Forget one publication: it arrived, or was refused. Give its packet, if it was one of ours."""
        if self._texts:
            self._texts.pop(number, None)
        return self._numbered.pop(number, None)

    def unconfirmed(self) -> list[tuple[int, str, bytes]]:
        """Every publication that a later run must publish again, in order."""
        return [*self._texts.values(), *(text for _, text in self._waiting if text is not None)]

    def due(self) -> list[bytes]:
        """The packets whose turn it is now."""
        packets: list[bytes] = []
        while (self._again or self._waiting) and len(self._numbered) - len(self._again) < self.limit:
            if self._again:
                packet = self._numbered.get(self._again.popleft())
            else:
                packet = self.add(*self._waiting.popleft(), first=True)
            if packet is not None:  # else confirmed late, by a number of the former connection
                packets.append(packet)
        return packets

    def resume(self, limit: int, *, known: bool) -> None:
        """Begin with a new connection: what was under way on the last one is due again.

        Args:
            limit: How many may be under way on this connection.
            known: Whether the broker remembers the last one: then the packets are marked as sent before.
        """
        self.limit = limit
        if known:
            self._numbered = {number: again(packet) for number, packet in self._numbered.items()}
        self._again = deque(self._numbered)

    def clear(self) -> int:
        """Give everything up; say how many that were."""
        given_up = len(self)
        self._numbered.clear()
        self._again.clear()
        self._waiting.clear()
        self._texts.clear()
        return given_up
