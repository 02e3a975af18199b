"""Two-factor products in loss and all gradients, counted in the generated program's expressions.

A tanh network of depth L has the textbook's 3 L − 1: L forward, L for the weights, L − 1 for the
activations.  Self-attention and a residual network are counted beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "codegen")]

import symgrad as sg  # noqa: E402 - found by the paths above
from symgrad.core.build import CONTRACTION  # noqa: E402 - found by the paths above
from symgrad.core.expr import Expr  # noqa: E402 - found by the paths above
from symgrad.core.traverse import topological  # noqa: E402 - found by the paths above


def products(outputs: list[Expr]) -> tuple[int, int]:
    """(summed products of two factors, of more)."""
    found = [e for e in topological(outputs) if e.op is CONTRACTION and e.sums and len(e.args) > 1]
    return sum(len(e.args) == 2 for e in found), sum(len(e.args) > 2 for e in found)


def count(function: Callable[..., sg.Tensor], **specs: object) -> tuple[int, int]:
    """Products in value and gradients of a function, its loss's own excluded by summing."""
    f = sg.trace(function, **specs)
    lines, _ = f.lines()
    return products([d.expr for d in lines.definitions])


def mlp(depth: int) -> tuple[int, int]:
    """tanh all the way, then a sum."""

    def loss(params: dict[str, sg.Tensor], x: sg.Tensor) -> sg.Tensor:
        for k in range(depth):
            x = sg.tanh(x @ params[f"W{k + 1}"])
        return x.sum()

    sizes = [f"s{k}" for k in range(depth + 1)]
    params = {f"W{k + 1}": f"{sizes[k]},{sizes[k + 1]}" for k in range(depth)}
    return count(loss, params=params, x=f"n,{sizes[0]}")


def attention() -> tuple[int, int]:
    """softmax(x Wq (x Wk)ᵀ) x Wv, summed."""

    def loss(params: dict[str, sg.Tensor], x: sg.Tensor) -> sg.Tensor:
        q, k, v = (x @ params[w] for w in ("Wq", "Wk", "Wv"))
        return (sg.softmax(q @ k.T, -1) @ v).sum()

    return count(loss, params={"Wq": "d,p", "Wk": "d,p", "Wv": "d,p"}, x="n,d")


def residual(depth: int) -> tuple[int, int]:
    """x + tanh(x W) V, depth times, then a sum.

    Each block takes 2 products forward and 4 backward; the first needs no gradient of x, and the
    adjoint of the sum is ones, so that two products of the last block are sums: 6 depth − 3.
    """

    def loss(params: dict[str, sg.Tensor], x: sg.Tensor) -> sg.Tensor:
        for k in range(depth):
            x = x + sg.tanh(x @ params[f"W{k + 1}"]) @ params[f"V{k + 1}"]
        return x.sum()

    params = {f"W{k + 1}": "d,h" for k in range(depth)} | {f"V{k + 1}": "h,d" for k in range(depth)}
    return count(loss, params=params, x="n,d")


def main() -> None:
    """Print the table."""
    print(f"{'model':<28}{'two factors':>12}{'more':>6}   textbook")
    for depth in (2, 4, 8, 12):
        two, more = mlp(depth)
        print(
            f"{f'tanh MLP, depth {depth}':<28}{two:>12}{more:>6}   3·{depth} − 1 = {3 * depth - 1}"
        )
    two, more = attention()
    print(f"{'self-attention':<28}{two:>12}{more:>6}   5 forward, 2 each backward − 3")
    for depth in (2, 6):
        two, more = residual(depth)
        word = f"residual MLP, {depth} blocks"
        print(f"{word:<28}{two:>12}{more:>6}   6·{depth} − 3 = {6 * depth - 3}")


if __name__ == "__main__":
    main()
