"""The shape of a network, as its file and its makers speak of it; turned into the kernels' plan."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from stream_rnn.kernels import activations, plan
from stream_rnn.sample import I64

CellName: TypeAlias = Literal["elman", "gru", "lstm"]
Readout: TypeAlias = Literal["linear", "tanh", "sigmoid", "softmax"]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]

READOUTS: dict[Readout, int] = {
    "linear": activations.LINEAR,
    "tanh": activations.TANH,
    "sigmoid": activations.SIGMOID,
    "softmax": activations.SOFTMAX,
}


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recurrent layer.

    Attributes:
        cell: Which cell.
        units: Hidden units H.
        activation: Of an Elman cell.
        reset: Whether a GRU's reset gate acts before or after the recurrent product.
    """

    cell: CellName
    units: Count
    activation: Literal["tanh", "relu"] = "tanh"
    reset: Literal["after", "before"] = "after"

    @property
    def kind(self) -> int:
        """The kernels' code for this cell and variant."""
        if self.cell == "elman":
            return plan.ELMAN_RELU if self.activation == "relu" else plan.ELMAN_TANH
        if self.cell == "gru":
            return plan.GRU_RESET_BEFORE if self.reset == "before" else plan.GRU_RESET_AFTER
        return plan.LSTM

    def __str__(self) -> str:
        variant = ""
        if self.cell == "elman" and self.activation == "relu":
            variant = " relu"
        if self.cell == "gru" and self.reset == "before":
            variant = " reset before"
        return f"{self.cell}{variant} {self.units}"


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stack of recurrent layers and a dense readout.

    Attributes:
        inputs: Features D.
        layers: From the features up.
        outputs: Outputs K.
        readout: Activation of the outputs.
    """

    inputs: Count
    layers: Annotated[tuple[Layer, ...], msgspec.Meta(min_length=1, max_length=64)]
    outputs: Count
    readout: Readout = "linear"

    def plan(self) -> I64:
        """The kernels' layout of this plan."""
        layers = [(layer.kind, layer.units) for layer in self.layers]
        return plan.make_plan(self.inputs, layers, self.outputs, READOUTS[self.readout])

    def __str__(self) -> str:
        layers = ", ".join(str(layer) for layer in self.layers)
        return f"{self.inputs} inputs, {layers}, {self.outputs} {self.readout} outputs"
