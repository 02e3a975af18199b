"""The values of all lines of a printed derivation: in order, those of a loop at every step."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from symgrad.derivation.grammar import parse
from symgrad.errors import NotationError as ReadError
from tests.notation.blocks import Block, Line, check_indices, size_value
from tests.notation.values import NOTHING, Evaluator, Functions, Value, whole_names


def _as_value(given: Any) -> Value:
    array = np.asarray(given)
    return Value(array if array.dtype.kind in "iub" else array.astype(np.float64))


def evaluate_block(
    block: Block,
    values: Mapping[str, Any],
    sizes: Mapping[str, int],
    functions: Functions | None = None,
) -> dict[str, np.ndarray]:
    """The value of every line, in order; each may use the inputs and the lines before it.

    `values` holds the inputs and the given adjoints; `functions` those that a block takes from
    another one (LN of the pre-norm block).
    """
    for name, text in block.derived.items():
        if size_value(text, sizes) != sizes.get(name, size_value(text, sizes)):
            raise ReadError(f"{name} = {text} is {size_value(text, sizes)}, not {sizes[name]}")
    sizes = {**{x: size_value(t, sizes) for x, t in block.derived.items()}, **sizes}
    machine = Evaluator({}, sizes, block.indices, block.zero_outside, functions or {},
                        from_one=block.from_one, first=dict(block.first))  # fmt: skip
    for name in (*block.sizes, *block.adjoints):
        if name not in values:
            raise ReadError(f"no value for {name}")
        machine.names[name] = _as_value(values[name])
        if name in block.sizes:
            expected = tuple(machine.size(s) for s in block.sizes[name])
            found = machine.names[name].array.shape
            if found != expected:
                raise ReadError(f"{name} is {found}, declared {'×'.join(block.sizes[name])}")
    results: dict[str, np.ndarray] = {}
    for runs, lines in block.groups:
        if runs:
            run_loop(machine, block, lines, runs == "down", values)
        for line in lines:
            machine.text = line.text
            if not runs:
                machine.names[line.name] = Value(_run(machine, line))
                machine.first[line.name] = _first_places(machine, line)
            array = results[line.name] = machine.names[line.name].array
            _fits(machine, line.name, array)
    for name, meaning in block.adjoints.items():
        target = re.sub(r"^.*/(?:∂|d)", "", meaning)
        if target in results and results[target].shape != machine.names[name].array.shape:
            raise ReadError(f"{name} has not the shape of {target}")
    return results


def evaluate_formula(
    text: str,
    values: Mapping[str, Any],
    sizes: Mapping[str, int] | None = None,
    indices: Mapping[str, str] | None = None,
    at: Sequence[str] = (),
    functions: Functions | None = None,
) -> np.ndarray:
    """The value of one formula; `indices` gives ranges (`{"i": "n"}`), `at` the free letters."""
    declared = dict(indices or {})
    line = Line("formula", tuple(at), parse(text), text)
    check_indices(line.right, set(at), declared, text)
    names = {name: _as_value(value) for name, value in values.items()}
    known = functions or {}
    return _run(Evaluator(names, sizes or {}, declared, functions=known, text=text), line)


def _run(machine: Evaluator, line: Line) -> np.ndarray:
    machine.scope = {}
    if not line.at:
        return machine.array(line.right)
    ranges = [machine.range(letter) for letter in line.at]
    parts: list[np.ndarray] = []
    for place in product(*ranges):
        machine.scope = dict(zip(line.at, place, strict=True))
        parts.append(machine.array(line.right))
    inner = parts[0].shape if parts else ()
    return np.reshape(parts, [*(len(r) for r in ranges), *inner])


def _first_places(machine: Evaluator, line: Line) -> tuple[int, ...]:
    """The index of the first entry of every axis: 1 at steps, also of what is made of such."""
    if line.at:
        return tuple(int(letter in machine.from_one) for letter in line.at)
    array = machine.names[line.name].array
    counts = {machine.size(machine.indices[letter]) for letter in machine.from_one}
    of_steps = any(machine.first.get(word, ())[:1] == (1,) for word in whole_names(line.right))
    return (int(of_steps and array.ndim > 0 and len(array) in counts),)


def run_loop(
    machine: Evaluator, block: Block, lines: Sequence[Line], down: bool, values: Mapping[str, Any]
) -> None:
    """The lines of a loop at every step; entries one step before the first are given."""
    letter = lines[0].at[0]
    steps = machine.range(letter)
    names = [line.name for line in lines]
    for (name, place), meaning in block.starts.items():
        if name not in names:
            continue
        at = sum(machine.sizes[x] if x in machine.sizes else int(x) for x in place.split("+"))
        if meaning:
            row = block.states.get(name)
            nothing = (
                NOTHING if row is None else Value(np.zeros([machine.size(x) for x in row[1:]]))
            )
            start = nothing if meaning == "0" else machine.value(parse(meaning))
        else:
            start = _as_value(values.get(f"{name}0", values.get(f"{name}₀")))
        machine.entries.setdefault(name, {})[at] = start
    for name in names:
        machine.entries.setdefault(name, {})
    for step in reversed(steps) if down else steps:
        for line in lines:
            machine.text = line.text
            machine.scope = {letter: step}
            inner = [machine.range(x) for x in line.at[1:]]
            if not inner:
                machine.entries[line.name][step] = machine.value(line.right)
                continue
            parts: list[np.ndarray] = []
            for place in product(*inner):
                machine.scope = {letter: step, **dict(zip(line.at[1:], place, strict=True))}
                parts.append(machine.array(line.right))
            array = np.reshape(parts, [len(r) for r in inner])
            machine.entries[line.name][step] = Value(array)
    machine.scope = {}
    for name in names:
        rows = [machine.entries[name][step].array for step in steps]
        machine.names[name] = Value(np.stack(np.broadcast_arrays(*rows)))
        machine.first[name] = (1,)


def _fits(machine: Evaluator, name: str, array: np.ndarray) -> None:
    """A gradient or an adjoint has the shape of what it belongs to; L is a scalar."""
    if name == "L" and array.ndim:
        raise machine.fail(f"the loss is {Value(array)}")
    m = re.fullmatch(r"(?:∂\w+/∂|dL/d|δ|delta)(.+)", name)
    if m is None or name.startswith(("∂²", "d^2")):
        return
    target = m[1]
    if name.startswith(("δ", "delta")) and not target[0].isalpha():
        target = f"Z{target}"
    owner = machine.names.get(target)
    if owner is not None and owner.array.shape != array.shape:
        raise machine.fail(f"{Value(array)} for {target}, which is {owner}")
