"""How fast a connection goes: what was read is delivered as far as it can be answered, in one write.

Of what there is no room to answer, nothing is acknowledged, and a socket that takes no bytes is not read: so
it waits at the broker. The bytes' meaning is none of this file's business.
"""

import asyncio
from collections.abc import Callable

from stream_rnn.transports.base import Deliver, Message
from stream_rnn.transports.mqtt_keepalive import Signs
from stream_rnn.transports.mqtt_link import MAX_BATCH, MOST_HELD
from stream_rnn.transports.mqtt_outbox import Outbox
from stream_rnn.transports.mqtt_packets import is_qos0_publish, puback
from stream_rnn.transports.mqtt_receipts import Receipts


class Pump:
    """Messages in, packets out.

    Args:
        deliver: Takes the messages of one read.
        outbox: What is not confirmed counts as not answered.
        turn: Called when it is time to go on with what reads have brought.
        signs: Takes note of what is written.
        max_outgoing: Packets that may wait to leave.
        receipts: What acknowledgements wait in until they are released; None: they leave with the answers.
        hold: Whether to leave at the broker what there is no room to answer.

    Attributes:
        batch: Messages that are not delivered yet.
        taken: Numbers of messages of qos 1 that the broker still keeps for us.
        out: Packets that wait to be written.
        busy: Whether a read is being answered, at whose end all is written.
        draining: Whether to read on whatever waits: what still comes are confirmations.
    """

    def __init__(
        self,
        deliver: Deliver,
        outbox: Outbox,
        turn: Callable[[], None],
        signs: Signs,
        max_outgoing: int,
        receipts: Receipts | None = None,
        *,
        hold: bool,
    ) -> None:
        self.batch: list[Message] = []
        self.taken: list[int] = []
        self.out: list[bytes] = []
        self.busy = self.draining = False
        self._signs = signs
        self._deliver, self._outbox, self._turn = deliver, outbox, turn
        self._max_outgoing, self._receipts, self._hold = max_outgoing, receipts, hold
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._full = False  # the socket takes nothing
        self._paused = False  # the socket is not read
        self._stuck = 0  # publications of qos 0 among what the socket did not take at once
        self._write_due = self._turn_due = False

    def attach(self, transport: asyncio.Transport) -> None:
        """Write to this from now on: at once, and be told when that is not possible."""
        self._transport = transport
        # What does not go out whole pauses us. TLS pauses at its limit, not above: at 0 with nothing left.
        encrypted = transport.get_extra_info("sslcontext") is not None
        transport.set_write_buffer_limits(high=1 if encrypted else 0, low=0)

    @property
    def waiting(self) -> int:
        """Packets that the socket has not taken."""
        return len(self.out) + self._stuck

    @property
    def unsent(self) -> int:
        """Publications that nobody confirms among them."""
        return self._stuck + sum(map(is_qos0_publish, self.out))

    def send(self, packet: bytes) -> None:
        """Write one packet: at the end of the read that is being answered, else soon, with the others."""
        self.out.append(packet)
        if not self.busy and not self._write_due:
            self._write_due = True
            self._loop.call_soon(self.write)

    def acknowledge(self, numbers: list[int]) -> None:
        """Tell the broker at once that it need not keep these."""
        self.out += map(puback, numbers)
        if not self.busy:
            self.write()

    def write(self) -> None:
        """Acknowledge what is answered, or have it wait, and send all there is in one piece."""
        self._write_due = False
        if self.taken and not self.batch:
            if self._receipts is None:
                self.out += map(puback, self.taken)
            else:
                self._receipts.take(self.taken)
            self.taken.clear()
        if not self.out or self._full or self._transport is None or self._transport.is_closing():
            return
        out, self.out = self.out, []
        self._signs.spoke = True
        self._transport.write(b"".join(out))
        if self._full:
            self._stuck = _qos0_in_last(out, self._transport.get_write_buffer_size())

    def pause_writing(self) -> None:
        """Hand the socket nothing more."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on: the socket has taken everything."""
        self._full, self._stuck = False, 0

    def drop(self) -> None:
        """Forget what was read: it stays at the broker."""
        self.batch.clear()
        self.taken.clear()

    def deliver_some(self, turns: int = 1) -> None:
        """Deliver what reads have brought, as far as answers have room; at most so many full batches."""
        batch = self.batch
        while batch and turns and (room := self._room()) > 0:
            some = batch[: min(room, MAX_BATCH)]
            del batch[: len(some)]
            self._deliver(some)
            if len(some) == MAX_BATCH:
                turns -= 1
            if batch:
                self.write()
        if batch and not turns:
            self.turn_later()

    def turn_later(self) -> None:
        """Read on only after timers and others have had their turn."""
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn_due = False
        self._turn()

    def _room(self) -> int:
        """How many answers may still be handed over; there is always room where nothing is held."""
        if not self._hold or len(self.batch) > MOST_HELD:
            return len(self.batch)
        # of qos 0 what the socket has not taken; of qos 1 what the broker has not confirmed
        return self._max_outgoing - max(self.waiting, len(self._outbox))

    def read_or_pause(self) -> None:
        """Leave in the socket what cannot be answered soon: half of what may wait to be sent does."""
        stuffed = self._hold and self.waiting > self._max_outgoing // 2
        paused = (stuffed or self._turn_due) and not self.draining
        if paused == self._paused or self._transport is None or self._transport.is_closing():
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


def _qos0_in_last(packets: list[bytes], size: int) -> int:
    """How many publications that nobody confirms lie in the last so many bytes."""
    found = 0
    for packet in reversed(packets):
        if size <= 0:
            break
        size -= len(packet)
        found += is_qos0_publish(packet)
    return found
