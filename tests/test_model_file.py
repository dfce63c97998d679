"""The model file: what is saved is loaded, and what was damaged is named in one line."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save

from stream_rnn.errors import ModelError
from stream_rnn.model.file import load_model, save_model
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from tests.small import calibrated, saved_model, small_model

MODEL = small_model()


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def test_residuals_survive_the_file_and_the_digest_covers_them(tmp_path: Path) -> None:
    model = calibrated(MODEL)
    loaded = load_model(saved_model(tmp_path, model))
    np.testing.assert_array_equal(loaded.calibration(), model.calibration())
    assert loaded.hash == model.hash != MODEL.hash


def test_residuals_of_another_number_of_outputs_are_named(tmp_path: Path) -> None:
    wrong = {"interval.residuals": np.zeros((4, 3), dtype=np.float32)}
    assert refusal(rewritten(tmp_path, {}, wrong)) == (
        "tensor 'interval.residuals': expected shape (4, 2), got (4, 3)"
    )


def rewritten(
    folder: Path, change: dict[str, str], tensors: dict[str, NDArray[Any]] | None = None, drop: str = ""
) -> Path:
    """The saved model with other metadata or tensors."""
    path = saved_model(folder, MODEL)
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    metadata = json.loads(raw[8 : 8 + size])["__metadata__"]
    arrays = load(raw) | (tensors or {})
    arrays.pop(drop, None)
    path.write_bytes(save(arrays, metadata | change))
    return path


def test_saved_model_is_loaded_unchanged(tmp_path: Path) -> None:
    loaded = load_model(saved_model(tmp_path, MODEL))
    assert loaded.card == MODEL.card
    assert loaded.hash == MODEL.hash
    for name in ("weights", "mean", "std", "golden_x", "golden_y"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(MODEL, name))


def test_saving_replaces_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    save_model(small_model(4), tmp_path / "model.safetensors")
    path = saved_model(tmp_path, MODEL)
    assert load_model(path).hash == MODEL.hash
    assert list(tmp_path.iterdir()) == [path]


def test_absent_file_and_other_files_are_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no") == "expected a model file, got no such file"
    (tmp_path / "text").write_text("hello")
    assert refusal(tmp_path / "text").startswith("expected a whole safetensors file, got a damaged one (")
    (tmp_path / "foreign").write_bytes(save({"w": np.ones(3, dtype=np.float32)}))
    assert (
        refusal(tmp_path / "foreign") == "expected a stream-rnn model, got a safetensors file of another kind"
    )
    assert "expected a whole safetensors file" in refusal(tmp_path)


@given(share=st.floats(0, 0.999))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_truncated_file_is_named(tmp_path: Path, share: float) -> None:
    path = saved_model(tmp_path, MODEL)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert refusal(path).startswith("expected a whole safetensors file, got a damaged one (")


@given(place=st.floats(0, 0.9999), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_any_flipped_bit_is_noticed(tmp_path: Path, place: float, bit: int) -> None:
    path = saved_model(tmp_path, MODEL)
    damaged = bytearray(path.read_bytes())
    damaged[int(place * len(damaged))] ^= 1 << bit
    path.write_bytes(damaged)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"version": "2"}, "expected model format version 1, got '2'"),
        ({"card": "{"}, "model card: Input data was truncated"),
        ({"card": "{}"}, "model card: Object missing required field `architecture`"),
        ({"digest": "0"}, "expected the content it was saved with, got an altered file (digest differs)"),
    ],
)
def test_wrong_metadata_is_named(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    assert refusal(rewritten(tmp_path, metadata)) == message


def test_wrong_tensors_are_named(tmp_path: Path) -> None:
    thin = np.ones((5, 20), dtype=np.float32)
    assert (
        refusal(rewritten(tmp_path, {}, {"layers.0.W": thin}))
        == "tensor 'layers.0.W': expected shape (5, 21), got (5, 20)"
    )
    assert refusal(rewritten(tmp_path, {}, drop="readout.b")) == "expected a tensor 'readout.b', got none"
    assert refusal(rewritten(tmp_path, {}, drop="golden.y")) == "expected a tensor 'golden.y', got none"
    double = np.ones(5, dtype=np.float64)
    assert (
        refusal(rewritten(tmp_path, {}, {"preprocess.std": double}))
        == "tensor 'preprocess.std': expected float32 (F32), got F64"
    )


def test_type_that_numpy_does_not_know_is_named(tmp_path: Path) -> None:
    path = rewritten(tmp_path, {}, {"readout.b": np.ones(2, dtype=np.int16)})
    raw = path.read_bytes().replace(b'"I16"', b'"BF16"', 1)  # two bytes a number as well
    size = int.from_bytes(raw[:8], "little") + 1
    path.write_bytes(size.to_bytes(8, "little") + raw[8:])
    assert refusal(path) == "tensor 'readout.b': expected float32 (F32), got BF16"


def test_golden_vector_that_does_not_come_out_is_refused() -> None:
    golden = MODEL.golden_y.copy()
    golden[3, 1] += 1
    wrong: Model = msgspec.structs.replace(MODEL, golden_y=golden)
    with pytest.raises(ModelError, match=r"^model \w{12}: golden row 3, output 'v1': expected .*, got "):
        Predictor(wrong)


def test_rate_is_spelled_one_way() -> None:
    whole = msgspec.structs.replace(MODEL.card, rate_hz=100)
    assert msgspec.structs.replace(MODEL, card=whole).hash == MODEL.hash
