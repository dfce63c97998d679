"""Training's passes: what they keep, how they pack, and that they agree with another framework."""

from typing import Any

import msgspec
import numpy as np
import pytest

from stream_rnn.kernels.engine import LINE
from stream_rnn.kernels.packed import pack
from stream_rnn.kernels.passes import tape as places
from stream_rnn.kernels.passes.copies import make_copies, pack_all
from stream_rnn.kernels.passes.tape import Tape, make_tape
from stream_rnn.kernels.plan import arrays
from stream_rnn.model.architecture import Architecture, Layer
from stream_rnn.model.model import split_weights
from stream_rnn.sample import F32
from stream_rnn.training.gradient import NO_DROPOUT, Backpropagation
from tests.laws import Made
from tests.test_kernels import CELLS, TRAINED


def part(tape: Tape, at: int, packed: F32) -> F32:
    """What the tape holds where `packed` should be."""
    return tape.values[at : at + packed.size]


@pytest.mark.parametrize(("inputs", "units"), [(1, 1), (7, 17), (96, 50)])
@pytest.mark.parametrize("cell", TRAINED)
def test_weights_are_packed_as_products_read_them(cell: str, inputs: int, units: int) -> None:
    kind = CELLS[cell]
    layers = (msgspec.structs.replace(kind, units=units),) * 2
    made = Made(Architecture(inputs=inputs, layers=layers, outputs=2), 1)
    tape = make_tape(made.plan, 1, 1)
    pack_all(make_copies(made.plan, tape.table).packing, made.weights, tape.values)
    row, named = tape.table[1], arrays(made.plan[1], made.weights)
    U = np.hstack([named["U"], named["U_n"]]) if cell == "gru" else named["U"]
    expected = {places.W: named["W"], places.W_T: named["W"].T, places.U: U, places.U_T: U.T}
    if cell == "gru reset before":
        expected |= {places.U_N: named["U_n"], places.U_N_T: named["U_n"].T}
    for column, matrix in expected.items():
        packed = pack(matrix)
        np.testing.assert_array_equal(part(tape, row[column], packed), packed, err_msg=str(column))


def test_rows_begin_at_cache_lines_an_odd_number_apart() -> None:
    plan = Architecture(inputs=16, layers=(Layer("lstm", 64), Layer("gru", 5)), outputs=3).plan()
    tape = make_tape(plan, 4, 2)
    assert tape.values.ctypes.data % (4 * LINE) == 0
    for column in (places.X_STRIDE, places.H_STRIDE, places.Z_STRIDE):
        assert (tape.table[:, column] // LINE % 2 == 1).all()
        assert (tape.table[:, column] % LINE == 0).all()


def torch_module(torch: Any, layer: Layer, inputs: int, depth: int) -> Any:
    """The same stack in PyTorch."""
    if layer.cell == "elman":
        return torch.nn.RNN(inputs, layer.units, depth, nonlinearity=layer.activation)
    return {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[layer.cell](inputs, layer.units, depth)


def named_pairs(torch: Any, rnn: Any, dense: Any, named: dict[str, F32]) -> list[tuple[Any, F32]]:
    """PyTorch's parameters and our arrays in their shape."""
    pairs = [(dense.weight, named["readout.W"].T), (dense.bias, named["readout.b"])]
    for i in range(rnn.num_layers):
        U, b, H = named[f"layers.{i}.U"], named[f"layers.{i}.b"], rnn.hidden_size
        b_u = np.zeros_like(b)
        if isinstance(rnn, torch.nn.GRU):
            U = np.hstack([U, named[f"layers.{i}.U_n"]])
            b, b_u = b[: 3 * H], np.concatenate([np.zeros(2 * H, dtype=np.float32), b[3 * H :]])
        ours = {"weight_ih": named[f"layers.{i}.W"].T, "weight_hh": U.T, "bias_ih": b, "bias_hh": b_u}
        pairs += [(getattr(rnn, f"{name}_l{i}"), array) for name, array in ours.items()]
    return pairs


@pytest.mark.parametrize("cell", ["elman", "elman relu", "gru", "lstm"])
def test_loss_and_gradient_equal_those_of_pytorch(cell: str) -> None:
    torch: Any = pytest.importorskip("torch")
    T, B, inputs = 40, 5, 11
    made = Made(Architecture(inputs=inputs, layers=(CELLS[cell],) * 2, outputs=3), T * B)
    X, Y = (
        made.xs.reshape(T, B, inputs),
        np.random.default_rng(2).standard_normal((T, B, 3), dtype=np.float32),
    )
    dweights = np.zeros_like(made.weights)
    passes, rng = Backpropagation(made.plan, T, B), np.random.default_rng(0)
    loss, _ = passes.add_gradient(made.weights, X, Y, 0, dweights, NO_DROPOUT, rng)

    rnn, dense = torch_module(torch, CELLS[cell], inputs, 2), torch.nn.Linear(CELLS[cell].units, 3)
    weights = named_pairs(torch, rnn, dense, split_weights(made.architecture, made.weights))
    for parameter, array in weights:
        parameter.data = torch.from_numpy(np.ascontiguousarray(array))
    theirs = 0.5 * ((dense(rnn(torch.from_numpy(X))[0]) - torch.from_numpy(Y)) ** 2).sum()
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-5)
    gradients = named_pairs(torch, rnn, dense, split_weights(made.architecture, dweights))
    for parameter, ours in gradients:
        known = ours != 0  # PyTorch has second biases that we have not
        np.testing.assert_allclose(ours[known], parameter.grad.numpy()[known], rtol=1e-3, atol=1e-3)
