"""Random programs: what a linear map answers is what its entries say, and these are JAX's."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import symgrad as sg
from symgrad.core.expr import symbol
from symgrad.core.traverse import leaves
from symgrad.evaluate import evaluate
from symgrad.structured.banded import bands_of
from symgrad.structured.derive import hessian, jacobian
from symgrad.structured.operator import LinearMap
from symgrad.structured.solving import plan
from symgrad.tracing.symbolic import Compiled
from tests.random_formulas import PLANS, VIEWS, drawn, posed, reference
from tests.random_formulas import SIZES as FORMULA_SIZES

SIZES = {"n": 4, "k": 3}
MAPS = (sg.tanh, sg.sigmoid, sg.exp, sg.relu, lambda a: a * a, lambda a: a + 1.0, sg.sin)


def _draw(rng: np.random.Generator) -> tuple[Any, Any]:
    """A random tensor of a vector or a matrix, and that variable."""
    A, C, x, U = sg.symbols("A:n,n C:k,k x:n U:n,k", sg.float64)
    variable = x if rng.random() < 0.5 else U
    pool = [variable]

    def some() -> Any:
        return pool[int(rng.integers(len(pool)))]

    steps = {
        "map": MAPS[int(rng.integers(len(MAPS)))],
        "left": lambda a: 0.3 * (A @ a),
        "right": lambda a: 0.3 * (a @ C) if a.ndim == 2 else a @ A,
        "rows": lambda a: sg.softmax(a, -1),
        "scaled": lambda a: 0.5 * a * some(),
        "centred": lambda a: a - a.mean(),
        "norm": lambda a: a * (a * a).sum(),
        "mask": lambda a: sg.where(a > 0, a, 0.1 * a * a),
    }
    words = list(steps)
    for _ in range(int(rng.integers(1, 5))):
        word = words[int(rng.integers(len(words)))]
        pool.append(steps[word](some()))
    return pool[-1] if len(pool) < 3 else pool[-1] + 0.5 * pool[-2], variable


def _map(seed: int) -> tuple[LinearMap, Any, Any]:
    rng = np.random.default_rng(seed)
    y, x = _draw(rng)
    if seed % 2:
        return jacobian(y.expr(), x.expr()), y, x
    value = (y * y).sum() + (0.7 * x * x).sum()
    return hessian(value.expr(), [x.expr()])[0][0], value, x


def _feeds(m: LinearMap, y: Any, seed: int) -> dict[Any, Any]:
    rng = np.random.default_rng(seed + 1)
    found = leaves([m.expr, y.expr()])
    return {s: rng.normal(size=tuple(_size(v) for v in s.shape)) for s in found}


def _size(s: Any) -> int:
    return s if isinstance(s, int) else int(s.value(SIZES))


@pytest.mark.parametrize("seed", range(80))
def test_answers_are_those_of_the_entries(seed: int) -> None:
    m, y, _ = _map(seed)
    feeds = _feeds(m, y, seed)
    columns = symbol("v", m.in_shape, m.expr.dtype, number=-71)
    rows = symbol("u", m.out_shape, m.expr.dtype, number=-72)
    rng = np.random.default_rng(seed)
    v = rng.normal(size=tuple(_size(s) for s in m.in_shape))
    u = rng.normal(size=tuple(_size(s) for s in m.out_shape))
    feeds |= {columns: v, rows: u}
    (entries,) = evaluate([m.expr], feeds, SIZES)
    matrix = entries.reshape(u.size, v.size)
    asked = [m.dense(), m.matvec(columns), m.rmatvec(rows), m.diag(), m.trace()]
    wanted = [entries, matrix @ v.ravel(), matrix.T @ u.ravel(), np.diag(matrix), np.trace(matrix)]
    for found, right in zip(evaluate(asked, feeds, SIZES), wanted, strict=True):
        np.testing.assert_allclose(found.ravel(), np.ravel(right), rtol=1e-9, atol=1e-9)
    if np.linalg.cond(matrix) < 1e6:
        for sizes in (None, {"n": 50, "k": 2}, {"n": 2, "k": 50}):
            way = plan(m, sizes)
            solved, log = evaluate([way.solve(rows), way.logdet()], feeds, SIZES)
            np.testing.assert_allclose(matrix @ solved.ravel(), u.ravel(), rtol=1e-7, atol=1e-8)
            sign, size = np.linalg.slogdet(matrix)
            np.testing.assert_allclose(log, size if sign > 0 else np.nan, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("seed", range(0, 40, 5))
def test_entries_are_those_of_jax(seed: int) -> None:
    m, y, x = _map(seed)
    feeds = _feeds(m, y, seed)
    (entries,) = evaluate([m.dense()], feeds, SIZES)
    program = Compiled([y])
    place = [s is x.expr() for s in program.inputs].index(True)
    with jax.enable_x64(True):
        values = [feeds[s] for s in program.inputs]
        found = (jax.jacobian if seed % 2 else jax.hessian)(program.executable.function, place)
        np.testing.assert_allclose(entries, np.asarray(found(*values)), rtol=1e-9, atol=1e-9)


def test_random_chains_are_their_bands() -> None:
    rng = np.random.default_rng(0)
    for _ in range(25):
        x = sg.symbol("x", "11", sg.float64)
        total = (x * x).sum()
        for _ in range(int(rng.integers(1, 4))):
            start, step = int(rng.integers(0, 4)), int(rng.integers(1, 3))
            count = int(rng.integers(1, 3))
            one = x[start : start + step * count + 1 : step]
            other = x[11 - one.shape[0] :]
            total = total + (one.exp() * other).sum() + (one * one * one).sum()
        m = hessian(total.expr(), [x.expr()])[0][0]
        feeds = {x.expr(): rng.normal(size=11)}
        bands = bands_of(m.terms, 11, m.expr.dtype)
        (entries,) = evaluate([m.expr], feeds)
        if bands is None:
            continue
        rebuilt = np.zeros((11, 11))
        for k, e in bands.items():
            (v,) = evaluate([e], feeds)
            rebuilt += np.diag(v[max(0, -k) : 11 - max(0, k)], k)
        np.testing.assert_allclose(rebuilt, entries, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(evaluate([m.diag()], feeds)[0], np.diag(entries), atol=1e-9)


PROGRAMS = [
    *((PLANS, k) for k in (*range(40), 61, 596, 690, 972, 1146, 1605, 2545)),
    *((VIEWS, k) for k in (*range(40), 199, 384, 411, 460, 543, 551, 597, 763)),
]
"""Random matrix programs, those that went wrong among them."""


@pytest.mark.parametrize("chunk", range(6))
def test_maps_of_matrix_programs_are_those_of_jax(chunk: int) -> None:
    for plans, number in PROGRAMS[chunk::6]:
        program = drawn(number, plans)
        asked = posed(program)
        word = next(iter(asked.symbols))
        y, x = asked.tensors["value"].expr(), asked.symbols[word].expr()
        scalar = not program.lines[-1].shape
        m = hessian(y, [x])[0][0] if scalar else jacobian(y, x)
        entries = reference(program, asked)[f"{'Hessian' if scalar else 'Jacobian'} for {word}"]
        columns = symbol("v", m.in_shape, m.expr.dtype, number=-71)
        rows = symbol("u", m.out_shape, m.expr.dtype, number=-72)
        rng = np.random.default_rng(number)
        v, u = (rng.normal(size=[_extent(s) for s in a.shape]) for a in (columns, rows))
        feeds = {asked.symbols[w].expr(): value for w, value in asked.values.items()}
        feeds |= {columns: v, rows: u}
        matrix = entries.reshape(u.size, v.size)
        answers = [m.dense(), m.matvec(columns), m.rmatvec(rows)]
        wanted = [entries, matrix @ v.ravel(), matrix.T @ u.ravel()]
        if m.in_shape == m.out_shape:
            answers += [m.diag(), m.trace()]
            wanted += [np.diag(matrix), np.trace(matrix)]
        scale = max(1, np.abs(matrix).max(initial=0))
        for found, right in zip(evaluate(answers, feeds, FORMULA_SIZES), wanted, strict=True):
            np.testing.assert_allclose(np.ravel(found), np.ravel(right), 1e-8, 1e-8 * scale,
                                       err_msg=f"{number}: {program}")  # fmt: skip
        square = m.in_shape == m.out_shape and np.abs(matrix).max(initial=0) > 1e-6
        if square and np.linalg.cond(matrix) < 1e6:
            for sizes in (None, {"n": 50, "m": 2, "d": 2}, {"n": 2, "m": 50, "d": 3}):
                way = plan(m, sizes)
                solved, log = evaluate([way.solve(rows), way.logdet()], feeds, FORMULA_SIZES)
                np.testing.assert_allclose(matrix @ solved.ravel(), u.ravel(), 1e-6, 1e-7)
                sign, size = np.linalg.slogdet(matrix)
                np.testing.assert_allclose(log, size if sign > 0 else np.nan, 1e-7, 1e-7)


def _extent(s: Any) -> int:
    return s if isinstance(s, int) else int(s.value(FORMULA_SIZES))


def test_numbers_in_front_of_one_identity_are_added() -> None:
    """(2/n + 6/n²) I lost a number, and was solved as if it were I."""
    x = sg.symbol("x", "n", sg.float64)
    m = hessian((((sg.diag(x) + x) ** 2).mean()).expr(), [x.expr()])[0][0]
    rows = symbol("u", m.out_shape, m.expr.dtype, number=-72)
    feeds = {x.expr(): np.ones(2), rows: np.array([5.0, 10.0])}
    asked = [m.dense(), plan(m).solve(rows), plan(m).logdet()]
    dense, solved, log = evaluate(asked, feeds, {"n": 2})
    np.testing.assert_allclose(dense, 2.5 * np.eye(2))
    np.testing.assert_allclose(solved, [2, 4])
    np.testing.assert_allclose(log, 2 * np.log(2.5))
