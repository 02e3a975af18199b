"""An operation, declared once: everything the other rooms need to know of it stands in its row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from symgrad.core.dtypes import DType
    from symgrad.core.expr import Expr
    from symgrad.core.sizes import Shape, Size

OPS: dict[str, Op] = {}
"""Every operation by name; filled by the family files of ``symgrad.ops``."""


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """One operation.

    ``family``     "map" (elementwise), "contraction", "sum", "leaf", or "other".
    ``infer``      (args, params) → (shape, dtype); maps have a shape rule of their own.
    ``derivative`` maps: (*args, value) → one scalar partial per argument, in Expr operators;
                   None in a place says that the argument has no derivative by definition.
    ``vjp``        others: (node, adjoint) → one adjoint per argument (None: absent); the adjoint
                   may have extra leading axes.
    ``template``   (node) → the expression in the target languages, with holes for the operands.
    ``text``, ``python``  notation: the name of a function, or a sign between two operands.
    ``latex``      the same in LaTeX, where it is not ``text`` set upright.
    ``domain``     where tests sample the arguments: "real", "positive", "unit", "nonzero", ...
    ``size_operands`` (node) → the sizes that the template takes as operands after the arguments:
                   holes ``{len(args)}``, ``{len(args) + 1}``, … in the order of the tuple.  A size
                   that is a plain number may be written into the text and left out here.
    ``outputs``    ops with several results: (args, params) → a shape and dtype per result.  The
                   node stands for the tuple (its own shape and dtype are the first result's), its
                   template makes a Python tuple, ``project(node, k)`` takes one result out, and its
                   ``vjp`` gets a tuple of adjoints, None where a result has none.
    ``body``       maps that other ops compose: the arguments, all of the shape of the result → the
                   result in ops that have templates.  What runs is the body.
    ``function``   the name of a Python function of arrays, and that function: what computes the
                   node where it is no text; hole ``{0}`` of the template, before the arguments.
    ``traits``     facts: "selects", "singular", "random", "nondifferentiable", ...
    """

    name: str
    family: str
    infer: Callable[[tuple[Expr, ...], tuple[Any, ...]], tuple[Shape, DType]] | None = None
    derivative: Callable[..., tuple[Expr | None, ...]] | None = None
    vjp: Callable[[Expr, Any], tuple[Expr | None, ...]] | None = None
    template: Any = None
    text: str = ""
    latex: str = ""
    python: str = ""
    domain: str = "real"
    traits: frozenset[str] = field(default_factory=frozenset[str])
    build: Callable[[tuple[Expr, ...], tuple[Any, ...]], Expr] | None = None
    size_operands: Callable[[Expr], tuple[Size, ...]] | None = None
    body: Callable[[tuple[Expr, ...]], Expr] | None = None
    function: tuple[str, Callable[..., Any]] | None = None
    outputs: (
        Callable[[tuple[Expr, ...], tuple[Any, ...]], tuple[tuple[Shape, DType], ...]] | None
    ) = None

    def __post_init__(self) -> None:
        if self.name in OPS:
            raise ValueError(f"operation {self.name!r} is declared twice")
        OPS[self.name] = self

    def __repr__(self) -> str:
        return self.name
