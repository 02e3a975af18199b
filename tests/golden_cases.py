"""The golden derivations as programs: inputs at random, and what `jax.grad` says about every line.

Each case draws inputs for given sizes and returns reference values by line name; the blocks
themselves are text files in `golden/`. Everything runs in float64 inside `jax.enable_x64`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Arrays = dict[str, Any]
Sizes = Mapping[str, int]
FOLDER = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Case:
    """A golden block, how to draw its inputs, and reference values of its lines."""

    name: str
    draw: Callable[[np.random.Generator, Sizes], Arrays]
    reference: Callable[[Arrays, Sizes], Arrays]
    sizes: tuple[dict[str, int], ...]
    symmetric: frozenset[str] = frozenset()  # their transposes are no errors
    equal: frozenset[str] = frozenset()  # right-hand sides that look wrong and are not
    functions: Callable[[], Mapping[str, Callable[..., np.ndarray]]] = field(default=dict)

    @property
    def text(self) -> str:
        return (FOLDER / f"{self.name}.txt").read_text(encoding="utf-8")

    def inputs(self, sizes: Sizes, seed: int = 0) -> Arrays:
        return self.draw(np.random.default_rng(seed), sizes)

    def expected(self, inputs: Arrays, sizes: Sizes) -> dict[str, np.ndarray]:
        """Reference values; float64 only here."""
        with jax.enable_x64(True):
            there = {name: jnp.asarray(a) for name, a in inputs.items()}
            found = jax.jit(lambda a: self.reference(a, sizes))(there)
            return {name: np.asarray(a) for name, a in found.items()}


def gradients(function: Callable[[Arrays], Any], inputs: Arrays, *names: str) -> Arrays:
    """`∂L/∂name` for every name, by jax.grad."""
    found = jax.grad(lambda part: function({**inputs, **part}))({n: inputs[n] for n in names})
    return {f"∂L/∂{n}": g for n, g in found.items()}


def pulled_back(
    function: Callable[[Arrays], Any], seed: str, inputs: Arrays, *names: str
) -> Arrays:
    """The same for a tensor output with the incoming adjoint `inputs[seed]`."""
    return gradients(lambda a: (function(a) * a[seed]).sum(), inputs, *names)


# ------------------------------------------------------------------------- classifiers


def cross_entropy(scores: Any, y: Any) -> Any:
    picked = jnp.take_along_axis(scores, y[:, None], axis=1)[:, 0]
    return (jax.nn.logsumexp(scores, axis=1) - picked).mean()


def _draw_classifier(data: str, shapes: Mapping[str, str]) -> Callable[..., Arrays]:
    def draw(rng: np.random.Generator, sizes: Sizes) -> Arrays:
        n, d, h, k = (sizes[s] for s in "ndhk")
        found: Arrays = {data: rng.normal(size=(n, d)), "y": rng.integers(0, k, n)}
        for name, shape in shapes.items():
            found[name] = rng.normal(size=[{"d": d, "h": h, "k": k}[s] for s in shape])
        return found

    return draw


def _mlp(a: Arrays) -> Any:
    hidden = jax.nn.relu(a["X"] @ a["W₁"].T + a["b₁"])
    return cross_entropy(hidden @ a["W₂"].T + a["b₂"], a["y"])


def _readme(a: Arrays) -> Any:
    hidden = jnp.tanh(a["x"] @ a["W₁"] + a["b₁"])
    return cross_entropy(hidden @ a["W₂"] + a["b₂"], a["y"])


def _classifier(name: str, data: str, shapes: Mapping[str, str], loss: Callable[..., Any]) -> Case:
    return Case(
        name,
        _draw_classifier(data, shapes),
        lambda a, s: {"L": loss(a), **gradients(loss, a, *shapes)},
        ({"n": 5, "d": 3, "h": 4, "k": 6}, {"n": 4, "d": 4, "h": 4, "k": 4}),
    )


MLP = _classifier("mlp", "X", {"W₁": "hd", "b₁": "h", "W₂": "kh", "b₂": "k"}, _mlp)
README = _classifier("readme", "x", {"W₁": "dh", "b₁": "h", "W₂": "hk", "b₂": "k"}, _readme)

# ------------------------------------------------------------------------- normalisation


def _draw_norm(rng: np.random.Generator, sizes: Sizes) -> Arrays:
    n, d = sizes["n"], sizes["d"]
    return {"X": rng.normal(size=(n, d)), "γ": rng.normal(size=d), "β": rng.normal(size=d),
            "ε": 0.3, "δY": rng.normal(size=(n, d))}  # fmt: skip


def _normalised(axis: int) -> Callable[[Arrays], Any]:
    def function(a: Arrays) -> Any:
        x = a["X"]
        centred = x - x.mean(axis, keepdims=True)
        spread = jnp.sqrt((centred**2).mean(axis, keepdims=True) + a["ε"])
        return a["γ"] * centred / spread + a["β"]

    return function


def _norm(name: str, axis: int) -> Case:
    function = _normalised(axis)
    return Case(
        name,
        _draw_norm,
        lambda a, s: {"Y": function(a), **pulled_back(function, "δY", a, "X", "γ", "β")},
        ({"n": 5, "d": 4}, {"n": 4, "d": 4}),
    )


LAYERNORM = _norm("layernorm", 1)
BATCHNORM = _norm("batchnorm", 0)

# ------------------------------------------------------------------------- attention


def _draw_attention(rng: np.random.Generator, sizes: Sizes) -> Arrays:
    n, m, d, p = (sizes[s] for s in "nmdp")
    shapes = {"Q": (n, d), "K": (m, d), "V": (m, p), "δO": (n, p)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def _attention(a: Arrays) -> Any:
    scores = a["Q"] @ a["K"].T / jnp.sqrt(a["Q"].shape[1])
    return jax.nn.softmax(scores, axis=-1) @ a["V"]


ATTENTION = Case(
    "attention",
    _draw_attention,
    lambda a, s: {"O": _attention(a), **pulled_back(_attention, "δO", a, "Q", "K", "V")},
    ({"n": 5, "m": 4, "d": 3, "p": 2}, {"n": 3, "m": 3, "d": 3, "p": 3}),
)

# ------------------------------------------------------------------------- logistic regression


def _draw_logistic(rng: np.random.Generator, sizes: Sizes) -> Arrays:
    n, d = sizes["n"], sizes["d"]
    return {"X": rng.normal(size=(n, d)), "w": rng.normal(size=d),
            "y": rng.integers(0, 2, n).astype(float), "λ": 0.7}  # fmt: skip


def logistic(a: Arrays) -> Any:
    z = a["X"] @ a["w"]
    return (jax.nn.softplus(z) - a["y"] * z).sum() + a["λ"] * (a["w"] @ a["w"]) / 2


def _newton(a: Arrays, sizes: Sizes) -> Arrays:
    found = {"L": logistic(a), **gradients(logistic, a, "w")}
    hessian = jax.hessian(lambda w: logistic({**a, "w": w}))(a["w"])
    step = jnp.linalg.solve(hessian, found["∂L/∂w"])
    return {**found, "∂²L/∂w²": hessian, "w⁺": a["w"] - step}


NEWTON = Case("newton", _draw_logistic, _newton, ({"n": 6, "d": 3}, {"n": 4, "d": 4}))

# ------------------------------------------------------------------------- factorisation


def _draw_factors(rng: np.random.Generator, sizes: Sizes) -> Arrays:
    n, m, k = (sizes[s] for s in "nmk")
    return {"T": rng.normal(size=(n, m)), "U": rng.normal(size=(n, k)),
            "V": rng.normal(size=(m, k))}  # fmt: skip


def factorisation(a: Arrays) -> Any:
    return ((a["T"] - a["U"] @ a["V"].T) ** 2).sum()


def _matfac(a: Arrays, sizes: Sizes) -> Arrays:
    def hessian(*names: str) -> Any:
        blocks = jax.hessian(lambda part: factorisation({**a, **part}))({n: a[n] for n in names})
        return blocks[names[0]][names[-1]]

    n, m, k = (sizes[s] for s in "nmk")
    flat = hessian("U").reshape(n * k, n * k)
    newton = jnp.linalg.solve(flat, gradients(factorisation, a, "U")["∂L/∂U"].reshape(-1))
    return {
        "L": factorisation(a),
        **gradients(factorisation, a, "U", "V"),
        "∂²L/∂U²": flat,
        "∂²L/∂V²": hessian("V").reshape(m * k, m * k),
        "∂²L/∂U∂V": hessian("U", "V"),
        "U⁺": a["U"] - newton.reshape(n, k),
    }


MATFAC = Case(
    "matfac", _draw_factors, _matfac, ({"n": 5, "m": 4, "k": 3}, {"n": 3, "m": 3, "k": 3})
)

# ------------------------------------------------------------------------- likelihood


def _draw_gaussian(rng: np.random.Generator, sizes: Sizes) -> Arrays:
    n, d = sizes["n"], sizes["d"]
    root = rng.normal(size=(d, d))
    return {"X": rng.normal(size=(n, d)), "μ": rng.normal(size=d), "S": root @ root.T + np.eye(d)}


def _gaussian(a: Arrays) -> Any:
    n, d = a["X"].shape
    centred = a["X"] - a["μ"]
    quadratic = (centred * jnp.linalg.solve(a["S"], centred.T).T).sum()
    return -0.5 * (n * d * jnp.log(2 * jnp.pi) + n * jnp.linalg.slogdet(a["S"])[1] + quadratic)


def _likelihood(a: Arrays, sizes: Sizes) -> Arrays:
    centred = a["X"] - a["μ"]
    return {
        "L": _gaussian(a),
        **gradients(_gaussian, a, "μ", "S"),
        "μ⁺": a["X"].mean(0),
        "S⁺": centred.T @ centred / sizes["n"],
    }


GAUSSIAN = Case(
    "gaussian", _draw_gaussian, _likelihood, ({"n": 6, "d": 3}, {"n": 4, "d": 4}),
    symmetric=frozenset("SC"),
)  # fmt: skip

# ------------------------------------------------------------------------- recurrence


def _draw_rnn(rng: np.random.Generator, sizes: Sizes) -> Arrays:
    shapes = {"x": "Td", "h0": "m", "y": "Tm", "Wx": "md", "Wh": "mm", "b": "m"}
    return {w: rng.normal(size=[sizes[s] for s in text]) for w, text in shapes.items()}


def _unrolled(a: Arrays) -> Any:
    """The states; `z` and `h` are added to what tanh is taken of, and to the states."""
    state, found = a["h0"], []
    for t, now in enumerate(a["x"]):
        more = a["z"][t] if "z" in a else 0
        state = jnp.tanh(a["Wx"] @ now + a["Wh"] @ state + a["b"] + more)
        state = state + (a["h"][t] if "h" in a else 0)
        found.append(state)
    return jnp.stack(found)


def _recurrence(a: Arrays) -> Any:
    return 0.5 * ((_unrolled(a) - a["y"]) ** 2).sum()


def _rnn(a: Arrays, sizes: Sizes) -> Arrays:
    nothing = {w: jnp.zeros_like(a["y"]) for w in "zh"}
    inner = gradients(_recurrence, {**a, **nothing}, "z", "h")
    return {
        "h": _unrolled(a),
        "L": _recurrence(a),
        "δ": inner["∂L/∂z"],
        "g": inner["∂L/∂h"],
        **gradients(_recurrence, a, "Wx", "Wh", "b", "h0"),
    }


RNN = Case("rnn", _draw_rnn, _rnn, ({"T": 4, "d": 3, "m": 5}, {"T": 3, "d": 3, "m": 3}))

# ------------------------------------------------------------------------- convolution


def _draw_conv(rng: np.random.Generator, sizes: Sizes) -> Arrays:
    shapes = {"X": "n c e g", "W": "f c a b", "β": "f", "δZ": "n f e2 g2"}
    return {x: rng.normal(size=[sizes[s] for s in text.split()]) for x, text in shapes.items()}


def _conv_layer(s: int, q: int) -> Callable[[Arrays], Any]:
    def function(a: Arrays) -> Any:
        z = jax.lax.conv_general_dilated(a["X"], a["W"], (s, s), [(q, q), (q, q)])
        return z + a["β"][:, None, None]

    return function


def _conv(a: Arrays, sizes: Sizes) -> Arrays:
    layer = _conv_layer(sizes["s"], sizes["q"])
    return {"Z": layer(a), **pulled_back(layer, "δZ", a, "X", "W", "β")}


CONV = Case(
    "conv", _draw_conv, _conv,
    ({"n": 1, "c": 2, "e": 3, "g": 5, "f": 2, "a": 2, "b": 3, "s": 2, "q": 1, "e2": 2, "g2": 3},
     {"n": 2, "c": 2, "e": 3, "g": 3, "f": 1, "a": 2, "b": 2, "s": 1, "q": 1, "e2": 4, "g2": 4}),
    equal=frozenset({"Σᵢ Σᵤ Σᵥ δZ[i,l,v,u]"}),
)  # fmt: skip

# ------------------------------------------------------------------------- VAE


def _draw_vae(rng: np.random.Generator, sizes: Sizes) -> Arrays:
    n, d, q = (sizes[s] for s in "ndq")
    shapes = {"X": (n, d), "M": (n, q), "s": (n, q), "E": (n, q), "W": (d, q), "β": (d,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def _vae(a: Arrays) -> Any:
    logits = (a["M"] + jnp.exp(a["s"] / 2) * a["E"]) @ a["W"].T + a["β"]
    likelihood = (jax.nn.softplus(logits) - a["X"] * logits).sum(1)
    divergence = (a["M"] ** 2 + jnp.exp(a["s"]) - a["s"] - 1).sum(1) / 2
    return (likelihood + divergence).mean()


VAE = Case(
    "vae", _draw_vae, lambda a, s: {"L": _vae(a), **gradients(_vae, a, "M", "s")},
    ({"n": 5, "d": 4, "q": 3}, {"n": 3, "d": 3, "q": 3}),
)  # fmt: skip

# ------------------------------------------------------------------------- pre-norm block


def _draw_block(rng: np.random.Generator, sizes: Sizes) -> Arrays:
    n, d, p = (sizes[s] for s in "ndp")
    shapes = {"Wq": (p, d), "Wk": (p, d), "Wv": (p, d), "Wo": (d, p)}
    return {**_draw_norm(rng, {"n": n, "d": d}),
            **{name: rng.normal(size=shape) for name, shape in shapes.items()}}  # fmt: skip


_layer_norm = _normalised(1)


def _block(a: Arrays) -> Any:
    n = _layer_norm(a)
    heads = {"Q": n @ a["Wq"].T, "K": n @ a["Wk"].T, "V": n @ a["Wv"].T}
    return a["X"] + _attention(heads) @ a["Wo"].T


def _norm_functions() -> dict[str, Callable[..., np.ndarray]]:
    def forward(x: Any, gamma: Any, beta: Any, epsilon: Any) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(_layer_norm({"X": x, "γ": gamma, "β": beta, "ε": epsilon}))

    def backward(x: Any, gamma: Any, epsilon: Any, seed: Any) -> np.ndarray:
        with jax.enable_x64(True):
            a = {"X": jnp.asarray(x), "γ": gamma, "β": 0.0 * gamma, "ε": epsilon, "δY": seed}
            return np.asarray(pulled_back(_layer_norm, "δY", a, "X")["∂L/∂X"])

    return {"LN": forward, "LN′": backward, "LN_prime": backward}


BLOCK = Case(
    "block",
    _draw_block,
    lambda a, s: {"Y": _block(a), **pulled_back(_block, "δY", a, "X", "Wq", "Wk", "Wv", "Wo")},
    ({"n": 5, "d": 4, "p": 3}, {"n": 3, "d": 3, "p": 3}),
    functions=_norm_functions,
)

CASES = {
    case.name: case
    for case in (MLP, README, LAYERNORM, ATTENTION, NEWTON, MATFAC, GAUSSIAN, BATCHNORM, CONV, VAE,
                 BLOCK)
}  # fmt: skip
