"""The single table that turns any hint into an identifier.

Everything in generated source that is called something is named here, so this is also what keeps
the source safe: a name is made of ASCII letters, digits and underscores, whatever the hint was.
"""

import builtins
import keyword
import re
import unicodedata
from functools import lru_cache

from symgrad_codegen.helpers import HELPERS

LONGEST = 40
"""No identifier is longer than this."""

MODULES = frozenset(
    (
        "jax",
        "jnp",
        "lax",
        "np",
        "numpy",
        "functools",
        "math",
        "optax",
        "scipy",
        "special",
        "ml_dtypes",
        "jsp",
    )
)
"""Names under which generated source imports modules."""

RESERVED = MODULES.union(
    (name for helpers in HELPERS.values() for name, _ in helpers),
    keyword.kwlist,
    keyword.softkwlist,
    dir(builtins),
    ("self", "print"),
)
"""Identifiers that no hint may become."""

_GREEK_LETTERS = "αβγδεζηθικλμνξοπρςστυφχψω"
# λ is `lam` because `lambda` is a keyword.
_GREEK_WORDS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lam mu nu xi omicron pi rho "
    "sigma sigma tau upsilon phi chi psi omega"
)
_GREEK = {
    spelled: name
    for small, word in zip(_GREEK_LETTERS, _GREEK_WORDS.split(" "), strict=True)
    for spelled, name in ((small.upper(), word.capitalize()), (small, word))
}

# Written onto the letter before them: x̂ → x_hat, x′ → x_prime.
_MARKS = {
    "\u0302": "_hat",
    "\u0304": "_bar",
    "\u0305": "_bar",
    "\u0303": "_tilde",
    "\u0307": "_dot",
    "\u0308": "_ddot",
    "\u20d7": "_vec",
    "′": "_prime",
    "″": "_prime2",
    "'": "_prime",
    "*": "_star",
    "†": "_dagger",
}
_SYMBOLS = {"∂": "d", "∇": "grad_", "ℓ": "l", "∞": "inf", "Σ": "Sigma", "∑": "sum_", "∏": "prod_"}


@lru_cache(maxsize=8192)
def identifier(hint: str) -> str:
    """A readable ASCII identifier for `hint`; two hints may share one.

    >>> [identifier(hint) for hint in ("δ₂", "∂L/∂W₁", "params.W1", "x̂", "class", "?")]
    ['delta2', 'dL_dW1', 'params_W1', 'x_hat', 'class_', 'v']
    """
    # Normalising turns subscripts and superscripts into plain digits and accents into marks.
    letters = unicodedata.normalize("NFKD", hint[: 8 * LONGEST])
    parts: list[str] = []
    after_greek = False
    for letter in letters:
        greek = _GREEK.get(letter)
        if greek is not None:
            parts.append(f"_{greek}" if parts and parts[-1][-1:].isalpha() else greek)
        elif letter.isascii() and letter.isalnum():
            parts.append(f"_{letter}" if after_greek and letter.isalpha() else letter)
        elif letter in _MARKS:
            parts.append(_MARKS[letter] if parts else "_")
        elif not unicodedata.combining(letter):
            parts.append(_SYMBOLS.get(letter, "_"))
        after_greek = greek is not None
    name = re.sub("_+", "_", "".join(parts)).strip("_")[: LONGEST - 8].rstrip("_")
    if not name:
        return "v"
    if name[0].isdigit():
        name = f"v{name}"
    return f"{name}_" if name in RESERVED else name


class Names:
    """The identifiers of one scope: each `new` gives one that is not taken yet.

    >>> names = Names()
    >>> [names.new("x"), names.new("x"), names.new("jnp")]
    ['x', 'x_2', 'jnp_']
    """

    __slots__ = ("_next", "_taken")

    def __init__(self, taken: frozenset[str] = frozenset()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def new(self, hint: str) -> str:
        """An identifier for `hint`, different from all before it in this scope."""
        base = identifier(hint)
        name = base
        if name in self._taken:
            # The counter is remembered, so that many equal hints take linear time.
            count = self._next.get(base, 2)
            while (name := f"{base}_{count}") in self._taken:
                count += 1
            self._next[base] = count + 1
        self._taken.add(name)
        return name

    @property
    def taken(self) -> frozenset[str]:
        """Every identifier given out or reserved so far."""
        return frozenset(self._taken)
