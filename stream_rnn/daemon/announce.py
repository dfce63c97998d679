"""What a daemon says about itself: status, birth, metrics, events. Always JSON."""

import msgspec

from stream_rnn.environment import environment
from stream_rnn.predictor import Predictor
from stream_rnn.session.rules import Rules

SCHEMA = 1


def status(state: str, run: str) -> bytes:
    """The retained status. The run id tells a late will of an earlier run from this one's."""
    return msgspec.json.encode({"status": state, "session": run})


def info(predictor: Predictor, node: str, run: str, inputs: dict[str, dict[str, str]], rules: Rules) -> bytes:
    """The retained birth message: what is served, what it takes, and what its bits depend on.

    Args:
        predictor: The model.
        node: Name of the daemon.
        run: Id of this run.
        inputs: Each source by name, with where samples go and how they are encoded.
        rules: What is done with samples that do not follow each other.
    """
    card = predictor.model.card
    versions = environment()
    cpu = versions.pop("cpu")
    return msgspec.json.encode(
        {
            "schema": SCHEMA,
            "node": node,
            "session": run,
            "model": {
                "hash": predictor.hash,
                "architecture": str(card.architecture),
                "inputs": card.inputs,
                "outputs": card.outputs,
                "rate_hz": card.rate_hz,
                "bin_ms": predictor.model.bin_ms,
                "horizon": card.horizon,
                "missing": card.missing,
            },
            "sources": inputs,
            "rules": {name: getattr(rules, name) for name in Rules.__struct_fields__},
            "versions": versions,
            "cpu": cpu,
        }
    )


class EventLimiter:
    """Lets a few events of each kind through a second; the rest is counted and told with the next."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._windows: dict[str, tuple[int, int]] = {}
        self._suppressed: dict[str, int] = {}

    def admit(self, kind: str, now_ns: int) -> int | None:
        """Decide about one event.

        Args:
            kind: What happened.
            now_ns: Monotonic time.

        Returns:
            Number of events of this kind held back since the last one told; None when this one is held back.
        """
        second = now_ns // 1_000_000_000
        began, told = self._windows.get(kind, (second, 0))
        if began != second:
            told = 0
        if told >= self._per_second:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return None
        self._windows[kind] = second, told + 1
        return self._suppressed.pop(kind, 0)
