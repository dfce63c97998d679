"""Many datagrams in few calls: Linux cuts one call's bytes into datagrams of one length (UDP_SEGMENT).

Whoever receives them sees no difference. Where the system cannot, each datagram takes a call of its own.
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, TypeAlias

Answer: TypeAlias = tuple[Any, bytes]
"""An address, and what is sent there."""

SOL_UDP, UDP_SEGMENT = 17, 103  # linux/udp.h; Python has no names for them
MOST = 64  # datagrams the kernel cuts from one call
LONGEST = 1200  # bytes: longer ones may not fit the network's packets, and a cut datagram is never fragmented
MOST_BYTES = 1 << 15
LENGTH = struct.Struct("=H")


def can_segment(sock: socket.socket) -> bool:
    """Whether the system cuts what this socket sends."""
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    try:
        return sock.getsockopt(SOL_UDP, UDP_SEGMENT) == 0
    except OSError:  # not Linux, or an old one
        return False


def send_segments(sock: socket.socket, answers: Sequence[Answer]) -> int:
    """Send answers in their order; say how many the socket took."""
    return sum(_send_alike(sock, address, payloads) for address, payloads in _alike(answers))


def _alike(answers: Sequence[Answer]) -> Iterator[tuple[Any, list[bytes]]]:
    """What follows each other with one address and one length, at most as much as one call takes."""
    for (address, length), run in groupby(answers, _form):
        payloads = [payload for _, payload in run]
        most = min(MOST, MOST_BYTES // length) if 0 < length <= LONGEST else 1
        for first in range(0, len(payloads), most):
            yield address, payloads[first : first + most]


def _form(answer: Answer) -> tuple[Any, int]:
    return answer[0], len(answer[1])


def _send_alike(sock: socket.socket, address: Any, payloads: list[bytes]) -> int:  # noqa: ANN401 - as the family has it
    if len(payloads) > 1:
        cut = [(SOL_UDP, UDP_SEGMENT, LENGTH.pack(len(payloads[0])))]
        try:
            sock.sendmsg([b"".join(payloads)], cut, 0, address)
        except OSError:  # all or nothing: no room for all, or a way that cannot cut
            pass
        else:
            return len(payloads)
    return sum(_sent(sock, address, payload) for payload in payloads)


def _sent(sock: socket.socket, address: Any, payload: bytes) -> bool:  # noqa: ANN401 - likewise
    try:
        sock.sendto(payload, address)
    except OSError:  # its buffer is full, or the sender is gone
        return False
    return True
