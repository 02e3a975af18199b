"""The update rules, one row each, in the order of PyTorch's documentation.

p parameter, g gradient, t the number of the step from 1, η learning rate, λ weight decay.  Every
row gives PyTorch's trajectory: where ε stands, what is corrected for bias, what happens first.
"""

from __future__ import annotations

from typing import Any

from symgrad.core.build import constant, elementwise
from symgrad.core.expr import Expr
from symgrad.optim.matrix_rules import ADAFACTOR, MUON
from symgrad.optim.row import (
    Hyper,
    Row,
    Scalar,
    Scalars,
    Slot,
    State,
    Updated,
    chosen,
    compared,
    complement,
    decayed,
    one_minus_power,
    raised,
    scalar,
    sqrt,
)


def _average(old: Expr, new: Expr, s: Scalars, number: str) -> Expr:
    """``β old + (1 − β) new``."""
    return s[f"beta{number}"] * old + s[f"rest{number}"] * new


# ------------------------------------------------------------------ SGD


def _sgd_scalars(h: Hyper, step: Scalar) -> dict[str, Any]:
    rest = complement(h["dampening"])
    first = chosen(compared("eq", step, 1), 1.0, rest, step)
    return {
        "lr": h["lr"],
        "momentum": h["momentum"],
        "rest": first if isinstance(rest, Expr) or rest != 1 else 1.0,
        "weight_decay": h["weight_decay"],
    }


def _sgd(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    g = decayed(p, g, s, h)
    new: dict[str, Expr] = {}
    if h["momentum"]:
        buffer = s["momentum"] * state["momentum_buffer"] + s["rest"] * g
        new["momentum_buffer"] = buffer
        g = g + s["momentum"] * buffer if h["nesterov"] else buffer
    return p - s["lr"] * g, new


SGD = Row(
    "SGD",
    {
        "lr": 1e-3,
        "momentum": 0,
        "dampening": 0,
        "weight_decay": 0,
        "nesterov": False,
        "maximize": False,
    },
    ("momentum", "weight_decay", "nesterov", "maximize"),
    (Slot("momentum_buffer", when="momentum"),),
    _sgd_scalars,
    _sgd,
    "g ← g + λ p;  b ← μ b + (1 − τ) g  (first b = g);  p ← p − η b,  or p − η (g + μ b)",
    counts=False,
    of_complex="whole",
)


# ------------------------------------------------------------------ Adam, AdamW


def _adam_scalars(h: Hyper, step: Scalar) -> dict[str, Any]:
    correction = one_minus_power(h["beta1"], step)
    return {
        "beta1": h["beta1"],
        "rest1": complement(h["beta1"]),
        "beta2": h["beta2"],
        "rest2": complement(h["beta2"]),
        "rate": h["lr"] / correction,
        "root": sqrt(one_minus_power(h["beta2"], step)),
        "eps": h["eps"],
        "weight_decay": h["weight_decay"],
        "keep": complement(h["lr"] * h["weight_decay"]),
    }


def _adam(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    if h["decoupled_weight_decay"]:
        g = -g if h["maximize"] else g
        p = s["keep"] * p if h["weight_decay"] else p
    else:
        g = decayed(p, g, s, h)
    first = _average(state["exp_avg"], g, s, "1")
    second = _average(state["exp_avg_sq"], g * g, s, "2")
    new = {"exp_avg": first, "exp_avg_sq": second}
    largest = second
    if h["amsgrad"]:
        largest = new["max_exp_avg_sq"] = elementwise("maximum", state["max_exp_avg_sq"], second)
    return p - s["rate"] * first / (sqrt(largest) / s["root"] + s["eps"]), new


_ADAM: dict[str, Any] = {
    "lr": 1e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0,
    "amsgrad": False,
    "maximize": False,
    "decoupled_weight_decay": False,
}
_ADAM_SWITCHES = ("weight_decay", "amsgrad", "maximize", "decoupled_weight_decay")
_ADAM_SLOTS = (Slot("exp_avg"), Slot("exp_avg_sq"), Slot("max_exp_avg_sq", when="amsgrad"))

ADAM = Row(
    "Adam",
    _ADAM,
    _ADAM_SWITCHES,
    _ADAM_SLOTS,
    _adam_scalars,
    _adam,
    "m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  "
    "p ← p − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)",
)

ADAMW = Row(
    "AdamW",
    {**_ADAM, "weight_decay": 1e-2, "decoupled_weight_decay": True},
    _ADAM_SWITCHES,
    _ADAM_SLOTS,
    _adam_scalars,
    _adam,
    "p ← (1 − η λ) p;  then as Adam without weight decay in g",
)


# ------------------------------------------------------------------ RMSprop


def _rmsprop_scalars(h: Hyper, step: Scalar) -> dict[str, Any]:
    del step
    named = ("lr", "eps", "weight_decay", "momentum")
    return {name: h[name] for name in named} | {
        "beta2": h["alpha"],
        "rest2": complement(h["alpha"]),
    }


def _rmsprop(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    g = decayed(p, g, s, h)
    square = _average(state["square_avg"], g * g, s, "2")
    new = {"square_avg": square}
    spread = square
    if h["centered"]:
        mean = new["grad_avg"] = _average(state["grad_avg"], g, s, "2")
        spread = square - mean * mean
    direction = g / (sqrt(spread) + s["eps"])
    if h["momentum"]:
        direction = s["momentum"] * state["momentum_buffer"] + direction
        new["momentum_buffer"] = direction
    return p - s["lr"] * direction, new


RMSPROP = Row(
    "RMSprop",
    {
        "lr": 1e-2,
        "alpha": 0.99,
        "eps": 1e-8,
        "weight_decay": 0,
        "momentum": 0,
        "centered": False,
        "maximize": False,
    },
    ("weight_decay", "momentum", "centered", "maximize"),
    (
        Slot("square_avg"),
        Slot("momentum_buffer", when="momentum"),
        Slot("grad_avg", when="centered"),
    ),
    _rmsprop_scalars,
    _rmsprop,
    "v ← α v + (1 − α) g²;  b ← μ b + g / (√v + ε);  p ← p − η b",
)


# ------------------------------------------------------------------ Adagrad, Adadelta


def _adagrad_scalars(h: Hyper, step: Scalar) -> dict[str, Any]:
    rate = h["lr"] / (1 + (step - 1) * h["lr_decay"])
    return {"rate": rate, "eps": h["eps"], "weight_decay": h["weight_decay"]}


def _adagrad(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    g = decayed(p, g, s, h)
    total = state["sum"] + g * g
    return p - s["rate"] * g / (sqrt(total) + s["eps"]), {"sum": total}


ADAGRAD = Row(
    "Adagrad",
    {
        "lr": 1e-2,
        "lr_decay": 0,
        "weight_decay": 0,
        "initial_accumulator_value": 0,
        "eps": 1e-10,
        "maximize": False,
    },
    ("weight_decay", "maximize"),
    (Slot("sum", "initial_accumulator_value"),),
    _adagrad_scalars,
    _adagrad,
    "v ← v + g²;  p ← p − η / (1 + (t − 1) decay) · g / (√v + ε)",
)


def _adadelta_scalars(h: Hyper, step: Scalar) -> dict[str, Any]:
    del step
    named = ("lr", "eps", "weight_decay")
    return {name: h[name] for name in named} | {"beta2": h["rho"], "rest2": complement(h["rho"])}


def _adadelta(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    g = decayed(p, g, s, h)
    square = _average(state["square_avg"], g * g, s, "2")
    delta = sqrt(state["acc_delta"] + s["eps"]) / sqrt(square + s["eps"]) * g
    new = {"square_avg": square, "acc_delta": _average(state["acc_delta"], delta * delta, s, "2")}
    return p - s["lr"] * delta, new


ADADELTA = Row(
    "Adadelta",
    {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0, "maximize": False},
    ("weight_decay", "maximize"),
    (Slot("square_avg"), Slot("acc_delta")),
    _adadelta_scalars,
    _adadelta,
    "v ← ρ v + (1 − ρ) g²;  d = √(u + ε) / √(v + ε) · g;  u ← ρ u + (1 − ρ) d²;  p ← p − η d",
)


# ------------------------------------------------------------------ relatives of Adam


def _adamax(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    g = decayed(p, g, s, h)
    first = _average(state["exp_avg"], g, s, "1")
    size = elementwise("abs", g) + s["eps"]
    largest = elementwise("maximum", s["beta2"] * state["exp_inf"], size)
    return p - s["rate"] * first / largest, {"exp_avg": first, "exp_inf": largest}


ADAMAX = Row(
    "Adamax",
    {"lr": 2e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0, "maximize": False},
    ("weight_decay", "maximize"),
    (Slot("exp_avg"), Slot("exp_inf")),
    _adam_scalars,
    _adamax,
    "m ← β₁ m + (1 − β₁) g;  u ← max(β₂ u, |g| + ε);  p ← p − η / (1 − β₁ᵗ) · m / u",
)


def _nadam_scalars(h: Hyper, step: Scalar) -> dict[str, Any]:
    decay = h["momentum_decay"]

    def momentum(t: Scalar) -> Any:
        return h["beta1"] * (1 - 0.5 * raised(0.96, t * decay))

    now, following = momentum(step), momentum(step + 1)
    return _adam_scalars(h, step) | {
        "lr": h["lr"],
        "now": now,
        "gradient_rate": h["lr"] * (1 - now),
        "following": following,
        "momentum_rate": h["lr"] * following,
    }


def _nadam(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    if h["decoupled_weight_decay"]:
        g = -g if h["maximize"] else g
        p = s["keep"] * p if h["weight_decay"] else p
    else:
        g = decayed(p, g, s, h)
    product = s["now"] * state["mu_product"]
    first = _average(state["exp_avg"], g, s, "1")
    second = _average(state["exp_avg_sq"], g * g, s, "2")
    below = sqrt(second) / s["root"] + s["eps"]
    ahead = s["momentum_rate"] / (1 - s["following"] * product)
    here = s["gradient_rate"] / (1 - product)
    new = {"mu_product": product, "exp_avg": first, "exp_avg_sq": second}
    return p - (here * g + ahead * first) / below, new


NADAM = Row(
    "NAdam",
    {
        "lr": 2e-3,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0,
        "momentum_decay": 4e-3,
        "decoupled_weight_decay": False,
        "maximize": False,
    },
    ("weight_decay", "decoupled_weight_decay", "maximize"),
    (Slot("mu_product", 1.0, shape=scalar), Slot("exp_avg"), Slot("exp_avg_sq")),
    _nadam_scalars,
    _nadam,
    "μₜ = β₁ (1 − ½ 0.96^(t ψ));  M ← M μₜ;  m, v as Adam;  "
    "p ← p − η ((1 − μₜ)/(1 − M) g + μₜ₊₁/(1 − M μₜ₊₁) m) / (√(v / (1 − β₂ᵗ)) + ε)",
)


def _radam_scalars(h: Hyper, step: Scalar) -> dict[str, Any]:
    correction = one_minus_power(h["beta2"], step)
    longest = 2 / (1 - h["beta2"]) - 1
    length = longest - 2 * step * raised(h["beta2"], step) / correction
    settled = compared("gt", length, 5.0)
    safe = chosen(settled, length, 6.0, step)
    variance = (safe - 4) * (safe - 2) * longest / ((longest - 4) * (longest - 2) * safe)
    return _adam_scalars(h, step) | {
        "adaptive": chosen(settled, sqrt(variance * correction), 0.0, step),
        "plain": chosen(settled, 0.0, 1.0, step),
    }


def _radam(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    if h["decoupled_weight_decay"]:
        g = -g if h["maximize"] else g
        p = s["keep"] * p if h["weight_decay"] else p
    else:
        g = decayed(p, g, s, h)
    first = _average(state["exp_avg"], g, s, "1")
    second = _average(state["exp_avg_sq"], g * g, s, "2")
    factor = s["plain"] + s["adaptive"] / (sqrt(second) + s["eps"])
    return p - s["rate"] * first * factor, {"exp_avg": first, "exp_avg_sq": second}


RADAM = Row(
    "RAdam",
    {
        "lr": 1e-3,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0,
        "decoupled_weight_decay": False,
        "maximize": False,
    },
    ("weight_decay", "decoupled_weight_decay", "maximize"),
    (Slot("exp_avg"), Slot("exp_avg_sq")),
    _radam_scalars,
    _radam,
    "ρ∞ = 2/(1 − β₂) − 1;  ρ = ρ∞ − 2 t β₂ᵗ/(1 − β₂ᵗ);  where ρ > 5: "
    "p ← p − η r m̂ √(1 − β₂ᵗ) / (√v + ε) with r² = (ρ − 4)(ρ − 2) ρ∞ / ((ρ∞ − 4)(ρ∞ − 2) ρ);  "
    "else p ← p − η m̂",
)


# ------------------------------------------------------------------ Rprop


def _rprop_scalars(h: Hyper, step: Scalar) -> dict[str, Any]:
    del step
    named = ("etaminus", "etaplus", "smallest", "largest")
    return {name: h[name] for name in named}


def _rprop(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    g = -g if h["maximize"] else g
    agreement = g * state["prev"]
    zero = constant(0, p.dtype)
    turned = elementwise("lt", agreement, zero)
    held = elementwise("gt", agreement, zero)

    def full(number: Any) -> Expr:
        return number if isinstance(number, Expr) else constant(number, p.dtype)

    factor = elementwise(
        "where",
        held,
        full(s["etaplus"]),
        elementwise("where", turned, full(s["etaminus"]), constant(1, p.dtype)),
    )
    size = elementwise("minimum", state["step_size"] * factor, full(s["largest"]))
    size = elementwise("maximum", size, full(s["smallest"]))
    kept = elementwise("where", turned, zero, g)
    new = {"prev": kept, "step_size": size}
    return p - elementwise("sign", kept) * size, new


RPROP = Row(
    "Rprop",
    {
        "lr": 1e-2,
        "etaminus": 0.5,
        "etaplus": 1.2,
        "smallest": 1e-6,
        "largest": 50,
        "maximize": False,
    },
    ("maximize",),
    (Slot("prev"), Slot("step_size", "lr")),
    _rprop_scalars,
    _rprop,
    "s ← s η₊ where g keeps its sign, s η₋ where it turns (and g ← 0 there);  p ← p − sign(g) s",
)

# ------------------------------------------------------------------ averaged SGD


def _asgd_scalars(h: Hyper, step: Scalar) -> dict[str, Any]:
    beyond = step - h["t0"]
    averaging = compared("gt", beyond, 1.0)
    return {
        "lambd": h["lambd"],
        "weight_decay": h["weight_decay"],
        "next_eta": h["lr"] / raised(1 + h["lambd"] * h["lr"] * step, h["alpha"]),
        "next_mu": 1 / chosen(averaging, beyond, 1.0, step),
    }


def _asgd(p: Expr, g: Expr, state: State, s: Scalars, h: Hyper) -> Updated:
    g = decayed(p, g, s, h)
    eta, mu = state["eta"], state["mu"]
    p = p * (1 - s["lambd"] * eta) - eta * g
    numbers = {"eta": s["next_eta"], "mu": s["next_mu"]}
    new = {k: v if isinstance(v, Expr) else constant(v, p.dtype) for k, v in numbers.items()}
    return p, {**new, "ax": state["ax"] + mu * (p - state["ax"])}


ASGD = Row(
    "ASGD",
    {
        "lr": 1e-2,
        "lambd": 1e-4,
        "alpha": 0.75,
        "t0": 1e6,
        "weight_decay": 0,
        "maximize": False,
    },
    ("weight_decay", "maximize"),
    (Slot("eta", "lr", shape=scalar), Slot("mu", 1.0, shape=scalar), Slot("ax")),
    _asgd_scalars,
    _asgd,
    "p ← (1 − Λ ηₜ) p − ηₜ g;  a ← a + μₜ (p − a);  ηₜ₊₁ = η (1 + Λ η t)^(−α);  "
    "μₜ₊₁ = 1 / max(1, t − t₀)",
)

ROWS: tuple[Row, ...] = (
    SGD, ADAM, ADAMW, RMSPROP, ADAGRAD, ADADELTA, ADAMAX, NADAM, RADAM, RPROP, ASGD, ADAFACTOR,
    MUON,
)  # fmt: skip
