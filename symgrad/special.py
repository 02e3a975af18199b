"""Special functions under PyTorch's names: ``symgrad.special``."""

from __future__ import annotations

from symgrad.functional.table import FUNCTIONS
from symgrad.tensors.surface import function_of

_OF = {
    "digamma": "digamma", "psi": "digamma", "entr": "entr", "erf": "erf", "erfc": "erfc",
    "erfinv": "erfinv", "exp2": "exp2", "expit": "sigmoid", "expm1": "expm1",
    "gammaln": "lgamma", "i0": "i0", "i0e": "i0e", "i1": "i1", "i1e": "i1e", "log1p": "log1p", "log_softmax": "log_softmax", "log_ndtr": "log_ndtr", "logit": "logit",
    "logsumexp": "logsumexp", "ndtr": "ndtr", "ndtri": "ndtri", "polygamma": "polygamma",
    "sinc": "sinc", "softmax": "softmax", "xlog1py": "xlog1py", "xlogy": "xlogy",
}  # fmt: skip
"""Name here → row of the table."""

globals().update({name: function_of(FUNCTIONS[row]) for name, row in _OF.items()})
