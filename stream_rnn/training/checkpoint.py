"""A fit's state on disk between two epochs: what was killed goes on with the same bits.

One `.safetensors` file beside the output: the arrays, and JSON with everything else and with what the fit
was told and given, so that another fit's checkpoint is refused. Nothing in it is ever executed.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stream_rnn.errors import ConfigError, ModelError
from stream_rnn.model.model import Model
from stream_rnn.recordings.table import Recording
from stream_rnn.training.options import Options
from stream_rnn.training.run import Epoch, State
from stream_rnn.training.windows import Data

FORMAT = "stream-rnn checkpoint"
VERSION = 1
EVERY_S = 5.0
"""Least seconds between two writes: a kill costs so much work, and the epoch under way."""
SHOWN = 60  # characters of a value in an error

About: TypeAlias = dict[str, Any]
"""What a fit was told and given, as JSON values by what they are called."""


class Keeper:
    """Writes the state of a fit beside its output, now and then, and gives it back.

    Args:
        path: The checkpoint.
        resume: Whether a fit goes on from it; else it begins anew and replaces it.
        every_s: Least seconds between two writes.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        path: Path,
        *,
        resume: bool = False,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.resume = path, resume
        self._every_s, self._clock = every_s, clock
        self._written_s = -np.inf

    @classmethod
    def beside(cls, output: Path, *, resume: bool = False, member: int = 0) -> "Keeper":
        """One for the fit whose model, or whose member of an ensemble, goes to `output`.

        Of the members behind the first, those that were not begun begin anew.
        """
        path = output.with_name(f"{output.name}.checkpoint{f'-{member}' if member else ''}")
        return cls(path, resume=resume and (member == 0 or path.exists()))

    def keep(self, about: About, state: State) -> None:
        """Write, where the last time is long enough ago; a reader never sees half a file."""
        now = self._clock()
        if now - self._written_s < self._every_s:
            return
        part = self.path.with_name(self.path.name + ".part")
        part.write_bytes(checkpoint_bytes(about, state))
        part.replace(self.path)
        self._written_s = self._clock()

    def load(self, about: About) -> State | None:
        """Where a fit goes on; None where it is to begin anew.

        Raises:
            ConfigError: There is no checkpoint, or it is of other options or data.
            ModelError: It is damaged.
        """
        if not self.resume:
            return None
        theirs, state = read_checkpoint(self.path)
        for name in [*theirs, *(name for name in about if name not in theirs)]:
            expected, got = theirs.get(name), about.get(name)
            if expected != got:
                shown = f"{_shown(expected)}, as the fit had that is gone on with, got {_shown(got)}"
                raise ConfigError(f"{self.path}: {name}: expected {shown}")
        return state

    def remove(self) -> None:
        """The fit is done."""
        self.path.unlink(missing_ok=True)


def about_fit(recordings: list[Recording], data: Data, options: Options, parent: Model | None) -> About:
    """What the bits of a fit depend on, beside the machine and the versions."""
    first = recordings[0]
    about = {
        **{f"option {name}": value for name, value in msgspec.to_builtins(options).items()},
        "fine-tuned model": None if parent is None else parent.digest(),
        "recordings": [recording.name for recording in recordings],
        "rate_hz": first.rate_hz,
        "channels": list(first.x_names),
        "outputs": list(first.y_names),
        "rows of each recording": [list(span) for span in data.spans],
        "digest of the split": _digest(data.train, data.validation),
        "digest of the features": _digest(data.x),
        "digest of the targets": _digest(data.y),
    }
    plain: About = json.loads(json.dumps(about))  # as it will be read: tuples are lists
    return plain


def checkpoint_bytes(about: About, state: State) -> bytes:
    """The content of a checkpoint."""
    facts = state._replace(arrays={})._asdict()
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "about": json.dumps(about),
        "state": json.dumps(facts),  # not msgspec: a generator's integers have 128 bits
    }
    return bytes(save(state.arrays, metadata))


def read_checkpoint(path: Path) -> tuple[About, State]:
    """What a fit was told and given, and where it stood.

    Raises:
        ConfigError: There is no such file.
        ModelError: It is damaged, or of another kind or version.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if (metadata.get("format"), metadata.get("version")) != (FORMAT, str(VERSION)):
                raise ModelError(
                    f"{path}: expected a checkpoint of version {VERSION}, got another kind of file"
                )
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        facts = json.loads(metadata["state"])
        history = [Epoch(*epoch) for epoch in facts["history"]]
        return json.loads(metadata["about"]), State(**{**facts, "arrays": arrays, "history": history})
    except FileNotFoundError:
        raise ConfigError(f"{path}: expected a checkpoint to go on from, got no such file") from None
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{path}: expected a whole checkpoint, got a damaged one ({reason})") from None


def seed_of(path: Path) -> int:
    """The seed of the fit whose checkpoint this is.

    Raises:
        ConfigError: As `read_checkpoint`.
        ModelError: Likewise.
    """
    try:
        return int(read_checkpoint(path)[0]["option seed"])
    except (LookupError, TypeError, ValueError):
        raise ModelError(f"{path}: expected a checkpoint that tells its seed, got one without") from None


def _digest(*arrays: np.ndarray[Any, Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
