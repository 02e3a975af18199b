"""One template as a Python function, for evaluating an operation on the spot with NumPy."""

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from symgrad_codegen.helpers import HELPERS
from symgrad_codegen.lazy import lazy
from symgrad_codegen.template import Template

_SCOPE: dict[str, Any] = {"math": math, "np": np, "scipy": lazy("scipy"),
                          "special": lazy("scipy.special")}  # fmt: skip


@lru_cache
def helper(name: str) -> Callable[..., Any]:
    """A function that NumPy source states for itself."""
    scope = dict(_SCOPE)
    exec(dict(HELPERS["numpy"])[name], scope)
    return scope[name]


@lru_cache(maxsize=4096)
def template_function(template: Template) -> Callable[..., Any]:
    """The NumPy form of a template as a function of its operands.

    >>> from symgrad_codegen.program import call
    >>> float(template_function(call("jnp.tanh", arity=1))(0.0))
    0.0
    """
    text = re.sub(r"\{\*[^}]*\}", "*a", template.form("numpy"))
    text = re.sub(r"\{(\d+)\}", r"a[\1]", text)
    scope = dict(_SCOPE)
    scope |= {name: helper(name) for name, _ in HELPERS["numpy"] if text.startswith(f"{name}(")}
    return eval(compile(f"lambda *a: {text}", "symgrad-template", "eval"), scope)
