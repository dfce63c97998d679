"""A trained network as one frozen value. It can describe itself; it cannot step (see predictor)."""

import hashlib
from typing import Annotated, TypeAlias

import msgspec
import numpy as np

from stream_rnn.errors import ModelError
from stream_rnn.features import Statistic
from stream_rnn.kernels.half import fits_half, rounded
from stream_rnn.kernels.plan import arrays, weights_size
from stream_rnn.model.architecture import Architecture, Count
from stream_rnn.preprocess import Missing, Preprocess
from stream_rnn.sample import F32

Horizon: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
Provenance: TypeAlias = dict[str, str | int | float | bool | list[str | float | None] | None]


class Channel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output: its name, and its unit where it has one."""

    name: str
    unit: str = ""


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Everything about a model that is not an array. What is as it is by default is not written.

    Attributes:
        architecture: Its layers.
        inputs: The channels of a sample, in order.
        outputs: Its outputs, in order.
        rate_hz: Samples a second it was trained on.
        bin: Samples of one bin.
        missing: Policy for missing samples.
        horizon: Samples between the last sample seen and the one predicted; below 0 it is past.
        statistics: What is computed of each channel over a bin.
        logarithm: Whether the natural logarithm of each is taken.
        prior: As how many samples the training rows count beside the stream's own; 0: they alone normalise.
        provenance: How it was made: data, options, seed, versions, scores.
    """

    architecture: Architecture
    inputs: tuple[Channel, ...]
    outputs: tuple[Channel, ...]
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    bin: Count
    missing: Missing
    horizon: Horizon
    statistics: Annotated[tuple[Statistic, ...], msgspec.Meta(min_length=1, max_length=8)] = ("sum",)
    logarithm: bool = False
    prior: Annotated[int, msgspec.Meta(ge=0, le=2**40)] = 0
    provenance: Provenance = {}

    def unlike(self, other: "Card") -> str:
        """Why a hidden state of this model means nothing to another one; empty where it means the same."""
        for name in ("architecture", "bin", "inputs", "statistics", "logarithm", "prior"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                if name == "inputs":
                    mine, theirs = ([channel.name for channel in channels] for channels in (mine, theirs))
                return f"expected {name} {mine}, got {theirs}"
        return ""

    def __post_init__(self) -> None:
        """Write 100 and 100.0 the same way, so that the digest does not depend on how it was spelled."""
        msgspec.structs.force_setattr(self, "rate_hz", float(self.rate_hz))


class Model(msgspec.Struct, frozen=True):
    """Card and arrays.

    Attributes:
        card: Everything that is not an array.
        weights: The kernels' flat buffer.
        mean: Mean of each feature, (D,).
        std: Standard deviation of each feature, (D,).
        golden_x: A few samples, (G, C), or (0, C) where none were recorded.
        golden_y: What the model answers to them from a fresh state, (G, K).
        residuals: Quantiles of truth - prediction over the validation rows, ascending, (R, K).
            None where nobody measured them.
    """

    card: Card
    weights: F32
    mean: F32
    std: F32
    golden_x: F32
    golden_y: F32
    residuals: F32 | None = None

    @property
    def bin_ms(self) -> float:
        """Counting interval, in milliseconds."""
        return 1000.0 * self.card.bin / self.card.rate_hz

    @property
    def preprocess(self) -> Preprocess:
        """Its preprocessing."""
        card = self.card
        features = card.statistics, card.logarithm, card.prior
        return Preprocess(card.bin, card.missing, self.mean, self.std, *features)

    @property
    def half(self) -> bool:
        """Whether every weight that is multiplied is a bfloat16: a step then reads half the bytes."""
        return all(fits_half(array) for array in self._matrices().values())

    def rounded(self) -> "Model":
        """The same model with each weight that is multiplied rounded to bfloat16; it has no golden vector."""
        weights = self.weights.copy()
        for name, matrix in split_weights(self.card.architecture, weights).items():
            if name in self._matrices():
                matrix[:] = rounded(matrix)
        return msgspec.structs.replace(
            self, weights=weights, golden_x=self.golden_x[:0], golden_y=self.golden_y[:0]
        )

    def _matrices(self) -> dict[str, F32]:
        named = split_weights(self.card.architecture, self.weights)
        return {name: array for name, array in named.items() if array.ndim > 1}

    @property
    def hash(self) -> str:
        """First twelve hexadecimal digits of `digest`: names the model in predictions."""
        return self.digest()[:12]

    def digest(self) -> str:
        """SHA-256 of the card and of every array."""
        digest = hashlib.sha256(msgspec.json.encode(self.card, order="deterministic"))
        for name, array in sorted(self.tensors().items()):
            digest.update(f"{name}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return digest.hexdigest()

    def tensors(self) -> dict[str, F32]:
        """Every array by its name in the file; the weights as views."""
        return {
            **split_weights(self.card.architecture, self.weights),
            "preprocess.mean": self.mean,
            "preprocess.std": self.std,
            "golden.x": self.golden_x,
            "golden.y": self.golden_y,
            **({} if self.residuals is None else {"interval.residuals": self.residuals}),
        }

    def calibration(self) -> F32:
        """Its residuals, (R, K).

        Raises:
            ModelError: Nobody measured them.
        """
        if self.residuals is None:
            raise ModelError(
                f"model {self.hash}: expected residuals to make intervals from, got none; train it again"
            )
        return self.residuals


def split_weights(architecture: Architecture, flat: F32) -> dict[str, F32]:
    """The flat weights as named views: `layers.0.W`, ..., `readout.b`; of several `members.0.readout.b`."""
    rows, layers = architecture.plan(), len(architecture.layers)
    named: dict[str, F32] = {}
    for i, row in enumerate(rows):
        member, layer = divmod(i, layers + 1)
        owner = "readout" if layer == layers else f"layers.{layer}"
        if architecture.networks > 1:
            owner = f"members.{member}.{owner}"
        named |= {f"{owner}.{name}": array for name, array in arrays(row, flat).items()}
    return named


def join_weights(architecture: Architecture, tensors: dict[str, F32], subject: str) -> F32:
    """The flat weights from named arrays.

    Raises:
        ModelError: An array is absent or of another shape than the architecture asks for.
    """
    flat = np.zeros(weights_size(architecture.plan()), dtype=np.float32)
    for name, view in split_weights(architecture, flat).items():
        if name not in tensors:
            raise ModelError(f"{subject}: expected a tensor {name!r}, got none")
        got = tensors[name]
        if got.shape != view.shape:
            raise ModelError(f"{subject}: tensor {name!r}: expected shape {view.shape}, got {got.shape}")
        view[:] = got
    return flat
