"""The arguments of a traced function: pytrees of symbols, and arrays checked against them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from symgrad_codegen import arrays
from symgrad_codegen.compile import PytreeFunction

from symgrad.core.expr import Expr, facts_of, symbol
from symgrad.core.facts import refuted
from symgrad.core.sizes import letter_name, shape_text
from symgrad.derivation.naming import display_names
from symgrad.errors import RangeError, ShapeError, SymgradError
from symgrad.tensors.tensor import Tensor


class Signature:
    """Argument names, their containers, and one symbol with a dotted path per leaf.

    ``specs`` gives each argument a pytree; ``leaf`` makes (shape, dtype, facts) of its leaves.
    Leaves of the ``containers`` are named as parameters are.
    """

    def __init__(
        self,
        name: str,
        specs: Mapping[str, Any],
        leaf: Callable[[Any], tuple[Any, Any, tuple[str, ...]]],
        containers: Sequence[str],
    ) -> None:
        self.name = name
        self.argument_names = list(specs)
        self.structures: dict[str, Any] = {}
        paths: list[str] = []
        found: list[Any] = []
        self._slices: dict[str, slice] = {}
        for argument, tree in specs.items():
            named, structure = arrays.flatten_with_names(plain(tree), argument)
            self.structures[argument] = structure
            self._slices[argument] = slice(len(paths), len(paths) + len(named))
            paths += [p for p, _ in named]
            found += [leaf(s) for _, s in named]
        self.paths = paths
        self.symbols = [
            symbol(word, shape, dtype, number=k + 1, facts=facts)
            for k, (word, (shape, dtype, facts)) in enumerate(
                zip(display_names(paths, containers), found, strict=True)
            )
        ]

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for signatures that take the same arguments and complain in the same words."""
        structures = tuple(self.structures.items())
        return self.name, structures, tuple(self.paths), tuple(self.symbols)

    def symbols_of(self, argument: str) -> list[Expr]:
        """The symbols of one argument in pytree order."""
        return self.symbols[self._slices[argument]]

    def tree(self, argument: str, leaves: Sequence[Any]) -> Any:
        """The pytree of one argument with these leaves."""
        return arrays.tree_unflatten(self.structures[argument], leaves)

    def flatten(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The leaves of call arguments in the order of ``symbols``.

        TypeError if an argument is missing or unknown, ShapeError if a container or shape differs.
        """
        names = self.argument_names
        if len(args) > len(names):
            raise TypeError(
                f"{self.name}() takes {len(names)} arguments: {', '.join(names)}; it was given "
                f"{len(args)}"
            )
        given = dict(zip(names, args, strict=False))
        for a in kwargs:
            if a in given:
                raise TypeError(f"{self.name}() has two values for the argument {a!r}")
            if a not in names:
                raise TypeError(f"{self.name}() has no argument {a!r}")
        given.update(kwargs)
        for a in names:
            if a not in given:
                raise TypeError(f"{self.name}() misses the argument {a!r}")
        return self.flatten_some(given)

    def flatten_some(self, given: Mapping[str, Any]) -> list[Any]:
        """The checked leaves of the arguments that are given."""
        leaves: list[Any] = []
        symbols: list[tuple[Expr, str]] = []
        for a in self.argument_names:
            if a not in given:
                continue
            found, structure = arrays.tree_flatten(plain(given[a]))
            if structure != self.structures[a]:
                raise ShapeError(
                    f"{self.name}({a}=…): the containers differ from those it was traced with: "
                    f"{structure} instead of {self.structures[a]}"
                )
            leaves += [array_of(v) for v in found]
            at = self._slices[a]
            symbols += zip(self.symbols[at], self.paths[at], strict=True)
        self._check(leaves, symbols)
        return leaves

    def _check(self, leaves: Sequence[Any], symbols: Sequence[tuple[Expr, str]]) -> None:
        sizes: dict[str, tuple[int, str]] = {}
        for value, (leaf, path) in zip(leaves, symbols, strict=True):
            shape = getattr(value, "shape", ())
            wrong = len(shape) != len(leaf.shape)
            for extent, size in zip(shape, leaf.shape, strict=False):
                if isinstance(size, int):
                    wrong = wrong or extent != size
                elif word := letter_name(size):
                    known = sizes.setdefault(word, (extent, path))
                    if known[0] != extent:
                        raise ShapeError(
                            f"{self.name}: {path} has shape {tuple(shape)}, declared "
                            f"{shape_text(leaf.shape)}, but {word} is {known[0]} in {known[1]}"
                        )
            if wrong:
                raise ShapeError(
                    f"{self.name}: {path} has shape {tuple(shape)} but was declared "
                    f"{shape_text(leaf.shape)}"
                )


def check_facts(name: str, rows: Iterable[tuple[str, Expr, Any]]) -> None:
    """RangeError where a value has not what was declared of the symbol that it is given for."""
    for word, leaf, value in rows:
        lacking = refuted(facts_of(leaf), np.asarray(array_of(value))) if facts_of(leaf) else ""
        if lacking:
            raise RangeError(
                f"{name}: {word} was declared {lacking!r}, but the value given is not.",
                f"Give one that is, or declare {word} without it.",
            )


def plain(tree: Any) -> Any:
    """An argument whose order of keys does not count: ``model.state_dict()`` as a dict."""
    return dict(tree) if isinstance(tree, OrderedDict) else tree


def array_of(value: Any) -> Any:
    """The array of a tensor; anything else as it is."""
    return value.array() if isinstance(value, Tensor) else value


def call(function: PytreeFunction, *args: Any, **kwargs: Any) -> Any:
    """``function`` on arrays, or on tensors, which JAX does not take."""
    try:
        return function(*args, **kwargs)
    except (TypeError, SymgradError):
        leaves, structure = arrays.tree_flatten((args, kwargs))
        if not any(isinstance(v, Tensor) for v in leaves):
            raise
    args, kwargs = arrays.tree_unflatten(structure, [array_of(v) for v in leaves])
    return function(*args, **kwargs)
