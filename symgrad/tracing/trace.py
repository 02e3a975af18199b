"""A Python function as an expression: run once on symbols named after its arguments.

``f = trace(loss, params={…}, x="n,d", y=spec("n", int64))`` composes with both worlds: it prints
its derivation, compiles value and gradients, makes training steps, and ``f.jax`` is a pure JAX
function that carries this library's derivative.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from symgrad_codegen import arrays
from symgrad_codegen.compile import Executable, compiled
from symgrad_codegen.lazy import lazy
from symgrad_codegen.program import Program

from symgrad.core import dtypes
from symgrad.core.build import listening
from symgrad.core.dtypes import DType
from symgrad.core.equal import united
from symgrad.core.expr import Expr, name_of
from symgrad.core.facts import problem_of
from symgrad.core.sizes import Shape, letter, letters_of, parse_size, shape_text
from symgrad.derivation.chain import derivation_of
from symgrad.derivation.derive import Derivation
from symgrad.derivation.formula import Formula, formula
from symgrad.derivation.lines import derive_lines
from symgrad.derivation.order import Written
from symgrad.derivation.tidy import Lines
from symgrad.errors import RangeError, ShapeError, TraceError
from symgrad.recording.record import modes
from symgrad.simplify import GROUPS, rewrite
from symgrad.structured.programs import gradient_symbols, program_of
from symgrad.tensors.leaf_symbols import expanded
from symgrad.tensors.tensor import Tensor
from symgrad.tracing.signature import Signature, call, check_facts
from symgrad.tracing.training import TrainingStep, training_step

_operators = lazy("symgrad.transforms.operators")
counting = lazy("symgrad.transforms.cost")


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape, dtype and facts of an argument that has no value yet."""

    shape: Shape
    dtype: DType = dtypes.float32
    facts: tuple[str, ...] = ()


def parse_sizes(text: str) -> Shape:
    """``"n,d"`` → (n, d); letters, whole numbers, or sums ``n-k+1``; an empty text is a scalar.

    >>> parse_sizes("n, 3")
    (n, 3)
    """
    sizes = []
    for word in filter(None, (w.strip() for w in text.split(","))):
        try:
            sizes.append(parse_size(word))
        except ValueError:
            raise ShapeError(
                f"sizes {text!r}: {word!r} is neither a whole number nor a letter; "
                'write them like "n,d" or "64,d"'
            ) from None
    return tuple(sizes)


def spec(sizes: str | int | Sequence[Any] = "", dtype: DType = dtypes.float32, *facts: str) -> Spec:
    """The shape and dtype of an argument of a traced function.

    ``sizes`` is text like ``"n,d"`` (letters or numbers), or a sequence of numbers.  ``facts`` are
    properties of all values that it will have: ``"real"``, ``"positive"``, ``"nonzero"``, ``"sign"``
    (−1 or 1), ``"binary"`` (0 or 1), ``"onehot"`` and ``"prob"`` (rows), ``"symmetric"``, ``"spd"``,
    ``"diagonal"``, ``"orthogonal"``, ``"invertible"``.  Formulas use them; a program checks them
    where it was compiled with ``validate=True``.

    >>> spec("n", dtypes.int64)
    Spec(shape=(n,), dtype=torch.int64, facts=())
    """
    if isinstance(sizes, str):
        shape = parse_sizes(sizes)
    elif isinstance(sizes, int):
        shape = (sizes,)
    else:
        shape = tuple(letter(s) if isinstance(s, str) else s for s in sizes)
    whole = united(shape)
    problem = problem_of(whole, facts)
    if problem:
        raise RangeError(f"a tensor of shape {shape_text(whole)}: {problem}")
    return Spec(whole, dtype, facts)


class TracedFunction:
    """A Python function as one expression of symbols; made by :func:`trace`."""

    def __init__(self, function: Callable[..., Any], specs: Mapping[str, Any]) -> None:
        self.name = getattr(function, "__name__", "function")
        self.argument_names = _argument_names(function, specs)
        self.containers = [a for a in self.argument_names if _holds_parameters(specs[a])]
        ordered = {a: specs[a] for a in self.argument_names}
        self.signature = Signature(self.name, ordered, _parts, self.containers)
        self.paths = self.signature.paths
        self.symbols = self.signature.symbols
        self.written = Written()
        arguments = {
            a: self.signature.tree(a, [Tensor.of(s) for s in self.symbols_of(a)])
            for a in self.argument_names
        }
        before, modes.tracing = modes.tracing, True
        try:
            result = function(**arguments)
        finally:
            modes.tracing = before
        if not isinstance(result, Tensor):
            raise TraceError(
                f"{self.name} returned {type(result).__name__}; a traced function returns one "
                "tensor"
            )
        with listening(self.written.note):
            raw, chosen, *_ = expanded(result.node())
        moved: dict[Expr, Expr] = {}

        def carry(before: Expr, after: Expr, table: dict[Expr, Expr]) -> None:
            self.written.carry(before, after, table)
            moved[before] = after

        (self.expr,), self.rewrites = rewrite([raw], GROUPS, carry)
        self.chosen = {moved.get(e, e): word for e, word in chosen.items()}
        self._lines: dict[tuple[Expr, ...], tuple[Lines, Derivation]] = {}
        self._compiled: dict[Any, Any] = {}

    # -------------------------------------------------------------- looking at it

    @property
    def inputs(self) -> list[Expr]:
        """Symbols in the order of formulas: data first where containers hold the parameters."""
        if not self.containers:
            return list(self.symbols)
        data = [
            s for a in self.argument_names if a not in self.containers for s in self.symbols_of(a)
        ]
        return data + self.parameters

    @property
    def parameters(self) -> list[Expr]:
        """What gradients are taken of: the leaves of containers, else every floating input."""
        if not self.containers:
            return [s for s in self.symbols if s.dtype.differentiable]
        found = [s for a in self.containers for s in self.symbols_of(a)]
        found = [s for s in found if s.dtype.differentiable]
        return sorted(found, key=_layer_order)

    def lines(self, wanted: Sequence[Expr] | None = None) -> tuple[Lines, Derivation]:
        """The named lines of value and gradients, and their printed block."""
        key = tuple(self.parameters if wanted is None else wanted)
        if key not in self._lines:
            made = derive_lines(
                [("L" if not self.expr.shape else "Y", self.expr)],
                key,
                self.inputs,
                self.written,
                self.chosen,
            )
            self._lines[key] = made, Derivation(made, self.inputs)
        return self._lines[key]

    def derive(self, *names: str) -> Derivation:
        """The derivation for every parameter, or for the named ones."""
        wanted = [self._find(n) for n in names] or self.parameters
        label = "L" if not self.expr.shape else "Y"
        return derivation_of(label, self.expr, wanted, self.inputs, self.written, self.chosen)

    def formula(self) -> Formula:
        """The formula of the value."""
        return formula(self.expr, self.written)

    def grad(self, name: str) -> TracedValue:
        """The gradient for one input, by path (``"params.W1"``) or printed name."""
        target = self._find(name)
        found = (
            self.lines()[1].grad(name_of(target))
            if target in self.parameters
            else (self.lines([target])[1].grad(name_of(target)))
        )
        return TracedValue(found)

    def hessian(self, *names: str) -> Any:
        """The second derivatives for one input as an object, or the blocks of several.

        Without names: of all parameters.
        """
        wanted = [self._find(n) for n in names] or self.parameters
        return _operators.hessian_of(self._scope(wanted), len(wanted) > 1)

    def jacobian(self, name: str) -> Any:
        """The derivative of the result for one input, as an object."""
        return _operators.jacobian_of(self._scope([self._find(name)]))

    def _scope(self, wanted: Sequence[Expr]) -> Any:
        nodes = {s: Tensor.of(s).node() for s in self.symbols}
        return _operators.Scope(self.expr, wanted, nodes, self.written, self.chosen)

    def _find(self, name: str) -> Expr:
        for path, leaf in zip(self.paths, self.symbols, strict=True):
            if name in (path, name_of(leaf), path.partition(".")[2]):
                return leaf
        raise KeyError(f"{self.name} has no input {name!r}; it has {', '.join(self.paths)}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The value for arrays or tensors, by the compiled program."""
        return self.compile()(*args, **kwargs)

    # -------------------------------------------------------------- running it

    def program(self, gradients: bool = False, wanted: Sequence[Expr] | None = None) -> Program:
        """The program of the value, or of value and gradients (of the parameters by default)."""
        if gradients:
            wanted = self.parameters if wanted is None else wanted
            lines, derivation = self.lines(wanted)
            outputs = [(name_of(s), s) for s in _value_and_gradients(lines, wanted)]
            return program_of(
                self.name,
                lines,
                self.symbols,
                outputs,
                derivation=derivation,
                summary=f"Value of {self.name} and its gradients.",
            )
        lines = derive_lines(
            [("L" if not self.expr.shape else "Y", self.expr)],
            [],
            self.inputs,
            self.written,
            gradients_of=None,
        )
        outputs = [(name_of(lines.output), lines.output)]
        return program_of(self.name, lines, self.symbols, outputs, summary=f"Value of {self.name}.")

    def compile(self, gradients: bool = False, validate: bool = False) -> CompiledFunction:
        """One XLA executable of the value, or of (value, gradients of the parameters).

        ``validate``: each call checks that its arguments have the properties declared of them.
        """
        key = ("compile", gradients, validate)
        if key not in self._compiled:
            self._compiled[key] = CompiledFunction(
                self, compiled(self.program(gradients)), gradients, validate
            )
        return self._compiled[key]

    @property
    def jax(self) -> Callable[..., Any]:
        """A pure JAX function over pytrees carrying this library's derivative.

        It lives under ``jax.jit``, ``jax.vmap``, ``jax.grad``, ``jax.jvp``, ``jax.checkpoint`` and
        shardings.  Second derivatives are JAX's, of our gradient's source.
        """
        if "jax" not in self._compiled:
            self._compiled["jax"] = self._as_jax()
        return self._compiled["jax"]

    def _as_jax(self) -> Callable[..., Any]:
        value = self.compile().executable.function
        if self.expr.shape:
            raise TraceError(
                f"{self.name}.jax: only a scalar function carries our derivative; "
                f"this one returns {shape_text(self.expr.shape)}"
            )
        # JAX may differentiate for the data too; what it does not ask for, its compiler drops
        wanted = self.parameters
        wanted += [s for s in self.symbols if s.dtype.differentiable and s not in wanted]
        both = compiled(self.program(gradients=True, wanted=wanted)).function
        place = {s: k for k, s in enumerate(wanted)}

        def value_and_gradients(*leaves: Any) -> tuple[Any, tuple[Any, ...]]:
            result, *found = both(*leaves)
            return result, tuple(found[place[s]] if s in place else None for s in self.symbols)

        core = arrays.with_tangent(value, value_and_gradients)

        def function(*args: Any, **kwargs: Any) -> Any:
            return core(*self.signature.flatten(args, kwargs))

        function.__name__ = self.name
        function.__doc__ = f"{self.name} with the derivative of its derivation."
        return function

    def training_step(self, optimizer: Any, device: Any = None, **hyper: Any) -> TrainingStep:
        """One donated executable: (params, state, *data) → (params, state, value).

        ``optimizer`` is an optimizer class of ``optim`` with its hyper-parameters as keywords, or
        any optax transformation.
        """
        return training_step(self, optimizer, device, hyper)

    def symbols_of(self, argument: str) -> list[Expr]:
        """The symbols of one argument in pytree order."""
        return self.signature.symbols_of(argument)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{p}: {shape_text(s.shape)}" for p, s in zip(self.paths, self.symbols, strict=True)
        )
        return f"trace({self.name}: {shown})"


class TracedValue:
    """A derived value: ``.formula()``, ``.expr``, ``.python()``."""

    def __init__(self, found: Formula) -> None:
        self._formula = found
        self.expr = found.expr

    def formula(self) -> Formula:
        """Its formula."""
        return self._formula

    def __repr__(self) -> str:
        return str(self._formula)


class CompiledFunction:
    """A traced function as an executable: call it like the function, on arrays."""

    def __init__(
        self, traced: TracedFunction, executable: Executable, gradients: bool, validate: bool
    ) -> None:
        self.traced = traced
        self.validate = validate
        self.executable = executable
        self.gradients = gradients
        signature = traced.signature
        trees = traced.containers or traced.argument_names
        places = {s: k for k, s in enumerate(traced.parameters)}
        rows = [(a, [places.get(s) for s in signature.symbols_of(a)]) for a in trees]

        def of_pytrees(*args: Any, **kwargs: Any) -> Any:
            found = executable.function(*signature.flatten(args, kwargs))
            if not gradients:
                return found
            value, *rest = found
            made = [
                signature.tree(a, [None if k is None else rest[k] for k in row]) for a, row in rows
            ]
            return value, made[0] if len(made) == 1 else tuple(made)

        of_pytrees.__name__ = traced.name
        key = signature.key, tuple((a, tuple(row)) for a, row in rows), gradients
        self._call = executable.over(of_pytrees, key)

    @property
    def cost(self) -> Any:
        """Operations, bytes and memory in size letters, of the value or of value and gradients."""
        traced = self.traced
        return counting.with_gradients(traced.expr, traced.parameters if self.gradients else [])

    @property
    def source(self) -> str:
        """The JAX source that runs."""
        return self.executable.source

    def source_for(self, target: str) -> str:
        """The same program for ``"jax"`` or ``"numpy"``."""
        return self.executable.source_for(target)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """JAX's lowered form (``jax.stages.Lowered``) for arguments like those of a call.

        Arrays or ``jax.ShapeDtypeStruct``, as for the ``lower`` of ``jax.jit``; ``.as_text()``
        shows it, ``.compile()`` gives XLA's program (to be called under ``jax.enable_x64(True)``
        where the function has 64-bit arguments).
        """
        return self._call.lower(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it: the value, or (value, gradients in the containers of the parameters).

        ShapeError or TypeError if the arguments are not those that were traced; RangeError if one
        has not the declared properties and the function was compiled with ``validate``.
        """
        if self.validate:
            signature = self.traced.signature
            given = signature.flatten(args, kwargs)
            rows = zip(signature.paths, signature.symbols, given, strict=True)
            check_facts(self.traced.name, rows)
        return call(self._call, *args, **kwargs)


def trace(function: Callable[..., Any], **specs: Any) -> TracedFunction:
    """Run ``function`` once on symbols; see :class:`TracedFunction`.

    Every argument gets its sizes: text like ``"n,d"``, a :func:`spec`, or a container (dict, list,
    tuple) of them, which marks parameters.  Raises TraceError where the function needs a value.
    """
    return TracedFunction(function, specs)


def _argument_names(function: Callable[..., Any], specs: Mapping[str, Any]) -> list[str]:
    parameters = inspect.signature(function).parameters
    names = [n for n in parameters if n in specs]
    unknown = [n for n in specs if n not in parameters]
    missing = [
        n
        for n, p in parameters.items()
        if n not in specs
        and p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if unknown or missing:
        raise TypeError(
            f"trace({getattr(function, '__name__', function)}): "
            + "; ".join(
                ([f"no argument is called {', '.join(unknown)}"] if unknown else [])
                + ([f"sizes are missing for {', '.join(missing)}"] if missing else [])
            )
            + f". Its arguments are {', '.join(parameters)}."
        )
    return names


def _is_spec(value: Any) -> bool:
    return isinstance(value, (str, Spec, int)) or (
        isinstance(value, tuple) and all(isinstance(v, int) for v in value) and False
    )


def _holds_parameters(value: Any) -> bool:
    """Is it a container, and not one of buffers?"""
    return not _is_spec(value) and not all(
        isinstance(s, Spec) and "buffer" in s.facts for s in arrays.tree_flatten(value)[0]
    )


def _layer_order(leaf: Expr) -> tuple[int, int]:
    """W₁ b₁ W₂ b₂ instead of the pytree's W₁ W₂ b₁ b₂."""
    word = name_of(leaf)
    digits = "".join(str("₀₁₂₃₄₅₆₇₈₉".index(c)) for c in word if c in "₀₁₂₃₄₅₆₇₈₉")
    return (int(digits) if digits else 0, leaf.params[3])


def _value_and_gradients(lines: Lines, parameters: Sequence[Expr]) -> list[Expr]:
    gradients = gradient_symbols(lines)
    return [lines.output, *(gradients[name_of(p)] for p in parameters)]


def _parts(value: Any) -> tuple[Shape, DType, tuple[str, ...]]:
    made = value if isinstance(value, Spec) else spec(value)
    return made.shape, made.dtype, made.facts


__all__ = ["CompiledFunction", "Spec", "TracedFunction", "letters_of", "spec", "trace"]
