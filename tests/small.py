"""Small untrained models and daemon processes for tests."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from stream_rnn.interval import quantiles
from stream_rnn.kernels.plan import ELMAN_LINEAR, KIND, arrays, weights_size
from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.model.file import save_model
from stream_rnn.model.model import Card, Channel, Model
from stream_rnn.predictor import with_golden
from stream_rnn.preprocess import Missing
from stream_rnn.sample import F32, I64


def small_model(
    inputs: int = 5,
    outputs: int = 2,
    *,
    bin_samples: int = 1,
    missing: Missing = "hold",
    seed: int = 1,
    units: int = 7,
    layers: tuple[Layer, ...] = (),
    members: int | msgspec.UnsetType = msgspec.UNSET,
) -> Model:
    """A GRU under an LSTM, or other layers, or several such, with seeded weights, for samples around 2."""
    rng = np.random.default_rng(seed)
    layers = layers or (Layer("gru", units), Layer("lstm", 6))
    architecture = Architecture(inputs=inputs, layers=layers, outputs=outputs, members=members)
    card = Card(
        architecture=architecture,
        inputs=tuple(Channel(f"unit{i}", "spikes") for i in range(inputs)),
        outputs=tuple(Channel(f"v{i}", "cm/s") for i in range(outputs)),
        rate_hz=100.0,
        bin=bin_samples,
        missing=missing,
        horizon=0,
    )
    plan = architecture.plan()
    weights = (rng.standard_normal(weights_size(plan)) * 0.4).astype(np.float32)
    calm(plan, weights, 0.3)
    model = Model(
        card=card,
        weights=weights,
        mean=np.full(inputs, 2.0 * bin_samples, dtype=np.float32),
        std=np.full(inputs, 1.5, dtype=np.float32),
        golden_x=np.empty((0, inputs), dtype=np.float32),
        golden_y=np.empty((0, outputs), dtype=np.float32),
    )
    return with_golden(model, rng.poisson(2, (8, inputs)).astype(np.float32))


def calibrated(model: Model, spread: float = 1.0) -> Model:
    """The model with residuals as if it were wrong by so much."""
    outputs = model.card.architecture.outputs
    residuals = np.random.default_rng(9).normal(0.2, spread, (600, outputs)).astype(np.float32)
    return msgspec.structs.replace(model, residuals=quantiles(residuals))


def calm(plan: I64, weights: F32, share: float) -> None:
    """Leave only so much of the recurrent weights of linear cells: their states might grow without end."""
    for row in plan[plan[:, KIND] == ELMAN_LINEAR]:
        arrays(row, weights)["U"][:] *= share


def signatures(kernel: Any) -> list[Any]:
    """What a kernel has been compiled for."""
    return list(kernel.signatures)


def saved_model(folder: Path, model: Model) -> Path:
    """The model as a file in a folder."""
    path = folder / "model.safetensors"
    save_model(model, path)
    return path


class DaemonProcess:
    """`stream-rnn run` as a user runs it; what it says on standard error is kept line by line."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "stream_rnn", "run", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy())
        self.lines: list[str] = []
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="daemon-stderr", daemon=True)
        self._reader.start()

    def wait_for(self, kind: str, subject: str = "", seconds: float = 60.0) -> str:
        """The first line of this kind and subject, as soon as it is there."""

        def found() -> list[str]:
            return [x for x in self.lines if f" {kind} " in f"{x} " and f" {subject}" in x]

        def said() -> bool:
            return bool(found()) or self.process.poll() is not None

        with self._grown:
            assert self._grown.wait_for(said, seconds), (
                f"no {kind!r} {subject!r} within {seconds} s: {self.lines}"
            )
        lines = found()
        assert lines, f"ended without {kind!r}: {self.lines}"
        return lines[0]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and give the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """The exit code, once it ended by itself."""
        code = self.process.wait(20)
        self._reader.join(5)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._grown:
                self.lines.append(line.rstrip())
                self._grown.notify_all()
        with self._grown:
            self._grown.notify_all()
        self.process.stderr.close()


@contextlib.contextmanager
def running_daemon(*arguments: str) -> Iterator[DaemonProcess]:
    """A daemon that is ready, for as long as the context lasts."""
    daemon = DaemonProcess(*arguments)
    try:
        daemon.wait_for("ready")
        yield daemon
    finally:
        daemon.process.kill()
        daemon.wait()
