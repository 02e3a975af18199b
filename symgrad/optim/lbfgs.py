"""L-BFGS (Nocedal, 1980): Newton's direction from the last steps, and a search along it.

The direction is a product of a few long vectors and the search asks the closure again and again,
so this is no update rule but a loop on the host, over all parameters as one vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.autograd import enable_grad, no_grad
from symgrad.core.dtypes import real_of
from symgrad.optim import rules
from symgrad.optim.optimizer import Optimizer
from symgrad.tensors.creation import tensor
from symgrad.tensors.tensor import Tensor

Vector = np.ndarray[Any, Any]


@dataclass
class _Point:
    """A step length with the value, the gradient, and the slope along the direction."""

    t: float
    value: float
    gradient: Vector
    slope: float


def _cubic(a: _Point, b: _Point, low: float, high: float) -> float:
    """Where the cubic through two points with their slopes is least, between two bounds."""
    if a.t > b.t:
        a, b = b, a
    mean = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
    square = mean**2 - a.slope * b.slope
    if square < 0:
        return (low + high) / 2
    root = square**0.5
    place = b.t - (b.t - a.t) * ((b.slope + root - mean) / (b.slope - a.slope + 2 * root))
    return min(max(place, low), high)


def strong_wolfe(
    at: Callable[[float], _Point], start: _Point, t: float, size: float, tolerance: float, most: int
) -> tuple[_Point, int]:
    """A step with enough decrease (c₁ = 10⁻⁴) and a flatter slope (c₂ = 0.9), and the evaluations.

    Nocedal and Wright, *Numerical Optimization*, algorithms 3.5 and 3.6.
    """
    before, now, count, turns = start, at(t), 1, 0

    def enough(p: _Point) -> bool:
        return p.value <= start.value + 1e-4 * p.t * start.slope

    def flat(p: _Point) -> bool:
        return abs(p.slope) <= -0.9 * start.slope

    ends = [start, now]
    while turns < most:
        if not enough(now) or (turns > 1 and now.value >= before.value):
            ends = [before, now]
            break
        if flat(now):
            return now, count
        if now.slope >= 0:
            ends = [before, now]
            break
        t = _cubic(before, now, now.t + 0.01 * (now.t - before.t), now.t * 10)
        before, now = now, at(t)
        count, turns = count + 1, turns + 1
        ends = [start, now]
    low, high = (0, 1) if ends[0].value <= ends[1].value else (1, 0)
    slow = False
    while turns < most and abs(ends[1].t - ends[0].t) * size >= tolerance:
        first, last = sorted(p.t for p in ends)
        t = _cubic(ends[0], ends[1], first, last)
        margin = 0.1 * (last - first)
        if min(last - t, t - first) < margin:  # so near an end that it may stay there
            if slow or t >= last or t <= first:
                t = last - margin if abs(t - last) < abs(t - first) else first + margin
                slow = False
            else:
                slow = True
        else:
            slow = False
        now = at(t)
        count, turns = count + 1, turns + 1
        if not enough(now) or now.value >= ends[low].value:
            ends[high] = now
            low, high = (0, 1) if ends[0].value <= ends[1].value else (1, 0)
            continue
        done = flat(now)
        if not done and now.slope * (ends[high].t - ends[low].t) >= 0:
            ends[high] = ends[low]
        ends[low] = now
        if done:
            break
    return ends[low], count


class LBFGS(Optimizer):
    """``p ← p − t H g``, H g from the last steps and changes of the gradient (Nocedal, 1980).

    ``step`` takes a closure that clears the gradients, computes the loss, calls backward and
    returns the loss; it is called several times.
    """

    row = rules.SGD  # for its options; the update is this class's own

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        options = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        self.check(options)
        super().__init__(params, options)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    def _gradient(self) -> Vector:
        """All gradients as one vector, 0 where there is none."""
        return np.concatenate(
            [
                np.zeros_like(_flat(p)) if p.grad is None else _flat(p.grad)
                for p in self._parameters()
            ]
        )

    def _move(self, values: Vector) -> None:
        """Write one vector into all parameters."""
        begin = 0
        with no_grad():
            for p in self._parameters():
                count = p.numel() * (1 + p.dtype.is_complex)
                part = values[begin : begin + count].astype(real_of(p.dtype).numpy)
                part = part.view(p.dtype.numpy).reshape(tuple(p.shape))
                p.copy_(tensor(part, device=p.device))
                begin += count

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to ``max_iter`` steps; returns the loss before the first."""
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        group = self.param_groups[0]
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        state = self.state[group["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        self.stepped = True

        def evaluated() -> tuple[Any, float, Vector]:
            with enable_grad():
                loss = closure()
            state["func_evals"] += 1
            return loss, float(loss), self._gradient()

        first, value, gradient = evaluated()
        if np.abs(gradient).max() <= group["tolerance_grad"]:
            return first
        self._iterate(group, state, evaluated, value, gradient)
        return first

    def _iterate(
        self,
        group: dict[str, Any],
        state: dict[str, Any],
        evaluated: Callable[[], tuple[Any, float, Vector]],
        value: float,
        gradient: Vector,
    ) -> None:
        rate, tolerance = float(group["lr"]), group["tolerance_change"]
        changes, steps = ([_array(v) for v in state.get(k, [])] for k in ("old_dirs", "old_stps"))
        scale = float(state.get("H_diag", 1.0))
        old = _array(state["prev_flat_grad"]) if "prev_flat_grad" in state else gradient
        direction = _array(state["d"]) if "d" in state else -gradient
        t, before = float(state.get("t", rate)), value
        begun = state["func_evals"] - 1
        for k in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                direction, t = -gradient, min(1.0, 1.0 / float(np.abs(gradient).sum())) * rate
            else:
                change, moved = gradient - old, direction * direction.dtype.type(t)
                product = float(change @ moved)
                if product > 1e-10:
                    limit = group["history_size"] - 1
                    changes = [*changes[-limit:], change] if limit else [change]
                    steps = [*steps[-limit:], moved] if limit else [moved]
                    scale = product / float(change @ change)
                direction, t = _newton(gradient, changes, steps, scale), rate
            old, before = gradient, value
            slope = float(gradient @ direction)
            if slope > -tolerance:
                break
            origin = np.concatenate([_flat(p) for p in self._parameters()])
            if group["line_search_fn"] is None:
                self._move(origin + direction * direction.dtype.type(t))
                if k != group["max_iter"]:
                    _, value, gradient = evaluated()
            else:
                found, _ = strong_wolfe(
                    self._along(origin, direction, evaluated),
                    _Point(0.0, value, gradient, slope), t, float(np.abs(direction).max()),
                    tolerance, group["max_eval"] - (state["func_evals"] - begun),
                )  # fmt: skip
                t, value, gradient = found.t, found.value, found.gradient
                self._move(origin + direction * direction.dtype.type(t))
            if (
                state["func_evals"] - begun >= group["max_eval"]
                or np.abs(gradient).max() <= group["tolerance_grad"]
                or np.abs(direction * t).max() <= tolerance
                or abs(value - before) < tolerance
            ):
                break
        state |= {
            "d": tensor(direction), "t": t, "old_dirs": [tensor(v) for v in changes],
            "old_stps": [tensor(v) for v in steps],
            "ro": [1.0 / float(y @ s) for y, s in zip(changes, steps, strict=True)],
            "H_diag": scale, "prev_flat_grad": tensor(old), "prev_loss": before,
        }  # fmt: skip

    def _along(
        self, origin: Vector, direction: Vector, evaluated: Callable[[], tuple[Any, float, Vector]]
    ) -> Callable[[float], _Point]:
        """The loss along a direction."""

        def at(t: float) -> _Point:
            self._move(origin + direction * direction.dtype.type(t))
            _, value, gradient = evaluated()
            return _Point(t, value, gradient, float(gradient @ direction))

        return at


def _newton(
    gradient: Vector, changes: Sequence[Vector], steps: Sequence[Vector], scale: float
) -> Vector:
    """−H g by two loops over the history, H₀ = scale · I."""
    q = -gradient
    pairs = [(y, s, 1.0 / (y @ s)) for y, s in zip(changes, steps, strict=True)]
    shares: list[Any] = []
    for y, s, weight in reversed(pairs):
        shares.append((s @ q) * weight)
        q = q - shares[-1] * y
    r = q * q.dtype.type(scale)
    for (y, s, weight), share in zip(pairs, reversed(shares), strict=True):
        r = r + (share - (y @ r) * weight) * s
    return r


def _flat(t: Tensor) -> Vector:
    """All entries in a row, both parts of complex ones."""
    flat = np.asarray(arrays.to_numpy(t.detach().array())).reshape(-1).copy()
    return flat.view(real_of(t.dtype).numpy)


def _array(v: Any) -> Vector:
    return _flat(v) if isinstance(v, Tensor) else np.asarray(v)
