"""Operations with several results: a node that stands for the tuple, and its projections.

The tuple node (``Op.outputs`` is set) carries the shape and dtype of its first result and is never
an operand of anything but ``project``.  A reverse sweep collects the adjoints of the projections
and calls the tuple's rule once; a result that nobody used has no adjoint (None, not zero).
"""

from __future__ import annotations

from typing import Any

from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply
from symgrad.core.op import Op
from symgrad.core.sizes import Shape
from symgrad.ops.row import POSTFIX, Template, form


def outputs_of(node: Expr) -> tuple[tuple[Shape, DType], ...]:
    """Shape and dtype of every result of a tuple node."""
    if node.op.outputs is None:
        raise TypeError(f"{node.op.name} has one result; project() is for ops with several")
    return node.op.outputs(node.args, node.params)


def _infer(args: tuple[Expr, ...], params: tuple[Any, ...]) -> tuple[Shape, DType]:
    return outputs_of(args[0])[params[0]]


def _template(node: Expr) -> Template:
    text = f"{{0}}[{node.params[0]}]"
    return form(text, text, 1, POSTFIX, POSTFIX)


PROJECT = Op("project", "projection", infer=_infer, template=_template)


def project(node: Expr, k: int) -> Expr:
    """Result ``k`` of an operation with several."""
    return apply(PROJECT, (node,), (k,))


def projections(node: Expr) -> tuple[Expr, ...]:
    """All results of an operation with several."""
    return tuple(project(node, k) for k in range(len(outputs_of(node))))


__all__ = ["PROJECT", "outputs_of", "project", "projections"]
