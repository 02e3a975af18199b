"""The tracked part of a graph: what a backward pass walks, checks and marks.

PyTorch's two errors belong here: a value that a derivative reads was changed in place, and a graph
was used twice.  A graph that returns in every step of a loop is recognised by a written-out
function, which does all of it without a walk; whatever is unusual is left to the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symgrad.recording.record import Leaf, Record
from symgrad.recording.walk import operands_of

Recognise = Callable[[Any, bool], "tuple[Any, ...] | None"]

RECENT = 4
"""How many graphs with the same last operation are compared with a new one."""
KNOWN = 512
LARGE = 5_000
"""Larger graphs are always walked."""

_known: dict[Any, list[Recognise]] = {}


def tracked_nodes(root: Any) -> list[Any]:
    """Tracked nodes under a node, itself first, each after one that refers to it."""
    order: list[Any] = [root]
    done: set[Any] = {root}
    stack = [root]
    while stack:
        for o in operands_of(stack.pop()):
            if o.tracked and o not in done:
                done.add(o)
                order.append(o)
                if operands_of(o):
                    stack.append(o)
    return order


def check(nodes: Sequence[Any], keep: bool) -> None:
    """RuntimeError for a saved value that was changed in place, or a graph that was used before.

    Without ``keep`` the nodes are used from now on.
    """
    saving: list[Any] = []
    for node in nodes:
        saved = saved_by(node)
        if saved is None:
            continue
        if node.consumed:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved "
                "tensors after they have already been freed). Specify retain_graph=True if you "
                "need to backward through the graph a second time."
            )
        saving.append(node)
        for operand in saved:
            for link in _chain(node, operand):
                if link.outdated is not None:
                    _check_current(node, link)
    if not keep:
        for node in saving:
            node.consumed = True


def saved_by(node: Any) -> list[Any] | None:
    """The nodes that the derivative of an operation reads; None where it keeps nothing."""
    if type(node) is not Record:
        return None
    if node.recalled is not None:
        places: tuple[int, ...] | None = node.recalled.saves
        return None if places is None else [node if k < 0 else node.given[k] for k in places]
    if not (saves := node.call.function.saves):
        return None
    operands: tuple[Any, ...] = node.operands
    found: list[Any] = []
    for what in saves:
        if what == "result":
            found.append(node)
        elif isinstance(what, tuple) or what in ("cross", "other"):
            if len(operands) > 1:
                first, second = what if isinstance(what, tuple) else (-2, -1)
                a, b = operands[first], operands[second]
                found += [a] * (b.tracked and what != "other") + [b] * a.tracked
        elif what != "freed" and what < len(operands):
            found.append(operands[what])
    return found


def _chain(node: Any, saved: Any) -> list[Any]:
    """A saved node and what its storage shows: a leaf's source, the bases of a view."""
    chain = [saved]
    while True:
        if type(saved) is Leaf and saved.source is not None:
            saved = saved.source
        elif saved is not node and type(saved) is Record and _views(saved):
            saved = saved.operands[0]
        else:
            return chain
        chain.append(saved)


def _views(node: Any) -> bool:
    return node.call.function.view is not None and node.recalled is None


def _check_current(node: Any, saved: Any) -> None:
    storage, version = saved.outdated
    held = storage()
    if held is not None and held.version != version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace "
            f"operation: a tensor of shape {list(saved.shape)} saved by {node.function.name} is at "
            f"version {held.version}; expected version {version} instead. Write the result to a "
            "new tensor instead."
        )


# ------------------------------------------------------------------ graphs that return


def tracked_leaves(root: Any, keep: bool) -> tuple[Any, ...] | None:
    """The tracked leaves of a graph that was met before, checked and marked as used.

    None where it is new, or where something is to be said or done about it.
    """
    for recognise in _known.get(getattr(root, "call", None), ()):
        try:
            found = recognise(root, keep)
        except AttributeError:  # a node of another class
            continue
        if found is not None:
            return found
    return None


def remember(nodes: Sequence[Any]) -> None:
    """Recognise this graph from now on, if nothing about it is special."""
    root = nodes[0]
    plain = all(type(n) is Leaf or (type(n) is Record and n.handle is None) for n in nodes)
    if not plain or type(root) is not Record or len(nodes) > LARGE:
        return
    read = [link for n in nodes for s in saved_by(n) or () for link in _chain(n, s)]
    if any(link.outdated is not None for link in read):  # memory of the user: looked at each time
        return
    if len(_known) > KNOWN:
        _known.clear()
    recent = _known.setdefault(root.call, [])
    recent.insert(0, _written_out(nodes))
    del recent[RECENT:]


def _written_out(nodes: Sequence[Any]) -> Recognise:
    """The comparison as a function; it names places and constants, nothing of the user's."""
    constants: dict[str, Any] = {"Leaf": Leaf}
    names = {id(n): f"n{k}" for k, n in enumerate(nodes)}
    lines = ["def recognise(n0, keep):"]
    reads: list[tuple[Any, Any]] = []
    saving: list[str] = []
    seen = {id(nodes[0])}
    for k, node in enumerate(nodes):
        n = f"n{k}"
        if type(node) is Leaf:
            lines.append(f"    if type({n}) is not Leaf or not {n}.tracked: return None")
            continue
        whole = node.recalled is not None
        constants[f"c{k}"] = node.recalled if whole else node.call
        wrong = [f"{n}.recalled is not c{k}"] if whole else [
            f"{n}.call is not c{k}", f"{n}.recalled is not None"]  # fmt: skip
        wrong += [f"{n}.handle is not None", f"not {n}.tracked"]
        lines.append(f"    if {' or '.join(wrong)}: return None")
        saved = saved_by(node)
        if saved is not None:
            saving.append(n)
            reads += [(node, s) for s in saved]
        taken: list[str] = []
        wrong = []
        for at, o in enumerate(operands_of(node)):
            if o.tracked and id(o) not in seen:
                seen.add(id(o))
                taken.append(names[id(o)])
            elif o.tracked:
                taken.append(f"t{at}")
                wrong.append(f"t{at} is not {names[id(o)]}")
            else:
                name = names.setdefault(id(o), f"u{k}_{at}")
                taken.append(name if name == f"u{k}_{at}" else f"t{at}")
                wrong.append(f"{taken[-1]}.tracked" + (f" or t{at} is not {name}"
                             if taken[-1] != name else ""))  # fmt: skip
        lines.append(f"    {', '.join(taken)}, = {n}.{'given' if whole else 'operands'}")
        if wrong:
            lines.append(f"    if {' or '.join(wrong)}: return None")
    for node, saved in dict.fromkeys(reads):
        old = _outdated(names, constants, node, saved)
        lines.append(f"    if {old}: return None")
    if saving:
        lines.append(f"    if {' or '.join(f'{n}.consumed' for n in saving)}: return None")
    own = [f"n{k}" for k in range(len(nodes))]
    lines.append(f"    if len({{{', '.join(own)}}}) != {len(own)}: return None")
    if saving:
        lines.append(f"    if not keep: {' = '.join(f'{n}.consumed' for n in saving)} = True")
    leaves = [f"n{k}" for k, n in enumerate(nodes) if type(n) is Leaf]
    lines.append(f"    return ({', '.join(leaves)},)" if leaves else "    return ()")
    exec("\n".join(lines), constants)  # noqa: S102
    return constants["recognise"]


def _outdated(names: dict[int, str], constants: dict[str, Any], node: Any, saved: Any) -> str:
    """Whether something in the chain of a saved node was changed, or is no longer of its kind."""
    chain = _chain(node, saved)
    word = names[id(saved)]
    tests: list[str] = []
    for link, below in zip(chain, [*chain[1:], None], strict=True):
        tests.append(f"{word}.outdated is not None")
        if type(link) is Leaf and below is not None:
            word = f"{word}.source"
        elif type(link) is Leaf:
            if link.tracked:
                tests.append(f"{word}.source is not None")
            elif word not in names.values() or not word.startswith("n"):
                tests.append(f"type({word}) is not Leaf")
        elif type(link) is Record and link is not node:
            name = f"k{len(constants)}"
            constants[name] = link.call
            tests.append(f"{word}.call is not {name}")
            word = f"{word}.operands[0]"
    return " or ".join(tests)
