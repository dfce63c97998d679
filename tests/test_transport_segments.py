"""Datagrams that leave in few calls: whoever receives them sees no difference."""

import socket
from collections.abc import Iterator

import pytest

from stream_rnn.transports.segments import LONGEST, MOST, can_segment, send_segments


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sender,
        socket.socket(type=socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        yield sender, receiver


@pytest.mark.parametrize(
    "sizes",
    [
        [4] * (2 * MOST + 3),
        [4, 4, 5, 5, 5, 4, 0, 0, 7],
        [LONGEST, LONGEST, LONGEST + 1, LONGEST + 1],
        [9000, 9000],
    ],
)
def test_datagrams_arrive_each_for_itself_and_in_order(
    pair: tuple[socket.socket, socket.socket], sizes: list[int]
) -> None:
    sender, receiver = pair
    payloads = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    assert send_segments(sender, [(receiver.getsockname(), payload) for payload in payloads]) == len(sizes)
    assert [receiver.recv(1 << 16) for _ in sizes] == payloads


def test_answers_go_to_those_who_asked(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(5)
        addresses = [s.getsockname() for s in (receiver, other, other, receiver)]
        send_segments(sender, [(address, bytes([i])) for i, address in enumerate(addresses)])
        assert [s.recv(9) for s in (receiver, receiver, other, other)] == [b"\0", b"\3", b"\1", b"\2"]


def test_what_the_socket_does_not_take_is_not_counted(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    here, nowhere = receiver.getsockname(), ("127.0.0.1", 0)
    assert send_segments(sender, [(here, b"a"), (nowhere, b"b"), (nowhere, b"c"), (here, b"d")]) == 2


def test_only_udp_is_cut() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
        assert not can_segment(unix)
