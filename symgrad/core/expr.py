"""The immutable, interned expression node.

Three kinds carry the mathematics of models: a *map* (scalar function, arguments with axis labels),
a *contraction* (a product summed over labels) and δ.  Sums of terms are a node of their own, with
a coefficient and labels per term.  The builders of these kinds are in ``build.py``; structural
equality is identity, because every node is made through :func:`intern`.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from symgrad.core.dtypes import DType
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Monomial, Shape, shape_text

Labels = tuple[int, ...]

Key = tuple[Any, ...]
_TABLE: dict[Key, _Reference] = {}
"""Every living node by its parts."""


class Expr:
    """One node: ``op(*args)`` with static ``params``, a shape and a dtype.

    ``digest`` orders operands independently of what ran before; ``sums`` is true for a contraction
    that sums over a label.  ``e == e.func(*e.args)`` always holds, and ``==`` is identity.
    """

    __slots__ = ("__weakref__", "args", "digest", "dtype", "op", "params", "shape", "sums")
    op: Op
    args: tuple[Expr, ...]
    params: tuple[Any, ...]
    shape: Shape
    dtype: DType
    digest: bytes
    sums: bool

    def func(self, *args: Expr) -> Expr:
        """The same operation on other arguments of the same shapes."""
        if self.op.build is not None:
            return self.op.build(args, self.params)
        return apply(self.op, args, self.params)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __repr__(self) -> str:
        if self.op is SYMBOL:
            return f"{self.params[0]}: {shape_text(self.shape)}"
        return f"<{self.op.name} {shape_text(self.shape)} {self.dtype.name}>"

    # arithmetic: filled in by build.py, which knows broadcasting
    def __add__(self, other: Any) -> Expr:
        return _ALGEBRA["add"](self, other)

    def __radd__(self, other: Any) -> Expr:
        return _ALGEBRA["add"](other, self)

    def __sub__(self, other: Any) -> Expr:
        return _ALGEBRA["sub"](self, other)

    def __rsub__(self, other: Any) -> Expr:
        return _ALGEBRA["sub"](other, self)

    def __mul__(self, other: Any) -> Expr:
        return _ALGEBRA["mul"](self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Expr:
        return _ALGEBRA["div"](self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return _ALGEBRA["div"](other, self)

    def __pow__(self, power: Any) -> Expr:
        return _ALGEBRA["pow"](self, power)

    def __neg__(self) -> Expr:
        return _ALGEBRA["mul"](self, -1)

    def __matmul__(self, other: Expr) -> Expr:
        return _ALGEBRA["matmul"](self, other)

    @property
    def T(self) -> Expr:
        """All axes in reverse order."""
        return _ALGEBRA["transpose"](self)


_ALGEBRA: dict[str, Callable[..., Expr]] = {}


def define_algebra(table: dict[str, Callable[..., Expr]]) -> None:
    """Give the arithmetic operators of Expr their meaning (called once, by ``build.py``)."""
    _ALGEBRA.update(table)


class _Reference(weakref.ref[Expr]):
    """A node that its table does not keep alive."""

    __slots__ = ("key",)
    key: Key


_FORGETTING = threading.RLock()
"""Held while an entry is looked at and removed: keys are compared in Python, where threads change."""


def _forget(
    gone: _Reference, table: dict[Key, _Reference] = _TABLE, lock: Any = _FORGETTING
) -> None:
    """Remove the entry of a node that is gone, and only that: another may have its key by now."""
    with lock:
        if table.get(gone.key) is gone:
            table.pop(gone.key, None)  # the garbage collector may have been here in between


@lru_cache(maxsize=4096)
def _alike(params: tuple[Any, ...]) -> tuple[Any, ...]:
    """One tuple for all nodes with these axes and sizes: fewer objects for the garbage collector."""
    return params


atexit.register(_TABLE.clear)  # later, what keys are compared with may be gone


def intern(
    op: Op, args: tuple[Expr, ...], params: tuple[Any, ...], shape: Shape, dtype: DType
) -> Expr:
    """The one node with these parts.  Builders have made ``args`` and ``params`` canonical."""
    key = (op, args, params, dtype)
    known = _TABLE.get(key)
    found = None if known is None else known()
    if found is not None:
        return found
    if op.family == "contraction" or (op.family == "map" and params[2:] == ((),)):
        params = _alike(params)
        key = (op, args, params, dtype)
    node = object.__new__(Expr)
    node.op = op
    node.args = args
    node.params = params
    node.shape = shape
    node.dtype = dtype
    word = f"{op.name}|{dtype.name}|{params!r}".encode("utf-8", "surrogatepass")
    node.digest = blake2b(b"".join([word, *[a.digest for a in args]]), digest_size=12).digest()
    node.sums = False
    reference = _Reference(node, _forget)
    reference.key = key
    while (known := _TABLE.setdefault(key, reference)) is not reference:
        found = known()  # another thread was first, or one that is gone is not yet forgotten
        if found is not None:
            return found
        _forget(known)
    return node


def apply(op: Op, args: tuple[Expr, ...], params: tuple[Any, ...] = ()) -> Expr:
    """A node of an op whose row has an ``infer`` (or ``outputs``) rule."""
    if op.outputs is not None:
        shape, dtype = op.outputs(args, params)[0]
        return intern(op, args, params, shape, dtype)
    if op.infer is None:
        raise TypeError(f"{op.name} has a builder of its own")
    shape, dtype = op.infer(args, params)
    return intern(op, args, params, shape, dtype)


def live_nodes() -> int:
    """How many nodes exist now (for tests of memory bounds)."""
    return len(_TABLE)


def _symbol_build(args: tuple[Expr, ...], params: tuple[Any, ...]) -> Expr:
    return symbol(*params)


SYMBOL = Op("symbol", "leaf", build=_symbol_build)


def symbol(
    name: str, shape: Shape, dtype: DType, number: int = 0, facts: tuple[str, ...] = ()
) -> Expr:
    """A leaf.  ``number`` tells symbols of one name apart; ``facts`` are declared properties."""
    return intern(SYMBOL, (), (one_line(name), shape, dtype, number, facts), shape, dtype)


def one_line(name: str) -> str:
    r"""A name as formulas can show it: line breaks and control characters become blanks.

    >>> one_line("a\\nb")
    'a b'
    """
    return name if name.isprintable() else "".join(c if c.isprintable() else " " for c in name)


def name_of(leaf: Expr) -> str:
    """The name of a symbol."""
    return leaf.params[0]


def facts_of(leaf: Expr) -> tuple[str, ...]:
    """Declared properties of a symbol (``"positive"``, ``"symmetric"``, …)."""
    return leaf.params[4] if leaf.op is SYMBOL else ()


__all__ = [
    "OPS",
    "SYMBOL",
    "Expr",
    "Fraction",
    "Labels",
    "Monomial",
    "apply",
    "define_algebra",
    "facts_of",
    "intern",
    "live_nodes",
    "name_of",
    "one_line",
    "symbol",
]
