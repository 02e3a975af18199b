"""Mistakes to plant in derivatives and rewrite rules, the places for them, and the corpus' verdict.

A derivative or a rule is a function from expressions to expressions.  A mistake changes what it
gives: the sign, a factor, two axes of the whole (a transpose too many or too few), or two labels of
one factor in a product inside it (the transpose of an operand).  Axes of different sizes change
places too: that the sizes then do not fit is how such a mistake is seen.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
from symgrad_codegen.template import ProgramError

import symgrad as sg
from benchmarks._corpus import derived
from symgrad import autodiff, scanning
from symgrad.core.build import CONTRACTION, contract, is_zero, scale
from symgrad.core.expr import Expr, Labels
from symgrad.core.op import OPS
from symgrad.core.traverse import topological
from symgrad.derivation.python_form import namespace
from symgrad.errors import ShapeError, SymgradError
from symgrad.evaluate import evaluate
from symgrad.simplify import ALL_RULES, Rule, stabilised
from tests import random_formulas, random_programs, random_steps
from tests.jaxpr_numbers import with_numpy
from tests.test_ops import DIFFERENTIATED

Made = Callable[[Expr, set[Expr]], Expr | None]
"""What a mistake makes of an expression, given the nodes it was made from; None where it is none."""
MOST = 5000
"""Results of a rule with a mistake after which it counts as one that never ends."""


def turned(e: Expr) -> Expr | None:
    """The last two axes in each other's place."""
    rank = e.ndim
    if rank < 2:
        return None
    return contract([e], [range(rank)], [*range(rank - 2), rank - 1, rank - 2])


def relabeled(e: Expr, given: set[Expr], skipped: int = 0) -> Expr | None:
    """One factor of a product in ``e`` transposed, of those made here; the nearest to the result.

    Sizes that are equal come first, since only the value shows these; where there are none, the
    builder refuses (ShapeError).
    """
    order = topological([e], given.__contains__)
    refused: ShapeError | None = None
    for node in reversed(order):
        if node.op is not CONTRACTION or node in given:
            continue
        for swapped in _swapped(node):
            try:
                new = node.op.build(node.args, (swapped, *node.params[1:]))  # type: ignore[misc]
            except ShapeError as problem:
                refused = problem
                continue
            if new is not node and not skipped:
                return _with(order, node, new)[e]
            skipped -= new is not node
    if refused is not None and skipped == 0:
        raise refused
    return None


def _swapped(node: Expr) -> Iterator[tuple[Labels, ...]]:
    """The labels of a product with two neighbours of one factor in each other's place."""
    for k, row in enumerate(node.params[0]):
        for j in range(1, len(row)):
            if min(row[j - 1 : j + 1]) >= 0 and row[j - 1] != row[j]:
                new = (*row[: j - 1], row[j], row[j - 1], *row[j + 1 :])
                yield (*node.params[0][:k], new, *node.params[0][k + 1 :])


def _with(order: Sequence[Expr], node: Expr, new: Expr) -> dict[Expr, Expr]:
    table: dict[Expr, Expr] = {}
    for part in order:
        args = [table.get(a, a) for a in part.args]
        same = all(a is b for a, b in zip(args, part.args, strict=True))
        table[part] = new if part is node else part if same else part.func(*args)
    return table


FAULTS: dict[str, Made] = {
    "sign": lambda e, given: scale(-1, e),
    "factor": lambda e, given: scale(2, e),
    "transpose": lambda e, given: turned(e),
    "labels": relabeled,
    "other labels": lambda e, given: relabeled(e, given, 1),
}


# ------------------------------------------------------------------ places


@dataclass(frozen=True)
class Place:
    """A function to plant a mistake in; ``row`` is the operation or the rule whose test must see it."""

    owner: Any
    attribute: str
    row: str

    def __str__(self) -> str:
        return self.row


SWEEP = {
    "contraction": "_contraction_vjp", "sum_of_terms": "_sum_vjp", "atan2": "_map_vjp",
    "where": "cluster_vjp", "cast": "_cast_part",
}  # fmt: skip
"""What the sweep does itself, by a row that it does it for; the partial of a cast is not asked for."""
DERIVATIVES = [
    *(Place(OPS[name], "derivative" if OPS[name].derivative else "vjp", name)
      for name in DIFFERENTIATED
      if name != "cast" and (OPS[name].derivative or OPS[name].vjp)),
    *(Place(autodiff, function, row) for row, function in SWEEP.items()),
    Place(scanning, "adjoint", "scan"),
]  # fmt: skip
RULES = [Place(r, "right" if isinstance(r, Rule) else "step", r.name) for r in ALL_RULES]


@contextmanager
def replaced(place: Place, function: Callable[..., Any]) -> Generator[None]:
    """Another function in a place, which is told the one it replaces."""
    kept = getattr(place.owner, place.attribute)
    put = setattr if isinstance(place.owner, ModuleType) else object.__setattr__
    put(place.owner, place.attribute, functools.partial(function, kept))
    try:
        yield
    finally:
        put(place.owner, place.attribute, kept)


@contextmanager
def planted(place: Place, fault: str) -> Generator[list[Place]]:
    """A mistake in a place for a while; the list has an entry for each result that it changed."""
    changes: list[Place] = []

    def changed(e: Expr | None, given: set[Expr]) -> Expr | None:
        if e is None or is_zero(e):
            return e
        try:
            found = FAULTS[fault](e, given)
        except ShapeError:
            changes.append(place)
            raise
        if found is None or found is e:
            return e
        changes.append(place)
        if len(changes) > MOST:
            raise SymgradError("never ends")
        return found

    def wrong(right: Callable[..., Any], *args: Any, **words: Any) -> Any:
        made = right(*args, **words)
        given = set(topological(_expressions(args)))
        if isinstance(made, list):  # of the sweep: for each argument what it receives
            return [(arg, changed(part, given)) for arg, part in made]
        if isinstance(made, tuple):
            return tuple(changed(part, given) for part in made)
        return changed(made, given)

    with replaced(place, wrong):
        yield changes


def _expressions(args: Iterable[Any]) -> list[Expr]:
    found: list[Expr] = []
    for a in args:
        found += [a] if isinstance(a, Expr) else _expressions(a) if isinstance(a, tuple) else []
    return found


@contextmanager
def heard(places: Sequence[Place]) -> Generator[set[Place]]:
    """The places that gave something within."""
    found: set[Place] = set()

    def listening(place: Place) -> Callable[..., Any]:
        def noted(right: Callable[..., Any], *args: Any, **words: Any) -> Any:
            made = right(*args, **words)
            if made is not None:
                found.add(place)
            return made

        return noted

    with ExitStack() as stack:
        for place in places:
            stack.enter_context(replaced(place, listening(place)))
        yield found


def users(
    places: Sequence[Place], asked: Iterable[int], ask: Callable[[int], object]
) -> dict[Place, list[int]]:
    """The questions that use each place, those that use the fewest places first."""
    found: dict[Place, list[tuple[int, int]]] = defaultdict(list)
    for k in asked:
        with heard(places) as here, suppress(ProgramError):
            ask(k)
        for place in here:
            found[place].append((len(here), k))
    return {place: [k for _, k in sorted(rows)] for place, rows in found.items()}


# ------------------------------------------------------------------ who may see them

CORPUS = Path(os.environ.get("SYMGRAD_CORPUS", Path(__file__).parents[2] / "shared/corpus"))


@functools.cache
def corpus() -> Any:
    """The library of the corpus of derivatives; None where there is none beside the checkout."""
    folder = CORPUS / "matrix_calculus"
    if not (folder / "cases.json").exists():
        return None
    sys.path.append(str(folder))
    lib: Any = importlib.import_module("corpus_lib")
    lib.evaluate = lambda text, env, dims, functions: eval(text, {**functions, **dims, **env})
    return lib


@functools.cache
def cases() -> list[dict[str, Any]]:
    """Its cases."""
    return [] if corpus() is None else corpus().load_cases(CORPUS / "matrix_calculus/cases.json")


@dataclass(frozen=True)
class Witness:
    """Numbered questions: ``answer(k)`` by symgrad, ``known(k)`` by JAX; names of their numbers."""

    name: str
    count: Callable[[], int]
    answer: Callable[[int], Sequence[Any]]
    known: Callable[[int], Sequence[Any]]

    def wrong(self, k: int) -> bool:
        """Is the answer to question ``k`` wrong, or is there none?"""
        known = self.known(k)
        try:
            with np.errstate(all="ignore"):
                found = [np.asarray(v) for v in self.answer(k)]
        except Exception:  # noqa: BLE001 - of a mistake that was planted
            return True
        return not all(_agree(a, b) for a, b in zip(found, known, strict=True))


def _agree(found: Any, known: Any) -> bool:
    if found.shape != known.shape:
        return not found.shape and _agree(np.broadcast_to(found, known.shape), known)
    scale_of = max(1.0, float(np.abs(known).max(initial=0)))
    return bool(np.abs(found - known).max(initial=0) <= 1e-9 * scale_of)


def _corpus_answer(k: int) -> list[Any]:
    """The printed derivative of a case, evaluated."""
    case = cases()[k]
    text = derived(case)[0].python()
    return [eval(text, {**namespace(), **case["dims"], **_point(k)})]


def _point(k: int) -> dict[str, Any]:
    return corpus().sample_env(cases()[k], cases()[k]["dims"], np.random.default_rng(0))


@functools.cache
def _corpus_known(k: int) -> list[Any]:
    case, lib = cases()[k], corpus()
    with jax.enable_x64(True):
        known = lib.derivative(jax, lib.jax_namespace(), case, _point(k), case["dims"])
        return [np.asarray(known)]


def _program(k: int) -> random_programs.Program:
    return (random_steps.typed if k % 2 else random_steps.drawn)(k // 2)


def _program_answer(k: int) -> list[Any]:
    """Value, gradient and second derivative of a random program, before and after its rules."""
    asked = random_programs.posed(_program(k))
    sizes = random_programs.SIZES
    both = (asked.outputs, stabilised(asked.outputs))
    return [v for outputs in both for v in evaluate(outputs, asked.feeds, sizes)]


@functools.cache
def _program_known(k: int) -> list[Any]:
    program = _program(k)
    return 2 * random_programs.reference(program, random_programs.posed(program), eager=False)


def _formula_answer(k: int) -> list[Any]:
    """The printed texts and the source of a random matrix program, evaluated."""
    program = random_formulas.drawn(k)
    asked = random_formulas.posed(program)
    scope = {**namespace(), **random_formulas.SIZES, **asked.values}
    texts = [t.formula().python() for t in asked.tensors.values()]
    lowered = sg.compile(list(asked.tensors.values()))
    feeds = {asked.symbols[word].expr(): v for word, v in asked.values.items()}
    with jax.enable_x64(True):
        given = [jax.numpy.asarray(feeds[e]) for e in lowered.inputs]
        made = with_numpy(lowered.executable.function, *given)
    made = made if isinstance(made, tuple) else (made,)
    return [*(eval(text, dict(scope)) for text in texts), *made]


@functools.cache
def _formula_known(k: int) -> list[Any]:
    program = random_formulas.drawn(k)
    return 2 * list(random_formulas.reference(program, random_formulas.posed(program)).values())


WITNESSES = (
    Witness("corpus", lambda: len(cases()), _corpus_answer, _corpus_known),
    Witness("programs", lambda: 400, _program_answer, _program_known),
    Witness("formulas", lambda: 100, _formula_answer, _formula_known),
)
