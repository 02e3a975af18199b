"""``sg.jax_function``: a function written in JAX as an operation, opaque in formulas.

Its shapes are JAX's (``jax.eval_shape``), and so are its derivative (``jax.vjp``) and its batch
(``jax.vmap``).  Formulas show it as ``jax:name`` and its derivative as ``vjp[jax:name]``, marked as
not symbolic.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from symgrad_codegen import arrays
from symgrad_codegen.foreign import Flat, ForeignFunction, mapped, pulled_back, wide
from symgrad_codegen.program import POSTFIX, Template

from symgrad.core import dtypes
from symgrad.core.build import zeros
from symgrad.core.dtypes import DType, dtype_of_numpy
from symgrad.core.expr import Expr, apply, one_line
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Monomial, Shape, Size, letter, letters_of, normal_size
from symgrad.errors import DTypeError, ShapeError
from symgrad.functional.table import Function
from symgrad.ops.outputs import project
from symgrad.tensors.calls import as_operand, call
from symgrad.tensors.tensor import Tensor

Kind = tuple[Shape, DType]
Types = Callable[[Sequence[Kind]], list[Kind]]
CALL = Template((("jax", "{0}({*})"),), POSTFIX)
"""There is no NumPy form: the function needs JAX."""


WAYS = 64
"""How many ways of calling one function (its arguments that are no arrays) are remembered."""


class Opaque:
    """A function of arrays as an operation: its name, its types, and its derivative by JAX.

    ``several``: its node stands for the tuple of its results; otherwise it has one.
    """

    def __init__(self, name: str, flat: Flat, types: Types, several: bool, *traits: str) -> None:
        self.name, self.flat, self.several = name, flat, several
        self.types = functools.lru_cache(maxsize=512)(types)
        self.traits = traits
        self._backs: dict[Any, Opaque] = {}
        hint = name.replace("jax:", "")
        function = flat if several else lambda *values: flat(*values)[0]
        self.op = Op(
            name, "call", text=name, vjp=self._pull_back,
            infer=None if several else lambda args, params: self._kinds(args)[0],
            outputs=(lambda args, params: tuple(self._kinds(args))) if several else None,
            template=CALL, function=(hint, function),
            traits=frozenset(traits),
        )  # fmt: skip
        # It belongs to the user, not to the table of operations that tests walk through.
        del OPS[name]

    def __repr__(self) -> str:
        return self.name

    def __call__(self, *args: Expr, adjoints: tuple[Expr, ...] = ()) -> Expr:
        """The node of a call; ``adjoints`` are the arguments of a derivative that it is linear in."""
        return apply(self.op, (*args, *adjoints), (self, len(args)))

    def _kinds(self, args: Sequence[Expr]) -> list[Kind]:
        return self.types(tuple((a.shape, a.dtype) for a in args))

    def _pull_back(self, node: Expr, adjoint: Any) -> tuple[Expr | None, ...]:
        """One adjoint per differentiable argument, all from one call of JAX's vjp."""
        given = adjoint if self.several else (adjoint,)
        kinds = self._kinds(node.args)
        known = next((g, kind) for g, kind in zip(given, kinds, strict=True) if g is not None)
        front = known[0].shape[: known[0].ndim - len(known[1][0])]
        results = tuple(k for k, (_, dtype) in enumerate(kinds) if dtype.differentiable)
        seeds: list[Expr] = []
        for k in results:
            shape, dtype = kinds[k]
            seeds.append(zeros((*front, *shape), dtype) if given[k] is None else given[k])
        places = tuple(k for k, a in enumerate(node.args) if a.dtype.differentiable)
        back = self._back(len(node.args), places, len(front), results)
        found = back(*node.args, adjoints=tuple(seeds))
        parts: list[Expr | None] = [None] * len(node.args)
        for number, place in enumerate(places):
            parts[place] = project(found, number) if back.several else found
        return tuple(parts)

    def _back(
        self, count: int, places: tuple[int, ...], extra: int, results: tuple[int, ...]
    ) -> Opaque:
        key = places, extra, results
        if key in self._backs:
            return self._backs[key]

        def types(kinds: Sequence[Kind]) -> list[Kind]:
            front = kinds[count][0][:extra]
            return [((*front, *kinds[k][0]), kinds[k][1]) for k in places]

        flat = pulled_back(self.flat, count, places, extra, results)
        made = Opaque(f"vjp[{self.name}]", flat, types, len(places) > 1, "opaque derivative")
        self._backs[key] = made
        return made

    def over_batch(self, node: Expr, whole: tuple[Expr, ...], size: Size) -> Expr:
        """The call for a batch of examples, of which ``node`` is one."""
        split = node.params[1]
        return self._over_batch(*whole[:split], adjoints=whole[split:])

    @functools.cached_property
    def _over_batch(self) -> Opaque:
        def types(kinds: Sequence[Kind]) -> list[Kind]:
            size = kinds[0][0][0]
            inner = self.types(tuple((shape[1:], dtype) for shape, dtype in kinds))
            return [((size, *shape), dtype) for shape, dtype in inner]

        return Opaque(self.name, mapped(self.flat), types, self.several, *self.traits)


class JaxFunction:
    """A JAX function that takes tensors; made by :func:`jax_function`."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name = function, name
        self._calls: dict[Any, _Rows] = {}
        functools.update_wrapper(self, function, updated=())

    def __repr__(self) -> str:
        return f"jax:{self.name}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result, in the containers of the function, its arrays as tensors."""
        leaves, structure = arrays.tree_flatten((args, kwargs))
        leaves = [as_operand(v) for v in leaves]
        places = tuple(k for k, v in enumerate(leaves) if isinstance(v, Tensor))
        tensors = [leaves[k] for k in places]
        if not tensors:
            raise TypeError(
                f"{self!r} was called without a tensor; call the JAX function itself, or give it "
                "sg.tensor(…)"
            )
        x64 = wide()
        for t in tensors:
            _check_dtype(self, t, x64)
        fixed = [None if k in places else v for k, v in enumerate(leaves)]
        return self._recorded(structure, fixed, places, x64, tensors)

    def _recorded(
        self, structure: Any, fixed: list[Any], places: tuple[int, ...], x64: bool,
        tensors: list[Tensor],
    ) -> Any:  # fmt: skip
        key = structure, tuple((type(v), v) for v in fixed), places, x64
        try:
            known = self._calls.get(key)
        except TypeError as problem:
            raise TypeError(
                f"{self!r}: an argument that is no tensor must be hashable ({problem}); bind it "
                "with functools.partial or a lambda"
            ) from problem
        if known is None:
            foreign = ForeignFunction(self.function, structure, fixed, places, x64)
            known = self._calls[key] = _Rows(self.name, foreign)
            if len(self._calls) > WAYS:
                del self._calls[next(iter(self._calls))]
        return known(tensors)


class _Rows:
    """One way of calling a JaxFunction: the operation, and a public function per result."""

    def __init__(self, name: str, foreign: ForeignFunction) -> None:
        self.name, self.foreign = name, foreign
        self._types = functools.lru_cache(maxsize=512)(self._asked)
        self._opaque: dict[bool, Opaque] = {}
        self._rows: dict[int, Function] = {}

    def __call__(self, tensors: list[Tensor]) -> Any:
        kinds, structure = self._types(tuple((tuple(t.shape), t.dtype) for t in tensors))
        made = [call(self._row(k, len(kinds)), tensors, {}) for k in range(len(kinds))]
        return arrays.tree_unflatten(structure, made)

    def _row(self, number: int, count: int) -> Function:
        several = count > 1
        if several not in self._opaque:
            types: Types = lambda kinds: self._types(tuple(kinds))[0]  # noqa: E731
            self._opaque[several] = Opaque(f"jax:{self.name}", self.foreign, types, several)
        opaque = self._opaque[several]
        key = number if several else -1
        if key not in self._rows:

            def build(*args: Expr) -> Expr:
                node = opaque(*args)
                return project(node, number) if several else node

            self._rows[key] = Function(opaque.name, build, f"{self.name}Backward", ())
        return self._rows[key]

    def _asked(self, kinds: Sequence[Kind]) -> tuple[list[Kind], Any]:
        """Types of the results and their structure, as JAX says."""
        words: dict[str, str] = {}
        for shape, _ in kinds:
            for name in letters_of(shape):
                words.setdefault(name, f"s{len(words)}")
        operands = [
            (tuple(_to_jax(size, words) for size in shape), str(dtype.numpy))
            for shape, dtype in kinds
        ]
        try:
            found, structure = self.foreign.types(operands)
        except arrays.InconclusiveDimensionOperation as problem:
            raise ShapeError(
                f"the function asks for more about the sizes {', '.join(words)} than their names.",
                "Call it on tensors whose sizes are numbers.",
                f"jax:{self.name}",
            ) from problem
        letters = {word: name for name, word in words.items()}
        made: list[Kind] = []
        for shape, name in found:
            dtype = dtype_of_numpy(np.dtype(name))
            if dtype is None or dtype.is_complex:
                raise DTypeError(
                    f"a result is an array of {name}.",
                    "Give back real numbers or integers; real and imaginary parts are two arrays.",
                    f"jax:{self.name}",
                )
            made.append((tuple(self._from_jax(size, letters) for size in shape), dtype))
        return made, structure

    def _from_jax(self, size: int | str, letters: dict[str, str]) -> Size:
        """``2*s0*s1^2`` as a product of letters."""
        if isinstance(size, int):
            return size
        total = Monomial(1)
        for factor in size.split("*"):
            match = re.fullmatch(r"(?:(\d+)|(\w+?)(?:\^(\d+))?)", factor)
            if match is None:
                named = re.sub(r"\bs\d+\b", lambda m: letters.get(m[0], m[0]), size)
                raise ShapeError(
                    f"a result has {named} entries along an axis; sizes are products here.",
                    "Call it on tensors whose sizes are numbers.",
                    f"jax:{self.name}",
                )
            base = Monomial(Fraction(match[1])) if match[1] else letter(letters[match[2]])
            total = total * base ** int(match[3] or 1)
        return normal_size(total)


def _to_jax(size: Size, words: dict[str, str]) -> int | str:
    if isinstance(size, int):
        return size
    factors = [f"{words[name]}^{power}" for name, power in size.powers]
    return "*".join([str(size.number), *factors])


def _check_dtype(function: JaxFunction, t: Tensor, x64: bool) -> None:
    if t.dtype.is_complex:
        raise DTypeError(
            f"a {t.dtype.name} tensor: JAX and PyTorch differ in what its gradient is.",
            "Give real and imaginary parts as two tensors.",
            f"{function!r}",
        )
    if t.dtype is dtypes.float64 and not x64:
        raise DTypeError(
            f"a {t.dtype.name} tensor reaches JAX, which computes in 32 bits now.",
            'Give it t.float(), or switch on 64 bits first: jax.config.update("jax_enable_x64", '
            "True).",
            f"{function!r}",
        )


def jax_function(function: Callable[..., Any], name: str = "") -> JaxFunction:
    """A function written in JAX as an operation on tensors.

    **Arguments:** ``function``: takes and returns arrays, or containers of them; it must be pure, as
    under ``jax.jit``.  ``name``: as formulas show it (by default the function's own).

    It works wherever operations do: recorded, traced, compiled, mapped; derivatives of every order
    are those of ``jax.vjp``.  Arguments that are no arrays are fixed; a new value is a new program.

    >>> import jax.numpy as jnp, symgrad as sg
    >>> soft = jax_function(lambda u: jnp.log(jnp.cosh(u)), "soft")
    >>> u = sg.symbol("u", "n")
    >>> sg.grad(soft(u).sum(), u).formula()
    vjp[jax:soft](u)ᵀ 1   (not symbolic: derivative by jax.vjp)
    """
    if not callable(function):
        raise TypeError(
            f"jax_function takes a function written in JAX, not a {type(function).__name__}"
        )
    word = one_line(name or getattr(function, "__name__", type(function).__name__)).strip()[:60]
    try:
        return _known(function, word)
    except TypeError:  # it cannot be hashed
        return JaxFunction(function, word)


@functools.lru_cache(maxsize=512)
def _known(function: Callable[..., Any], name: str) -> JaxFunction:
    return JaxFunction(function, name)


__all__ = ["JaxFunction", "Opaque", "jax_function"]
