"""Two clients of one name: a broker ends the one's connection when the other comes, and they would fight.

Brokers of version 5 may say so (reason 142). Others only close the connection: several times in a row, each
time soon after they had accepted us, and with no other trouble in between, as a restart would give.
"""

from stream_rnn.transports.mqtt_link import LostError

NAMED, AGAIN_S = 2, 60.0  # said so often within so long: once may be somebody's slip
CLOSED, YOUNG_S = 6, 10.0  # closed so often in a row, each time younger than this


class Takeovers:
    """Tells a fight for a client id from other ends of a connection.

    Args:
        client_id: Our name at the broker; a client without one cannot be taken over.
    """

    def __init__(self, client_id: str | None) -> None:
        self._client_id = client_id
        self._taken_s: float | None = None  # when a broker last said so
        self._closed = 0

    def fight(self, error: LostError, lasted_s: float | None, now_s: float) -> str:
        """Take note of the end of a connection; what it has come to, or nothing.

        Args:
            error: What ended it.
            lasted_s: How long the broker had accepted us; None: not at all.
            now_s: Monotonic time.
        """
        if error.taken_over:
            before, self._taken_s = self._taken_s, now_s
            if before is not None and now_s - before <= AGAIN_S:
                return f"taken over {NAMED} times within {AGAIN_S:g} s"
            return ""
        young = self._client_id and error.closed and lasted_s is not None and lasted_s <= YOUNG_S
        self._closed = self._closed + 1 if young else 0
        if self._closed < CLOSED:
            return ""
        return f"closed by the broker {CLOSED} times in a row, each time within {YOUNG_S:g} s"
