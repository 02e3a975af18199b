"""Recurrent networks: RNN, LSTM and GRU over sequences, and their single steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from symgrad.functional import FUNCTIONS
from symgrad.nn import functional as F
from symgrad.nn import init
from symgrad.nn.module import Module
from symgrad.nn.utils.rnn import PackedSequence, packed_as, padded_with_lengths
from symgrad.tensors import creation
from symgrad.tensors.surface import function_of
from symgrad.tensors.tensor import Parameter, Tensor

_cat = function_of(FUNCTIONS["cat"])
_ROWS = {
    name: function_of(FUNCTIONS[name])
    for name in ("rnn_layer", "gru_layer", "lstm_layer", "rnn_cell", "gru_cell", "lstm_cell_states")
}


class RNNBase(Module):
    """Layers over layers of one kind of step, in PyTorch's parameter names.

    ``weight_ih_l0`` ``(gates · H, in)``, ``weight_hh_l0`` ``(gates · H, H)``, ``bias_ih_l0``,
    ``bias_hh_l0``, and the same with ``_reverse`` for the backward direction; all begin as
    U(−1/√H, 1/√H).
    """

    _gates = 1
    _row = "rnn_layer"
    _states = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 <= dropout <= 1 or isinstance(dropout, bool):
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an "
                "element being zeroed"
            )
        if hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size < 0 or proj_size >= hidden_size:
            raise ValueError("proj_size has to be at least 0 and smaller than hidden_size")
        if proj_size and self._states < 2:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        width = proj_size or hidden_size
        rows = self._gates * hidden_size
        for layer, suffix in self._directions():
            into = input_size if not layer else width * (2 if bidirectional else 1)
            shapes = {"weight_ih": (rows, into), "weight_hh": (rows, width)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for name, shape in shapes.items():
                value = Parameter(creation.empty(shape, device=device, dtype=dtype))
                setattr(self, f"{name}_l{layer}{suffix}", value)
        self.reset_parameters()

    def _directions(self) -> Iterator[tuple[int, str]]:
        """(layer, suffix of its parameters) in PyTorch's order."""
        for layer in range(self.num_layers):
            yield layer, ""
            if self.bidirectional:
                yield layer, "_reverse"

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        bound = 1 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: the compiled program arranges memory."""

    def _weights(self, layer: int, suffix: str) -> list[Any]:
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
        names += ["weight_hr"] if self._states == 2 else []
        return [getattr(self, f"{name}_l{layer}{suffix}", None) for name in names]

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters of each direction of each layer."""
        return [[w for w in self._weights(*at) if w is not None] for at in self._directions()]

    def _statics(self) -> dict[str, Any]:
        return {}

    def _beginning(self, x: Tensor, given: Any) -> list[Any]:
        """The states ``(layers · directions, N, …)`` at the beginning; None stands for zeros."""
        if given is None:
            return [None] * self._states
        count = self.num_layers * (2 if self.bidirectional else 1)
        widths = [self.proj_size or self.hidden_size, self.hidden_size][: self._states]
        states = list(given) if self._states == 2 else [given]
        for state, width in zip(states, widths, strict=True):
            expected = (count, *x.shape[1:-1], width)
            if tuple(state.shape) != expected:
                raise RuntimeError(
                    f"Expected hidden size {expected}, got {list(state.shape)} "
                    f"({type(self).__name__} of {self.num_layers} layers)"
                )
        return states

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Outputs of the last layer at all steps, and the last states of all layers.

        x ``(T, N, in)``, ``(N, T, in)`` with ``batch_first``, ``(T, in)``, or a PackedSequence.
        """
        packed, lengths = isinstance(input, PackedSequence), None
        if packed:
            x, lengths = padded_with_lengths(input)
            hx = self._sorted(hx, input.sorted_indices)
        else:
            x = input
            if x.ndim not in (2, 3):
                raise ValueError(
                    f"{type(self).__name__}: Expected input to be 2D or 3D, got {x.ndim}D instead"
                )
        swapped = self.batch_first and not packed and x.ndim == 3
        if swapped:
            x = x.transpose(0, 1)
        out, last = self._run(x, self._beginning(x, hx), lengths)
        if packed:
            out = packed_as(out, input)
            last = [self._sorted(s, input.unsorted_indices) for s in last]
        elif swapped:
            out = out.transpose(0, 1)
        return out, tuple(last) if self._states == 2 else last[0]

    def _sorted(self, hx: Any, order: Any) -> Any:
        if hx is None or order is None:
            return hx
        if isinstance(hx, Tensor):
            return hx.index_select(1, order)
        return tuple(s.index_select(1, order) for s in hx)

    def _run(
        self, x: Tensor, states: list[Any], lengths: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        run, width = _ROWS[self._row], self.proj_size or self.hidden_size
        last: list[list[Tensor]] = []
        outputs: list[Tensor] = []
        for k, (layer, suffix) in enumerate(self._directions()):
            if not suffix and layer:
                x = _cat(outputs, -1) if len(outputs) > 1 else outputs[0]
                x = F.dropout(x, self.dropout, self.training)
                outputs = []
            made = run(x, *(None if s is None else s[k] for s in states), *self._weights(layer, suffix), lengths=lengths,
                       reverse=bool(suffix), **self._statics())  # fmt: skip
            ending = made.select(0, 0 if suffix else -1)
            last.append([ending] if self._states == 1 else
                        [ending[..., :width], ending[..., width:]])  # fmt: skip
            outputs.append(made if self._states == 1 else made[..., :width])
        out = _cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        joined = [_cat([s.unsqueeze(0) for s in kind], 0) for kind in zip(*last, strict=True)]
        return out, joined

    def extra_repr(self) -> str:
        """Sizes and what is not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False,
                    "dropout": 0.0, "bidirectional": False}  # fmt: skip
        for name, value in defaults.items():
            if getattr(self, name) != value:
                text += f", {name}={getattr(self, name)}"
        return text


class RNN(RNNBase):
    """``hₜ = tanh(W xₜ + b + W′ hₜ₋₁ + b′)``, or relu (Elman, 1990).

    >>> RNN(3, 5, num_layers=2)
    RNN(3, 5, num_layers=2)
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        *args: Any, **kwargs: Any,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity {nonlinearity!r}. Select from 'tanh' or 'relu'."
            )
        super().__init__(input_size, hidden_size, num_layers, *args, **kwargs)
        self.nonlinearity = nonlinearity

    def _statics(self) -> dict[str, Any]:
        return {"nonlinearity": self.nonlinearity}


class GRU(RNNBase):
    """Gated recurrent units, gates in the order reset, update, new (Cho et al., 2014).

    >>> GRU(3, 5, batch_first=True)
    GRU(3, 5, batch_first=True)
    """

    _gates = 3
    _row = "gru_layer"


class LSTM(RNNBase):
    """Long short-term memory, gates in the order input, forget, cell, output; two states.

    >>> LSTM(3, 5, bidirectional=True)
    LSTM(3, 5, bidirectional=True)
    """

    _gates = 4
    _row = "lstm_layer"
    _states = 2


class RNNCellBase(Module):
    """One step: ``weight_ih`` ``(gates · H, in)``, ``weight_hh`` ``(gates · H, H)`` and biases."""

    _gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self._gates * hidden_size
        place = {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(creation.empty((rows, input_size), **place))
        self.weight_hh = Parameter(creation.empty((rows, hidden_size), **place))
        for name in ("bias_ih", "bias_hh"):
            value = Parameter(creation.empty((rows,), **place)) if bias else None
            self.register_parameter(name, value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size else 0
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def _step(self, row: str, input: Tensor, states: list[Any], **named: Any) -> Tensor:
        if input.ndim not in (1, 2):
            raise ValueError(
                f"{type(self).__name__}: Expected input to be 1D or 2D, got {input.ndim}D instead"
            )
        alone = input.ndim == 1
        x = input.unsqueeze(0) if alone else input
        shape = (x.shape[0], self.hidden_size)
        begin = [
            creation.zeros(shape, dtype=x.dtype, device=x.device)
            if s is None
            else s.unsqueeze(0) if alone else s
            for s in states
        ]  # fmt: skip
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        made = _ROWS[row](x, *begin, *weights, **named)
        return made.squeeze(0) if alone else made

    def extra_repr(self) -> str:
        """Sizes and what is not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        text += f", bias={self.bias}" if self.bias is not True else ""
        kind = getattr(self, "nonlinearity", "tanh")
        return text + (f", nonlinearity={kind}" if kind != "tanh" else "")


class RNNCell(RNNCellBase):
    """``h′ = tanh(W x + b + W′ h + b′)``, or relu."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state."""
        return self._step("rnn_cell", input, [hx], nonlinearity=self.nonlinearity)


class GRUCell(RNNCellBase):
    """One step of gated recurrent units."""

    _gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state."""
        return self._step("gru_cell", input, [hx])


class LSTMCell(RNNCellBase):
    """One step of long short-term memory."""

    _gates = 4

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        """The next hidden state and cell."""
        made = self._step("lstm_cell_states", input, [None, None] if hx is None else list(hx))
        return made[..., : self.hidden_size], made[..., self.hidden_size :]
