"""SymPy and back: ``to_sympy`` and ``from_sympy`` of tensors without values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symgrad_codegen.lazy import lazy

from symgrad.core.expr import name_of
from symgrad.core.expr import symbol as expr_symbol
from symgrad.core.sizes import Size, letter, letters_of, shape_text
from symgrad.errors import NotationError, ShapeError
from symgrad.foreign.matrices import MatrixReader, letters_in
from symgrad.foreign.to_sympy import written
from symgrad.functional.promotion import default_dtype
from symgrad.recording.closed import record_of
from symgrad.tensors.tensor import Tensor
from symgrad.tracing.symbolic import symbol

sympy = lazy("sympy")

Names = Mapping[Any, Tensor] | Sequence[Tensor]


def to_sympy(t: Tensor) -> Any:
    """``t`` as an expression of SymPy.

    Scalars are scalar expressions of real symbols.  A matrix ``(n, d)`` is an expression of
    ``MatrixSymbol``s, a vector ``(n,)`` one of a single column; size letters are positive integer
    symbols.  A product that no chain of matrices says is told by its entries (``FunctionMatrix``
    with ``Sum``); a symbol of three axes or more is an ``Indexed``.  An inner product is a
    ``Trace``, which SymPy differentiates by vectors.

    **Raises:** NotationError for an operation without a counterpart (sorting, convolution, random
    draws, …) and for a result of three axes or more.

    >>> import symgrad as sg
    >>> X, w, y = sg.symbols("X:n,d  w:d  y:n")
    >>> to_sympy(sg.grad(((X @ w - y) ** 2).mean(), w))
    (2/n)*X.T*(X*w - y)
    """
    if not isinstance(t, Tensor):
        raise TypeError(f"to_sympy takes a tensor, not {type(t).__name__}")
    return written(t.expr())


def from_sympy(expr: Any, symbols: Names | None = None) -> Tensor:
    """An expression of SymPy as a tensor without a value: read, differentiate, compile it.

    **Arguments:** ``expr``: a scalar expression (``Piecewise`` and sums of entries with it), or a
    matrix expression (products, powers, ``Inverse``, ``Determinant``, ``Trace``, Hadamard and
    Kronecker products, ``applyfunc``, ``FunctionMatrix``, …); ``symbols``: the tensors of its
    symbols, by symbol or name, or as a list of tensors with those names.  Others become new
    symbols: a ``MatrixSymbol`` of one column a vector.  A tensor ``(n,)`` or ``(n, d)`` in the place
    of a scalar symbol is read entry by entry.

    **Returns:** a scalar, a vector ``(n,)`` for one column, a matrix ``(n, d)`` else.

    **Raises:** TypeError for text, which is never evaluated; NotationError for what has no
    counterpart; ShapeError for a tensor that does not fit its symbol.

    >>> import sympy
    >>> import symgrad as sg
    >>> n, d = sympy.symbols("n d")
    >>> X, w = sympy.MatrixSymbol("X", n, d), sympy.MatrixSymbol("w", d, 1)
    >>> loss = from_sympy(sympy.Trace(w.T * X.T * X * w) / n)
    >>> loss.shape, from_sympy(X * w).formula()
    (torch.Size([]), X w)
    """
    if isinstance(expr, str):
        raise TypeError(
            "from_sympy: the expression is text, and text is never evaluated. Build it with SymPy "
            "objects, or read one of our formulas with sg.parse_formula."
        )
    if not isinstance(expr, (sympy.Expr, sympy.MatrixBase)):
        raise TypeError(f"from_sympy: {type(expr).__name__} is no expression or matrix of SymPy")
    expr = expr.as_immutable() if isinstance(expr, sympy.MatrixBase) else expr
    given = _given(symbols)
    known = {word for t in given.values() for word in letters_of(tuple(t.shape))}
    letters = letters_in(expr) | {x for x in expr.free_symbols if str(x) in known}
    letters = {x for x in letters if x not in given and str(x) not in given}
    tensors: dict[Any, Tensor] = {}
    sizes: dict[Any, Size] = {x: letter(str(x)) for x in letters}
    own = {**_arrays(expr), **_scalars(expr, letters)}
    for leaf, shape in own.items():
        own_tensor = given.get(leaf, given.get(_name(leaf)))
        if own_tensor is not None:
            tensors[leaf] = own_tensor
            _bind(leaf, shape, own_tensor, sizes)
    floating = [t.dtype for t in tensors.values() if t.dtype.differentiable]
    dtype = floating[0] if floating else default_dtype()
    reader = MatrixReader(f"from_sympy({_short(expr)})", {}, dtype, sizes=sizes)
    for leaf, shape in own.items():
        if leaf not in tensors:
            tensors[leaf] = symbol(_name(leaf), _kept([reader.size(s) for s in shape]),
                                   reader.dtype)  # fmt: skip
    reader.leaves = {
        leaf: expr_symbol(_name(leaf), tuple(t.shape), t.dtype, number=k)
        for k, (leaf, t) in enumerate(tensors.items(), start=1)
    }
    found = reader.read(expr)
    nodes = {reader.leaves[leaf]: t.node() for leaf, t in tensors.items()}
    return Tensor.from_node(record_of("from_sympy", found, list(nodes), nodes))


def _given(symbols: Names | None) -> dict[Any, Tensor]:
    """The user's tensors by symbol or name."""
    if symbols is None:
        return {}
    if isinstance(symbols, Mapping):
        return dict(symbols)
    return {name_of(t.expr()): t for t in symbols}


def _name(leaf: Any) -> str:
    return str(leaf.name)


def _arrays(expr: Any) -> dict[Any, tuple[Any, ...]]:
    """Matrix symbols and indexed bases with their sizes, in the order of their names."""
    found: dict[Any, tuple[Any, ...]] = {m: m.shape for m in expr.atoms(sympy.MatrixSymbol)}
    for entry in expr.atoms(sympy.Indexed):
        if entry.base.shape is None:
            raise NotationError(
                f"from_sympy: {entry.base} has no shape.",
                'Give it one: sympy.IndexedBase("a", shape=(n, d)).',
            )
        found[entry.base.label] = tuple(entry.base.shape)
    return dict(sorted(found.items(), key=lambda pair: _name(pair[0])))


def _scalars(expr: Any, letters: set[Any]) -> dict[Any, tuple[Any, ...]]:
    arrays = {entry.base.label for entry in expr.atoms(sympy.Indexed)}
    free = expr.free_symbols - letters - arrays
    free = {x for x in free if isinstance(x, sympy.Symbol)}
    return dict.fromkeys(sorted(free, key=str), ())


def _kept(sizes: Sequence[Size]) -> tuple[Size, ...]:
    """The shape of a matrix here: axes of size 1 are left out of two."""
    return tuple(s for s in sizes if s != 1) if len(sizes) == 2 else tuple(sizes)


def _bind(leaf: Any, shape: tuple[Any, ...], t: Tensor, sizes: dict[Any, Size]) -> None:
    """Sizes of the letters from a tensor that is given; ShapeError where it does not fit."""
    wanted = [s for s in shape if s != 1] if len(shape) == 2 else list(shape)
    if shape and len(wanted) != t.ndim:
        raise ShapeError(
            f"from_sympy: {_name(leaf)} is {' by '.join(map(str, shape))}, but the tensor given is "
            f"{shape_text(tuple(t.shape))}",
            "A matrix of one column is a vector here: give it a tensor of one axis.",
        )
    for s, extent in zip(wanted, tuple(t.shape), strict=False):
        if s in sizes:
            sizes[s] = extent


def _short(expr: Any) -> str:
    text = str(expr)
    return text if len(text) <= 60 else text[:59] + "…"


__all__ = ["from_sympy", "to_sympy"]
