"""What to say of operands that do not fit: their names and shapes, why, and what to try.

Where every size is a number the reason is in PyTorch's words; sizes that are letters are named.
"""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.core.expr import SYMBOL, Expr, name_of
from symgrad.core.kinds import relabelling
from symgrad.core.sizes import Monomial, Shape, Size, shape_text, size_product
from symgrad.errors import ShapeError


def numbers(shape: Shape) -> str:
    """``4x3``, as PyTorch writes a shape in prose."""
    return "x".join(str(s) for s in shape)


def spoken(e: Expr) -> tuple[str, Shape, bool]:
    """Name and shape of the symbol behind an operand ("" where there is none); is it transposed?"""
    if e.op is SYMBOL:
        return name_of(e), e.shape, False
    if e.args and e.args[0].op is SYMBOL and relabelling(e) is not None:
        inner = e.args[0]
        if inner.shape == e.shape[::-1]:
            return name_of(inner), inner.shape, True
    return "", e.shape, False


def owns(name: str, shape: Shape) -> str:
    """``X is n×d``, ``w has k entries``, ``c is a scalar``.

    >>> owns("w", (3,))
    'w has 3 entries'
    """
    if not shape:
        return f"{name} is a scalar"
    count, *others = shape
    if others:
        return f"{name} is {shape_text(shape)}"
    return f"{name} has {count} {'entry' if count == 1 else 'entries'}"


def differ(a: Size, b: Size) -> str:
    """Why two sizes are not one."""
    letters = isinstance(a, Monomial) and isinstance(b, Monomial)
    return f"{a} and {b} are different letters" if letters else f"{a} and {b} differ"


def declared(name: str, shape: Shape) -> str:
    """How a symbol of this shape is declared."""
    sizes = ",".join(str(s) for s in shape)
    return (
        f'declare {name} with size{"s" * (len(shape) > 1)} {sizes} (sg.symbols("{name}:{sizes}"))'
    )


def equate(a: Size, b: Size) -> str:
    """How two sizes are declared equal; "" where that cannot be."""
    words = [s for s in (a, b) if isinstance(s, Monomial) and str(s).isidentifier()]
    if len(words) + isinstance(a, int) + isinstance(b, int) < 2 or not words:
        return ""
    spelled = ", ".join(str(s) if isinstance(s, int) else f'"{s}"' for s in (a, b))
    return f"say {a} = {b} with sg.same({spelled})"


def sentence(*parts: str) -> str:
    """Alternatives as one sentence.

    >>> sentence("try this", "", "take that")
    'Try this, or take that.'
    """
    text = ", or ".join(p for p in parts if p)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _wish(name: str, shape: Shape, axis: int, size: Size, symbolic: bool) -> str:
    """Another size for one axis of an operand."""
    if not name:
        return ""
    wanted = list(shape)
    wanted[axis] = size
    if symbolic:
        return declared(name, tuple(wanted))
    if len(shape) == 1:
        return f"give {name} {size} entries instead of {shape[0]}"
    return f"make {name} {shape_text(tuple(wanted))} instead of {shape_text(shape)}"


def inner_sizes(a: Expr, b: Expr) -> ShapeError:
    """The factors of a matrix product whose summed axes have different sizes."""
    (left, shape_a, turned_a), (right, shape_b, turned_b) = spoken(a), spoken(b)
    first, second = left or "the left factor", right or "the right factor"
    inner_a, inner_b = a.shape[-1], b.shape[-2 if b.ndim > 1 else -1]
    symbolic = any(isinstance(s, Monomial) for s in (*a.shape, *b.shape))
    if symbolic:
        owned = f"{owns(first, shape_a)} but {owns(second, shape_b)}"
        why = f"{owned}; the inner sizes {differ(inner_a, inner_b)}."
    else:
        why = _torch_inner(a.shape, b.shape)
    turns: list[str] = []
    if a.ndim == 2 and left and not turned_a and a.shape[0] == inner_b:
        turns.append(f"transpose {left}: {left}.T is {shape_text(a.shape[::-1])}")
    if b.ndim == 2 and right and b.shape[1] == inner_a:
        turned = right if turned_b else f"{right}.T"
        turns.append(f"transpose {right}: use {turned}, {shape_text(b.shape[::-1])}, here")
    if not (symbolic and turns):
        axis_b = (-1 if turned_b else -2) if b.ndim > 1 else -1
        turns.append(_wish(right, shape_b, axis_b, inner_a, symbolic)
                     or _wish(left, shape_a, 0 if turned_a else -1, inner_b, symbolic))  # fmt: skip
    general = "" if any(turns) else f"give both factors the same inner size, {inner_a} or {inner_b}"
    problem = ShapeError(why, sentence(*turns, general, equate(inner_a, inner_b)))
    problem.sizes = (inner_a, inner_b)
    return problem


def _torch_inner(a: Shape, b: Shape) -> str:
    if len(a) == 1 and len(b) == 1:
        return (
            f"inconsistent tensor size, expected tensor [{a[0]}] and src [{b[0]}] to have the same "
            f"number of elements, but got {a[0]} and {b[0]} elements respectively"
        )
    rows = size_product(a[:-1])
    if len(b) == 1:
        return f"size mismatch, got input ({rows}), mat ({rows}x{a[-1]}), vec ({b[0]})"
    if len(b) == 2:
        return f"mat1 and mat2 shapes cannot be multiplied ({rows}x{a[-1]} and {numbers(b)})"
    groups = max(size_product(a[:-2]), size_product(b[:-2]), key=str)
    return (
        "Expected size for first two dimensions of batch2 tensor to be: "
        f"[{groups}, {a[-1]}] but got: [{groups}, {b[-2]}]."
    )


def scalars_multiplied(a: Expr, b: Expr) -> ShapeError:
    """``@`` with an operand that has no axis."""
    return ShapeError(
        f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D",
        "Use * for the product with a number.",
    )


def broadcast(shapes: Sequence[Shape], axis: int, parts: Sequence[Expr] = ()) -> ShapeError:
    """Shapes that do not broadcast at ``axis`` (counted from the end)."""
    at = [(k, s[axis]) for k, s in enumerate(shapes) if len(s) >= -axis and s[axis] != 1]
    k, one = at[0]
    j, other = next((p for p in at if p[1] != one), at[-1])
    words = [spoken(p) for p in parts] or [("", s, False) for s in shapes]
    first, second = (words[m][0] or f"operand {m + 1}" for m in (k, j))
    symbolic = any(isinstance(s, Monomial) for shape in shapes for s in shape)
    if symbolic:
        why = (
            f"{owns(first, shapes[k])} but {owns(second, shapes[j])}; the sizes "
            f"{differ(one, other)}{'' if axis == -1 else f' (axis {axis})'}."
        )
    else:
        rank = max(len(s) for s in shapes)
        why = (
            f"The size of tensor a ({one}) must match the size of tensor b ({other}) at "
            f"non-singleton dimension {rank + axis}"
        )
    problem = ShapeError(why, _fitting(shapes, (k, j), axis, words, symbolic))
    problem.sizes = (one, other)
    return problem


def _fitting(shapes: Sequence[Shape], pair: tuple[int, int], axis: int,
             words: Sequence[tuple[str, Shape, bool]], symbolic: bool) -> str:  # fmt: skip
    """New axes or turned axes that would make two shapes broadcast, else equal sizes."""
    k, j = pair
    one, other = shapes[k][axis], shapes[j][axis]
    for m, n in ((k, j), (j, k)):
        name, small, large = words[m][0], shapes[m], shapes[n]
        if not name:
            continue
        if len(small) < len(large) and small == large[: len(small)]:
            blanks = ", None" * (len(large) - len(small))
            return sentence(f"line {name} up with the first axes: {name}[...{blanks}]")
        if len(small) == 2 and small[::-1] == large:
            return sentence(f"transpose {name}: {name}.T is {shape_text(large)}")
    wish = _wish(words[j][0], shapes[j], axis, one, symbolic) or _wish(
        words[k][0], shapes[k], axis, other, symbolic
    )
    general = "" if wish else f"make the sizes {one} and {other} equal"
    return sentence(wish, general, equate(one, other))
