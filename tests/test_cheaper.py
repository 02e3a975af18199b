"""What runs is less work than what is written: products in other orders, matrices by structure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from symgrad.core import dtypes
from symgrad.core.build import (
    contract,
    elementwise,
    matmul,
    permute,
    power,
    product,
    reduce_sum,
    scale,
    unsqueeze,
)
from symgrad.core.expr import Expr, symbol
from symgrad.core.traverse import leaves, topological
from symgrad.evaluate import evaluate
from symgrad.lower.pairs import kept_labels, path_of
from symgrad.ops.matrix import diagonal, inv, logdet, slogdet, solve
from symgrad.simplify.cheaper import cheaper
from symgrad.structured.matrices import by_structure
from symgrad.structured.work import work_of

N, K = 30, 3


def _leaf(name: str, *shape: int, fact: str = "") -> Expr:
    return symbol(name, shape, dtypes.float64, facts=(fact,) if fact else ())


def _feeds(e: Expr) -> dict[Expr, Any]:
    rng = np.random.default_rng(1)
    found: dict[Expr, Any] = {}
    for leaf in leaves([e]):
        drawn = rng.standard_normal(leaf.shape)  # type: ignore[arg-type]
        if "positive" in leaf.params[2:][-1] or leaf.params[0] in ("d", "s"):
            drawn = np.abs(drawn) + 0.5
        if leaf.params[0] == "S":
            drawn = drawn @ drawn.T + np.eye(len(drawn))
        found[leaf] = drawn
    return found


def _same(e: Expr, new: Expr) -> None:
    feeds = _feeds(e)
    a, b = evaluate([e], feeds)[0], evaluate([new], feeds)[0]
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


A, B, C = (_leaf(x, N, N) for x in "ABC")
X, Y = _leaf("X", N, K), _leaf("Y", N, K)
v, w = _leaf("v", N), _leaf("w", N)
U, V = _leaf("U", N, K), _leaf("V", K, N)
d = _leaf("d", N, fact="positive")


def _apart(a: Expr, b: Expr) -> Expr:
    return unsqueeze(a, [1]) - unsqueeze(b, [0])


PRODUCTS = {
    "a chain from the right": matmul(matmul(matmul(A, B), C), v),
    "a trace": contract([matmul(A, B)], [[0, 0]], []),
    "the diagonal of a product": contract([matmul(A, B)], [[0, 0]], [0]),
    "the norm of an outer product": reduce_sum(
        power(product(unsqueeze(v, [1]), unsqueeze(w, [0])), 2), [0, 1]
    ),
    "differences summed": reduce_sum(_apart(X, Y), [1]),
    "weighted differences": contract([_apart(X, Y), w], [[0, 1, 2], [1]], [0, 2]),
    "a diagonal and few columns times a vector": matmul(diagonal(d) + matmul(U, V), v),
    "used twice": product(matmul(matmul(A, B), v), matmul(matmul(A, B), w)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_much_less_work_and_the_same(name: str) -> None:
    e = PRODUCTS[name]
    (new,) = cheaper([e])
    _same(e, new)
    assert work_of(new) < 0.6 * work_of(e)
    assert cheaper([new]) == [new]


def test_squares_of_differences_stay():
    """‖x‖² + ‖y‖² − 2 xᵀy would cancel where x and y are close."""
    e = reduce_sum(power(_apart(X, Y), 2), [1])
    assert cheaper([e]) == [e]


def test_a_centred_value_stays():
    centred = X - unsqueeze(scale(1 / N, reduce_sum(X, [0])), [0])
    e = contract([centred, Y], [[0, 1], [0, 1]], [])
    assert cheaper([e]) == [e]


def test_a_product_that_is_needed_anyway_stays():
    whole = matmul(A, B)
    found = cheaper([whole, matmul(whole, C)])
    assert found == [whole, matmul(whole, C)]


def test_terms_of_opened_sums_meet():
    """The gradient of all squared distances is 4 (n X − Σⱼ X[j,:])."""
    r = _apart(X, X)
    (new,) = cheaper([scale(2, reduce_sum(r, [1])) - scale(2, reduce_sum(r, [0]))])
    assert len(new.args) == 2
    _same(scale(2, reduce_sum(r, [1])) - scale(2, reduce_sum(r, [0])), new)


# ------------------------------------------------------------------ matrices

few = diagonal(d) + matmul(U, V)
gram = diagonal(d) + matmul(U, permute(U, (1, 0)))
spd = _leaf("S", N, N, fact="spd")
size = _leaf("s")
kernel = elementwise("exp", scale(-1, product(reduce_sum(power(_apart(X, X), 2), [2]),
                                              power(size, -2)))) + diagonal(d)  # fmt: skip

SYSTEMS = {
    "Woodbury": (solve(few, v), N),
    "Woodbury, symmetric": (solve(gram, v), N),
    "an inverse times a vector": (matmul(inv(few), v), N),
    "a vector times an inverse": (matmul(v, inv(few)), N),
    "an inverse": (inv(few), N),
    "several columns": (solve(few, Y), N),
    "Sylvester": (logdet(gram), N),
    "the size of a determinant": (slogdet(few)[1], N),
    "its sign": (slogdet(few)[0], N),
    "a diagonal": (solve(diagonal(d), v), N),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_matrix_with_structure_is_never_factored_whole(name: str) -> None:
    e, rows = SYSTEMS[name]
    (new,) = by_structure([e])
    _same(e, new)
    large = [
        x for x in topological([new]) if x.op.family == "matrix" and x.args[0].shape[0] == rows
    ]
    assert not large
    assert work_of(cheaper([new])[0]) < work_of(e)


@pytest.mark.parametrize("matrix", [spd, kernel, gram + spd], ids=["declared", "kernel", "sum"])
def test_one_factor_serves_the_solve_and_the_determinant(matrix: Expr) -> None:
    e = matmul(v, matmul(inv(matrix), v)) + logdet(matrix)
    (new,) = by_structure([e])
    _same(e, new)
    names = [x.op.name for x in topological([new]) if x.op.family == "matrix"]
    assert sorted(names) == ["cholesky", "triangular_solve"]  # vᵀ A⁻¹ v is a square


def test_a_solution_that_is_needed_is_solved_for():
    e = matmul(w, matmul(inv(spd), v))
    (new,) = by_structure([e])
    _same(e, new)
    names = [x.op.name for x in topological([new]) if x.op.family == "matrix"]
    assert sorted(names) == ["cholesky", "triangular_solve", "triangular_solve"]


def test_only_what_is_safe_for_certain_is_done():
    """A diagonal that may be 0, a matrix that may not be positive definite: as they were."""
    loose = diagonal(w) + matmul(U, V)
    opposite = scale(-1, reduce_sum(power(_apart(X, X), 2), [2]))
    for matrix in (loose, A, elementwise("exp", scale(-1, opposite)) + diagonal(d)):
        e = solve(matrix, v)
        assert by_structure([e]) == [e]


def test_an_inverse_that_is_needed_whole_is_computed_once():
    found = by_structure([inv(A), matmul(inv(A), v)])
    assert found == [inv(A), matmul(inv(A), v)]
    (alone,) = by_structure([matmul(inv(A), v)])
    assert "inv" not in {e.op.name for e in topological([alone])}
    _same(matmul(inv(A), v), alone)


# ------------------------------------------------------------------ orders


def _labels(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(ord, word)) for word in text.split(","))


def test_no_batch_of_matrices_where_one_matrix_does():
    """Masks between matrices, J = W₃ (m₂ ⊙ W₂ (m₁ ⊙ W₁)): one axis of J is taken up at a time."""
    rows = _labels("ij,bj,jk,bk,kl,bl,lm")
    out = tuple(map(ord, "bim"))
    sizes = tuple(sorted((ord(x), 50 if x == "b" else 20) for x in "bijklm"))
    path, _ = path_of(rows, out, sizes)
    operands = [set(r) for r in rows]
    for step in path:
        first, second = (operands[k] for k in step)
        operands = [o for k, o in enumerate(operands) if k not in step]
        needed = set(out).union(*operands)
        whole = first | second
        made = whole & needed
        batch = ord("b") in first & second and made != whole and first - second and second - first
        assert not batch
        operands.append(made)


@pytest.mark.parametrize(
    ("rows", "needed", "kept"),
    [
        ("ij,jk", "ik", "ik"),
        ("jk,ij", "ik", "ik"),
        ("bij,kj", "bik", "bik"),
        ("jbi,kj", "bik", "kbi"),
        ("j,ij", "ij", "ij"),
        (",i", "i", "i"),
    ],
)
def test_a_product_comes_with_its_axes_in_place(rows: str, needed: str, kept: str) -> None:
    found = kept_labels(_labels(rows), {*map(ord, needed)})
    assert "".join(map(chr, found)) == kept


def test_a_batch_of_matrices_is_solved_along_its_rows() -> None:
    spd = _leaf("S", 4, 4, fact="spd")
    sides = _leaf("B", 2, 3, 4, 4)
    (made,) = by_structure([solve(scale(2, spd), sides)])
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    feeds = {spd: root @ root.T + np.eye(4), sides: rng.normal(size=(2, 3, 4, 4))}
    assert not any(e.op.name == "solve" for e in topological([made]))
    np.testing.assert_allclose(
        evaluate([made], feeds, {})[0], np.linalg.solve(2 * feeds[spd], feeds[sides]), rtol=1e-10
    )
