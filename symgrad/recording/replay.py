"""A graph that returns in a situation that is known: compared, gathered, run and handed out at once.

The general way (:mod:`symgrad.recording.execute`) goes over the nodes of a graph several times: to
recognise it, to count who holds them, to gather arrays, to give values.  For a loop that does the
same in every step all of this is one function, written out for a pattern and a choice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.recording.pattern import LEAF, Pattern, written
from symgrad.recording.pieces import unpacked
from symgrad.recording.record import Leaf

Replay = Callable[[Sequence[Any]], "list[Any] | None"]

ELSEWHERE = {np.ndarray, tuple}
"""Types of values that are not arrays on a device: of NumPy, or in an array with others."""


def placed(node: Any, donated: bool) -> Any:
    """The array of a node that is not on the device; there if it is used up, or read again."""
    value = unpacked(node.value)
    if donated:
        return arrays.to_device(value)
    if type(node.value) is np.ndarray and type(node) is Leaf:
        if node.used:
            value = node.value = arrays.to_device(value)
        node.used = True
    return value


def _counted() -> int:
    """What ``sys.getrefcount`` counts for an object that only a local name holds."""
    n = object()
    return sys.getrefcount(n)


HELD = _counted()


def written_out(pattern: Pattern, choice: Any, using: bool) -> Replay:
    """The function that does what ``execute`` would for this choice, or returns None.

    It names places and constants, nothing of the user's.
    """
    plan = choice.plan
    lines, constants = pattern.comparison()
    constants |= {"count": sys.getrefcount, "run": choice.run, "placed": placed,
                  "ELSEWHERE": ELSEWHERE}  # fmt: skip
    checks = [*lines, *_held(pattern, choice, using)]
    # what is in one array comes first: it may say no
    gathered: list[str] = []
    for at, (number, place) in enumerate(plan.taken):
        constants[f"p{at}"] = place
        gathered.append(f"v = n{pattern.ends[number]}.value")
        gathered.append("if type(v) is not tuple: return None")
        gathered.append(f"w, p = v\n        if p is not p0 or w.shape[0] != {plan.size}: return None"
                        if at == 0 else
                        f"if v[0] is not w or v[1] is not p{at}: return None")  # fmt: skip
    body = ["try:", *(f"    {line}" for line in (*checks, *gathered)), "except AttributeError:",
            "    return None  # a node of another class"]  # fmt: skip
    for number in plan.alone:
        n, donated = f"n{pattern.ends[number]}", number in choice.donate
        body.append(f"v{number} = {n}.value")
        body.append(f"if type(v{number}) in ELSEWHERE: v{number} = placed({n}, {donated})")
    given = [f"v{number}" for number in plan.alone] + ["w"] * bool(plan.taken)
    results = 1 + max(k for k, _ in plan.given)
    body.append(f"{', '.join(f'r{k}' for k in range(results))} = run({', '.join(given)})")
    outputs: list[str] = []
    for k, (number, place) in enumerate(plan.given):
        constants[f"o{k}"] = place
        outputs.append(f"r{number}" if place is None else f"(r{number}, o{k})")
    body += [f"n{pattern.ends[number]}.value = None" for number in choice.donate]
    at = plan.returned
    for k, width in choice.wanted:
        body.append(f"n{k}.value = " + (f"[{', '.join(outputs[at : at + width])}]" if width
                                        else outputs[at]))  # fmt: skip
        at += width or 1
    for k in choice.derived:
        body.append(f"n{k}.value = n{pattern.wholes[k]}.value[n{k}.index]")
    body.append(f"return [{', '.join(outputs[: plan.returned])}]")
    return written("replay", body, constants)


def _held(pattern: Pattern, choice: Any, using: bool) -> list[str]:
    """Checks that what is in use besides the graph is what the choice was made for."""
    wanted = {k for k, _ in choice.wanted} | set(choice.derived)
    lines = [
        f"if count(n{k}) {'<=' if k in wanted else '>'} {pattern.inner[k] + HELD}: return None"
        for k in pattern.pending
        if k not in pattern.roots
    ]
    if not using or pattern.keeps:
        return lines
    leaves = {step[-1][0]: step[1] for step in pattern.steps if step[0] == LEAF}
    inside = {number for number, _ in choice.plan.taken}
    for number, k in enumerate(pattern.ends):
        if k not in pattern.rebound or number in inside:
            continue
        free = [f"count(n{k}) == {pattern.inner[k] + HELD + 1}"]
        if k in leaves:
            free.append(f"count(n{leaves[k]}) == {pattern.inner[leaves[k]] + HELD}")
        whether = "not " * (number in choice.donate)
        lines.append(f"if {whether}({' and '.join(free)}): return None")
    return lines


__all__ = ["ELSEWHERE", "Replay", "placed", "written_out"]
