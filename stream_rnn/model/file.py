"""One `.safetensors` file a model: arrays, a JSON card, a digest. Nothing in it is ever executed."""

from pathlib import Path

import msgspec
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from stream_rnn.errors import ModelError
from stream_rnn.model.model import Card, Model, join_weights
from stream_rnn.sample import F32

FORMAT = "stream-rnn"
VERSION = 1


def model_bytes(model: Model) -> bytes:
    """The content of a model's file."""
    tensors = {name: np.ascontiguousarray(array) for name, array in model.tensors().items()}
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "card": msgspec.json.encode(model.card, order="deterministic").decode(),
        "digest": model.digest(),
    }
    return bytes(save(tensors, metadata))


def save_model(model: Model, path: Path) -> None:
    """Write a model; an existing file is replaced in one instant, never half written."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(model_bytes(model))
    part.replace(path)


def load_model(path: Path) -> Model:
    """Read a model and check its digest.

    Raises:
        ModelError: The file is absent, truncated, altered, of another version, or its arrays do not fit.
    """
    metadata, tensors = _read(path)
    try:
        card = msgspec.json.decode(metadata.get("card", ""), type=Card)
    except msgspec.DecodeError as error:
        raise ModelError(f"{path}: model card: {error}") from None
    except RecursionError:
        raise ModelError(f"{path}: model card: expected JSON, got endless nesting") from None
    model = _assemble(path, card, tensors)
    if model.digest() != metadata.get("digest"):
        raise ModelError(
            f"{path}: expected the content it was saved with, got an altered file (digest differs)"
        )
    return model


def _read(path: Path) -> tuple[dict[str, str], dict[str, F32]]:
    try:
        content = path.read_bytes()  # never mapped: whoever cuts a mapped file short kills its readers
        tensors = dict(deserialize(content))  # type: ignore[no-untyped-call]  # the library forgot
        size = int.from_bytes(content[:8], "little")
        header = msgspec.json.decode(content[8 : 8 + size], type=_Header)
    except FileNotFoundError:
        raise ModelError(f"{path}: expected a model file, got no such file") from None
    except (SafetensorError, OSError, msgspec.DecodeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: expected a whole safetensors file, got a damaged one ({reason})") from None
    _check_kind(path, header.metadata)
    arrays = {}
    for name, tensor in sorted(tensors.items()):
        if tensor["dtype"] != "F32":
            got = tensor["dtype"]
            raise ModelError(f"{path}: tensor {name!r}: expected float32 (F32), got {got}")
        values = np.frombuffer(tensor["data"], dtype="<f4").astype(np.float32)
        arrays[name] = values.reshape(tensor["shape"])
    return header.metadata, arrays


class _Header(msgspec.Struct, rename={"metadata": "__metadata__"}):
    metadata: dict[str, str] = {}


def _check_kind(path: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path}: expected a stream-rnn model, got a safetensors file of another kind")
    if metadata.get("version") != str(VERSION):
        got = metadata.get("version")
        raise ModelError(f"{path}: expected model format version {VERSION}, got {got!r}")


def _assemble(path: Path, card: Card, tensors: dict[str, F32]) -> Model:
    C, K = len(card.inputs), card.architecture.outputs
    D = C * len(card.statistics)
    inputs = D * (2 if card.prior else 1)
    if inputs != card.architecture.inputs:
        got = card.architecture.inputs
        raise ModelError(f"{path}: expected {inputs} inputs for {C} channels, got {got}")
    if len(card.outputs) != K:
        raise ModelError(f"{path}: expected {K} output names, got {len(card.outputs)}")
    rows = len(tensors.get("golden.x", ()))
    expected = {
        "preprocess.mean": (D,),
        "preprocess.std": (D,),
        "golden.x": (rows, C),
        "golden.y": (rows, K),
    }
    if "interval.residuals" in tensors:
        expected["interval.residuals"] = (max(1, len(np.atleast_1d(tensors["interval.residuals"]))), K)
    for name, shape in expected.items():
        if name not in tensors:
            raise ModelError(f"{path}: expected a tensor {name!r}, got none")
        if tensors[name].shape != shape:
            raise ModelError(f"{path}: tensor {name!r}: expected shape {shape}, got {tensors[name].shape}")
    return Model(
        card=card,
        weights=join_weights(card.architecture, tensors, str(path)),
        mean=tensors["preprocess.mean"],
        std=tensors["preprocess.std"],
        golden_x=tensors["golden.x"],
        golden_y=tensors["golden.y"],
        residuals=tensors.get("interval.residuals"),
    )
