"""symgrad: models in PyTorch's names, gradients as textbook formulas, programs as JAX source."""

from math import e, inf, nan, pi
from typing import TYPE_CHECKING, Any

from symgrad_codegen.lazy import resolve as _resolve

from symgrad import autograd, random
from symgrad.autograd import (
    enable_grad,
    inference_mode,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from symgrad.core.dtypes import DType as dtype
from symgrad.core.dtypes import (
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from symgrad.core.dtypes import bool_ as bool
from symgrad.core.dtypes import complex64 as cfloat
from symgrad.core.dtypes import complex128 as cdouble
from symgrad.core.dtypes import promote as _promote
from symgrad.core.equal import same
from symgrad.errors import (
    DerivativeError,
    DeviceError,
    DTypeError,
    ShapeError,
    SymgradError,
    TraceError,
    UnboundError,
)
from symgrad.functional.promotion import default_dtype as get_default_dtype
from symgrad.functional.promotion import set_default_dtype
from symgrad.random import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from symgrad.tensors import creation, filling
from symgrad.tensors.attributes import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    preserve_format,
)
from symgrad.tensors.attributes import strided as strided
from symgrad.tensors.creation import (
    arange,
    as_tensor,
    bernoulli,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    logspace,
    multinomial,
    normal,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    scalar_tensor,
    tensor,
    tril_indices,
    triu_indices,
    zeros,
    zeros_like,
)
from symgrad.tensors.exchange import CONSTRUCTORS as _CONSTRUCTORS
from symgrad.tensors.exchange import asarray, from_dlpack, frombuffer, to_dlpack
from symgrad.tensors.limits import finfo, iinfo
from symgrad.tensors.printing import printoptions, set_printoptions
from symgrad.tensors.storage import Size, device
from symgrad.tensors.tensor import Tensor

if TYPE_CHECKING:
    from symgrad import (
        accelerator,
        amp,
        backends,
        cpu,
        cuda,
        func,
        linalg,
        nn,
        optim,
        serialization,
        signal,
        special,
        utils,
        version,
    )
    from symgrad.amp import autocast, get_autocast_dtype, is_autocast_enabled
    from symgrad.backends import (
        get_float32_matmul_precision,
        get_num_threads,
        set_float32_matmul_precision,
        set_num_threads,
    )
    from symgrad.foreign import jax_function, scalar_function
    from symgrad.serialization import load, save
    from symgrad.sympy_bridge import from_sympy, to_sympy
    from symgrad.tracing.branch import cond
    from symgrad.tracing.module_trace import trace_module
    from symgrad.tracing.step import compile
    from symgrad.tracing.symbolic import derive, grad, name, parse_formula, symbol, symbols
    from symgrad.tracing.trace import spec
    from symgrad.transforms.cost import cost
    from symgrad.transforms.operators import hessian, hvp, jacobian
    from symgrad.transforms.stationary import stationary
    from symgrad.transforms.vmap import vmap

__version__ = "0.1.0"
newaxis = None

float = float32
double = float64
half = float16
long = int64
int = int32
short = int16


_LATER = {
    "accelerator": "symgrad.accelerator",
    "amp": "symgrad.amp",
    "backends": "symgrad.backends",
    "cpu": "symgrad.cpu",
    "cuda": "symgrad.cuda",
    "fft": "symgrad.fft",
    "func": "symgrad.func",
    "linalg": "symgrad.linalg",
    "nn": "symgrad.nn",
    "optim": "symgrad.optim",
    "serialization": "symgrad.serialization",
    "signal": "symgrad.signal",
    "special": "symgrad.special",
    "utils": "symgrad.utils",
    "version": "symgrad.version",
    "autocast": "symgrad.amp:autocast",
    "get_autocast_dtype": "symgrad.amp:get_autocast_dtype",
    "is_autocast_enabled": "symgrad.amp:is_autocast_enabled",
    "get_float32_matmul_precision": "symgrad.backends:get_float32_matmul_precision",
    "get_num_threads": "symgrad.backends:get_num_threads",
    "set_float32_matmul_precision": "symgrad.backends:set_float32_matmul_precision",
    "set_num_threads": "symgrad.backends:set_num_threads",
    "load": "symgrad.serialization:load",
    "save": "symgrad.serialization:save",
    "cost": "symgrad.transforms.cost:cost",
    "from_sympy": "symgrad.sympy_bridge:from_sympy",
    "jax_function": "symgrad.foreign:jax_function",
    "scalar_function": "symgrad.foreign:scalar_function",
    "stationary": "symgrad.transforms.stationary:stationary",
    "to_sympy": "symgrad.sympy_bridge:to_sympy",
    "hessian": "symgrad.transforms.operators:hessian",
    "blackman_window": "symgrad.signal.windows:blackman_window",
    "hamming_window": "symgrad.signal.windows:hamming_window",
    "hann_window": "symgrad.signal.windows:hann_window",
    "hvp": "symgrad.transforms.operators:hvp",
    "jacobian": "symgrad.transforms.operators:jacobian",
    "cond": "symgrad.tracing.branch:cond",
    "trace_module": "symgrad.tracing.module_trace:trace_module",
    "compile": "symgrad.tracing.step:compile",
    "derive": "symgrad.tracing.symbolic:derive",
    "grad": "symgrad.tracing.symbolic:grad",
    "name": "symgrad.tracing.symbolic:name",
    "parse_formula": "symgrad.tracing.symbolic:parse_formula",
    "symbol": "symgrad.tracing.symbolic:symbol",
    "symbols": "symgrad.tracing.symbolic:symbols",
    "spec": "symgrad.tracing.trace:spec",
    "vmap": "symgrad.transforms.vmap:vmap",
}
"""Names that are imported when first used, and where they are (as above for type checkers)."""


def __getattr__(word: str) -> Any:
    if word in _LATER:
        found = globals()[word] = _resolve(_LATER[word])
    elif word in creation.FUNCTIONS:
        found = creation.FUNCTIONS[word]
    elif word in _CONSTRUCTORS:
        found = _CONSTRUCTORS[word]
    else:
        raise AttributeError(f"module 'symgrad' has no attribute {word!r}")
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *creation.FUNCTIONS, *_CONSTRUCTORS})


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype that holds both.

    >>> import symgrad as sg
    >>> sg.promote_types(sg.int32, sg.float16)
    torch.float16
    """
    return _promote(type1, type2)


def can_cast(from_: dtype, to: dtype) -> Any:
    """May a value of the first type become one of the second by PyTorch's rules?

    Truth values may become whole numbers, these real numbers, these complex ones.

    >>> import symgrad as sg
    >>> sg.can_cast(sg.float64, sg.float16), sg.can_cast(sg.float32, sg.int64)
    (True, False)
    """
    order = "biufc"
    kinds = [order.index(t.kind.replace("u", "i")) for t in (from_, to)]
    return kinds[0] <= kinds[1]


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype of an operation on two tensors or numbers.

    >>> import symgrad as sg
    >>> sg.result_type(sg.tensor([1, 2]), 1.0)
    torch.float32
    """
    if not isinstance(tensor2, Tensor):  # a number says less than a tensor
        tensor1 = tensor1 if isinstance(tensor1, Tensor) else creation.tensor(tensor1)
    return creation.FUNCTIONS["add"](tensor1, tensor2).dtype


def is_tensor(value: object) -> Any:
    """Is ``value`` a tensor of this library?"""
    return isinstance(value, Tensor)


def trace(target: Any, *args: Any, **kwargs: Any) -> Any:
    """A function or module as an expression; of a matrix, the sum of its diagonal (as PyTorch)."""
    if isinstance(target, Tensor):
        return creation.FUNCTIONS["trace"](target)
    if isinstance(target, _resolve("symgrad.nn:Module")) and not args:
        return _resolve(_LATER["trace_module"])(target, kwargs)
    return _resolve("symgrad.tracing.trace:trace")(target, *args, **kwargs)


__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    w for w in (*globals(), *_LATER) if w[0] != "_" and w not in ("TYPE_CHECKING", "Any")
]
