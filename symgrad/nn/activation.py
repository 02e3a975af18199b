"""Activations as modules: one class per function of ``nn.functional``, printed as PyTorch does."""

from __future__ import annotations

from typing import Any

from symgrad.nn import functional as F
from symgrad.nn.module import Module
from symgrad.tensors import creation
from symgrad.tensors.tensor import Parameter, Tensor


class _InPlace(Module):
    """An activation that PyTorch lets overwrite its input."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        """Only said where it is on."""
        return "inplace=True" if self.inplace else ""


class ReLU(_InPlace):
    """``max(x, 0)``.

    >>> ReLU()
    ReLU()
    """

    def forward(self, input: Tensor) -> Tensor:
        """``max(x, 0)``."""
        return F.relu(input, inplace=self.inplace)


class ReLU6(_InPlace):
    """``min(max(x, 0), 6)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``min(max(x, 0), 6)``."""
        return F.relu6(input, inplace=self.inplace)


class SiLU(_InPlace):
    """``x σ(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``x σ(x)``."""
        return F.silu(input, inplace=self.inplace)


class Mish(_InPlace):
    """``x tanh(softplus(x))``."""

    def forward(self, input: Tensor) -> Tensor:
        """``x tanh(softplus(x))``."""
        return F.mish(input, inplace=self.inplace)


class Hardswish(_InPlace):
    """``x min(max(x + 3, 0), 6) / 6``."""

    def forward(self, input: Tensor) -> Tensor:
        """``x min(max(x + 3, 0), 6) / 6``."""
        return F.hardswish(input, inplace=self.inplace)


class Hardsigmoid(_InPlace):
    """``min(max(x / 6 + 1/2, 0), 1)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``min(max(x / 6 + 1/2, 0), 1)``."""
        return F.hardsigmoid(input, inplace=self.inplace)


class SELU(_InPlace):
    """``s (max(x, 0) + min(a (eˣ − 1), 0))`` (Klambauer et al., 2017)."""

    def forward(self, input: Tensor) -> Tensor:
        """Scaled exponential linear unit."""
        return F.selu(input, inplace=self.inplace)


class Tanh(Module):
    """``tanh(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``tanh(x)``."""
        return F.tanh(input)


class Sigmoid(Module):
    """``σ(x) = 1 / (1 + e⁻ˣ)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``σ(x)``."""
        return F.sigmoid(input)


class LogSigmoid(Module):
    """``log σ(x)``, stable for every x."""

    def forward(self, input: Tensor) -> Tensor:
        """``log σ(x)``."""
        return F.logsigmoid(input)


class Softsign(Module):
    """``x / (1 + |x|)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``x / (1 + |x|)``."""
        return F.softsign(input)


class Tanhshrink(Module):
    """``x − tanh(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``x − tanh(x)``."""
        return F.tanhshrink(input)


class GELU(Module):
    """``x Φ(x)``, or its tanh approximation.

    >>> GELU()
    GELU(approximate='none')
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """``x Φ(x)``."""
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        """Which formula."""
        return f"approximate={self.approximate!r}"


class ELU(Module):
    """``x`` where positive, else ``α (eˣ − 1)``."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Exponential linear unit."""
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """α."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class CELU(ELU):
    """``max(x, 0) + min(0, α (e^(x/α) − 1))``."""

    def forward(self, input: Tensor) -> Tensor:
        """Continuously differentiable exponential linear unit."""
        return F.celu(input, self.alpha, self.inplace)


class LeakyReLU(Module):
    """``x`` where positive, else ``a x``.

    >>> LeakyReLU()
    LeakyReLU(negative_slope=0.01)
    """

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """``max(x, 0) + a min(x, 0)``."""
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """The slope."""
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class PReLU(Module):
    """LeakyReLU with a learned slope, one or one per channel (axis 1)."""

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter(
            creation.full((num_parameters,), float(init), device=device, dtype=dtype)
        )

    def forward(self, input: Tensor) -> Tensor:
        """``max(x, 0) + a min(x, 0)``."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """How many slopes."""
        return f"num_parameters={self.num_parameters}"


class Softplus(Module):
    """``log(1 + e^(β x)) / β``; linear where ``β x > threshold``."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        """``log(1 + e^(β x)) / β``."""
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """β and where it is linear."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """``min(max(x, low), high)``."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        if max_val <= min_val:
            raise ValueError("max_val must be larger than min_val")
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """``min(max(x, low), high)``."""
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """The two bounds."""
        text = f"min_val={self.min_val}, max_val={self.max_val}"
        return text + (", inplace=True" if self.inplace else "")


class _AlongAxis(Module):
    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        """The axis that sums to 1."""
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """``exp(xᵢ) / Σⱼ exp(xⱼ)`` along an axis.

    >>> Softmax(dim=1)
    Softmax(dim=1)
    """

    def forward(self, input: Tensor) -> Tensor:
        """``softmax(x)``."""
        return F.softmax(input, self.dim)


class LogSoftmax(_AlongAxis):
    """``xᵢ − log Σⱼ exp(xⱼ)`` along an axis."""

    def forward(self, input: Tensor) -> Tensor:
        """``log softmax(x)``."""
        return F.log_softmax(input, self.dim)


class Softmin(_AlongAxis):
    """``softmax(−x)`` along an axis."""

    def forward(self, input: Tensor) -> Tensor:
        """``softmax(−x)``."""
        return F.softmin(input, self.dim)


class Softmax2d(Module):
    """Softmax over the channels of every place: x ``(N, C, H, W)`` or ``(C, H, W)``."""

    def forward(self, input: Tensor) -> Tensor:
        """``softmax(x)`` over channels."""
        if input.dim() not in (3, 4):
            raise ValueError(
                f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead"
            )
        return F.softmax(input, -3)


class GLU(Module):
    """``a σ(b)`` of the halves a and b of an axis.

    >>> GLU()
    GLU(dim=-1)
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """``a σ(b)``."""
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        """The axis that is halved."""
        return f"dim={self.dim}"


class Threshold(Module):
    """``x`` above a threshold, else a value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """``x`` above the threshold, else the value."""
        return F.threshold(input, self.threshold, self.value, inplace=self.inplace)

    def extra_repr(self) -> str:
        """Threshold and value."""
        text = f"threshold={self.threshold}, value={self.value}"
        return text + (", inplace=True" if self.inplace else "")


class _Shrink(Module):
    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        """Half the width of what becomes 0."""
        return f"{self.lambd}"


class Softshrink(_Shrink):
    """``x − min(max(x, −λ), λ)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Moved by λ towards 0."""
        return F.softshrink(input, self.lambd)


class Hardshrink(_Shrink):
    """``x`` where ``|x| > λ``, else 0."""

    def forward(self, input: Tensor) -> Tensor:
        """``x`` where it is not small."""
        return F.hardshrink(input, self.lambd)
