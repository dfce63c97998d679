"""A streaming real-time predictor: a recurrent network that steps once per sensor sample."""

from stream_rnn.errors import StreamRnnError
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor

__all__ = ["Model", "Predictor", "StreamRnnError", "__version__"]

__version__ = "0.1.0"
