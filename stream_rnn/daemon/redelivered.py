"""Messages that a broker sends again because it was not sure that we had them."""

from collections.abc import Callable
from itertools import groupby
from operator import attrgetter

from stream_rnn.errors import CountedError
from stream_rnn.sample import Sample
from stream_rnn.transports.base import Deliver, Message

UNNUMBERED = "a sample without seq was sent again: stepped, perhaps for the second time"


def again_apart(deliver: Deliver, deliver_again: Deliver) -> Deliver:
    """Have messages taken out of what one read brought, in its order, that may have come before.

    Args:
        deliver: Takes the others.
        deliver_again: Takes these.
    """
    again = attrgetter("again")

    def deliver_apart(messages: list[Message]) -> None:
        if not any(map(again, messages)):
            deliver(messages)
            return
        for repeated, some in groupby(messages, key=again):
            (deliver_again if repeated else deliver)(list(some))

    return deliver_apart


def unnumbered(decode: Callable[[bytes, str], list[Sample]], message: Message) -> str | None:
    """Key of the stream of a message with a sample that has no number; None of any other message."""
    try:
        samples = decode(message.payload, message.stream)
    except CountedError:  # told when it is served
        return None
    return next((sample.stream for sample in samples if sample.seq is None), None)
