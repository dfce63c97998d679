"""Several networks as one model, whose answer is the mean of theirs; and that model taken apart again."""

import msgspec
import numpy as np

from stream_rnn.errors import ModelError
from stream_rnn.kernels.plan import arrays
from stream_rnn.model.architecture import Architecture
from stream_rnn.model.model import Model
from stream_rnn.sample import F32


def joined(models: list[Model]) -> Model:
    """One model that answers with the mean of what several answer, before the readout's activation.

    It has the card of the first, no golden vector and no residuals: these are not the members' own.

    Args:
        models: At least two single networks of one architecture and one preprocessing.

    Raises:
        ModelError: They are not alike.
    """
    first = models[0]
    architecture = first.card.architecture
    for other in models[1:]:
        unlike = first.card.unlike(other.card) or _unlike_scale(first, other)
        if unlike:
            raise ModelError(f"ensemble: {unlike} in model {other.hash}, as in model {first.hash}")
    if len(models) < 2 or architecture.networks > 1:
        raise ModelError(
            f"ensemble: expected at least two single networks, got {len(models)}: {architecture}"
        )
    weights = [_shared_out(architecture, model.weights, np.float32(1 / len(models))) for model in models]
    whole = msgspec.structs.replace(architecture, members=len(models))
    card = msgspec.structs.replace(first.card, architecture=whole)
    return _bare(first, msgspec.structs.replace(first, card=card, weights=np.concatenate(weights)))


def members_of(model: Model) -> list[Model]:
    """The networks of a model, each by itself: what they answer has the ensemble's answer as its mean."""
    architecture, count = model.card.architecture, model.card.architecture.networks
    if count == 1:
        return [model]
    one = msgspec.structs.replace(architecture, members=msgspec.UNSET)
    card = msgspec.structs.replace(model.card, architecture=one)
    shares = np.split(model.weights, count)
    return [
        _bare(
            model,
            msgspec.structs.replace(model, card=card, weights=_shared_out(one, share, np.float32(count))),
        )
        for share in shares
    ]


def _bare(source: Model, model: Model) -> Model:
    """Without what was measured on another network."""
    x, y = source.golden_x[:0], source.golden_y[:0]
    return msgspec.structs.replace(model, golden_x=x, golden_y=y, residuals=None)


def _shared_out(architecture: Architecture, weights: F32, factor: np.float32) -> F32:
    """The weights of a network whose readout's sums are multiplied."""
    scaled = weights.copy()
    readout = arrays(architecture.plan()[-1], scaled)
    readout["W"] *= factor
    readout["b"] *= factor
    return scaled


def _unlike_scale(one: Model, other: Model) -> str:
    """How two models differ in what the samples become before the network."""
    if one.card.missing != other.card.missing:
        return f"expected missing {one.card.missing}, got {other.card.missing}"
    if not (np.array_equal(one.mean, other.mean) and np.array_equal(one.std, other.std)):
        return "expected one mean and deviation of the features, got others"
    return ""
