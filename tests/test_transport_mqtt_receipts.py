"""Acknowledgements that wait: released in order, never on another connection; nothing sure is given up."""

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

from stream_rnn.transports.mqtt_outbox import Outbox
from stream_rnn.transports.mqtt_packets import Writer
from stream_rnn.transports.mqtt_receipts import Receipts
from stream_rnn.transports.mqtt_sending import Sender, keep_in
from stream_rnn.transports.mqtt_settings import MqttSettings


class Rig:
    """Receipts whose every call is noted."""

    def __init__(self) -> None:
        self.wanted = 0
        self.acknowledged: list[int] = []
        self.receipts = Receipts(self.want, self.settle)
        self.receipts.begin(self.acknowledged.extend)

    def want(self) -> None:
        self.wanted += 1

    def settle(self) -> Awaitable[None]:
        return asyncio.sleep(0)


def test_what_came_before_the_mark_is_acknowledged_and_the_rest_asks_for_the_next() -> None:
    rig = Rig()
    rig.receipts.take([4, 5])
    mark = rig.receipts.mark()
    rig.receipts.take([6])
    assert (rig.acknowledged, rig.wanted) == ([], 1)
    rig.receipts.release(mark)
    assert (rig.acknowledged, rig.wanted, len(rig.receipts)) == ([4, 5], 2, 1)
    rig.receipts.release(rig.receipts.mark())
    assert rig.acknowledged == [4, 5, 6]


def test_numbers_of_a_lost_connection_are_not_acknowledged_on_the_next() -> None:
    rig, next_one = Rig(), list[int]()
    rig.receipts.take([1, 2])
    mark = rig.receipts.mark()
    rig.receipts.end()
    rig.receipts.begin(next_one.extend)
    rig.receipts.take([1])
    rig.receipts.release(mark)
    assert (rig.acknowledged, next_one) == ([], [])
    rig.receipts.release(rig.receipts.mark())
    assert next_one == [1]


class Pump:
    """Takes packets; as much of a pump as a sender sees."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.waiting = 0

    def send(self, packet: bytes) -> None:
        self.out.append(packet)


def sender(receipts: Receipts, outbox: Outbox, pump: Pump, most: int = 10) -> Sender:
    return Sender(Writer(new=False), outbox, cast("Any", pump), most, receipts)


def test_prediction_of_a_lost_connection_is_sent_on_the_next() -> None:
    rig, outbox, pump = Rig(), Outbox(10), Pump()
    rig.receipts.adopt(outbox.unconfirmed, keep_in(outbox, MqttSettings()))
    one = sender(rig.receipts, outbox, pump)
    assert one.publish("p/a", b"1", 1, retain=False, correlation=None) == "published"
    one.over = True
    assert one.publish("p/a", b"2", 1, retain=False, correlation=None) == "published"
    assert one.publish("p/a", b"3", 0, retain=False, correlation=None) == "dropped_disconnected"
    assert len(pump.out) == 1
    outbox.resume(10, known=False)
    assert [packet[-1:] for packet in outbox.due()] == [b"1", b"2"]
    assert rig.receipts.unconfirmed() == [(0, "p/a", b"1"), (1, "p/a", b"2")]
    outbox.confirm(1)
    assert rig.receipts.unconfirmed() == [(1, "p/a", b"2")]


def test_what_an_earlier_run_left_is_published_by_whichever_client_comes() -> None:
    rig, first, second = Rig(), Outbox(10), Outbox(10)
    rig.receipts.keep([(7, "p/a", b"1")])
    for outbox in (first, second):
        rig.receipts.adopt(outbox.unconfirmed, keep_in(outbox, MqttSettings()))
        assert rig.receipts.unconfirmed() == [(7, "p/a", b"1")]
    second.resume(10, known=True)
    (packet,) = second.due()
    assert packet.endswith(b"1")


def test_sure_ones_are_accepted_beyond_what_others_may_wait() -> None:
    rig, outbox = Rig(), Outbox(10)
    one = sender(rig.receipts, outbox, Pump(), most=2)
    said = [one.publish("p", b"", 1, retain=False, correlation=None) for _ in range(5)]
    assert said == ["published"] * 4 + ["dropped_full"]
