"""Operands in place: size arithmetic, views that bring an array's axes to given labels."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from symgrad_codegen.program import (
    POWER,
    PRODUCT,
    SUM,
    Apply,
    Letter,
    Literal,
    Operand,
    Template,
    Variable,
    infix,
    postfix,
    prefix,
    text,
)

from symgrad.core.constants import computed
from symgrad.core.expr import Expr
from symgrad.core.numbers import Exact, Number, number_text, whole
from symgrad.core.sizes import Monomial, Shape, Size, floor_of_letter, terms_of_letter

MATMUL = infix("@", PRODUCT)
TIMES = infix("*", PRODUCT)
OVER = infix("/", PRODUCT)
PLUS, MINUS = infix("+", SUM), infix("-", SUM)
ROUNDED_DOWN = infix("//", PRODUCT)
RAISED = infix("**", POWER)
NEGATIVE = prefix("-")
TURNED = postfix(".T")
COLUMN = postfix("[:, None]")
OUTER = text("outer({0}, {1})")


FRONT = postfix("[None, None]")
"""The axes of batch and channel, which a single image has not."""


def product_of(factors: Sequence[Operand]) -> Operand:
    """Left-to-right product; 1 for none."""
    if not factors:
        return Literal(1)
    total = factors[0]
    for factor in factors[1:]:
        total = Apply(TIMES, (total, factor))
    return total


def number_literal(number: Number) -> Literal:
    """A whole number as an int, anything else as a float: a known constant by its expression."""
    number = whole(number)
    return Literal(number) if isinstance(number, int) else float_literal(float(number))


def float_literal(number: float) -> Literal:
    """A float, with the expression that gives it where it is a known constant."""
    return Literal(number, computed(number))


def letter_power(name: str, power: Exact) -> Operand:
    """``n``, ``n ** 2``, ``n ** 0.5``; ``n - k + 1`` for the letter of a sum, ``n // k``."""
    base: Operand = Letter(name)
    terms, divided = terms_of_letter(name), floor_of_letter(name)
    if divided:
        base = Apply(ROUNDED_DOWN, (size_operand(divided[0]), size_operand(divided[1])))
    if terms:
        base = coefficient_operand(terms[0])
        for t in terms[1:]:
            size = coefficient_operand(-t if t.number < 0 else t)
            base = Apply(MINUS if t.number < 0 else PLUS, (base, size))
    return base if power == 1 else Apply(RAISED, (base, number_literal(power)))


def fraction_operands(c: Monomial) -> tuple[list[Operand], list[Operand]]:
    """Numerator and denominator factors of a coefficient; halves and quarters stay decimal numbers."""
    over: list[Operand] = []
    under: list[Operand] = []
    number = c.number
    if type(number) is Fraction:
        short = number.denominator in (2, 4) and not any(p < 0 for _, p in c.powers)
        if short or "/" not in number_text(number):
            over.append(float_literal(float(number)))
        else:
            if number.numerator != 1:
                over.append(Literal(number.numerator))
            under.append(Literal(number.denominator))
    elif number != 1:
        over.append(number_literal(number))
    for name, power in c.powers:
        (over if power > 0 else under).append(letter_power(name, abs(power)))
    return over, under


def coefficient_operand(c: Monomial) -> Operand:
    """A coefficient as a number: ``2 / (k * n)``."""
    over, under = fraction_operands(c)
    if not under:
        return product_of(over)
    return Apply(OVER, (product_of(over), product_of(under)))


def scaled(c: Monomial, value: Operand | None) -> Operand:
    """``c * value``, written as a person would: ``x / n``, ``2 / n * x``, ``0.5 * x``."""
    if value is None:
        return coefficient_operand(c)
    over, under = fraction_operands(c)
    if not over and not under:
        return value
    if not over:
        return Apply(OVER, (value, product_of(under)))
    return Apply(TIMES, (coefficient_operand(c), value))


def size_operand(size: Size) -> Operand:
    """A size as an operand."""
    return Literal(size) if isinstance(size, int) else coefficient_operand(size)


def size_operands(sizes: Sequence[Size]) -> list[Operand]:
    """Sizes as operands."""
    return [size_operand(s) for s in sizes]


def program_shape(shape: Shape) -> tuple[int | Letter | Apply, ...]:
    """A shape as a Program states it."""
    result: list[int | Letter | Apply] = []
    for size in shape:
        operand = size_operand(size)
        if isinstance(operand, Literal):
            result.append(int(operand.value.real))
        elif isinstance(operand, (Letter, Apply)):
            result.append(operand)
    return tuple(result)


def with_shape(value: Operand, node: Expr, scalar: bool = False) -> Operand:
    """``value`` broadcast to the shape of ``node``; a bare number becomes an array of its dtype."""
    sizes = size_operands(() if scalar else node.shape)
    name = "bool_" if node.dtype.name == "bool" else node.dtype.name
    dims = ", ".join(f"{{{k + 1}}}" for k in range(len(sizes)))
    dims = f"({dims},)" if len(sizes) == 1 else f"({dims})"
    if isinstance(value, Literal) or not _has_array(value):
        if not sizes:
            return Apply(text(f"jnp.asarray({{0}}, dtype=jnp.{name})"), (value,))
        if isinstance(value, Literal) and value.value in (0, 1):
            word = "ones" if value.value == 1 else "zeros"
            shape = ", ".join(f"{{{k}}}" for k in range(len(sizes)))
            shape = f"({shape},)" if len(sizes) == 1 else f"({shape})"
            return Apply(text(f"jnp.{word}({shape}, dtype=jnp.{name})"), tuple(sizes))
        return Apply(text(f"jnp.full({dims}, {{0}}, dtype=jnp.{name})"), (value, *sizes))
    return Apply(text(f"jnp.broadcast_to({{0}}, {dims})"), (value, *sizes))


def in_shape(value: Operand, labels: Sequence[int], node: Expr) -> Operand:
    """``value``, which has the axes ``labels``, in the shape of ``node``; an image gets its two axes."""
    if node.shape[:2] == (1, 1) and list(labels) == list(range(2, node.ndim)):
        return Apply(FRONT, (value,))
    return with_shape(value, node)


def typed(value: Operand, node: Expr) -> Operand:
    """A value that is a bare number gets the node's dtype and shape."""
    if _reads(value) or node.dtype.name == "key":
        return value
    if isinstance(value, Apply) and value.template.form("jax").startswith(("jnp.", "jax.")):
        return value
    return with_shape(value, node)


def _reads(value: Operand) -> bool:
    """Is there a variable in it?"""
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, Variable):
            return True
        if isinstance(part, Apply):
            stack += part.operands
    return False


def _has_array(value: Operand) -> bool:
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, Apply):
            stack.extend(part.operands)
        elif not isinstance(part, (Literal, Letter)):
            return True
    return False


def permuted(value: Operand, order: Sequence[int]) -> Operand:
    """Axes reordered: ``.T``, ``.mT`` or ``.transpose(…)``."""
    if list(order) == list(range(len(order))):
        return value
    if len(order) == 2:
        return Apply(TURNED, (value,))
    listed = ", ".join(map(str, order))
    return Apply(postfix(f".transpose({listed})"), (value,))


def plain(value: Operand, shape: Shape, labels: Sequence[int]) -> tuple[Operand, list[int]]:
    """The array without its size-1 axes and with repeated labels read as a diagonal."""
    in_front = [x < 0 for x in labels] == [k < 2 for k in range(len(labels))]
    if in_front and isinstance(value, Apply) and value.template == FRONT:
        return value.operands[0], list(labels[2:])
    if len(labels) == 2 and labels[1] < 0 <= labels[0]:
        vector = of_a_column(value)
        if vector is not None:
            return vector, [labels[0]]
    if any(x < 0 for x in labels):
        index = ", ".join("0" if x < 0 else ":" for x in labels)
        value = Apply(postfix(f"[{index}]"), (value,))
        labels = [x for x in labels if x >= 0]
    if len(set(labels)) != len(labels):
        kept = list(dict.fromkeys(labels))
        names = {x: chr(97 + k) for k, x in enumerate(kept)}
        source = "".join(names[x] for x in labels)
        target = "".join(names[x] for x in kept)
        if source == "aa":
            value = Apply(text("jnp.diagonal({0})"), (value,))
        else:
            value = Apply(text(f"jnp.einsum('{source}->{target}', {{0}})"), (value,))
        labels = kept
    return value, list(labels)


def of_a_column(value: Operand) -> Operand | None:
    """``b`` of ``b[:, None]``, and ``solve(A, b)`` of ``solve(A, b[:, None])``."""
    solves: list[Apply] = []
    while isinstance(value, Apply) and _is_solve(value.template):
        solves.append(value)
        value = value.operands[1]
    if not isinstance(value, Apply) or value.template != COLUMN:
        return None
    (found,) = value.operands
    for outer in reversed(solves):
        found = Apply(outer.template, (outer.operands[0], found))
    return found


def _is_solve(template: Template) -> bool:
    spelled = template.form("numpy")
    return spelled.startswith(("solve(", "np.linalg.solve(")) and spelled.endswith(", {1})")


def aligned(value: Operand, shape: Shape, labels: Sequence[int], rank: int) -> Operand:
    """``value`` shaped so that NumPy's broadcasting puts its axes at ``labels`` of ``rank`` axes."""
    offset = rank - len(labels)
    if offset >= 0 and all(x == offset + k or x < 0 for k, x in enumerate(labels)):
        return value
    placed = [x for x in labels if x >= 0]
    if not offset and len(set(placed)) == len(placed):
        # as many axes as asked for: those of size 1 go where no other axis is
        free = iter(x for x in range(rank) if x not in placed)
        places = [next(free) if x < 0 else x for x in labels]
        return permuted(value, sorted(range(rank), key=places.__getitem__))
    value, kept = plain(value, shape, labels)
    order = sorted(range(len(kept)), key=lambda k: kept[k])
    value = permuted(value, order)
    kept = sorted(kept)
    if not kept:
        return value
    index = [":" if x in kept else "None" for x in range(kept[0], rank)]
    if all(part == ":" for part in index):
        return value
    while len(index) > 1 and index[-1] == ":" and "None" not in index:
        index.pop()
    return Apply(postfix(f"[{', '.join(index)}]"), (value,))


def spans(labels: Sequence[int], rank: int) -> bool:
    """Does :func:`aligned` give an array of all ``rank`` axes?"""
    placed = [x for x in labels if x >= 0]
    return 0 in placed or (len(labels) == rank and len(set(placed)) == len(placed))


def readable_template(node: Expr, template: Template) -> Template:
    """The template of a formula to read: the op's plain function name, where it has one."""
    op = node.op
    if not op.python or "infix" in op.traits or op.name == "power":
        return template
    statics = node.params[2] if op.family == "map" else node.params if op.family == "matrix" else ()
    if statics:
        return template
    last_axis = op.family != "axis" or node.params[0] == -1
    if not last_axis or op.python in ("max", "min", "argmax", "argmin", "cumsum", "flip"):
        return template
    if op.family == "axis" and "reduces" in op.traits and node.args[0].ndim > 1:
        return template
    holes = len(node.args) + (1 if op.size_operands is not None else 0)
    listed = ", ".join(f"{{{k}}}" for k in range(holes))
    return text(f"{op.python}({listed})")
