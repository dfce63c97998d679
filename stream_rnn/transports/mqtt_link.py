"""What every MQTT client promises: one connection, whose reads are answered before they return.

`mqtt_builtin` and `mqtt_aiomqtt` keep this contract; `tests/test_transport_mqtt.py` asks it of both.
"""

import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from stream_rnn.transports.base import Deliver, Publication
from stream_rnn.transports.mqtt_parser import Ended, Malformed, Refused
from stream_rnn.transports.mqtt_reasons import FINAL_REASONS, TAKEN_OVER

ANSWER_S = 5.0  # a broker that accepted the connection answers within this
INFLIGHT = 1000  # publications of qos 1 unconfirmed at a time; a broker of version 5 says how many it takes
MOST_HELD = 1 << 16  # messages read but not delivered; a broker keeps no more unacknowledged (qos 1)
MAX_BATCH = 256  # messages delivered at a time; the rest waits for one turn of the loop, so that timers run
NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # without it: stalls of 40 ms (Nagle, delayed ACK)
RECEIVE = (socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)  # left to itself it grows to a second of old samples


class LostError(Exception):
    """The end of a connection, or of an attempt at one.

    Attributes:
        final: Another attempt would end the same way.
        refused: The broker did not want us.
        closed: The other side ended it.
        taken_over: The broker says that another client came by our name.
    """

    def __init__(
        self,
        reason: str,
        *,
        final: bool = False,
        refused: bool = False,
        closed: bool = False,
        taken_over: bool = False,
    ) -> None:
        super().__init__(reason)
        self.final, self.refused = final, refused
        self.closed, self.taken_over = closed, taken_over


class Command(NamedTuple):
    """A message that is no sample.

    Attributes:
        topic: Its topic.
        payload: Its payload.
        answer_to: Version 5: where it wants to be answered.
        correlation: Version 5: what the answer must carry.
    """

    topic: str
    payload: bytes
    answer_to: str | None
    correlation: bytes | None


Sorted: TypeAlias = Literal["sample", "command", "ignored"]


class Intake(NamedTuple):
    """What a link does with a message.

    Attributes:
        resolve: Gives stream key and text of a topic's bytes; no key where it names no stream.
        sort: Takes (key, topic, whether it is retained, bytes) of what is not simply a new sample, or longer
            than one may be, and counts what is to be ignored.
        obey: Takes a command; the samples that came before it have been delivered.
        deliver: Takes the samples of one read.
        declined: Takes (topic, reason) of a publication of qos 1 that the broker refused (version 5).
    """

    resolve: Callable[[bytes], tuple[str | None, str]]
    sort: Callable[[str | None, str, bool, int], Sorted]
    obey: Callable[[Command], None]
    deliver: Deliver
    declined: Callable[[str, str], None]


class Link(Protocol):
    """One connection to a broker, from its opening to its end.

    A message of qos 1 is acknowledged once the call of `deliver` that took it has returned; where there are
    `Receipts`, once they release it. Where `hold` was asked for, nothing is delivered that there is no room
    to answer, and the broker keeps what is not acknowledged.
    """

    @property
    def socket(self) -> Any:  # noqa: ANN401  # a socket, or what a loop shows of one
        """What the connection runs over."""

    async def connect(self) -> None:
        """Open the connection and have it accepted.

        Raises:
            LostError: It did not come about.
        """

    async def until_lost(self) -> None:
        """Raise what ended the connection: `LostError`, or the exception of `deliver`."""

    async def greet(self, births: Sequence[Publication], filters: Mapping[str, int]) -> dict[str, str]:
        """Publish, then subscribe; give what was refused, and why.

        Args:
            births: What is published first.
            filters: Quality of service for each topic filter.
        """

    def publish(
        self, topic: str, payload: bytes, qos: int, *, retain: bool = False, correlation: bytes | None = None
    ) -> str:
        """Hand over one publication; give the name of the counter it comes under."""

    async def say_goodbye(self, will: Publication | None) -> None:
        """Take nothing more in, answer and send what is left; then publish the will, and disconnect.

        Raises:
            LostError: The broker was gone first.
        """

    async def close(self) -> int:
        """Cut the connection, if it still stands, without goodbye: the broker then publishes the will.

        Returns:
            Number of publications that were accepted but not sent or not confirmed, and are given up.
        """


NewLink: TypeAlias = Callable[[Intake, ssl.SSLContext | None], Link]
"""Makes the link of one more connection."""


def lost_by(error: OSError) -> LostError:
    """What an error of the network means, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return LostError(f"the broker's certificate is not trusted: {error.verify_message}", final=True)
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return LostError("expected TLS, got something else: is this port without TLS?", final=True)
    if isinstance(error, socket.gaierror | ssl.SSLError) or not error.errno:
        return LostError(error.strerror or str(error) or type(error).__name__)
    cut = isinstance(error, ConnectionResetError | BrokenPipeError)
    return LostError(os.strerror(error.errno), closed=cut)


def no_answer() -> LostError:
    """A broker that accepts the connection and says nothing."""
    return LostError(f"no answer within {ANSWER_S:g} s (a broker of version 3.1.1 ignores version 5)")


def lost_with(event: Refused | Ended | Malformed, version: str) -> LostError:
    """What a broker's last word means."""
    if isinstance(event, Refused):
        return LostError(event.reason, final=event.code in FINAL_REASONS, refused=True)
    if isinstance(event, Ended):
        taken_over = event.code == TAKEN_OVER
        return LostError(
            f"the broker ended the connection: {event.reason}", closed=True, taken_over=taken_over
        )
    return LostError(f"expected MQTT {version}: {event.reason}")
