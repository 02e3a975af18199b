"""A traced loss and an optimizer as one donated executable: value, gradients, update.

The update rule is a row of ``optim``: its lines join the derivation's, so the step's source holds
the whole of it.  Any optax transformation goes in as it is, as an opaque call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from symgrad_codegen import arrays
from symgrad_codegen.compile import Executable, compiled
from symgrad_codegen.program import Apply, Foreign, Instruction, Program, Variable, text

from symgrad.core import dtypes
from symgrad.core.build import SUM, constant
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, name_of, symbol
from symgrad.core.traverse import substitute, topological
from symgrad.derivation.formula import form_of
from symgrad.derivation.notation import Printer, slots_of
from symgrad.derivation.order import Written, ordered_terms
from symgrad.derivation.tidy import Lines
from symgrad.errors import DeviceError
from symgrad.lower import Line
from symgrad.structured.programs import gradient_symbols, program_of
from symgrad.tracing.signature import call, plain

COUNT = "step"


class TrainingStep:
    """``params, state = step.init(params)``; ``params, state, value = step(params, state, *data)``.

    ``params`` is the pytree that the function was traced with; the step donates it and the state:
    go on with what it returns.  ``step.lr`` may change between calls without a new program.
    """

    executable: Executable

    def __init__(self, traced: Any, device: Any) -> None:
        self.traced = traced
        self.device = device
        self._parameter_arguments = traced.containers or [traced.argument_names[0]]
        self._data_arguments = [
            a for a in traced.argument_names if a not in self._parameter_arguments
        ]

    @property
    def program(self) -> Program:
        """The program of the step."""
        return self.executable.program

    @property
    def source(self) -> str:
        """The JAX source that runs."""
        return self.executable.source

    def source_for(self, target: str) -> str:
        """The step for ``"jax"`` or ``"numpy"``."""
        return self.executable.source_for(target)

    def parameter_leaves(self, params: Any) -> list[Any]:
        """The leaves of the parameters in the order of the traced symbols."""
        trees = [params] if len(self._parameter_arguments) == 1 else params
        return arrays.tree_flatten([plain(tree) for tree in trees])[0]

    def parameter_tree(self, leaves: Sequence[Any]) -> Any:
        """The inverse of :meth:`parameter_leaves`."""
        trees = []
        start = 0
        for a in self._parameter_arguments:
            count = len(self.traced.symbols_of(a))
            trees.append(self.traced.signature.tree(a, leaves[start : start + count]))
            start += count
        return trees[0] if len(trees) == 1 else tuple(trees)

    def parameter_symbols(self) -> list[Expr]:
        """Symbols of the parameters in pytree order."""
        return [s for a in self._parameter_arguments for s in self.traced.symbols_of(a)]

    def data_symbols(self) -> list[Expr]:
        """Symbols of the data arguments."""
        return [s for a in self._data_arguments for s in self.traced.symbols_of(a)]

    def checked(self, params: Any, data: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """The leaves of parameters and data.

        ShapeError or TypeError if the arguments are not those that were traced.
        """
        single = len(self._parameter_arguments) == 1
        names = [*self._parameter_arguments, *self._data_arguments]
        given = [*([params] if single else params), *data]
        if len(given) > len(names):
            raise TypeError(f"the step of {self.traced.name} takes {', '.join(names)}")
        named = dict(zip(names, given, strict=False))
        self.traced.signature.flatten((), named)
        leaves = arrays.tree_flatten([plain(named[a]) for a in self._data_arguments])[0]
        return self.parameter_leaves(params), leaves

    def placed(self, params: Any) -> list[Any]:
        """Copies of the parameters on the device, in the declared dtypes."""
        single = len(self._parameter_arguments) == 1
        trees = [params] if single else list(params)
        self.traced.signature.flatten_some(dict(zip(self._parameter_arguments, trees, strict=True)))
        return [
            arrays.to_device(v, self.device, s.dtype.name)
            for v, s in zip(self.parameter_leaves(params), self.parameter_symbols(), strict=True)
        ]


_ABSENT = (0,), 0.0
"""Shape and value of a slot that a parameter does not have: JAX's trees need an array there."""


class RowStep(TrainingStep):
    """A step whose optimizer is a row of ``optim``."""

    def __init__(self, traced: Any, row: Any, hyper: Mapping[str, Any], device: Any) -> None:
        super().__init__(traced, device)
        self.row = row
        self.hyper = dict(hyper)
        self.lr = float(hyper["lr"])
        self._rate: tuple[float, Any] | None = None
        self.executable = self._compile()
        self._call = self.executable.over(self._step, donate=(0, 1))

    def _compile(self) -> Executable:
        lines, derivation = self.traced.lines()
        gradients = gradient_symbols(lines)
        parameters = self.parameter_symbols()
        scalar = parameters[0].dtype
        count = symbol("t", (), dtypes.int32, number=-2)
        rate = symbol("η", (), scalar, number=-2)
        extra: list[Line] = []
        hyper = {**self.hyper, "lr": rate}
        following = self._line("new_t", count + constant(1, dtypes.int32), lines, extra)
        numbers: dict[DType, _Numbers] = {}
        states: list[Expr] = []
        results: list[tuple[str, Expr]] = []
        new_states: list[tuple[str, Expr]] = []
        for p in parameters:
            initial = self.row.init(p.shape, self.hyper)
            slots = {
                name: symbol(
                    f"{name}_{name_of(p)}", shape, self.row.first(name, v, p)[1], number=-2
                )
                for name, (shape, v) in initial.items()
            }
            states += slots.values()
            gradient = gradients.get(name_of(p))
            if gradient is None:
                results.append((f"{name_of(p)}⁺", p))
                new_states += [(name_of(s), s) for s in slots.values()]
                continue
            if p.dtype not in numbers:
                found = self.row.numbers(p.dtype, hyper, following)
                numbers[p.dtype] = _Numbers(found, lambda k, e: self._line(k, e, lines, extra))
            new, state = self.row.apply(p, gradient, slots, numbers[p.dtype], hyper)
            for name in slots:
                e = self._line(f"new_{name}_{name_of(p)}", state[name], lines, extra)
                new_states.append((name, e))
            e = self._line(f"new_{name_of(p)}", _over(new, extra), lines, extra)
            results.append((name_of(p), e))
        value = lines.output
        inputs = [*parameters, *states, count, rate, *self.data_symbols()]
        outputs = [*results, *new_states, ("new_t", following), (name_of(value), value)]
        program = program_of(
            f"{self.traced.name}_step",
            lines,
            inputs,
            outputs,
            extra,
            derivation,
            f"One step of {self.row.name} on {self.traced.name}.",
            self._facts(),
        )
        donate = tuple(range(len(parameters) + len(states) + 1))
        return compiled(program, donate)

    def _facts(self) -> list[str]:
        """The textbook's lines of the rule, and the numbers that it was given."""
        given = ", ".join([f"{k} = {v}" for k, v in self.hyper.items() if k != "lr"])
        return [*self.row.text.split("; "), *([f"Here {given}."] if given else [])]

    def _line(self, word: str, e: Expr, lines: Lines, extra: list[Line]) -> Expr:
        """The symbol of a new line ``word = e``."""
        leaf = symbol(word, e.shape, e.dtype, number=-3)
        self._in_order(e, lines)
        form, at = form_of(e, lines.written, lines.named)
        letters = {s: "ijkl"[k % 4] for k, s in enumerate(slots_of([*at, form]))}
        printer = Printer(letters)
        places = ",".join(["0" if x.data.size == 1 else printer.text(x) for x in at])
        left = f"{word}[{places}]" if at else word
        extra.append(Line(leaf, e, f"{left} = {printer.text(form)}"))
        return leaf

    def _in_order(self, e: Expr, lines: Lines) -> None:
        """Terms of a rule in one order for every parameter: among equals the oldest comes first."""
        there = [*self.parameter_symbols(), *(d.symbol for d in lines.definitions)]
        age = {s: k for k, s in enumerate(there, 1)}  # the state comes before all
        oldest: dict[Expr, int] = {}
        for node in topological([e]):
            oldest[node] = min([oldest[a] for a in node.args], default=age.get(node, 0))
            if node.op is SUM:
                rows = ordered_terms(node, Written(), lambda a: oldest[a])
                lines.written.note(node, [a for _, a, _ in rows])

    def init(self, params: Any) -> tuple[Any, dict[str, Any]]:
        """Copies of the parameters on the device, and the first state.

        A slot that a parameter does not have is an empty array.
        """
        leaves = self.placed(params)
        state: dict[str, Any] = {}
        initial = [self.row.init(leaf.shape, self.hyper) for leaf in leaves]
        for name in dict.fromkeys(chain.from_iterable(initial)):
            for p, slots in zip(self.parameter_symbols(), initial, strict=True):
                shape, first = slots.get(name, _ABSENT)
                filled = np.full(shape, first, dtype=p.dtype.numpy)
                state.setdefault(name, []).append(arrays.to_device(filled, self.device))
        slots = {name: self.parameter_tree(found) for name, found in state.items()}
        slots[COUNT] = arrays.to_device(np.zeros((), np.int32), self.device)
        return self.parameter_tree(leaves), slots

    def __call__(self, params: Any, state: dict[str, Any], *data: Any) -> tuple[Any, Any, Any]:
        """Call it."""
        return call(self._call, params, state, self._rate_array(), *data)

    def _step(self, params: Any, state: dict[str, Any], rate: Any, *data: Any) -> Any:
        """The program on pytrees; it runs where JAX traces it, once per set of shapes."""
        leaves, given = self.checked(params, data)
        names = [k for k in state if k != COUNT]
        by_slot = {name: self.parameter_leaves(state[name]) for name in names}
        hyper = self.hyper
        slots = [(k, s) for k, p in enumerate(leaves) for s in self.row.names(p.shape, hyper)]
        flat = [by_slot[name][k] for k, name in slots]
        out = self.executable.function(*leaves, *flat, state[COUNT], rate, *given)
        count = len(leaves)
        for (k, name), new in zip(slots, out[count:-2], strict=True):
            by_slot[name][k] = new
        new_state = {name: self.parameter_tree(found) for name, found in by_slot.items()}
        new_state[COUNT] = out[-2]
        return self.parameter_tree(out[:count]), new_state, out[-1]

    def _rate_array(self) -> Any:
        if self._rate is None or self._rate[0] != self.lr:
            dtype = self.parameter_symbols()[0].dtype.numpy
            self._rate = self.lr, arrays.to_device(np.asarray(self.lr, dtype), self.device)
        return self._rate[1]


class _Numbers(Mapping[str, Any]):
    """The scalars of a step by name: one that is computed is a line, from where it is asked for."""

    def __init__(self, found: dict[str, Any], line: Callable[[str, Expr], Expr]) -> None:
        self.found = found
        self.line = line
        self.rest = {k for k, v in found.items() if isinstance(v, Expr) and v.args}

    def __getitem__(self, name: str) -> Any:
        if name in self.rest:
            self.rest.remove(name)
            self.found[name] = self.line(name, self.found[name])
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def _over(e: Expr, made: Sequence[Line]) -> Expr:
    """``e`` over the symbols of the lines made before it."""
    return substitute([e], {line.expr: line.symbol for line in made})[0]


class OptaxStep(TrainingStep):
    """A step whose optimizer is an optax transformation, called as it is."""

    def __init__(self, traced: Any, transformation: Any, device: Any) -> None:
        super().__init__(traced, device)
        self.transformation = transformation
        self._structure: Any = None

    def init(self, params: Any) -> tuple[Any, Any]:
        """Copies of the parameters on the device, and optax's state."""
        leaves = self.placed(params)
        tree = self.parameter_tree(leaves)
        state = self.transformation.init(tree)
        self._build(arrays.tree_flatten(state))
        return tree, state

    def _build(self, flattened: tuple[list[Any], Any]) -> None:
        state_leaves, self._structure = flattened
        lines, derivation = self.traced.lines()
        gradients = gradient_symbols(lines)
        parameters = self.parameter_symbols()
        value = lines.output
        program = program_of(
            f"{self.traced.name}_step",
            lines,
            [*parameters, *self.data_symbols()],
            [
                *[(f"d{name_of(p)}", gradients[name_of(p)]) for p in parameters],
                (name_of(value), value),
            ],
            derivation=derivation,
            summary=f"One step of optax on {self.traced.name}; the update is optax's own function.",
        )
        number = 1 + max(v.number for i in program.instructions for v in i.targets)
        states: list[Variable] = []
        for leaf in state_leaves:
            states.append(Variable(number, "state", tuple(leaf.shape), str(leaf.dtype)))
            number += 1
        new: list[Variable] = []
        for v in [*program.inputs[: len(parameters)], *states]:
            new.append(Variable(number, f"new_{v.hint}", v.shape, v.dtype))
            number += 1
        first = program.inputs[: len(parameters)]
        update = Foreign("optimizer_update", self._update)
        call = Apply(
            text("{0}({*})"), (update, *program.outputs[: len(parameters)], *states, *first)
        )
        program = replace(
            program,
            inputs=(*first, *states, *program.inputs[len(parameters) :]),
            instructions=(
                *program.instructions,
                Instruction(tuple(new), call, "optax's update, applied"),
            ),
            outputs=(*new, program.outputs[-1]),
        )
        donate = tuple(range(len(parameters) + len(states)))
        self.executable = compiled(program, donate)
        self._call = self.executable.over(self._step, donate=(0, 1))

    def _update(self, *flat: Any) -> tuple[Any, ...]:
        count = len(self.parameter_symbols())
        gradients = self.parameter_tree(flat[:count])
        params = self.parameter_tree(flat[-count:])
        state = arrays.tree_unflatten(self._structure, flat[count:-count])
        updates, state = self.transformation.update(gradients, state, params)
        new = arrays.tree_map(lambda p, u: (p + u).astype(p.dtype), params, updates)
        return (*self.parameter_leaves(new), *arrays.tree_flatten(state)[0])

    def __call__(self, params: Any, state: Any, *data: Any) -> tuple[Any, Any, Any]:
        """Call it."""
        return call(self._call, params, state, *data)

    def _step(self, params: Any, state: Any, *data: Any) -> Any:
        """The program on pytrees; it runs where JAX traces it, once per set of shapes."""
        leaves, given = self.checked(params, data)
        out = self.executable.function(*leaves, *arrays.tree_flatten(state)[0], *given)
        count = len(leaves)
        return (
            self.parameter_tree(out[:count]),
            arrays.tree_unflatten(self._structure, out[count:-1]),
            out[-1],
        )


def training_step(
    traced: Any, optimizer: Any, device: Any, hyper: Mapping[str, Any]
) -> TrainingStep:
    """The step for an optimizer class (with hyper-parameters) or an optax transformation."""
    placed = device
    if isinstance(device, str):
        kind = {"cuda": "gpu"}.get(device.partition(":")[0], device.partition(":")[0])
        found = arrays.devices(kind)
        index = int(device.partition(":")[2] or 0)
        if index >= len(found):
            raise DeviceError(
                f"training_step(device={device!r}): this machine has no such device; "
                "leave device out, or install JAX for it"
            )
        placed = found[index]
    row = getattr(optimizer, "row", None)
    if row is not None:
        return RowStep(traced, row, optimizer.hyper_of(**hyper), placed)
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        if hyper:
            raise TypeError("an optax transformation carries its own hyper-parameters; give none")
        return OptaxStep(traced, optimizer, placed)
    raise TypeError(
        f"training_step({optimizer!r}): expected an optimizer class such as optim.Adam, or an "
        "optax transformation"
    )
