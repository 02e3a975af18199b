"""The symbolic door: tensors without values, their gradients, derivations and programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from symgrad_codegen.compile import Executable, compiled
from symgrad_codegen.lazy import lazy

from symgrad.core import dtypes
from symgrad.core.build import listening
from symgrad.core.dtypes import DType
from symgrad.core.expr import SYMBOL, Expr, name_of
from symgrad.core.expr import symbol as expr_symbol
from symgrad.core.facts import among_symmetric
from symgrad.core.sizes import Monomial, Size, shape_text
from symgrad.core.traverse import leaves, topological
from symgrad.derivation.chain import derivation_of
from symgrad.derivation.derive import Derivation
from symgrad.derivation.lines import derive_lines
from symgrad.derivation.naming import written_order
from symgrad.derivation.notation import subscript
from symgrad.derivation.order import Written
from symgrad.derivation.parse import read
from symgrad.derivation.symmetric import Symmetries
from symgrad.derivation.tidy import in_order, replaced
from symgrad.errors import DerivativeError, ShapeError, TraceError
from symgrad.recording.closed import record_of
from symgrad.recording.gradients import grad as recorded_grad
from symgrad.recording.record import Leaf
from symgrad.recording.walk import walk
from symgrad.simplify import GROUPS, rewrite, stabilised
from symgrad.structured.programs import program_of
from symgrad.tensors.creation import eye
from symgrad.tensors.leaf_symbols import CHOSEN, DECLARED_AS, expanded
from symgrad.tensors.tensor import Tensor
from symgrad.tracing.signature import check_facts
from symgrad.tracing.trace import parse_sizes, spec

_second = lazy("symgrad.structured.second")
counting = lazy("symgrad.transforms.cost")
_order = count(1)
_declared: WeakKeyDictionary[Expr, int] = WeakKeyDictionary()


def symbol(name: str, sizes: Any = "", dtype: DType = dtypes.float32, *facts: str) -> Tensor:
    """A tensor called ``name`` that has no value; sizes are letters or numbers (``"n,d"``).

    ``facts``: what holds of all its values, as for :func:`spec`; formulas use it.

    >>> symbol("X", "n,3").shape
    torch.Size([n, 3])
    """
    made = spec(sizes, dtype, *facts)
    e = expr_symbol(name, made.shape, dtype, facts=facts)
    _declared[e] = next(_order)
    return Tensor.of(e)


def _rank(s: Expr) -> tuple[int, int]:
    """Symbols in the order of their declaration: the last one, under this name or another."""
    return max(_declared.get(e, 0) for e in (s, DECLARED_AS.get(s, s))) or 10**9, s.params[3]


def symbols(text: str, dtype: DType = dtypes.float32, *facts: str) -> Any:
    """Several symbols: ``X, w, y = symbols("X:n,d  w:d  y:n")``; one alone is returned bare."""
    made = []
    for word in text.split():
        name, colon, sizes = word.partition(":")
        if not name or (colon and not parse_sizes(sizes)):
            raise ShapeError(
                f"symbols({text!r}): {word!r} is not a name with sizes; write 'X:n,d w:d' "
                "with spaces between symbols and commas between sizes"
            )
        made.append(symbol(name, sizes, dtype, *facts))
    return made[0] if len(made) == 1 else tuple(made)


def name(t: Tensor, word: str) -> Tensor:
    """Call ``t`` by this name in formulas and derivations."""
    node = t.node()
    if type(node) is Leaf:
        t._name = word
        (node.source or node).name = word
    else:
        CHOSEN[node] = word
    return t


def grad(output: Tensor, wrt: Any, create_graph: bool = True, independent: bool = False) -> Any:
    """The gradient of a scalar with respect to one tensor, or several, as tensors.

    In a matrix declared symmetric it is that among all matrices (:func:`derive` writes the one among
    the symmetric ones, and says so).  ``independent``: of a matrix declared symmetric the derivatives in its entries i ≤ j, each of
    which stands at two places, ``G + Gᵀ − G ⊙ I``.
    """
    several = isinstance(wrt, (list, tuple))
    found = recorded_grad(output, list(wrt) if several else [wrt], create_graph=create_graph,
                          retain_graph=True)  # fmt: skip
    if independent:
        found = [_in_entries(g, x) for g, x in zip(found, wrt if several else [wrt], strict=True)]
    return found if several else found[0]


def _in_entries(g: Tensor, x: Tensor) -> Tensor:
    """The gradient in the independent entries of what is declared symmetric."""
    leaf, e = x.expr(), g.expr()
    if not among_symmetric(leaf):
        return g
    both = 2 * g if Symmetries(Written()).within_symmetric(leaf, e) is e else g + g.mT
    return both - g * eye(g.shape[0], dtype=g.dtype)


def derive(
    output: Tensor,
    wrt: Any = None,
    letters: Mapping[str, int] | None = None,
    hessian: bool = False,
    newton: Any = (),
    stationary: Any = (),
    stop_at: Sequence[Tensor | str] = (),
    independent: bool = False,
) -> Derivation:
    """The derivation of the gradients of ``output``: names, forward lines, adjoints, gradients.

    ``wrt``: the tensors to differentiate for (at one that is computed, the derivation stops, as at
    those of ``stop_at``); by default every floating leaf that is a parameter,
    else every floating symbol that is not only data.  ``letters`` names whole-number sizes:
    ``{"n": 64}``.  ``hessian`` adds a line for every pair of them, ``newton`` a step of Newton's
    method for those named there.  ``stationary`` adds x⁺, where ∂L/∂x = 0, for each x named there,
    in closed form, the others as they stand (:func:`stationary` solves for all at once).  The
    derivation stops at the values ``stop_at``, tensors or names
    given with :func:`name`: they are not opened, and their adjoints are its gradients; what lies
    behind them has none (DerivativeError, where ``wrt`` asks for it).
    ``independent``: the gradient in a matrix declared symmetric is ``2 G − G ⊙ I``, the derivatives
    in its entries i ≤ j, in place of G, the gradient among the symmetric matrices.
    """
    if not isinstance(output, Tensor):
        raise TypeError(
            f"derive(): output must be a Tensor, not {type(output).__name__}; give what a model "
            "returns, such as loss(model(x), y)"
        )
    written = Written()
    with listening(written.note):
        e, chosen, tracked, table = expanded(output.node(), letters)
    old = dict(chosen)
    moved: dict[Expr, Expr] = {}

    def carry(before: Expr, after: Expr, table: dict[Expr, Expr]) -> None:
        written.carry(before, after, table)
        moved[before] = after

    (e,), rewrites = rewrite([e], GROUPS, carry)
    chosen = {moved.get(k, k): word for k, word in old.items()}
    asked = {w for w in stop_at if isinstance(w, str)}
    ends = {k: word for k, word in chosen.items() if word in asked}
    asked_for = () if wrt is None else _several(wrt)

    def found(t: Tensor) -> Expr:
        e = table.get(id(t.node())) or t.expr(letters)
        return moved.get(e, e)

    for number, t in enumerate(t for t in (*stop_at, *asked_for) if isinstance(t, Tensor)):
        at = found(t)
        if at.op is not SYMBOL:
            if id(t.node()) not in table:
                raise DerivativeError(
                    f"derive(): the output is not computed from {t.formula().unicode}. "
                    "Give tensors that it is computed from, the same objects."
                )
            ends[at] = chosen.get(at) or f"V{subscript(number + 1)}"
    unknown = asked - set(ends.values())
    if unknown:
        raise KeyError(f"stop_at: nothing is called {', '.join(sorted(unknown))}; sg.name(t, …)")
    stops = {
        k: expr_symbol(word, k.shape, k.dtype, number=-1000 - n)
        for n, (k, word) in enumerate(ends.items())
    }
    behind = {x: word for k, word in ends.items() for x in leaves([k])}
    e = replaced(e, stops, written)
    inputs = [x for x in written_order([e], written) if not x.args and x.op.name == "symbol"]
    inputs.sort(key=lambda s: (s in tracked, *_rank(s)))
    if wrt is None:
        own = tracked | set(stops.values())
        wanted = [s for s in inputs if s.dtype.differentiable and (not tracked or s in own)]
        wanted = [s for s in wanted if s not in behind]
        seen = set(topological([e], lambda x: x.op.name == "detach"))
        wanted = [s for s in wanted if s in seen] or wanted
    else:
        wanted = [stops.get(x, x) for x in map(found, asked_for)]
        inputs += [s for s in wanted if s.op.name == "symbol" and s not in inputs]
    label = chosen.get(e, "L" if not e.shape else "Y")
    steps, points = (
        [stops.get(x, x) for x in map(found, _several(asked))] for asked in (newton, stationary)
    )
    for x in (*wanted, *steps, *points):
        if x in behind:
            raise DerivativeError(
                f"derive(): {name_of(x)} is behind the stop at {behind[x]}, which is not opened. "
                f"Ask for the gradient in {behind[x]}, or leave {behind[x]} out of stop_at."
            )
    if not (hessian or steps or points):
        made = derivation_of(
            label, e, wanted, inputs, written, chosen, wrt is not None, independent
        )
        made.rewrites = rewrites
        return made
    lines = derive_lines(
        [(label, e)], wanted, inputs, written, chosen, further=True, independent=independent
    )
    if wrt is not None:
        in_order(lines, wanted)
    more = _second.Further(lines, inputs, e, wanted)
    if hessian or steps:
        more.second(steps)
    more.stationary(points)
    more.rewrites = rewrites
    return more


def _several(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (list, tuple)) else [x]


def parse_formula(
    text: str,
    symbols: Mapping[str, Tensor | Size] | Sequence[Tensor],
    indices: Mapping[str, Any] | None = None,
    at: Sequence[str] = (),
) -> Tensor:
    """The tensor that a printed formula says: ``parse_formula("(2/n) Xᵀ (X w − y)", [X, w, y])``.

    ``symbols`` are the tensors of its names (by name where they should go by another, and where a
    name is a size that is no tensor's, ``{"S": S, "n": n}``), in Unicode or ASCII.  ``indices``
    gives the range of a letter (``{"i": "n"}``) where it is not that of the axis it stands at,
    ``{"t": "1…T"}`` where it counts steps; ``at`` names the letters of the left side, which a line
    ``Z[i,j] = …`` has itself.  What stands behind ``where`` is read first, with its own ranges
    (``where a[k] = x[k + 1] for k < n − 1``).  A factor ``1[i < n − 1]`` that compares indices is
    strong: where it is 0 so is the product, whatever leaves its range there.  NotationError says
    what was expected, and at which column.

    >>> x = symbol("x", "n")
    >>> parse_formula("(x[i + 1] − x[i]) 1[i < n − 1]", [x], {"i": "n"}, ["i"]).shape
    torch.Size([n])
    """
    if not isinstance(symbols, Mapping):
        symbols = {name_of(t.expr()): t for t in symbols}
    tensors = {word: t for word, t in symbols.items() if isinstance(t, Tensor)}
    numbers = {word: size for word, size in symbols.items() if not isinstance(size, Tensor)}
    for word, size in numbers.items():
        if isinstance(size, bool) or not isinstance(size, (int, Monomial)):
            raise TypeError(
                f"parse_formula(): {word} must be a tensor, or a size such as X.shape[0], "
                f"not {type(size).__name__}"
            )
    named = {
        word: expr_symbol(word, tuple(t.shape), t.dtype, number=k)
        for k, (word, t) in enumerate(tensors.items(), start=1)
    }
    texts = {word: str(size).replace("..", "…") for word, size in (indices or {}).items()}
    ranges = {word: parse_sizes(size.removeprefix("1…"))[0] for word, size in texts.items()}
    from_one = [x for x, size in texts.items() if "…" in size]
    found = read(text, named, ranges, at, from_one, numbers)
    nodes = {named[word]: t.node() for word, t in tensors.items()}
    return Tensor.from_node(record_of("formula", found, list(nodes), nodes))


class Compiled:
    """Tensors compiled together: call it with one array per symbol, by name or in order.

    A tensor that has a value has it here too, if it is not given another.
    """

    def __init__(
        self,
        outputs: Sequence[Tensor],
        inputs: Sequence[Tensor] | None = None,
        validate: bool = False,
    ) -> None:
        self.validate = validate
        written = Written()
        with listening(written.note):
            opened = [expanded(t.node(), rewritten=stabilised) for t in outputs]
        exprs = [e for e, *_ in opened]
        exprs = self._exprs = stabilised(exprs)
        found = leaves(exprs)
        found.sort(key=_rank)
        self.inputs = [t.expr() for t in inputs] if inputs is not None else found
        tables = [table for *_, table in opened]
        ends = [n for n in walk([t.node() for t in outputs], lambda n: False) if type(n) is Leaf]
        self._held = {x[id(n)]: n for x in tables for n in ends if id(n) in x}
        labels = [(f"out{k}", e) for k, e in enumerate(exprs)]
        lines = derive_lines(labels, [], self.inputs, written, gradients_of=None)
        results = [(name_of(s), s) for s in lines.outputs]
        self.executable: Executable = compiled(program_of("compiled", lines, self.inputs, results))

    @property
    def cost(self) -> Any:
        """Operations, bytes and memory of the program in size letters, and the orders compared."""
        return counting.counted(self._exprs)

    @property
    def source(self) -> str:
        """The JAX source that runs."""
        return self.executable.source

    def source_for(self, target: str) -> str:
        """The same program for ``"jax"`` or ``"numpy"``."""
        return self.executable.source_for(target)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        given = list(args)
        for leaf in self.inputs[len(args) :]:
            node = self._held.get(leaf)
            if name_of(leaf) in kwargs:
                given.append(kwargs[name_of(leaf)])
            elif node is not None and (node.value is not None or node.source is not None):
                given.append(Tensor.from_node(node))
            else:
                raise TypeError(f"the value of {name_of(leaf)} is missing")
        values = [v.array() if isinstance(v, Tensor) else v for v in given]
        for leaf, value in zip(self.inputs, values, strict=True):
            if len(getattr(value, "shape", ())) != leaf.ndim:
                raise ShapeError(
                    f"{name_of(leaf)} is {shape_text(leaf.shape)} but was given an array of shape "
                    f"{getattr(value, 'shape', ())}"
                )
        if self.validate:
            names = map(name_of, self.inputs)
            check_facts("compiled", zip(names, self.inputs, values, strict=True))
        return self.executable(*values)


def compile_tensors(outputs: Sequence[Tensor], validate: bool = False) -> Compiled:
    """One executable for several symbolic tensors; ``validate`` the properties declared of symbols."""
    listed = list(outputs)
    if not all(isinstance(t, Tensor) for t in listed):
        raise TraceError("compile takes a function, a module, or a list of tensors")
    return Compiled(listed, validate=validate)


__all__ = [
    "Callable", "Compiled", "compile_tensors", "derive", "grad", "name", "parse_formula", "symbol",
    "symbols",
]  # fmt: skip
