"""How fast a connection goes: what is held, what is written, what is acknowledged when."""

import asyncio
from typing import Any, cast

import pytest

from stream_rnn.transports.base import Message
from stream_rnn.transports.mqtt_keepalive import Signs
from stream_rnn.transports.mqtt_link import MAX_BATCH
from stream_rnn.transports.mqtt_outbox import Outbox
from stream_rnn.transports.mqtt_packets import Writer, puback
from stream_rnn.transports.mqtt_pump import Pump
from stream_rnn.transports.mqtt_receipts import Receipts

WRITER = Writer(new=False)
PACKET = WRITER.publish(b"\0\x01t", b"answer")


class Socket:
    """A transport that takes as much as a test lets it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reading = self.takes = True
        self.encrypted = False
        self.limits = (-1, -1)
        self.pump: Pump

    def get_extra_info(self, name: str) -> object:
        return object() if self.encrypted and name == "sslcontext" else None

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self.limits = high, low

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if not self.takes:
            self.pump.pause_writing()

    def get_write_buffer_size(self) -> int:
        return 0 if self.takes else len(self.written[-1])

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@pytest.mark.parametrize(("encrypted", "high"), [(False, 0), (True, 1)])
async def test_nothing_left_to_write_never_pauses(encrypted: bool, high: int) -> None:  # noqa: FBT001 - a case
    """TLS pauses at its limit, a bare socket above it."""
    rig = Rig()
    rig.socket.encrypted = encrypted
    rig.pump.attach(cast("Any", rig.socket))
    assert rig.socket.limits == (high, 0)


class Rig:
    """A pump between a receiver that answers everything and such a socket."""

    def __init__(
        self, max_outgoing: int = 1000, receipts: Receipts | None = None, *, hold: bool = True
    ) -> None:
        self.delivered: list[int] = []
        self.turns = 0
        self.socket, self.outbox = Socket(), Outbox(1000)
        self.pump = Pump(self.deliver, self.outbox, self.turn, Signs(), max_outgoing, receipts, hold=hold)
        self.socket.pump = self.pump
        self.pump.attach(cast("Any", self.socket))

    def deliver(self, messages: list[Message]) -> None:
        self.delivered.append(len(messages))
        for _ in messages:
            self.pump.out.append(PACKET)

    def turn(self) -> None:
        self.turns += 1
        self.read(0)

    def read(self, count: int) -> None:
        """One read that brings so many messages of qos 1."""
        self.pump.busy = True
        self.pump.batch += [Message("s", b"", 0, 0)] * count
        self.pump.taken += range(1, count + 1)
        self.pump.deliver_some()
        self.pump.busy = False
        self.pump.write()
        self.pump.read_or_pause()


async def test_one_read_is_answered_and_acknowledged_with_one_write() -> None:
    rig = Rig()
    rig.read(3)
    assert rig.socket.written == [PACKET * 3 + puback(1) + puback(2) + puback(3)]


async def test_large_read_takes_turns_and_pauses_the_socket_meanwhile() -> None:
    rig = Rig()
    rig.read(2 * MAX_BATCH + 1)
    assert (rig.delivered, rig.socket.reading, rig.pump.taken[:1]) == ([MAX_BATCH], False, [1])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert rig.delivered == [MAX_BATCH, MAX_BATCH, 1]
    assert (rig.turns, rig.socket.reading, rig.pump.taken) == (2, True, [])


@pytest.mark.parametrize("hold", [True, False])
async def test_what_there_is_no_room_to_answer_is_neither_delivered_nor_acknowledged(hold: bool) -> None:  # noqa: FBT001
    rig = Rig(max_outgoing=4, hold=hold)
    rig.socket.takes = False
    rig.read(3)
    rig.read(5)
    assert rig.delivered == ([3, 1] if hold else [3, 5])
    assert rig.socket.reading is not hold
    assert len(rig.pump.taken) == (5 if hold else 0)
    rig.socket.takes = True
    rig.pump.resume_writing()
    rig.read(0)
    assert sum(rig.delivered) == 8
    assert b"".join(rig.socket.written).count(PACKET) == 8
    assert rig.socket.reading


async def test_packets_of_one_turn_leave_together() -> None:
    rig = Rig()
    for _ in range(3):
        rig.pump.send(PACKET)
    assert rig.socket.written == []
    await asyncio.sleep(0)
    assert rig.socket.written == [PACKET * 3]


async def test_what_the_socket_did_not_take_is_counted_as_unsent() -> None:
    rig = Rig()
    rig.socket.takes = False
    rig.read(2)
    rig.pump.out += [PACKET, puback(9)]
    assert rig.pump.unsent == 3
    assert rig.pump.waiting == 4


async def test_acknowledgements_wait_for_their_release_and_then_leave_at_once() -> None:
    receipts = Receipts(lambda: None, asyncio.Event().wait)
    rig = Rig(receipts=receipts)
    receipts.begin(rig.pump.acknowledge)
    rig.read(2)
    assert rig.socket.written == [PACKET * 2]
    receipts.release(receipts.mark())
    assert rig.socket.written[1:] == [puback(1) + puback(2)]
