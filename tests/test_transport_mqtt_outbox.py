"""What is not confirmed: numbered, limited, sent again in order."""

from hypothesis import given
from hypothesis import strategies as st

from stream_rnn.transports.mqtt_outbox import LAST_NUMBER, Numbered, Outbox
from stream_rnn.transports.mqtt_packets import again


def packet(name: int) -> Numbered:
    return lambda number: b"\x32" + number.to_bytes(2, "big") + b"%d" % name


def names(packets: list[bytes]) -> list[int]:
    return [int(sent[3:]) for sent in packets]


def test_no_more_are_under_way_than_may_be() -> None:
    outbox = Outbox(2)
    sent = [outbox.add(packet(i)) for i in range(4)]
    assert [s is not None for s in sent] == [True, True, False, False]
    assert (len(outbox), outbox.due()) == (4, [])
    outbox.confirm(1)
    assert names(outbox.due()) == [2]
    assert len(outbox) == 3


def test_unconfirmed_ones_are_sent_again_in_order_and_marked() -> None:
    outbox = Outbox(10)
    sent = [outbox.add(packet(i)) for i in range(3)]
    outbox.confirm(2)
    outbox.resume(10, known=True)
    assert outbox.add(packet(9)) is None  # not before those that came earlier
    assert outbox.due() == [again(sent[0] or b""), again(sent[2] or b""), b"\x32\0\x049"]


def test_broker_that_forgot_us_gets_them_as_new() -> None:
    outbox = Outbox(10)
    sent = outbox.add(packet(0))
    outbox.resume(10, known=False)
    assert outbox.due() == [sent]


def test_births_go_first_whatever_waits() -> None:
    outbox = Outbox(2)
    for i in range(3):
        outbox.add(packet(i))
    outbox.resume(2, known=True)
    birth = outbox.add(packet(7), first=True)
    assert birth is not None
    assert names([birth, *outbox.due()]) == [7, 0]
    outbox.confirm(3)
    assert names(outbox.due()) == [1]


def test_numbers_begin_anew_and_none_is_given_twice() -> None:
    outbox = Outbox(LAST_NUMBER)
    outbox.add(packet(0))
    numbers = [outbox.number() for _ in range(LAST_NUMBER - 1)]
    assert sorted(numbers) == list(range(2, LAST_NUMBER + 1))
    assert outbox.number() == 2


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 4))
def test_everything_is_confirmed_once_through_any_number_of_connections(steps: list[int], limit: int) -> None:
    """0: add one; 1-4: confirm one that is under way on this connection; 5: the connection is renewed."""
    outbox, added, arrived = Outbox(limit), 0, list[int]()
    under_way: dict[int, int] = {}

    def take(packets: list[bytes]) -> None:
        for sent in packets:
            under_way[int.from_bytes(sent[1:3], "big")] = int(sent[3:])

    for step in steps:
        if step == 0:
            sent = outbox.add(packet(added))
            take([sent] if sent else [])
            added += 1
        elif step == 5:
            under_way.clear()
            outbox.resume(limit, known=True)
            take(outbox.due())
        elif under_way:
            number = list(under_way)[step % len(under_way)]
            arrived.append(under_way.pop(number))
            outbox.confirm(number)
            take(outbox.due())
        assert len(under_way) <= limit
    while under_way:
        number = next(iter(under_way))
        arrived.append(under_way.pop(number))
        outbox.confirm(number)
        take(outbox.due())
    assert sorted(arrived) == list(range(added))
    assert len(outbox) == 0
