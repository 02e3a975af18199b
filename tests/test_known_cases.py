"""Derivatives from textbooks, in the language of the benchmark: right, read back, short and cheap.

The cases were written before the library was tried on them.  Their formulas were compared with
JAX's derivatives; here the printed ones are compared with the formulas.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from benchmarks._corpus import derived, sizes_of
from benchmarks._work import Work, letters
from symgrad.core.traverse import leaves
from symgrad.derivation.python_form import namespace
from symgrad.evaluate import evaluate
from tests.test_known_formulas import counted

FOLDER = Path(__file__).parent / "known_cases"
CASES: dict[str, dict[str, Any]] = {
    c["id"]: c
    for file in (
        "cases.json",
        "more.json",
        "later.json",
        "wider.json",
        "held.json",
        "blind.json",
        "unseen.json",
        "fresh.json",
        "novel.json",
        "siblings.json",
    )
    for c in json.loads((FOLDER / file).read_text())["cases"]
}
DEARER = {
    "trace-fourth-power", "gp-cholesky", "kalman-gain", "pinball", "hess-residual-norm",
    "hvp-gram-squared", "focal", "label-smoothing", "gcn-two-W", "hvp-factor",
    "hvp-residual-norm", "clip", "kalman-likelihood", "inductive-completion",
    "two-layer-first", "observer-gain", "f-squared-bilinear",
    "f-ridge-dof", "f-factor-analysis", "f-projected-variance", "f-varpro",
    "f-infonce", "f-deepset", "v-lowrank",
    "n-cubic-trace-rect", "n-capacitance-logdet", "n-sum-of-two-norms",
    "n-rbf-network-centres", "n-kalman-innovation-A", "n-gp-inducing-gram", "n-cca-subspace",
    "n-gauss-cholesky-factor", "n-tucker-core", "n-collective-mf", "n-linear-adapter-X",
    "n-gcn2-ce-W1", "n-hess-log-ratio", "n-hvp-rayleigh",
    "k-mc-119-A", "k-hosvd-V", "k-deep-linear-W3", "k-axb-residual-A", "k-self-expressive", "k-lle-Y",
}  # fmt: skip
"""What takes more operations than the book's formula at a tall or wide setting."""
LARGER = {
    "trace-fourth-power", "bilinear-gram", "inverse-twice", "gp-amplitude", "gp-cholesky",
    "trace-ratio", "hvp-gram-squared", "tr-rect-gram", "hvp-factor",
    "hvp-residual-norm", "whitening-fit", "maxout",
    "distmult", "gp-inducing", "hess-rational",
    "jac-softmax-logits", "random-effects-scale", "observer-gain",
    "f-factor-analysis", "f-varpro", "f-deepset", "v-lowrank",
    "n-capacitance-logdet", "n-rbf-network-centres", "n-gp-inducing-gram",
    "n-cca-subspace", "n-tucker-core", "n-collective-mf", "n-gcn2-ce-W1", "n-jac-softmax-net",
    "k-fm-x", "k-mc-119-A", "k-gmm-x", "k-hosvd-V", "k-triplet-pos", "k-jac-sylvester",
    "k-trace-axxb", "k-invquad-xtx-ab", "k-axb-residual-A", "k-jac-mlp",
}  # fmt: skip
"""What has more numbers alive at once there."""
LONG = {
    "gp-cholesky", "f-varpro", "k-trace-axxb",
}  # fmt: skip
"""What is over one and a half times as long."""


def sampled(spec: dict[str, Any], sizes: dict[str, int], rng: np.random.Generator) -> Any:
    """A value in the domain of a variable, times its scale."""
    return member(spec, sizes, rng) * spec.get("scale", 1) + spec.get("shift", 0)


def member(spec: dict[str, Any], sizes: dict[str, int], rng: np.random.Generator) -> Any:
    """A value in the domain of a variable."""
    shape = tuple(eval(str(s), {}, sizes) for s in spec["shape"])
    z = rng.standard_normal(shape)
    match spec["domain"]:
        case "positive" | "unit-interval":
            return rng.uniform(0.2, 0.8, shape)
        case "spd":
            return z @ z.T / shape[0] + np.eye(shape[0])
        case "symmetric":
            return (z + z.T) / 2
        case "prob":
            shares = rng.uniform(0.2, 1, shape)
            return shares / shares.sum(-1, keepdims=True)
        case "onehot":
            return np.eye(shape[-1])[rng.integers(shape[-1], size=shape[:-1])]
        case "binary":
            return np.where(z > 0, 1.0, 0.0)
        case "sign":
            return np.where(z > 0, 1.0, -1.0)
        case "count":
            return np.abs(np.round(3 * z))
        case "invertible" | "positive-det":
            return z + 3 * np.eye(shape[0])
        case _:
            return z


@cache
def found(which: str) -> tuple[Any, dict[str, Any], str]:
    """The formula, its tensors, and its text."""
    formula, tensors = derived(CASES[which])
    return formula, tensors, formula.python()


def counts(which: str) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """(operations, numbers alive) of ours and the book's, at a tall and a wide setting."""
    case = CASES[which]
    words = list(case["dims"])
    table = letters(words)
    shapes = {w: tuple(eval(str(s), {}, dict(table)) for s in spec["shape"])
              for w, spec in case["variables"].items()}  # fmt: skip
    ours, known = (Work(text, shapes, table) for text in (found(which)[2], case["formula"]))
    steps = max(len(words) - 1, 1)
    settings = [
        {w: round(first * (last / first) ** (k / steps)) for k, w in enumerate(words)}
        for first, last in ((1000, 10), (10, 1000), (1000, 900))
    ]
    pairs = [(ours.at(sizes), known.at(sizes)) for sizes in settings]
    yield from [pair for pair in pairs if pair[1][0] >= 0][:2]  # a window fits its axis


def read(formula: Any, tensors: dict[str, Any], spelling: str) -> Any:
    """The expression that the printed formula is."""
    ranges = {formula.letters[x.data]: x.data.size for x in formula.indices}
    text = getattr(formula, spelling)
    return sg.parse_formula(text, tensors, ranges, list(ranges)).expr()


@pytest.mark.parametrize("which", CASES)
def test_it_is_the_known_formula_and_reads_back(which: str):
    case = CASES[which]
    formula, tensors, text = found(which)
    rng = np.random.default_rng(0)
    env = {w: sampled(spec, case["dims"], rng) for w, spec in case["variables"].items()}
    scope = {**namespace(), **case["dims"], **env}
    want = eval(case["formula"], scope)
    np.testing.assert_allclose(eval(text, scope), want, 1e-8, 1e-9)
    assert formula.latex()
    for spelling in ("unicode", "ascii"):
        e = read(formula, {**sizes_of(case), **tensors}, spelling)
        feeds = {tensors[w].expr(): v for w, v in env.items() if tensors[w].expr() in leaves([e])}
        np.testing.assert_allclose(evaluate([e], feeds, case["dims"])[0], want, 1e-8, 1e-9)


@pytest.mark.parametrize("which", CASES)
def test_it_is_as_short_and_cheap(which: str):
    long = counted(found(which)[2]) > 1.5 * CASES[which]["complexity"]
    dearer = larger = False
    for ours, known in counts(which):
        dearer = dearer or ours[0] > known[0] * (1 + 1e-12)
        larger = larger or ours[1] > known[1] * (1 + 1e-12)
    assert (long, dearer, larger) == (which in LONG, which in DEARER, which in LARGER)
