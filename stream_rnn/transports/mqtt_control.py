"""Commands beside the samples of an MQTT connection: where they come in, and where their answers go."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from stream_rnn.transports.mqtt_link import Command

Reply: TypeAlias = Callable[[str | None, bytes], None]
"""Takes (id of the command, answer)."""

Publish: TypeAlias = Callable[[str, bytes, bytes | None], None]
"""Takes (topic, payload, correlation data)."""


class Control(NamedTuple):
    """Whose commands are taken, and who carries them out.

    Attributes:
        topic: First levels: commands come under `<topic>/commands/<verb>`.
        take: Takes (payload, reply, verb).
    """

    topic: str
    take: Callable[[bytes, Reply, str], None]

    @property
    def prefix(self) -> str:
        """What the topic of every command begins with. No stream's name does, however wide a filter is."""
        return f"{self.topic}/commands/"

    def accept(self, command: Command, publish: Publish) -> None:
        """Have one command carried out.

        It is answered on the response topic it names (MQTT 5, with its correlation data), else on
        `<topic>/replies/<id>`; one with neither is not answered.
        """
        where = command.answer_to
        correlation = command.correlation if where is not None else None

        def reply(name: str | None, answer: bytes) -> None:
            to = where or (f"{self.topic}/replies/{name}" if name is not None else None)
            if to is not None:
                publish(to, answer, correlation)

        self.take(command.payload, reply, command.topic[len(self.prefix) :])
