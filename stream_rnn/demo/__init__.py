"""The model that ships with the package: trained on the simulated motor cortex by tools/make-demo-model."""

from pathlib import Path


def demo_model() -> Path:
    """Where the bundled model file is."""
    return Path(__file__).with_name("model.safetensors")
