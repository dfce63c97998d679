"""Who may send: on loopback anyone on this machine, on another address who says the token first. No I/O.

The first payload of a connection, a line or a frame, is then `{"token": "..."}`. It travels in the clear.
"""

import hmac
import ipaddress

import msgspec

from stream_rnn.errors import WireError

PATIENCE_S = 10.0
"""A client that has not said the token within this is disconnected."""
MAX_GREETING = 4096
"""Bytes of a first payload: so much, and no more, is held for who is not known yet."""


class Greeting(msgspec.Struct):
    """The first payload of a connection that needs a token."""

    token: str


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address that is listened on."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def same_token(expected: str, got: str) -> bool:
    """Whether they are equal, in a time that does not tell where they differ."""
    # a surrogate, as JSON can make one, has no UTF-8 of its own
    return hmac.compare_digest(expected.encode(errors="surrogatepass"), got.encode(errors="surrogatepass"))


def greeting(token: str) -> bytes:
    """What a client says first, to be put into a line or a frame."""
    return msgspec.json.encode(Greeting(token))


def check_greeting(payload: bytes, expected: str) -> None:
    """Look at the first payload of a connection.

    Raises:
        WireError: It is not the token; what it is instead is not told.
    """
    try:
        said = msgspec.json.decode(payload, type=Greeting)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise refused("something else") from None
    if not same_token(expected, said.token):
        raise refused("another")


def refused(got: str) -> WireError:
    """Why a client is not taken in."""
    return WireError("token", f'expected {{"token": ...}} with the token of [tcp] first, got {got}')


class Refusal(msgspec.Struct):
    """What a client is answered that was not let in."""

    error: str
    detail: str


def refusal(error: WireError) -> bytes:
    """What a client is answered, to be put into a line."""
    return msgspec.json.encode(Refusal(error.reason, str(error)))


def refusal_of(answer: bytes) -> str | None:
    """Why we are not let in, by the first answer; None where it is another one."""
    try:
        said = msgspec.json.decode(answer, type=Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return said.detail if said.error == "token" else None
