"""A streaming real-time predictor: a recurrent network that steps once per sensor sample."""

from stream_rnn.errors import StreamRnnError
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.recordings.arrays import recording
from stream_rnn.recordings.spikes import bin_spikes

__all__ = ["Model", "Predictor", "StreamRnnError", "__version__", "bin_spikes", "recording"]

__version__ = "0.1.0"
