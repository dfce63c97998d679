"""What a running daemon can be told: verbs, who may say them, and what is answered. It knows no daemon.

A command is a JSON object; the answer is `{"id", "verb", "ok", "result", "error"}`, in the order given
except that a reload answers when it is done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, TypeAlias

import msgspec

from stream_rnn.errors import StreamRnnError
from stream_rnn.transports.admission import same_token
from stream_rnn.transports.base import Message

VERBS = {
    "reset": "start a stream's hidden state anew; its next prediction is flagged `reset`",
    "reload": "read config and model again; hidden states are carried where the architecture is the same",
    "snapshot": "give a stream's whole state, or write all states into the recording",
    "restore": "go on with a stream from a snapshot; its next prediction is flagged `restored`",
    "pause": "decline the samples of a stream, or of all: counted, not stepped",
    "resume": "step a stream again, or all of them",
    "latency": "give the histograms of every stage since the start",
    "status": "give the metrics of now",
}
"""Every verb and what it does."""

MOST_UNDER_WAY = 16
"""Reloads and snapshots that wait for each other."""
ID_PATTERN = "^[A-Za-z0-9_-]{1,64}$"
"""What may name a command: it becomes a level of the topic of its answer."""


class Command(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One command as it is sent.

    Attributes:
        verb: What to do; over MQTT the topic says it.
        id: Its name, repeated in the answer.
        token: The secret, where the config asks for one.
        stream: Key of the stream it is about.
        all: It is about every stream.
        force: Reload: also a model of another architecture; its states start anew.
        state: Restore: what `snapshot` gave, base64.
    """

    verb: str = ""
    id: Annotated[str, msgspec.Meta(pattern=ID_PATTERN)] | None = None
    token: str | None = None
    stream: str | None = None
    all: bool = False
    force: bool = False
    state: str | None = None


class Answer(msgspec.Struct, kw_only=True):
    """What is answered.

    Attributes:
        id: As the command had it.
        verb: As the command had it.
        ok: Whether it was carried out.
        result: What it gives, if it was.
        error: Why not, if it was not.
    """

    id: str | None
    verb: str
    ok: bool
    result: Any = None
    error: str | None = None


Verb: TypeAlias = Callable[[Command], Any | Awaitable[Any]]
"""Carries a command out; gives what is answered, or raises a StreamRnnError that is."""

Reply: TypeAlias = Callable[[str | None, bytes], None]
"""Takes (id of the command, answer)."""


class Commands:
    """Checks commands, has them carried out, answers.

    Args:
        verbs: How each is carried out.
        token: What every command must carry, or None.
        happened: Takes (kind, detail) of every command: who reads the events sees what was done.
    """

    def __init__(
        self, verbs: Mapping[str, Verb], token: str | None, happened: Callable[[str, str], None]
    ) -> None:
        self._verbs, self._token, self._happened = verbs, token, happened
        self._under_way: set[asyncio.Task[None]] = set()

    def take(self, payload: bytes, reply: Reply, verb: str = "") -> None:
        """Carry one command out.

        Args:
            payload: JSON; nothing at all stands for no fields.
            reply: Takes the answer.
            verb: The one the topic says; empty where the payload does.
        """
        try:
            command = msgspec.json.decode(payload or b"{}", type=Command)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._refuse(reply, Command(verb=verb), str(error))
            return
        command.verb = verb or command.verb
        if self._token is not None and not _same(self._token, command.token):
            self._refuse(reply, command, "expected the token of [commands], got " + _what(command.token))
        elif command.verb not in self._verbs:
            known = ", ".join(self._verbs)
            self._refuse(reply, command, f"expected a verb, one of {known}, got {command.verb[:40]!r}")
        else:
            self._carry_out(command, reply)

    def take_lines(self, messages: list[Message]) -> None:
        """Carry out commands of a connection, each answered there."""
        for message in messages:
            reply = message.reply
            assert reply is not None  # a connection always has a way back
            self.take(message.payload, partial(_without_id, reply))

    def _carry_out(self, command: Command, reply: Reply) -> None:
        try:
            result = self._verbs[command.verb](command)
        except StreamRnnError as error:
            self._refuse(reply, command, str(error))
            return
        if isinstance(result, Awaitable):
            if len(self._under_way) >= MOST_UNDER_WAY:
                getattr(result, "close", lambda: None)()
                self._refuse(
                    reply, command, f"expected at most {MOST_UNDER_WAY} commands under way, got one more"
                )
                return
            task = asyncio.ensure_future(self._finish(result, command, reply))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        else:
            self._done(reply, command, result)

    async def _finish(self, work: Awaitable[Any], command: Command, reply: Reply) -> None:
        try:
            self._done(reply, command, await work)
        except StreamRnnError as error:
            self._refuse(reply, command, str(error))

    def _done(self, reply: Reply, command: Command, result: object) -> None:
        about = f" {command.stream!r}" if command.stream is not None else " all" if command.all else ""
        self._happened("command", f"{command.verb}{about}")
        answer = Answer(id=command.id, verb=command.verb, ok=True, result=result)
        reply(command.id, msgspec.json.encode(answer))

    def _refuse(self, reply: Reply, command: Command, reason: str) -> None:
        subject = f"command {command.verb[:40]!r}"
        self._happened("command_refused", f"{subject}: {reason}")
        answer = Answer(id=command.id, verb=command.verb, ok=False, error=f"{subject}: {reason}")
        reply(command.id, msgspec.json.encode(answer))


def _without_id(reply: Callable[[bytes], None], _: str | None, answer: bytes) -> None:
    """Answer where the connection tells what is answered."""
    reply(answer)


def _same(expected: str, got: str | None) -> bool:
    return got is not None and same_token(expected, got)


def _what(token: str | None) -> str:
    return "none" if token is None else "another"
