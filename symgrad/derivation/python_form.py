"""A formula as one NumPy-like Python expression, by the same lowering as the source.

Names are those of a formula collection: ``sum``, ``trace``, ``outer``, ``diag``, ``softmax``,
``sigmoid``, …; letters are plain integers in scope.  :func:`namespace` holds them all for NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from symgrad_codegen.eager import helper
from symgrad_codegen.expression import Named, render
from symgrad_codegen.lazy import lazy
from symgrad_codegen.program import Apply, Function, Literal, Operand, Template, Variable
from symgrad_codegen.source import TARGETS

from symgrad.core.expr import SYMBOL, Expr, name_of
from symgrad.core.traverse import leaves
from symgrad.derivation.concise import shortest
from symgrad.derivation.truths import Truths

special = lazy("scipy.special")
scipy_signal = lazy("scipy.signal")

_NUMPY = (
    "log1p", "expm1", "tan", "arcsin", "arccos", "arctan", "arctan2", "sinh", "cosh", "arcsinh",
    "arccosh", "arctanh", "floor", "ceil", "round", "trunc", "remainder", "fmod", "floor_divide",
    "logical_and", "logical_or", "logical_xor", "logical_not", "isnan", "isfinite", "isinf",
    "tril", "triu", "flip", "cumsum", "prod", "kron", "bitwise_and", "bitwise_or", "bitwise_xor",
    "bitwise_not", "left_shift", "right_shift", "gcd", "lcm", "signbit", "conj", "real", "imag",
    "angle",
)  # fmt: skip


def _sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a)) if np.iscomplexobj(a) else special.expit(a)


def namespace() -> dict[str, Any]:
    """The functions that ``.python()`` uses, for NumPy."""
    return {
        "sum": np.sum, "mean": np.mean, "trace": np.trace, "inv": np.linalg.inv,
        "det": np.linalg.det, "logdet": lambda a: np.linalg.slogdet(a)[1],
        "solve": np.linalg.solve, "cholesky": np.linalg.cholesky, "outer": np.outer,
        "diag": np.diag, "vec": lambda a: np.reshape(a, -1), "diagonal": np.diagonal, "softmax": lambda a, axis=-1: special.softmax(a, axis=axis),
        "logsumexp": special.logsumexp, "exp": np.exp, "log": np.log, "tanh": np.tanh,
        "sigmoid": _sigmoid, "complex": lambda a, b: a + 1j * np.asarray(b), "softplus": lambda a: np.logaddexp(0, a),
        "relu": lambda a: np.maximum(a, 0), "sqrt": np.sqrt, "abs": np.abs, "sign": np.sign,
        "sin": np.sin, "cos": np.cos, "maximum": np.maximum, "minimum": np.minimum,
        "where": np.where, "square": np.square, "eye": np.eye, "norm": np.linalg.norm,
        "ones": lambda *s: np.ones(s), "zeros": lambda *s: np.zeros(s),
        "onehot": lambda y, k: (np.asarray(y)[..., None] == np.arange(k)).astype(float),
        **{word: getattr(np, word) for word in _NUMPY},
        **{word: getattr(special, word) for word in (
            "erf", "erfc", "erfinv", "log_ndtr", "i0", "i0e", "i1", "i1e")},
        "lgamma": special.gammaln, "sum_at": helper("sum_at"),
        "correlate": lambda x, w: scipy_signal.correlate(x, w, "valid", "direct"),
        "convolve": lambda x, w: scipy_signal.convolve(x, w, "full", "direct"),
        "np": np, "special": special,
    }  # fmt: skip


@lru_cache(maxsize=4096)
def _plain(template: Template) -> Template:
    """The NumPy form with the prefixes that :func:`namespace` makes unnecessary taken away."""
    known = set(namespace())
    text = template.form("numpy")
    text = re.sub(
        r"\b(?:np|special)\.(\w+)(?=\()",
        lambda m: m.group(1) if m.group(1) in known else m.group(0),
        text,
    )
    text = re.sub(r"\.astype\(np\.(?:float|complex)\d+\)", "", text)
    text = re.sub(r"\b(ones|zeros)\(\((.*?),?\), dtype=np\.\w+\)", r"\1(\2)", text)
    text = re.sub(r"(?:np\.asarray\((\{0\}), dtype=np\.\w+\)|, dtype=np\.\w+(?=\)))", r"\1", text)
    text = "diag({0})" if text == "diagonal({0})" else text  # of a matrix, as ``np.diag`` is
    return Template((("numpy", text),), template.precedence, template.holes)


def python_of(e: Expr, names: Mapping[Expr, str] | None = None) -> str:
    """``e`` as one Python expression over the names of its symbols."""
    given = names or {}
    symbols = leaves([e])
    spelled: dict[int, str] = {}
    values: dict[Expr, Operand] = {}
    taken: set[str] = set()
    for number, leaf in enumerate(symbols):
        word = given.get(leaf) or identifier(name_of(leaf))
        while word in taken:
            word += "_"
        taken.add(word)
        spelled[number] = word
        values[leaf] = Variable(number, word, (), leaf.dtype.name)
    operand = shortest(e, values)

    def spell(part: Named) -> str:
        if isinstance(part, Variable):
            return spelled[part.number]
        return identifier(part.program.name if isinstance(part, Function) else part.name)

    return render(_rewritten(operand), TARGETS["numpy"], spell, set())


_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


def identifier(text: str) -> str:
    """A name as Python can read it: ``W₁`` → ``W1``."""
    word = re.sub(r"\W", "_", text.translate(_SUBSCRIPTS))
    return word if word and not word[0].isdigit() else f"v_{word}"


def _tight(template: Template) -> Template:
    """The fraction of a coefficient as it is written: ``2/n``."""
    if template.form("numpy") != "{0} / {1}":
        return template
    return Template((("numpy", "{0}/{1}"),), template.precedence, template.holes)


def _rewritten(operand: Operand) -> Operand:
    """The tree with every template in plain form, rebuilt bottom-up without recursion."""
    done: dict[int, Operand] = {}
    truths = Truths()
    reading: set[int] = set()  # what depends on a tensor; the rest is a coefficient
    stack: list[tuple[Operand, bool]] = [(operand, False)]
    while stack:
        part, ready = stack.pop()
        if id(part) in done:
            continue
        if isinstance(part, Literal):
            done[id(part)] = Literal(part.value)
        elif not isinstance(part, Apply):
            done[id(part)] = part
        elif ready:
            template = _plain(part.template)
            if any(isinstance(o, Variable) or id(o) in reading for o in part.operands):
                reading.add(id(part))
            else:
                template = _tight(template)
            done[id(part)] = truths.applied(template, [done[id(o)] for o in part.operands])
        else:
            stack.append((part, True))
            stack.extend((o, False) for o in part.operands)
    return done[id(operand)]


__all__ = ["SYMBOL", "identifier", "namespace", "python_of"]
