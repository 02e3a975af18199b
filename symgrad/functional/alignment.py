"""Connectionist temporal classification (Graves et al., 2006): the sum over all alignments."""

from __future__ import annotations

import math

from symgrad.core import dtypes
from symgrad.core.build import broadcast_to, cast, constant, reduce_sum
from symgrad.core.build import elementwise as apply
from symgrad.core.build import unsqueeze as insert_axes
from symgrad.core.expr import Expr
from symgrad.core.sizes import shape_text
from symgrad.errors import ShapeError
from symgrad.functional.losses import reduced
from symgrad.functional.table import public
from symgrad.ops import structure
from symgrad.ops.axis import along
from symgrad.ops.elementwise import where as choose
from symgrad.ops.gather import gather, take
from symgrad.ops.join import arange, concatenate
from symgrad.scanning import scan

_NEVER = -1e30
"""The logarithm of what cannot be: finite, so that no derivative meets ∞ − ∞."""


@public(part=True, grad_fn="CtcLossBackward0", saves=(0, 1))
def ctc_loss_of(
    log_probs: Expr,
    targets: Expr,
    input_lengths: Expr,
    target_lengths: Expr,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Expr:
    """−log of the probability of each target: log_probs ``(T, N, C)``, targets ``(N, S)``.

    As PyTorch's, the derivative is that of log_softmax(log_probs): it adds up to 0 over classes.
    """
    steps, _, classes = log_probs.shape
    length = targets.shape[1]
    if not isinstance(length, int):
        raise ShapeError(
            f"ctc_loss: the number of labels of {shape_text(targets.shape)} needs to be known"
        )
    if not isinstance(classes, int) or not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    if steps == 0:
        raise ShapeError("ctc_loss: log_probs needs at least one step")
    kind = log_probs.dtype
    never = constant(_NEVER, kind)
    word, parts = _extended(cast(targets, dtypes.int64), blank)
    full = broadcast_to(insert_axes(word, [0]), (steps, *word.shape))
    emitted = gather(log_probs, full, -1)
    # a place is reached from itself, the one before, and, between different labels, from two before
    place = arange(word.shape[1], dtypes.int64)
    back = insert_axes(place, [1]) - insert_axes(arange(3, dtypes.int64), [0])
    zero = constant(0, dtypes.int64)
    allowed = apply("ge", back, zero)
    jumps = apply("logical_and", parts, apply("ne", word, take(word, _from(back, 2), -1)))
    two = apply("eq", arange(3, dtypes.int64), constant(2, dtypes.int64))
    allowed = apply("logical_and", insert_axes(allowed, [0]),
                    apply("logical_or", insert_axes(jumps, [2]),
                          apply("logical_not", insert_axes(two, [0, 1]))))  # fmt: skip
    step = choose(allowed, constant(0, kind), never)
    back = apply("maximum", back, zero)
    last = insert_axes(cast(input_lengths, dtypes.int64), [1])
    begin = choose(apply("eq", place, zero), constant(0, kind), never)
    turn = arange(steps, dtypes.int64)

    def forward(alpha: Expr, now: Expr, t: Expr) -> tuple[list[Expr], list[Expr]]:
        reached = along("logsumexp", take(alpha, back, -1) + step, -1)
        return [choose(apply("gt", last, t), reached + now, alpha)], []

    begin = broadcast_to(begin, word.shape)
    (alpha,), _, _ = scan(forward, {"alpha": begin}, {"emitted": emitted, "t": turn})
    ends = insert_axes(cast(target_lengths, dtypes.int64) * 2, [1])
    some = apply("gt", ends, zero)
    near = gather(alpha, apply("maximum", ends - 1, zero), -1)
    both = concatenate([gather(alpha, ends, -1), choose(some, near, never)], -1)
    total = along("logsumexp", both, -1)
    possible = apply("gt", total, constant(_NEVER / 2, kind))
    each = choose(possible, -total, constant(math.inf, kind))
    each = each + _normalizer(log_probs, input_lengths)
    if zero_infinity:
        each = choose(apply("isinf", each), constant(0, kind), each)
    if reduction == "mean":
        each = each / cast(
            apply("maximum", target_lengths, constant(1, target_lengths.dtype)), kind
        )
    return reduced(each, reduction)


def _extended(labels: Expr, blank: int) -> tuple[Expr, Expr]:
    """Blank, first label, blank, second label, …, blank; where the labels stand."""
    length = labels.shape[1]
    assert isinstance(length, int)
    place = arange(2 * length + 1, dtypes.int64)
    odd = cast(apply("remainder", place, constant(2, dtypes.int64)), dtypes.bool_)
    nothing = constant(blank, dtypes.int64, (labels.shape[0], 2 * length + 1))
    if not length:
        return nothing, odd
    before = apply("floor_divide", place, constant(2, dtypes.int64))
    before = apply("minimum", before, constant(length - 1, dtypes.int64))
    return choose(odd, take(labels, before, -1), nothing), odd


def _from(back: Expr, steps: int) -> Expr:
    """Where each place is reached from by ``steps``, at least 0."""
    return apply("maximum", structure.select(back, 1, steps), constant(0, dtypes.int64))


def _normalizer(log_probs: Expr, lengths: Expr) -> Expr:
    """0, with the derivative of Σ log Σ exp of the steps that count."""
    turn = insert_axes(arange(log_probs.shape[0], dtypes.int64), [1])
    going = apply("gt", insert_axes(cast(lengths, dtypes.int64), [0]), turn)
    mass = reduce_sum(apply("exp", log_probs), [2])
    total = reduce_sum(choose(going, mass, constant(0, mass.dtype)), [0])
    return total - apply("detach", total)
