"""Text with holes: how an operation is written in each target language.

A template knows how strongly its text binds and how weakly bound an operand may stand in each
hole, as two numbers; that is all it takes to set parentheses rightly.
"""

from dataclasses import dataclass
from functools import lru_cache

# How strongly a piece of Python text binds: higher holds together more tightly.
ATOM = 100  # a name, a bracketed display
POSTFIX = 90  # call, attribute, index
NUMBER = 85  # an unsigned number: `2 ** x` needs no parentheses, `(2).real` does
POWER = 80
UNARY = 70
PRODUCT = 60  # * / // % @
SUM = 50  # + -
SHIFT = 44  # << >>
BIT_AND = 38
BIT_XOR = 34
BIT_OR = 30
COMPARE = 20  # < <= == != > >=
ANY = 0  # lambda, conditional expression; as a hole: everything fits


class ProgramError(ValueError):
    """A program that cannot be written out: a name used too early, a template without a form."""


@dataclass(frozen=True, slots=True)
class Template:
    """Text with holes, one form for each target language.

    **Arguments:**

    - `forms`: pairs of target and text, such as `("jax", "jnp.tanh({0})")`. `{0}` is a hole for
      operand 0 and may occur more than once. `{*}` stands for all operands that have no hole of
      their own, separated by commas; `{*,}` does the same and adds the comma that makes one
      operand a tuple; `{* + }` separates them by what follows the star.
    - `precedence`: how strongly the resulting text binds.
    - `holes`: for each operand, the weakest binding that needs no parentheses there. The last
      entry also serves all further operands.

    >>> Template((("jax", "{0} - {1}"),), SUM, (SUM, SUM + 1)).form("jax")
    '{0} - {1}'
    """

    forms: tuple[tuple[str, str], ...]
    precedence: int = POSTFIX
    holes: tuple[int, ...] = (ANY,)

    def form(self, target: str) -> str:
        """The text for `target`; raises `ProgramError` where there is none."""
        for name, text in self.forms:
            if name == target:
                return text
        known = ", ".join(f"{name}: {text}" for name, text in self.forms) or "none at all"
        raise ProgramError(
            f"cannot write this operation as {target} source: its template has no form for "
            f"{target!r} (it has {known}). Add one to the row of the operation."
        )

    def repeats(self, index: int) -> bool:
        """Does a form write operand `index` more than once?"""
        return any(text.count(f"{{{index}}}") > 1 for _, text in self.forms)

    def hole(self, index: int) -> int:
        """The weakest binding operand `index` may have without parentheses."""
        holes = self.holes
        return holes[index] if index < len(holes) else holes[-1] if holes else ANY


def _forms(jax: str, numpy: str | None) -> tuple[tuple[str, str], ...]:
    """Both forms; where only JAX's is given, NumPy's is the same text with `np` for `jnp`."""
    if numpy is None and ("jax." in jax or "lax." in jax):
        return (("jax", jax),)
    same = jax.replace("jnp.bfloat16", "np.dtype('bfloat16')").replace("jnp.", "np.")
    return (("jax", jax), ("numpy", same if numpy is None else numpy))


@lru_cache(maxsize=4096)
def text(
    jax: str, numpy: str | None = None, precedence: int = POSTFIX, hole: int = ANY
) -> Template:
    """A template from text alone: all holes alike, NumPy's form derived from JAX's.

    >>> text("jnp.sum({0}, axis=0)").form("numpy")
    'np.sum({0}, axis=0)'
    """
    return Template(_forms(jax, numpy), precedence, (hole,))


@lru_cache(maxsize=4096)
def call(
    jax: str, numpy: str | None = None, arity: int | None = None, keywords: str = ""
) -> Template:
    """A call of a named function with `arity` operands (`None`: as many as there are).

    `numpy=None` gives the JAX name with `np` for `jnp`, or no NumPy form for `jax.` and `lax.`.

    >>> call("jnp.sum", arity=1, keywords="axis=0").forms
    (('jax', 'jnp.sum({0}, axis=0)'), ('numpy', 'np.sum({0}, axis=0)'))
    """
    holes = ["{*}"] if arity is None else [f"{{{i}}}" for i in range(arity)]
    operands = ", ".join([*holes, keywords] if keywords else holes)
    forms = tuple((target, f"{name}({operands})") for target, name in _forms(jax, numpy))
    return Template(forms, POSTFIX, (ANY,))


@lru_cache(maxsize=256)
def infix(symbol: str, precedence: int) -> Template:
    """A binary operator, the same in every target; `**` groups to the right, comparisons never.

    >>> infix("-", SUM).holes
    (50, 51)
    """
    if precedence == POWER:
        holes = (POWER + 1, UNARY)
    elif precedence == COMPARE:
        holes = (COMPARE + 1, COMPARE + 1)  # a < b < c would be a chain
    else:
        holes = (precedence, precedence + 1)
    return Template(_forms(f"{{0}} {symbol} {{1}}", None), precedence, holes)


@lru_cache(maxsize=256)
def prefix(symbol: str, precedence: int = UNARY) -> Template:
    """A unary operator, the same in every target: `-x`, `~mask`, and for the eye `-(x**2)`."""
    return Template(_forms(f"{symbol}{{0}}", None), precedence, (POWER + 1,))


@lru_cache(maxsize=4096)
def postfix(suffix: str) -> Template:
    """An attribute, method call or index on one operand: `.T`, `.shape[0]`, `[:, None]`."""
    return Template(_forms(f"{{0}}{suffix}", None), POSTFIX, (POSTFIX,))


TUPLE = text("({*,})", precedence=ATOM)
"""All operands as one tuple."""

LIST = text("[{*}]", precedence=ATOM)
"""All operands as one list."""
