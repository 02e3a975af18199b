"""``sg.stationary``: where the gradients of a scalar vanish, in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from symgrad.autodiff import gradient
from symgrad.core.expr import Expr, name_of, symbol
from symgrad.core.traverse import leaves, substitute
from symgrad.derivation.ascii import to_ascii
from symgrad.derivation.formula import Formula, formula
from symgrad.derivation.order import Written
from symgrad.derivation.stream import fits_stdout
from symgrad.errors import DerivativeError, NotationError
from symgrad.structured.stationary import Solution, no_closed_form
from symgrad.structured.stationary import stationary as solved_for
from symgrad.tensors.tensor import Tensor
from symgrad.transforms.operators import Scope


class Stationary:
    """The stationary values of variables, in their order: ``found[x]`` or ``found[0]`` is a tensor.

    ``formulas()`` are their formulas by name; a value that others use is x⁺ in them.
    """

    def __init__(
        self, variables: Sequence[Tensor], names: Sequence[str], values: Sequence[Tensor],
        shown: Sequence[Expr], slopes: Sequence[Expr],
    ) -> None:  # fmt: skip
        self.variables = list(variables)
        self.names = list(names)
        self.values = list(values)
        self._shown = list(shown)
        self._slopes = list(slopes)

    def __getitem__(self, which: Tensor | int) -> Tensor:
        if isinstance(which, int):
            return self.values[which]
        return next(v for t, v in zip(self.variables, self.values, strict=True) if t is which)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def formulas(self) -> dict[str, Formula]:
        """The formula of every value, by the variable's name."""
        return {w: formula(e, Written()) for w, e in zip(self.names, self._shown, strict=True)}

    def __str__(self) -> str:
        width = max(map(len, self.names)) + 1
        told: list[str] = []
        for (word, found), slope in zip(self.formulas().items(), self._slopes, strict=True):
            try:
                text = "" if found.where else found.unicode
            except NotationError:
                text = ""
            if text:
                told.append(f"{word + '⁺':{width}} = {text}")
            else:  # computed by the structure of the Hessian, which has no words
                told.append(f"{word + '⁺':{width}} solves {formula(slope, Written()).unicode} = 0")
        text = "\n".join(told)
        return text if fits_stdout(text) else to_ascii(text)

    __repr__ = __str__


def stationary(value: Tensor, variables: Any) -> Stationary:
    """Where ∂value/∂x = 0 for each variable, in closed form.

    A gradient that is linear in x gives ``x⁺ = −H⁻¹ g(0)`` (normal equations, ridge regression, a
    half-step of alternating least squares), computed by the structure of H, as ``hessian(…).solve``.
    A function ``a logdet(S) + ⟨B, S⁻¹⟩`` gives ``S⁺ = −B/a`` (Gaussian covariances).  A gradient
    that is, entry by entry, a fraction whose numerator has two powers of x, ``A xᵖ + B xᑫ``, gives
    ``x⁺ = (−B/A)^(1/(p − q))``, the positive root where p − q is even (variances, rates,
    probabilities); the same of exp(x) gives a logarithm (logits, logarithms of variances).
    Several variables are solved one after the other, each with the earlier ones at their values.

    **Arguments:** ``value``: a scalar; ``variables``: a tensor, or a list.  Whether the point is a
    minimum is for the Hessian to say.

    **Raises:** NotationError where no closed form is known, and where the Hessian is a sum of fewer
    products ``a bᵀ`` than an axis is long (a letter counts as long): many points are stationary.

    >>> import symgrad as sg
    >>> X, w, y = sg.symbols("X:n,d  w:d  y:n")
    >>> stationary(((X @ w - y) ** 2).mean(), w)
    w⁺ = (Xᵀ X)⁻¹ Xᵀ y
    """
    if value.ndim:
        raise DerivativeError(
            f"stationary points of a tensor of shape {list(value.shape)}: only a scalar has them. "
            "Reduce it first (sum, mean)."
        )
    listed = list(variables) if isinstance(variables, (list, tuple)) else [variables]
    scope = Scope.of(value, listed)
    found: list[Solution] = []
    table: dict[Expr, Expr] = {}
    later: dict[Expr, Expr] = {}
    for k, x in enumerate(scope.wanted):
        solution = solved_for(scope.expr, x, table)
        if solution is None or x in leaves([solution.value]):
            raise no_closed_form(x, scope.wanted[:k])
        found.append(solution)
        open_ends = set(leaves([solution.value])) & set(scope.wanted)
        point = symbol(f"{name_of(x)}⁺", x.shape, x.dtype, number=-60 - k)
        table = {y: substitute([e], {x: point})[0] for y, e in table.items()}
        table[x] = solution.shown if open_ends else point
        later[point] = solution.value
        for y in open_ends & set(scope.wanted[:k]):
            raise no_closed_form(y, [x])
    values = [_closed(s.value, table, later) for s in found]
    points = dict(zip(scope.wanted, later, strict=True))
    return Stationary(
        listed,
        [name_of(x) for x in scope.wanted],
        [scope.tensor("stationary", e) for e in values],
        [substitute([s.shown], points)[0] for s in found],
        substitute(gradient(scope.expr, scope.wanted), points),
    )


def _closed(e: Expr, table: dict[Expr, Expr], later: dict[Expr, Expr]) -> Expr:
    """A value with the other variables, and the points that were named, at their values."""
    known = {**table, **later}
    while set(leaves([e])) & set(known):
        (e,) = substitute([e], known)
    return e


__all__ = ["Stationary", "stationary"]
