"""The shape of a network, as its file and its makers speak of it; turned into the kernels' plan."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from stream_rnn.kernels import activations, plan
from stream_rnn.sample import I64

CellName: TypeAlias = Literal["elman", "gru", "lstm"]
"""What is trained."""
LayerName: TypeAlias = Literal["elman", "gru", "lstm", "fir"]
"""What is stepped."""
Readout: TypeAlias = Literal["linear", "tanh", "sigmoid", "softmax"]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]

Members = Annotated[int, msgspec.Meta(ge=2, le=64)]

READOUTS: dict[Readout, int] = {
    "linear": activations.LINEAR,
    "tanh": activations.TANH,
    "sigmoid": activations.SIGMOID,
    "softmax": activations.SOFTMAX,
}


ELMANS = {"tanh": plan.ELMAN_TANH, "relu": plan.ELMAN_RELU, "linear": plan.ELMAN_LINEAR}


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recurrent layer, or a filter in its place.

    Attributes:
        cell: Which cell.
        units: Hidden units H.
        activation: Of an Elman cell.
        reset: Whether a GRU's reset gate acts before or after the recurrent product.
        lags: Of an FIR filter: how many steps back its outputs look, this one counted. Not written of others.
    """

    cell: LayerName
    units: Count
    activation: Literal["tanh", "relu", "linear"] = "tanh"
    reset: Literal["after", "before"] = "after"
    lags: Count | msgspec.UnsetType = msgspec.UNSET

    @property
    def kind(self) -> int:
        """The kernels' code for this cell and variant."""
        if self.cell == "elman":
            return ELMANS[self.activation]
        if self.cell == "gru":
            return plan.GRU_RESET_BEFORE if self.reset == "before" else plan.GRU_RESET_AFTER
        return plan.FIR if self.cell == "fir" else plan.LSTM

    @property
    def steps(self) -> int:
        """Lags of an FIR filter, 1 of any other."""
        return 1 if isinstance(self.lags, msgspec.UnsetType) or self.cell != "fir" else self.lags

    def __str__(self) -> str:
        if self.cell == "fir":
            return f"fir {self.units} over {self.steps} steps"
        variant = ""
        if self.cell == "elman" and self.activation != "tanh":
            variant = f" {self.activation}"
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
        members: Of an ensemble: how many such networks there are, whose readouts are added up before the
            activation. Not written of a single one.
    """

    inputs: Count
    layers: Annotated[tuple[Layer, ...], msgspec.Meta(min_length=1, max_length=64)]
    outputs: Count
    readout: Readout = "linear"
    members: Members | msgspec.UnsetType = msgspec.UNSET

    @property
    def networks(self) -> int:
        """How many there are: the members of an ensemble, or 1."""
        return 1 if isinstance(self.members, msgspec.UnsetType) else self.members

    def plan(self) -> I64:
        """The kernels' layout of this plan."""
        layers = [(layer.kind, layer.units, layer.steps) for layer in self.layers]
        return plan.make_plan(self.inputs, layers, self.outputs, READOUTS[self.readout], self.networks)

    def __str__(self) -> str:
        layers = ", ".join(str(layer) for layer in self.layers)
        if self.networks > 1:
            layers = f"{self.networks} x ({layers})"
        return f"{self.inputs} inputs, {layers}, {self.outputs} {self.readout} outputs"
