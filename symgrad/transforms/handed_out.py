"""Linear maps handed out: as functions of arrays, to SciPy's solvers and to lineax.

What is handed out is one compiled program per question, over the values that the map's symbols have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from symgrad_codegen.compile import compiled
from symgrad_codegen.lazy import lazy

from symgrad.core.expr import Expr, name_of, symbol
from symgrad.core.traverse import leaves
from symgrad.derivation.lines import derive_lines
from symgrad.evaluate import bind_sizes, concrete
from symgrad.simplify import simplify
from symgrad.structured.operator import LinearMap
from symgrad.structured.programs import program_of
from symgrad.tensors.tensor import Tensor

scipy_linalg = lazy("scipy.sparse.linalg")
lineax = lazy("lineax")
jax = lazy("jax")


class Bound:
    """A linear map with arrays for its symbols."""

    def __init__(self, m: LinearMap, nodes: Mapping[Expr, Any], given: Mapping[str, Any]) -> None:
        self.map = m
        self.symbols = leaves([m.expr])
        self.values: list[Any] = []
        for x in self.symbols:
            node = nodes[x]
            value = given.get(name_of(x))
            if value is None and getattr(node, "symbol", None) is not None and node.value is None:
                raise TypeError(f"the value of {name_of(x)} is missing; give {name_of(x)}=…")
            value = Tensor.from_node(node) if value is None else value
            self.values.append(value.array() if isinstance(value, Tensor) else value)
        sizes = bind_sizes(dict(zip(self.symbols, self.values, strict=True)))
        self.rows = concrete(m.out_shape, sizes)
        self.columns = concrete(m.in_shape, sizes)

    def function(self, ask: Callable[[Expr], Expr], shape: Sequence[Any]) -> Callable[[Any], Any]:
        """``v ↦ ask(v)`` on arrays, compiled once."""
        v = symbol("v", tuple(shape), self.map.expr.dtype, number=-5)
        (e,) = simplify([ask(v)])
        inputs = [*self.symbols, v]
        lines = derive_lines([("out", e)], [], inputs, gradients_of=None)
        program = program_of("asked", lines, inputs, [("out", lines.outputs[0])])
        run, values = compiled(program), self.values
        return lambda array: run(*values, array)

    def scipy(self) -> Any:
        """A ``scipy.sparse.linalg.LinearOperator``; vectors are read by rows."""
        forth = self.function(self.map.matvec, self.map.in_shape)
        back = self.function(self.map.rmatvec, self.map.out_shape)
        rows, columns = self.rows, self.columns
        return scipy_linalg.LinearOperator(
            (math.prod(rows), math.prod(columns)),
            matvec=lambda v: _flat(forth(v.reshape(columns))),
            rmatvec=lambda v: _flat(back(v.reshape(rows))),
            dtype=self.map.expr.dtype.numpy,
        )

    def lineax(self) -> Any:
        """A ``lineax.FunctionLinearOperator``."""
        forth = self.function(self.map.matvec, self.map.in_shape)
        shape = jax.ShapeDtypeStruct(self.columns, self.map.expr.dtype.numpy)
        return lineax.FunctionLinearOperator(forth, shape)


def _flat(array: Any) -> Any:
    return array.reshape(-1)
