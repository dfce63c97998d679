"""The model that ships with the package: trained on the simulated motor cortex by tools/make-demo-model."""

from pathlib import Path

SEED = 7  # the simulated animal: which units there are and what each of them is tuned to
UNITS = 64


def demo_model() -> Path:
    """Where the bundled model file is."""
    return Path(__file__).with_name("model.safetensors")
