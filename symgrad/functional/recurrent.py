"""One layer of a recurrent network over all steps of a sequence, one step after the other.

The products with the inputs of all steps are one product; only what depends on the state stays in
the steps.  ``lengths`` (N,) says where each sequence ends: from there on its state stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from symgrad.core import dtypes
from symgrad.core.build import broadcast_to, elementwise, matmul, product, unsqueeze, zeros
from symgrad.core.expr import Expr
from symgrad.core.sizes import Size, shape_text
from symgrad.errors import ShapeError
from symgrad.functional.table import public
from symgrad.ops.elementwise import where
from symgrad.ops.join import arange, concatenate
from symgrad.ops.structure import slice_axis
from symgrad.scanning import scan

Step = Callable[[Expr, Sequence[Expr]], tuple[Expr, ...]]


def _affine(x: Expr, weight: Expr, bias: Expr | None) -> Expr:
    if x.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            f"recurrent layer: input.size(-1) must be equal to input_size. Expected "
            f"{weight.shape[-1]}, got {x.shape[-1]} ({shape_text(x.shape)})"
        )
    made = matmul(x, weight.T)
    return made if bias is None else made + bias


def _state(given: Expr | None, x: Expr, width: Size) -> Expr:
    """The state to begin with; zeros unless given."""
    return zeros((*x.shape[1:-1], width), x.dtype) if given is None else given


def _gates(z: Expr, count: int) -> list[Expr]:
    """The equal parts of the last axis."""
    size: Size = z.shape[-1]
    if not isinstance(size, int):
        raise ShapeError("recurrent layer: the number of hidden units needs to be a number")
    width = size // count
    return [slice_axis(z, -1, k * width, (k + 1) * width) for k in range(count)]


def _over_time(
    z: Expr, state: Mapping[str, Expr], step: Step, reverse: bool, lengths: Expr | None
) -> Expr:
    """States of all steps, side by side along the last axis: ``(T, N, …)``."""
    if z.shape[0] == 0:
        raise ShapeError(
            "recurrent layer: Expected sequence length to be larger than 0 in RNN "
            f"({shape_text(z.shape)})"
        )
    inputs = {"z": z}
    if lengths is not None:
        inputs["t"] = arange(z.shape[0], dtypes.int64)

    def one(*given: Expr) -> tuple[Sequence[Expr], Sequence[Expr]]:
        before, (x, *turn) = given[: len(state)], given[len(state) :]
        after = step(x, before)
        if lengths is not None:
            going = unsqueeze(elementwise("gt", lengths, broadcast_to(turn[0], lengths.shape)), [1])
            after = tuple(where(going, a, b) for a, b in zip(after, before, strict=True))
        return after, ()

    _, made, _ = scan(one, state, inputs, reverse)
    return concatenate(made, -1) if len(made) > 1 else made[0]


def rnn_step(z: Expr, h: Expr, weight: Expr, bias: Expr | None, nonlinearity: str) -> Expr:
    """``h′ = tanh(z + W h + b)``, or relu of it."""
    return elementwise(nonlinearity, z + _affine(h, weight, bias))


def gru_step(z: Expr, h: Expr, weight: Expr, bias: Expr | None) -> Expr:
    """``h′ = (1 − u) ⊙ n + u ⊙ h`` with ``n = tanh(zₙ + r ⊙ (Wₙ h + bₙ))`` (Cho et al., 2014)."""
    reset, update, new = _gates(z, 3)
    from_reset, from_update, from_new = _gates(_affine(h, weight, bias), 3)
    r = elementwise("sigmoid", reset + from_reset)
    u = elementwise("sigmoid", update + from_update)
    n = elementwise("tanh", new + product(r, from_new))
    return n + product(u, h - n)


def lstm_step(
    z: Expr, h: Expr, c: Expr, weight: Expr, bias: Expr | None, projection: Expr | None = None
) -> tuple[Expr, Expr]:
    """``c′ = f ⊙ c + i ⊙ g``, ``h′ = o ⊙ tanh(c′)`` (Hochreiter and Schmidhuber, 1997)."""
    i, f, g, o = _gates(z + _affine(h, weight, bias), 4)
    i, f, o = (elementwise("sigmoid", e) for e in (i, f, o))
    cell = product(f, c) + product(i, elementwise("tanh", g))
    hidden = product(o, elementwise("tanh", cell))
    return (hidden if projection is None else matmul(hidden, projection.T)), cell


@public(part=True)
def rnn_layer(
    x: Expr, h: Expr | None, w_ih: Expr, w_hh: Expr, b_ih: Expr | None = None, b_hh: Expr | None = None,
    lengths: Expr | None = None, nonlinearity: str = "tanh", reverse: bool = False,
) -> Expr:  # fmt: skip
    """``hₜ = tanh(W x + b + W′ hₜ₋₁ + b′)``: x ``(T, N, in)``, h ``(N, H)``, result ``(T, N, H)``."""
    z = _affine(x, w_ih, b_ih)
    return _over_time(
        z,
        {"h": _state(h, x, w_hh.shape[1])},
        lambda a, s: (rnn_step(a, s[0], w_hh, b_hh, nonlinearity),),
        reverse,
        lengths,
    )


@public(part=True)
def gru_layer(
    x: Expr, h: Expr | None, w_ih: Expr, w_hh: Expr, b_ih: Expr | None = None, b_hh: Expr | None = None,
    lengths: Expr | None = None, reverse: bool = False,
) -> Expr:  # fmt: skip
    """Gated recurrent units: x ``(T, N, in)``, h ``(N, H)``, result ``(T, N, H)``."""
    z = _affine(x, w_ih, b_ih)
    return _over_time(
        z,
        {"h": _state(h, x, w_hh.shape[1])},
        lambda a, s: (gru_step(a, s[0], w_hh, b_hh),),
        reverse,
        lengths,
    )


@public(part=True)
def lstm_layer(
    x: Expr, h: Expr | None, c: Expr | None, w_ih: Expr, w_hh: Expr, b_ih: Expr | None = None,
    b_hh: Expr | None = None, w_hr: Expr | None = None, lengths: Expr | None = None,
    reverse: bool = False,
) -> Expr:  # fmt: skip
    """Long short-term memory: x ``(T, N, in)``, result ``(T, N, P + H)``: hidden beside cell."""
    z = _affine(x, w_ih, b_ih)
    cells = (w_hh if w_hr is None else w_hr).shape[1]
    states = {"h": _state(h, x, w_hh.shape[1]), "c": _state(c, x, cells)}
    return _over_time(
        z, states, lambda a, s: lstm_step(a, s[0], s[1], w_hh, b_hh, w_hr), reverse, lengths
    )


@public(part=True)
def rnn_cell(
    x: Expr, h: Expr, w_ih: Expr, w_hh: Expr, b_ih: Expr | None = None, b_hh: Expr | None = None,
    nonlinearity: str = "tanh",
) -> Expr:  # fmt: skip
    """One step of a plain recurrent network: x ``(N, in)``, h ``(N, H)``."""
    return rnn_step(_affine(x, w_ih, b_ih), h, w_hh, b_hh, nonlinearity)


@public(method=False)
def gru_cell(
    x: Expr, h: Expr, w_ih: Expr, w_hh: Expr, b_ih: Expr | None = None, b_hh: Expr | None = None
) -> Expr:
    """One step of gated recurrent units: x ``(N, in)``, h ``(N, H)``."""
    return gru_step(_affine(x, w_ih, b_ih), h, w_hh, b_hh)


@public("lstm_cell_states", part=True)
def lstm_cell(
    x: Expr, h: Expr, c: Expr, w_ih: Expr, w_hh: Expr, b_ih: Expr | None = None,
    b_hh: Expr | None = None,
) -> Expr:  # fmt: skip
    """One step of long short-term memory: hidden beside cell, ``(N, 2 H)``."""
    return concatenate(list(lstm_step(_affine(x, w_ih, b_ih), h, c, w_hh, b_hh)), -1)
